"""Jets that a file holds already: where a source has no particles, or is asked for its own jets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import awkward as ak
import numpy as np
import numpy.typing as npt

__all__ = ["StoredJets", "grouped"]


@dataclass(frozen=True)
class StoredJets:
    """What a source gives of a chunk of events, one step behind the clustering.

    Attributes
    ----------
    p4
        (event, jet) `Momentum4D` with pt [GeV], eta, phi, mass [GeV], in the file's order.
    constituents
        (event, jet, particle) `Momentum4D`, GeV, or None where the file does not tell.
    radius
        R of the anti-kt algorithm that made them.
    event_id, weight, label, numbers
        As `Particles`.
    """

    p4: ak.Array
    constituents: ak.Array | None
    radius: float
    event_id: npt.NDArray[np.uint64]
    weight: npt.NDArray[np.float64]
    label: npt.NDArray[np.int8]
    numbers: Mapping[str, npt.NDArray[np.uint64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event_id)


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
