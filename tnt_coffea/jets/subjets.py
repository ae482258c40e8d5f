"""Subjets: a jet undone into its N hardest pieces."""

from __future__ import annotations

import awkward as ak
import numpy as np
import numpy.typing as npt

from tnt_coffea.config import JetAlgorithm
from tnt_coffea.jets.kinematics import invariant_mass, transverse_momentum
from tnt_coffea.jets.reclustering import cartesian, exclusive_jets, reclustered

__all__ = ["exclusive_subjets"]

Float64Array = npt.NDArray[np.float64]


def exclusive_subjets(constituents: ak.Array, n: int = 2) -> tuple[Float64Array, Float64Array]:
    """Return pT and mass of the n exclusive kt subjets of every jet.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    n
        Subjets a jet is split into: the kt clustering is stopped when n are left.

    Returns
    -------
    pt, mass
        (jet, n) float64 [GeV] in descending pT, 0 where a jet has fewer constituents.

    Raises
    ------
    ValueError
        n is below 1.

    Source: Catani, Dokshitzer, Seymour, Webber, Nucl. Phys. B 406 (1993) 187, exclusive mode.
    """
    if n < 1:
        msg = f"a jet is split into at least 1 subjet, got {n}"
        raise ValueError(msg)
    p4, offsets = cartesian(constituents)
    counts = np.diff(offsets)
    rows = np.flatnonzero(counts)
    pt, mass = np.zeros((len(counts), n)), np.zeros((len(counts), n))
    filled = np.concatenate([[0], np.cumsum(counts[rows])])
    for mine, sequence in reclustered(p4, filled, JetAlgorithm.KT):
        found, starts = exclusive_jets(sequence, n)
        per_jet = np.diff(starts)
        jet = np.repeat(np.arange(len(per_jet)), per_jet)
        order = np.lexsort((-transverse_momentum(found), jet))
        rank = np.arange(len(order)) - np.repeat(starts[:-1], per_jet)
        pt[rows[mine][jet], rank] = transverse_momentum(found[:, order])
        mass[rows[mine][jet], rank] = np.maximum(invariant_mass(found[:, order]), 0.0)
    return pt, mass
