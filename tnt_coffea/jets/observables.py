"""The catalogue of observables, and the columns that a skim holds of a dijet.

| of either jet | what it is |
|---|---|
| `pt`, `eta`, `phi`, `mass` | of the jet's momentum [GeV] |
| `rescaled_mass` | (mass - 30 GeV) / m_jj + 0.01 |
| `n_constituents`, `pt_sum` | number of constituents; scalar sum of their pT [GeV] |
| `soft_drop_mass` | mass after soft drop [GeV] |
| `c2`, `d2` | ratios of energy correlators, e3 / e2^2 and e3 / e2^3 |
| `subjet1_pt`, `subjet1_mass`, ... | of exclusive kt subjets, in descending pT [GeV] |
| `tau1` ... `tau9`, `tau21`, ..., `tau1_width` | N-subjettiness, also `_beta05` and `_beta2` |
| `mass_drop_sum` | sum of m_parent / m_daughter, Cambridge/Aachen, daughters above 20 GeV |
| `ring0` ... `ring9` | shares of energy in rings about the axis, with edges from 0 to 1 |
| `n_subjets_inclusive`, `n_subjets_exclusive` | numbers of kt subjets of R = 0.2 |
| `energy` | of the jet's momentum [GeV] |
| `n_subjets_wide` | number of kt subjets of R = 0.4 above 20 GeV |
| `efp_2_1_0` ... `efp_6_5_5` | energy flow polynomials of N vertices and D edges, `efp_N_D_K` |
| `delta_r12` ... `delta_r34` | Delta R of two of the four hardest of these, -1 without them |

`subjettiness` stands for tau1 to tau9 with all three exponents, `energy_flow` for all 53
polynomials.

Of the event: `delta_eta`, `delta_phi`, `pt_balance` of the dijet; `m_jjj`, the mass of the three
leading jets [GeV]; `m_multijet`, that of all jets in sequence, which have a radius of their own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import JET_OBSERVABLES, SkimSettings
from tnt_coffea.errors import InputError
from tnt_coffea.jets import kinematics
from tnt_coffea.jets.alignment import aligned_jets
from tnt_coffea.jets.declustering import jet_splittings, mass_drop_sum
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.jets.energy_flow import (
    correlator_ratios,
    energy_correlators,
    energy_flow_polynomials,
)
from tnt_coffea.jets.frames import Framed, flat_lists, framed, leading_constituents
from tnt_coffea.jets.grooming import soft_drop_mass
from tnt_coffea.jets.images import event_images, pixelated
from tnt_coffea.jets.momenta import CARTESIAN, momentum_lists
from tnt_coffea.jets.rings import energy_rings
from tnt_coffea.jets.sequences import JetSequences, jet_sequences
from tnt_coffea.jets.substructure import (
    PAIRS,
    count_subjets,
    exclusive_subjets,
    subjettiness_ratio,
    subjettiness_table,
    wide_subjets,
)
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["dijet_columns"]

BETAS = {"": 1.0, "_beta05": 0.5, "_beta2": 2.0}
_KINEMATIC = ("pt", "eta", "phi", "mass", "rescaled_mass")
_TAU = re.compile(r"tau(?P<n>\d)(?P<m>\d?)(?P<beta>(_beta05|_beta2)?)")
_WIDTH = "tau1_width"


def dijet_columns(
    jets: ak.Array, settings: SkimSettings, particles: ak.Array | None = None
) -> dict[str, ak.Array]:
    """Return the flat columns that a skim holds of a dijet.

    Parameters
    ----------
    jets
        (event, 2 or more) heavy and light jet, then further ones in descending pT, of
        `find_dijets` or `select_dijets`. Without the field `constituents` only kinematic
        observables and those that are fields of the jets are available.
    settings
        The observables, images and lists to make.
    particles
        (event, particle) `Momentum4D`, GeV: all particles of the events, for the sequence of
        jets and the image of the event; None where the source has none.

    Returns
    -------
    dict
        `m_jj` (event,) float64 GeV; the event's observables (event,) float32; for each of
        `heavy` and `light` its observables, `heavy_pt` and the like, (event,) float32, GeV
        where they have a unit, the sparse image, `heavy_image_index` and
        `heavy_image_value` (event, pixel), the leading constituents,
        `heavy_constituents_pt`, `_eta` and `_phi` (event, particle), the aligned ones,
        `heavy_aligned_pt`, `_eta` and `_phi` (event, particle), and the splittings,
        `heavy_splittings_angle`, `_kt`, `_mass` and `_drop` (event, splitting); of the event
        `sequence_pt`, `_eta`, `_phi` and `_mass` (event, jet), and `event_image_index` and
        `event_image_value` (event, pixel).

    Raises
    ------
    InputError
        What is asked for needs constituents of the jets or particles of the event, and there
        are none.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> particles = vector.zip({  # one event of four particles
    ...     "pt": ak.Array([[900.0, 300.0, 1150.0, 2.0]]),
    ...     "eta": ak.Array([[0.1, 0.5, 0.2, 0.1]]),
    ...     "phi": ak.Array([[0.0, 0.2, -3.1, 0.3]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0, 0.0]]),
    ... })
    >>> from tnt_coffea.jets import find_dijets
    >>> settings = SkimSettings(observables=["mass", "tau21"], images=None)
    >>> jets, _ = find_dijets(particles, settings.jets)
    >>> columns = dijet_columns(jets, settings)
    >>> list(columns)
    ['m_jj', 'heavy_mass', 'light_mass', 'heavy_tau21', 'light_tau21']
    >>> round(float(columns["m_jj"][0]), 1)
    2369.6
    """
    jets = momentum_lists(jets, "jets")
    if (single := np.diff(np.asarray(jets.layout.offsets)) < 2).any():
        msg = (
            f"jets: event {int(np.flatnonzero(single)[0])} has no two of them; "
            "`find_dijets` and `select_dijets` leave such events out"
        )
        raise InputError(msg)
    dijets = _Dijets(jets, settings)
    columns: dict[str, ak.Array] = {"m_jj": ak.Array(dijets.m_jj)}
    lists = _event_lists(particles, settings)
    for name in settings.of_event:
        values = _total_mass(lists) if name == "m_multijet" else dijets.of_event(name)
        columns[name] = ak.Array(values.astype(np.float32))
    for name in settings.of_jet:
        values = dijets.of_jet(name).reshape(-1, 2)
        for i, jet in enumerate(JETS):
            alpha = settings.mass_shift.of(jet)
            shifted = kinematics.shifted_mass(name, values[:, i], dijets.m_jj, alpha)
            columns[f"{jet}_{name}"] = ak.Array(shifted.astype(np.float32))
    if settings.images is not None:
        images = pixelated(dijets.framed("images"), settings.images)
        pixels = {"image_index": images.index, "image_value": images.value}
        columns |= _lists(images.counts, pixels)
    if settings.constituents is not None:
        leading = leading_constituents(dijets.framed("constituents"), settings.constituents)
        parts = {f"constituents_{name}": getattr(leading, name) for name in leading.parts}
        columns |= _lists(leading.counts, parts)
    if settings.aligned is not None:
        aligned = aligned_jets(dijets.constituents("aligned"), settings.aligned)
        parts = {f"aligned_{name}": getattr(aligned, name) for name in aligned.parts}
        columns |= _lists(aligned.counts, parts)
    if settings.splittings is not None:
        found = jet_splittings(dijets.constituents("splittings"), settings.splittings)
        parts = {f"splittings_{name}": getattr(found, name) for name in found.parts}
        columns |= _lists(found.counts, parts)
    return columns | lists


def _event_lists(particles: ak.Array | None, settings: SkimSettings) -> dict[str, ak.Array]:
    wanted = [name for name in ("sequence", "event_image") if getattr(settings, name) is not None]
    if wanted and particles is None:
        msg = (
            f"skim.{wanted[0]}: {wanted[0]} needs all particles of an event, and this source has "
            f"jets alone; set {' and '.join(f'skim.{name}' for name in wanted)} to null, or "
            "cluster particles where the file has them (skim.source.jets: particles)"
        )
        raise InputError(msg)
    columns = {}
    if settings.sequence is not None:
        jets = jet_sequences(particles, settings.sequence)
        for name in jets.parts:
            columns[f"sequence_{name}"] = ak.unflatten(getattr(jets, name), jets.counts)
    if settings.event_image is not None:
        images = event_images(particles, settings.event_image)
        for name in ("index", "value"):
            columns[f"event_image_{name}"] = ak.unflatten(getattr(images, name), images.counts)
    return columns


def _total_mass(lists: Mapping[str, ak.Array]) -> Float64Array:
    parts = (lists[f"sequence_{name}"] for name in JetSequences.parts)
    return JetSequences(*flat_lists(*parts)).total_mass


def _lists(counts: IntArray, values: Mapping[str, npt.NDArray[Any]]) -> dict[str, ak.Array]:
    # Heavy, light, heavy, light, ...: every second list is the light jet's.
    second = np.repeat(np.arange(len(counts)) % 2, counts).astype(bool)
    return {
        f"{jet}_{name}": ak.unflatten(value[chosen], counts[i::2])
        for i, (jet, chosen) in enumerate(zip(JETS, (~second, second), strict=True))
        for name, value in values.items()
    }


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
        return np.stack([_numbers(getattr(self.jets, name)) for name in CARTESIAN])

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
        if name == "energy":
            return _numbers(self.jets.E)
        if "constituents" not in self.jets.fields and name in self.jets.fields:
            # The source gives it: a jet collection with its own substructure.
            return _numbers(self.jets[name])
        constituents = self.constituents(name)
        if name == "n_constituents":
            return _numbers(ak.num(constituents))
        if name == "pt_sum":
            return _numbers(ak.sum(constituents.pt, axis=1))
        if name == "mass_drop_sum":
            return mass_drop_sum(constituents)
        if name == "n_subjets_wide":
            return self._wide_subjets[0]
        if name.startswith("delta_r"):
            return self._wide_subjets[1][:, PAIRS.index((int(name[-2]), int(name[-1])))]
        if name.startswith("n_subjets"):
            return self._numbers_of_subjets[name.removeprefix("n_subjets_")]
        if name in ("c2", "d2"):
            return self._correlator_ratios[name]
        if name.startswith("efp"):
            return self._energy_flow[:, self._polynomials.index(name)]
        if name.startswith("ring"):
            return self._rings[:, int(name.removeprefix("ring"))]
        if name == "soft_drop_mass":
            substructure = self.settings.substructure
            mass = soft_drop_mass(
                constituents,
                beta=substructure.soft_drop_beta,
                zcut=substructure.soft_drop_zcut,
                radius=self.settings.jets.radius,
            )
            varied = "mass_factor" in self.jets.fields
            return mass * _numbers(self.jets.mass_factor) if varied else mass
        if name.startswith("subjet"):
            return self._subjets[name.partition("_")[2]][:, int(name[6]) - 1]
        return self._subjettiness(name)

    def framed(self, wanted: str) -> Framed:
        """Return the constituents in the frame of images, computed once."""
        self.constituents(wanted)
        return self._framed

    @cached_property
    def _framed(self) -> Framed:
        return framed(self.constituents("images"), self.settings.frame)

    def constituents(self, wanted: str) -> ak.Array:
        """Return (2 * event, particle); raise `InputError` where the jets have none."""
        if "constituents" not in self.jets.fields:
            given = (name for name in self.jets.fields if name in JET_OBSERVABLES)
            available = [*_KINEMATIC, *given]
            lists = ("constituents", "aligned", "splittings")
            also = "".join(f"and skim.{name} " for name in lists if getattr(self.settings, name))
            msg = (
                f"skim.{wanted if wanted in ('images', *lists) else 'observables'}: "
                f"{wanted} needs the jets' constituents, and this source has jets without them; "
                f"set skim.images {also}to null and skim.observables to some of "
                f"{', '.join(dict.fromkeys(available))}"
            )
            raise InputError(msg)
        if (bare := ak.to_numpy(ak.num(self.jets.constituents)) == 0).any():
            eta = _numbers(self.jets.eta)[bare]
            msg = (
                f"{int(bare.sum())} of {len(bare)} jets, the first at eta = {eta[0]:.2f}, have no "
                f"constituents, and {wanted} needs them. NanoAOD 15 has those of abs(eta) up to "
                "2.5: set skim.jets.eta_max to 2.4"
            )
            raise InputError(msg)
        return ak.with_name(self.jets.constituents, "Momentum4D")

    def _multijet_mass(self, n: int) -> Float64Array:
        jets = self.all_jets[:, :n]
        summed = [_numbers(ak.sum(getattr(jets, name), axis=1)) for name in CARTESIAN]
        return kinematics.invariant_mass(np.stack(summed))

    @cached_property
    def _subjets(self) -> Mapping[str, Float64Array]:
        number = self.settings.substructure.subjets
        pt, mass = exclusive_subjets(self.constituents("subjets"), number)
        return {"pt": pt, "mass": mass}

    @cached_property
    def _numbers_of_subjets(self) -> Mapping[str, Float64Array]:
        inclusive, exclusive = count_subjets(self.constituents("subjets"))
        return {"inclusive": inclusive.astype(float), "exclusive": exclusive.astype(float)}

    @cached_property
    def _wide_subjets(self) -> tuple[Float64Array, Float64Array]:
        number, delta_r = wide_subjets(self.constituents("subjets"))
        return number.astype(float), delta_r

    @cached_property
    def _correlator_ratios(self) -> Mapping[str, Float64Array]:
        return correlator_ratios(*energy_correlators(self.constituents("energy correlators")))

    @property
    def _polynomials(self) -> list[str]:
        return [name for name in self.settings.of_jet if name.startswith("efp")]

    @cached_property
    def _energy_flow(self) -> Float64Array:
        constituents = self.constituents("energy flow polynomials")
        return energy_flow_polynomials(constituents, self._polynomials)

    @cached_property
    def _rings(self) -> Float64Array:
        return energy_rings(self.constituents("rings"))

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
