"""Jets that a file holds already: where a source has no particles, or is asked for its own jets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.jets.energy_flow import correlator_ratios
from tnt_coffea.jets.substructure import subjettiness_ratio

__all__ = ["StoredJets", "grouped", "with_substructure"]


@dataclass(frozen=True)
class StoredJets:
    """What a source gives of a chunk of events, one step behind the clustering.

    Attributes
    ----------
    p4
        (event, jet) `Momentum4D` with pt [GeV], eta, phi, mass [GeV], in the file's order; and
        observables that the file stores of them, under their names.
    constituents
        (event, jet, particle) `Momentum4D`, GeV, or None where the file does not tell.
    radius
        R of the anti-kt algorithm that made them.
    event_id, weight, label, numbers
        As `Particles`.
    absent
        What the file would have to store for observables that it does not, by their names.
    """

    p4: ak.Array
    constituents: ak.Array | None
    radius: float
    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    numbers: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)
    absent: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_id)


def with_substructure(
    p4: ak.Array, stored: Mapping[str, ak.Array], names: Mapping[str, str]
) -> tuple[ak.Array, dict[str, str]]:
    """Return jets with the observables that are stored of them, and what lacks for the others.

    Parameters
    ----------
    p4
        (event, jet), any records.
    stored
        (event, jet) `tau1` to `tau4`, `soft_drop_mass`, `e2`, `e3`, `c2`, `d2` or ratios such as
        `tau21`, as far as the file has them. Values below 0 say that there is none: 0.
    names
        What the file calls each of them where it has it.

    Examples
    --------
    >>> import awkward as ak
    >>> jets = ak.Array([[{"pt": 900.0}, {"pt": 600.0}], []])
    >>> stored = {"tau1": ak.Array([[0.2, 0.0], []]), "tau2": ak.Array([[0.05, -999.0], []])}
    >>> found, absent = with_substructure(jets, stored, {"tau2": "Tau2_wta", "tau3": "Tau3_wta"})
    >>> found.tau21.tolist(), absent["tau3"], absent["tau32"]
    ([[0.25, 0.0], []], 'Tau3_wta', 'Tau3_wta')
    """
    counts = ak.num(p4)
    flat = {
        name: np.maximum(np.asarray(ak.flatten(values), dtype=np.float64), 0.0)
        for name, values in stored.items()
    }
    absent = {name: theirs for name, theirs in names.items() if name not in flat}
    for n in range(1, 4):
        ratio, parts = f"tau{n + 1}{n}", (f"tau{n + 1}", f"tau{n}")
        if ratio not in flat and all(part in flat for part in parts):
            flat[ratio] = subjettiness_ratio(*(flat[part] for part in parts))
        elif ratio not in flat:
            absent[ratio] = " and ".join(absent[part] for part in parts if part in absent)
    if "e2" in flat and "e3" in flat:
        flat = correlator_ratios(flat.pop("e2"), flat.pop("e3")) | flat
    for name in ("e2", "e3"):
        flat.pop(name, None)
        absent.pop(name, None)
    for name, values in flat.items():
        p4 = ak.with_field(p4, ak.unflatten(values, counts), name)
    return p4, {name: theirs for name, theirs in absent.items() if theirs and name not in flat}


def grouped(
    particles: ak.Array, jet_index: ak.Array, particle_index: ak.Array, jets: npt.NDArray[np.int64]
) -> ak.Array:
    """Return (event, jet, particle): the particles of every jet, from a list of links.

    Parameters
    ----------
    particles
        (event, particle), any records.
    jet_index, particle_index
        (event, link): which jet of the event holds which of its particles; a link with a
        negative index leads to something that was not stored and is left out.
    jets
        (event,) how many jets there are.

    Raises
    ------
    IndexError
        A link leads beyond the jets or particles of its event.
    """
    event = np.repeat(np.arange(len(jets)), ak.to_numpy(ak.num(jet_index)))
    jet = np.asarray(ak.flatten(jet_index), dtype=np.int64)
    particle = np.asarray(ak.flatten(particle_index), dtype=np.int64)
    there = (jet >= 0) & (particle >= 0)
    event, jet, particle = event[there], jet[there], particle[there]
    held = ak.to_numpy(ak.num(particles)).astype(np.int64)
    beyond = (jet >= jets[event]) | (particle >= held[event])
    if beyond.any():
        i = int(np.flatnonzero(beyond)[0])
        msg = (
            f"event {event[i]} of these entries links particle {particle[i]} of {held[event[i]]} "
            f"to jet {jet[i]} of {jets[event[i]]}"
        )
        raise IndexError(msg)
    row = jet + (np.cumsum(jets) - jets)[event]
    order = np.argsort(row, kind="stable")
    picked = ak.flatten(particles)[(particle + (np.cumsum(held) - held)[event])[order]]
    per_jet = np.bincount(row, minlength=int(jets.sum()))
    return ak.unflatten(ak.unflatten(picked, per_jet), jets)
