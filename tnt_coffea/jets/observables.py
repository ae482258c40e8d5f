"""The catalogue of observables, and the columns that a skim holds of a dijet."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ImageSettings, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.jets import kinematics
from tnt_coffea.jets.dijets import JETS, OBSERVABLES
from tnt_coffea.jets.grooming import soft_drop_mass
from tnt_coffea.jets.images import sparse_images
from tnt_coffea.jets.subjets import exclusive_subjets
from tnt_coffea.jets.substructure import subjettiness_ratio, subjettiness_table

__all__ = ["dijet_columns"]

BETAS = {"": 1.0, "_beta05": 0.5, "_beta2": 2.0}
_KINEMATIC = ("pt", "eta", "phi", "mass", "rescaled_mass")
_TAU = re.compile(r"tau(?P<n>\d)(?P<m>\d?)(?P<beta>(_beta05|_beta2)?)")
_WIDTH = "tau1_width"
_CARTESIAN = ("px", "py", "pz", "E")

Float64Array = npt.NDArray[np.float64]


def dijet_columns(jets: ak.Array, settings: SkimSettings) -> dict[str, ak.Array]:
    """Return the flat columns that a skim holds of a dijet.

    Parameters
    ----------
    jets
        (event, 2 or more) heavy and light jet, then further ones in descending pT, of
        `find_dijets` or `select_dijets`. Without the field `constituents` only kinematic
        observables and those that are fields of the jets can be had.
    settings
        The observables and the image to make.

    Returns
    -------
    dict
        `m_jj` (event,) float64 GeV; the event's observables (event,) float32; for each of
        `heavy` and `light` its observables, `heavy_pt` and the like, (event,) float32, GeV
        where they have a unit, and the sparse image, `heavy_image_index` and
        `heavy_image_value` (event, pixel).

    Raises
    ------
    InputError
        An observable or image needs constituents, and the jets have none.
    """
    dijets = _Dijets(jets, settings)
    columns: dict[str, ak.Array] = {"m_jj": ak.Array(dijets.m_jj)}
    for name in settings.of_event:
        columns[name] = ak.Array(dijets.of_event(name).astype(np.float32))
    for name in settings.of_jet:
        values = dijets.of_jet(name).astype(np.float32).reshape(-1, 2)
        columns |= {f"{jet}_{name}": ak.Array(values[:, i]) for i, jet in enumerate(JETS)}
    if settings.images is not None:
        columns |= _image_columns(dijets.constituents("images"), settings.images)
    return columns


def _image_columns(constituents: ak.Array, settings: ImageSettings) -> dict[str, ak.Array]:
    images = sparse_images(constituents, settings)
    second = np.repeat(np.arange(len(images.counts)) % 2, images.counts).astype(bool)
    columns = {}
    for i, (name, mine) in enumerate(zip(JETS, (~second, second), strict=True)):
        counts = images.counts[i::2]
        columns[f"{name}_image_index"] = ak.unflatten(images.index[mine], counts)
        columns[f"{name}_image_value"] = ak.unflatten(images.value[mine], counts)
    return columns


@dataclass(frozen=True)
class _Dijets:
    """Dijets whose observables are computed when they are asked for, and only then.

    Attributes
    ----------
    all_jets
        (event, 2 or more) jets.
    settings
        How the observables are defined.
    """

    all_jets: ak.Array
    settings: SkimSettings

    @cached_property
    def jets(self) -> ak.Array:
        """(2 * event,) heavy, light, heavy, light, ..."""
        return ak.flatten(self.all_jets[:, :2])

    @cached_property
    def p4(self) -> Float64Array:
        """(4, 2 * event) px, py, pz, E [GeV]."""
        return np.stack([_numbers(getattr(self.jets, name)) for name in _CARTESIAN])

    @cached_property
    def m_jj(self) -> Float64Array:
        return kinematics.invariant_mass(self.p4[:, ::2] + self.p4[:, 1::2])

    def of_event(self, name: str) -> Float64Array:
        if name == "m_jjj":
            return self._multijet_mass(3)
        measure = {
            "delta_eta": kinematics.delta_eta,
            "delta_phi": kinematics.delta_phi,
            "pt_balance": kinematics.pt_balance,
        }[name]
        return measure(self.p4[:, ::2], self.p4[:, 1::2])

    def of_jet(self, name: str) -> Float64Array:
        """Return (2 * event,) of one observable."""
        if name == "rescaled_mass":
            return kinematics.rescaled_mass(_numbers(self.jets.mass), np.repeat(self.m_jj, 2))
        if name in _KINEMATIC:
            return _numbers(getattr(self.jets, name))
        if "constituents" not in self.jets.fields and name in self.jets.fields:
            # The source gives it: a jet collection with its own substructure.
            return _numbers(self.jets[name])
        constituents = self.constituents(name)
        if name == "n_constituents":
            return _numbers(ak.num(constituents))
        if name == "soft_drop_mass":
            substructure = self.settings.substructure
            return soft_drop_mass(
                constituents,
                beta=substructure.soft_drop_beta,
                zcut=substructure.soft_drop_zcut,
                radius=self.settings.jets.radius,
            )
        if name.startswith("subjet"):
            return self._subjets[name.partition("_")[2]][:, int(name[6]) - 1]
        return self._subjettiness(name)

    def constituents(self, wanted: str) -> ak.Array:
        """Return (2 * event, particle), or say what cannot be had without them."""
        if "constituents" not in self.jets.fields:
            had = [*_KINEMATIC, *(name for name in self.jets.fields if name in OBSERVABLES)]
            msg = (
                f"skim.{'images' if wanted == 'images' else 'observables'}: {wanted} needs the "
                "jets' constituents, and this source has jets without them; set skim.images to "
                f"null and skim.observables to some of {', '.join(dict.fromkeys(had))}"
            )
            raise InputError(msg)
        return ak.with_name(self.jets.constituents, "Momentum4D")

    def _multijet_mass(self, n: int) -> Float64Array:
        jets = self.all_jets[:, :n]
        summed = [_numbers(ak.sum(getattr(jets, name), axis=1)) for name in _CARTESIAN]
        return kinematics.invariant_mass(np.stack(summed))

    @cached_property
    def _subjets(self) -> Mapping[str, Float64Array]:
        number = self.settings.substructure.subjets
        pt, mass = exclusive_subjets(self.constituents("subjets"), number)
        return {"pt": pt, "mass": mass}

    def _subjettiness(self, name: str) -> Float64Array:
        if name == _WIDTH:
            narrow, wide = self._tau(2.0, 1), self._tau(1.0, 1)
            return subjettiness_ratio(np.sqrt(narrow), wide)
        match = _TAU.fullmatch(name)
        if match is None:
            msg = f"{name} is in the catalogue, but nothing computes it"
            raise NotImplementedError(msg)
        beta = BETAS[match["beta"]]
        if not match["m"]:
            return self._tau(beta, int(match["n"]))
        return subjettiness_ratio(
            self._tau(beta, int(match["n"])), self._tau(beta, int(match["m"]))
        )

    def _tau(self, beta: float, n: int) -> Float64Array:
        betas, numbers = self._taus_wanted
        return self._taus[:, betas.index(beta), numbers.index(n)]

    @cached_property
    def _taus_wanted(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        betas, numbers = set(), set()
        for name in self.settings.of_jet:
            if name == _WIDTH:
                betas |= {1.0, 2.0}
                numbers |= {1}
            elif match := _TAU.fullmatch(name):
                betas |= {BETAS[match["beta"]]}
                numbers |= {int(n) for n in (match["n"], match["m"]) if n}
        return tuple(sorted(betas)), tuple(sorted(numbers))

    @cached_property
    def _taus(self) -> Float64Array:
        # All of a jet's tau share its axes: one clustering for whatever is asked for.
        betas, numbers = self._taus_wanted
        return subjettiness_table(
            self.constituents("N-subjettiness"),
            numbers,
            betas,
            radius=self.settings.jets.radius,
            axes=self.settings.substructure.axes,
        )


def _numbers(values: ak.Array) -> Float64Array:
    return np.asarray(ak.to_numpy(values), dtype=np.float64)
