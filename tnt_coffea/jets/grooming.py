"""Soft drop."""

from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np

from tnt_coffea.config import JetAlgorithm
from tnt_coffea.jets.kinematics import (
    delta_phi,
    invariant_mass,
    rapidity,
    transverse_momentum,
)
from tnt_coffea.jets.momenta import cartesian, momentum_lists
from tnt_coffea.jets.reclustering import (
    exclusive_jets,
    momenta,
    primary_splittings,
    reclustered,
)
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["soft_drop_mass"]


def soft_drop_mass(
    constituents: ak.Array, *, beta: float = 0.0, zcut: float = 0.1, radius: float = 1.0
) -> Float64Array:
    """Return the mass of every jet after soft drop [GeV].

    The jet is clustered again with Cambridge/Aachen and undone from the last step on; the
    softer branch is dropped until min(pT1, pT2) / (pT1 + pT2) > zcut (Delta R / R0)^beta.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    beta
        Angular exponent; 0 is the modified mass-drop tagger.
    zcut
        Least momentum share of the softer branch.
    radius
        R0.

    Returns
    -------
    (jet,) float64, 0 for a jet that is groomed down to one particle, or empty.

    Source: arXiv:1402.2657, equation 1.1.

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
    >>> soft_drop_mass(jets, zcut=0.1).round(1).tolist()
    [251.5, 0.0]
    >>> soft_drop_mass(jets, zcut=0.4).round(1).tolist()  # nothing is left
    [0.0, 0.0]
    """
    p4, offsets = cartesian(momentum_lists(constituents))
    counts = np.diff(offsets)
    masses = np.zeros(len(counts))
    rows = np.flatnonzero(counts > 1)
    several = np.repeat(counts > 1, counts)
    filled = np.concatenate([[0], np.cumsum(counts[rows])])
    for block, sequence in reclustered(p4[:, several], filled, JetAlgorithm.CAMBRIDGE):
        masses[rows[block]] = _groomed(sequence, beta, zcut, radius)
    return masses


def _groomed(sequence: Any, beta: float, zcut: float, radius: float) -> Float64Array:
    # FastJet-contrib's own groomer takes a dozen times as long as the clustering. The primary
    # Lund plane costs next to nothing: the angle and kt of every splitting along the harder
    # branch, hence the softer branch's pT, by which its momentum is found in the history.
    splittings = primary_splittings(sequence)
    history = sequence.jets().layout
    branches = _Branches(momenta(history.content), np.asarray(history.offsets))
    branch, _ = exclusive_jets(sequence, 1)
    jets = branch.shape[1]
    masses = np.zeros(jets)
    undecided = np.ones(jets, dtype=bool)
    for step in range(int(np.diff(splittings.offsets).max(initial=0))):
        # A jet without a further splitting is groomed away: its mass stays 0.
        undecided &= np.diff(splittings.offsets) > step
        jet = np.flatnonzero(undecided)
        row = splittings.offsets[jet] + step
        angle, softer_pt = splittings.angle[row], splittings.softer_pt[row]
        softer = branches.matching(jet, softer_pt, branch[:, jet], angle)
        harder = branch[:, jet] - softer
        share = softer_pt / (softer_pt + transverse_momentum(harder))
        # What is left of exactly parallel particles has no mass to lose.
        wide = angle > 0
        passed = ~wide
        passed[wide] = share[wide] > zcut * (angle[wide] / radius) ** beta
        done = jet[passed]
        masses[done] = np.maximum(invariant_mass(branch[:, done]), 0.0)
        undecided[done] = False
        branch[:, jet[~passed]] = harder[:, ~passed]
    return masses


class _Branches:
    """Every momentum of a clustering's history, for lookup by jet and pT."""

    def __init__(self, p4: Float64Array, offsets: IntArray) -> None:
        owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        pt = transverse_momentum(p4)
        # Jet and pT in one ascending number.
        self.scale = 2.0 * float(pt.max(initial=1.0))
        key = owner + pt / self.scale
        order = np.argsort(key, kind="stable")
        self.p4, self.key, self.owner = p4[:, order], key[order], owner[order]

    def matching(
        self, jet: IntArray, pt: Float64Array, parent: Float64Array, angle: Float64Array
    ) -> Float64Array:
        """Return the branch of each jet with this pT that lies at this angle from the rest.

        Neighbours in pT are compared by the angle: particles may share a pT exactly.
        """
        near = np.searchsorted(self.key, jet + pt / self.scale)[:, None] + np.arange(-4, 4)
        near = np.clip(near, 0, len(self.key) - 1)
        candidates = self.p4[:, near]
        found_pt = transverse_momentum(candidates)
        with np.errstate(divide="ignore", invalid="ignore"):
            found_angle = _angle(candidates, parent[:, :, None] - candidates)
            miss = np.abs(found_pt / pt[:, None] - 1)
            miss += _ANGLE_WEIGHT * np.abs(found_angle / angle[:, None] - 1)
        miss[self.owner[near] != jet[:, None]] = np.inf
        best = np.argmin(np.nan_to_num(miss, nan=np.inf), axis=1)
        return candidates[:, np.arange(len(jet)), best]


_ANGLE_WEIGHT = 1e-3
"""pT is known to rounding, the angle to what is left of it after earlier subtractions."""


def _angle(first: Float64Array, second: Float64Array) -> Float64Array:
    dphi = delta_phi(first, second)
    dy = rapidity(first) - rapidity(second)
    result: Float64Array = np.sqrt(dy * dy + dphi * dphi)
    return result
