"""Sequential clustering of particles, through FastJet's awkward binding."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.config import JetSettings

__all__ = ["cluster"]

EVENTS_PER_CALL = 2000
"""Every cluster sequence of a call stays alive (about 90 kB an event): this bounds the memory."""


def cluster(particles: ak.Array, settings: JetSettings, leading: int = 2) -> ak.Array:
    """Return the jets of every event with the largest pT, in descending order, with constituents.

    Parameters
    ----------
    particles
        (event, particle) `Momentum4D`, GeV, without options.
    settings
        Algorithm, radius and lowest jet pT.
    leading
        Most jets kept in an event.

    Returns
    -------
    ak.Array
        (event, jet) `Momentum4D` (px, py, pz, E in GeV) with the field `constituents`:
        (event, jet, particle) records pt [GeV], eta, phi, mass [GeV].
    """
    parts = [
        _cluster(particles[start : start + EVENTS_PER_CALL], settings, leading)
        for start in range(0, max(len(particles), 1), EVENTS_PER_CALL)
    ]
    return parts[0] if len(parts) == 1 else ak.concatenate(parts)


def _cluster(particles: ak.Array, settings: JetSettings, leading: int) -> ak.Array:
    # The binding takes 0.3 s to import: kernels without clustering do not pay for it.
    import fastjet

    definition = fastjet.JetDefinition(_algorithm(fastjet, settings), settings.radius)
    packed = ak.to_packed(particles)
    sequence = fastjet.ClusterSequence(packed, definition)
    jets = sequence.inclusive_jets(min_pt=settings.pt_min)
    members = sequence.constituent_index(min_pt=settings.pt_min)
    # The binding does not sort by pT, and a stable order among equals keeps
    # the result independent of how events are split into chunks.
    order = ak.argsort(jets.pt, axis=1, ascending=False, stable=True)[:, :leading]
    jets, members = jets[order], members[order]
    per_jet = ak.flatten(members, axis=1)
    event_of_jet = np.repeat(np.arange(len(jets)), ak.to_numpy(ak.num(jets)))
    picked = ak.flatten(packed)[
        ak.flatten(per_jet) + np.repeat(_starts(packed)[event_of_jet], ak.to_numpy(ak.num(per_jet)))
    ]
    constituents = ak.unflatten(ak.unflatten(picked, ak.num(per_jet)), ak.num(jets))
    return ak.zip(
        {
            "px": jets.px,
            "py": jets.py,
            "pz": jets.pz,
            "E": jets.E,
            "constituents": constituents,
        },
        depth_limit=2,
        with_name="Momentum4D",
        behavior=packed.behavior,
    )


def _starts(jagged: ak.Array) -> Any:
    counts = ak.to_numpy(ak.num(jagged))
    return np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64)


def _algorithm(fastjet: Any, settings: JetSettings) -> Any:
    return getattr(fastjet, f"{settings.algorithm.value}_algorithm")
