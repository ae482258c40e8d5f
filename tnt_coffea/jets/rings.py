"""How the energy of a jet lies about its axis."""

from __future__ import annotations

from collections.abc import Sequence

import awkward as ak
import numpy as np

from tnt_coffea.jets.frames import on_the_jet_axis
from tnt_coffea.jets.momenta import momentum_lists, polar
from tnt_coffea.typing import Float64Array

__all__ = ["RINGS", "energy_rings"]

RINGS = (0.0, *(10 ** (2 * k / 9 - 2) for k in range(10)))
"""Edges of ten rings in Delta R: 0, 0.01, 0.0167, 0.0278, 0.0464, ..., 0.599, 1."""


def energy_rings(constituents: ak.Array, edges: Sequence[float] = RINGS) -> Float64Array:
    """Return the share of a jet's energy in rings about its axis.

    Delta R is the distance in pseudorapidity and phi from the direction of the sum of all
    constituents; a ring has its lower edge and not its upper one.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    edges
        Of the rings, ascending, one more than there are rings.

    Returns
    -------
    (jet, ring) float64; 0 for a jet without constituents, and in sum below 1 where some lie
    outside all rings.

    Raises
    ------
    ValueError
        There are fewer than two edges, or they do not ascend.

    Source: the observables behind arXiv:2101.08320, section 3.4; the text does not name them.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, -0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.3], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> energy_rings(jets, edges=(0.0, 0.2, 0.4, 1.0)).round(3).tolist()
    [[0.585, 0.415, 0.0], [1.0, 0.0, 0.0]]
    """
    if len(edges) < 2 or np.any(np.diff(edges) <= 0):
        msg = f"rings have ascending edges, at least two, got {tuple(edges)}"
        raise ValueError(msg)
    lists = momentum_lists(constituents, "constituents")
    counts, (pt, eta, phi) = polar(lists)
    energy = ak.to_numpy(ak.Array(lists.layout.content, behavior=lists.behavior).E)
    jet = np.repeat(np.arange(len(counts)), counts)
    distance = np.hypot(*on_the_jet_axis(pt, eta, phi, jet, len(counts)))
    rings = len(edges) - 1
    ring = np.searchsorted(edges, distance, side="right") - 1
    inside = (ring >= 0) & (ring < rings)
    place = jet[inside] * rings + ring[inside]
    sums = np.bincount(place, energy[inside], minlength=len(counts) * rings)
    total = np.bincount(jet, energy, minlength=len(counts))
    total[total == 0] = 1.0
    shares: Float64Array = sums.reshape(len(counts), rings) / total[:, None]
    return shares
