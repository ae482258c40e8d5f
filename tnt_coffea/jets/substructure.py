"""N-subjettiness and exclusive subjets."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import awkward as ak
import numpy as np

from tnt_coffea.config import Axes, JetAlgorithm
from tnt_coffea.jets.kinematics import invariant_mass, rapidity, transverse_momentum
from tnt_coffea.jets.momenta import cartesian, momentum_lists
from tnt_coffea.jets.reclustering import exclusive_jets, momenta, reclustered
from tnt_coffea.typing import Float64Array, IntArray

__all__ = [
    "PAIRS",
    "Axes",
    "count_subjets",
    "exclusive_subjets",
    "n_subjettiness",
    "subjettiness_ratio",
    "subjettiness_table",
    "wide_subjets",
]

PAIRS = tuple(combinations(range(1, 5), 2))
"""Pairs of the four hardest subjets, numbered from 1 in descending pT."""


_SAME_DIRECTION = 1e-24
"""Squared distance below which an axis and a particle are one: winner-take-all axes are
particles, and rounding must not move them off themselves."""


def n_subjettiness(
    constituents: ak.Array,
    n: tuple[int, ...] = (1, 2),
    *,
    beta: float = 1.0,
    radius: float = 1.0,
    axes: Axes = Axes.WTA_KT,
) -> Float64Array:
    """Return tau_N in the normalised measure.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    n
        Numbers of axes N.
    beta
        Angular exponent.
    radius
        R0 of the normalisation, sum pT R0^beta.
    axes
        Definition of the axes.

    Returns
    -------
    (jet, len(n)) float64, 0 for a jet with no more constituents than axes.

    Raises
    ------
    ValueError
        The axes are not known, an N is below 1, or beta is not positive.

    Source: arXiv:1011.2268, equations 2.1 and 2.2.

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
    >>> n_subjettiness(jets, (1, 2)).round(3).tolist()
    [[0.172, 0.022], [0.0, 0.0]]
    """
    return subjettiness_table(constituents, n, (beta,), radius=radius, axes=axes)[:, 0]


def subjettiness_table(
    constituents: ak.Array,
    n: Sequence[int],
    betas: Sequence[float],
    *,
    radius: float = 1.0,
    axes: Axes = Axes.WTA_KT,
) -> Float64Array:
    """Return (jet, beta, N) tau_N for several exponents at once; otherwise as `n_subjettiness`.

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
    >>> taus = subjettiness_table(jets, n=(1, 2), betas=(1.0, 2.0))
    >>> taus.shape
    (2, 2, 2)
    """
    axes = Axes(axes)
    if min(n, default=1) < 1 or min(betas, default=1.0) <= 0:
        msg = f"N-subjettiness takes N of at least 1 and beta above 0, got {n} and {betas}"
        raise ValueError(msg)
    p4, offsets = cartesian(momentum_lists(constituents))
    taus = np.zeros((len(offsets) - 1, len(betas), len(n)))
    if axes in (Axes.KT, Axes.WTA_KT):
        _fill_from_exclusive_axes(taus, p4, offsets, n, betas, radius, axes)
    else:
        _fill_from_contrib(taus, p4, offsets, n, betas, radius, axes)
    return taus


def subjettiness_ratio(numerator: Float64Array, denominator: Float64Array) -> Float64Array:
    """Return tau_N / tau_M per jet, 0 where tau_M is 0 (a jet of M particles has no M-th prong).

    Examples
    --------
    >>> import numpy as np
    >>> tau = np.array([[0.2, 0.05], [0.0, 0.0]])
    >>> subjettiness_ratio(tau[:, 1], tau[:, 0]).tolist()  # tau21
    [0.25, 0.0]
    """
    out = np.zeros_like(denominator)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def _fill_from_exclusive_axes(
    taus: Float64Array,
    p4: Float64Array,
    offsets: IntArray,
    n: Sequence[int],
    betas: Sequence[float],
    radius: float,
    axes: Axes,
) -> None:
    # kt axes do not depend on beta: one clustering of a jet serves every N and every beta,
    # where FastJet-contrib clusters again for each of them.
    rows = np.flatnonzero(np.diff(offsets) > min(n, default=1))
    p4, offsets = _picked(p4, offsets, rows)
    for block, sequence in reclustered(
        p4, offsets, JetAlgorithm.KT, winner_takes_all=axes is Axes.WTA_KT
    ):
        starts = offsets[block.start : block.stop + 1]
        particles = _directions(p4[:, starts[0] : starts[-1]])
        counts = np.diff(starts)
        for column, number in enumerate(n):
            enough = np.flatnonzero(counts > number)
            pieces, first = exclusive_jets(sequence, number)
            squared = _nearest(particles, _directions(pieces), first, counts, number)
            for line, beta in enumerate(betas):
                values = _normalised(squared, particles[0], starts - starts[0], beta, radius)
                taus[rows[block][enough], line, column] = values[enough]


def _nearest(
    particles: Float64Array, axes: Float64Array, first: IntArray, counts: IntArray, number: int
) -> Float64Array:
    nearest = np.full(particles.shape[1], np.inf)
    for k in range(number):
        # A jet with fewer axes has no tau of this N: any of its own will do.
        axis = np.repeat(np.minimum(first[:-1] + k, first[1:] - 1), counts)
        dy = particles[1] - axes[1][axis]
        dphi = np.abs(particles[2] - axes[2][axis])
        dphi = np.minimum(dphi, 2 * np.pi - dphi)
        np.minimum(nearest, dy * dy + dphi * dphi, out=nearest)
    nearest[nearest < _SAME_DIRECTION] = 0.0
    return nearest


def _normalised(
    squared: Float64Array, pt: Float64Array, starts: IntArray, beta: float, radius: float
) -> Float64Array:
    distance = squared if beta == 2 else np.sqrt(squared)
    if beta not in (1, 2):
        distance = distance**beta
    weighted = np.add.reduceat(pt * distance, starts[:-1])
    taus: Float64Array = weighted / (np.add.reduceat(pt, starts[:-1]) * radius**beta)
    return taus


def _directions(p4: Float64Array) -> Float64Array:
    # (3, particle) pT, rapidity, phi.
    return np.stack([transverse_momentum(p4), rapidity(p4), np.arctan2(p4[1], p4[0])])


def _fill_from_contrib(
    taus: Float64Array,
    p4: Float64Array,
    offsets: IntArray,
    n: Sequence[int],
    betas: Sequence[float],
    radius: float,
    axes: Axes,
) -> None:
    counts = np.diff(offsets)
    for column, number in enumerate(n):
        # Jets with fewer particles than axes have tau = 0 by definition; FastJet warns
        # about them, so they never get there.
        rows = np.flatnonzero(counts > number)
        part, starts = _picked(p4, offsets, rows)
        for block, sequence in reclustered(part, starts, JetAlgorithm.KT):
            for line, beta in enumerate(betas):
                values = sequence.njettiness(
                    measure_definition="NormalizedMeasure",
                    axes_definition=axes.value,
                    njets=[number],
                    beta=beta,
                    R0=radius,
                )
                taus[rows[block], line, column] = ak.to_numpy(values)[:, 0]


def _picked(p4: Float64Array, offsets: IntArray, rows: IntArray) -> tuple[Float64Array, IntArray]:
    counts = np.diff(offsets)
    if len(rows) == len(counts):
        return p4, offsets
    kept = np.zeros(len(counts), dtype=bool)
    kept[rows] = True
    return p4[:, np.repeat(kept, counts)], np.concatenate([[0], np.cumsum(counts[rows])])


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
    >>> pt, mass = exclusive_subjets(jets, 2)
    >>> pt.round(1).tolist()
    [[698.3, 300.0], [500.0, 0.0]]
    """
    if n < 1:
        msg = f"a jet is split into at least 1 subjet, got {n}"
        raise ValueError(msg)
    p4, offsets = cartesian(momentum_lists(constituents))
    counts = np.diff(offsets)
    rows = np.flatnonzero(counts)
    pt, mass = np.zeros((len(counts), n)), np.zeros((len(counts), n))
    filled = np.concatenate([[0], np.cumsum(counts[rows])])
    for block, sequence in reclustered(p4, filled, JetAlgorithm.KT):
        pieces, starts = exclusive_jets(sequence, n)
        per_jet = np.diff(starts)
        jet = np.repeat(np.arange(len(per_jet)), per_jet)
        order = np.lexsort((-transverse_momentum(pieces), jet))
        rank = np.arange(len(order)) - np.repeat(starts[:-1], per_jet)
        pt[rows[block][jet], rank] = transverse_momentum(pieces[:, order])
        mass[rows[block][jet], rank] = np.maximum(invariant_mass(pieces[:, order]), 0.0)
    return pt, mass


def count_subjets(
    constituents: ak.Array, *, radius: float = 0.2, d_cut: float = 0.1
) -> tuple[IntArray, IntArray]:
    """Return how many kt subjets every jet has, in the inclusive and in the exclusive sense.

    Inclusive subjets are all that a clustering of this radius ends with, whatever their pT.
    Exclusive ones are those left when it is stopped before the first distance above `d_cut`, the
    smaller of min(pT_i, pT_j)^2 (Delta R / radius)^2 between two, and pT^2 between one and the
    beam: nearly all constituents with the published value.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    radius
        R of the clustering.
    d_cut
        Distance at which the exclusive clustering is stopped [GeV^2].

    Returns
    -------
    inclusive, exclusive
        (jet,) int64, 0 for a jet without constituents.

    Raises
    ------
    ValueError
        The radius is not above 0.

    Source: the observables behind arXiv:2101.08320, section 3.4, with their values of R and
    d_cut; the text names neither.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # two close particles and one far from them; a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 0.3], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.4, 0.1], [1.0]]),
    ...     "phi": ak.Array([[0.1, -0.2, 0.1], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> [number.tolist() for number in count_subjets(jets)]
    [[2, 1], [2, 1]]
    """
    if radius <= 0:
        msg = f"subjets have a radius above 0, got {radius:g}"
        raise ValueError(msg)
    p4, offsets = cartesian(momentum_lists(constituents))
    counts = np.diff(offsets)
    rows = np.flatnonzero(counts)
    inclusive, exclusive = np.zeros((2, len(counts)), np.int64)
    filled = np.concatenate([[0], np.cumsum(counts[rows])])
    for block, sequence in reclustered(p4, filled, JetAlgorithm.KT, radius=radius):
        inclusive[rows[block]] = ak.to_numpy(ak.num(sequence.inclusive_jets(min_pt=0.0)))
        exclusive[rows[block]] = ak.to_numpy(sequence.n_exclusive_jets(dcut=d_cut))
    return inclusive, exclusive


def wide_subjets(
    constituents: ak.Array, *, radius: float = 0.4, pt_min: float = 20.0
) -> tuple[IntArray, Float64Array]:
    """Return how many kt subjets every jet has, and how far apart the hardest four are.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    radius
        R of the inclusive kt clustering.
    pt_min
        Lowest pT of a subjet [GeV].

    Returns
    -------
    number
        (jet,) int64 subjets above `pt_min`, 0 for a jet without constituents.
    delta_r
        (jet, 6) float64, distance in rapidity and phi of every pair in `PAIRS`; -1 where a jet
        has no such pair.

    Raises
    ------
    ValueError
        The radius is not above 0.

    Source: arXiv:2101.08320, section 5.1, whose public code takes a missing subjet for one at
    eta = phi = 0.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of three particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 300.0, 100.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.5, -0.5], [1.0]]),
    ...     "phi": ak.Array([[0.1, 0.1, 0.1], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0, 0.0], [0.0]]),
    ... })
    >>> number, delta_r = wide_subjets(jets)
    >>> number.tolist()
    [3, 1]
    >>> delta_r[0].round(3).tolist()  # of 1 and 2, 1 and 3, 1 and 4, 2 and 3, ...
    [0.5, 0.5, -1.0, 1.0, -1.0, -1.0]
    """
    if radius <= 0:
        msg = f"subjets have a radius above 0, got {radius:g}"
        raise ValueError(msg)
    p4, offsets = cartesian(momentum_lists(constituents))
    counts = np.diff(offsets)
    rows = np.flatnonzero(counts)
    number, delta_r = np.zeros(len(counts), np.int64), np.full((len(counts), len(PAIRS)), -1.0)
    filled = np.concatenate([[0], np.cumsum(counts[rows])])
    for block, sequence in reclustered(p4, filled, JetAlgorithm.KT, radius=radius):
        subjets = sequence.inclusive_jets(min_pt=pt_min).layout
        starts = np.asarray(subjets.offsets)
        pt, y, phi = _directions(momenta(subjets.content))
        per_jet = np.diff(starts)
        number[rows[block]] = per_jet
        jet = np.repeat(np.arange(len(per_jet)), per_jet)
        order = np.lexsort((-pt, jet))
        for column, (one, other) in enumerate(PAIRS):
            there = np.flatnonzero(per_jet >= other)
            a, b = order[starts[there] + one - 1], order[starts[there] + other - 1]
            turn = np.remainder(phi[a] - phi[b] + np.pi, 2 * np.pi) - np.pi
            delta_r[rows[block][there], column] = np.hypot(y[a] - y[b], turn)
    return number, delta_r
