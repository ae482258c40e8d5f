"""Jets of one mass, energy and direction, which differ by their substructure alone.

| step | what is done |
|---|---|
| 1 | turned to phi = 0 and boosted along z to eta = 0 |
| 2 | all momenta scaled to a jet mass of 0.25 |
| 3 | boosted along the axis to a jet energy of 1 |
| 4 | constituents with Delta R of 1 or more are dropped, and 1 to 4 repeated until none is |
| 5 | those of largest pT Delta R are kept, and 1 to 4 repeated |
| 6 | turned about the axis: the hardest constituent has eta = 0 and phi > 0 |
| 7 | ordered by a chain: the hardest, then the one of largest pT Delta R to the one before |
| 8 | mirrored in eta: the second has eta > 0 |

Source: arXiv:2101.08320, section 3.1.1; values and order of the steps as its authors ran them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import awkward as ak
import numpy as np

from tnt_coffea.jets.frames import NumberLists, list_bounds
from tnt_coffea.jets.momenta import momentum_lists, polar
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["FEWEST", "AlignedJets", "aligned_jets"]

MASS, ENERGY = 0.25, 1.0
"""Of every aligned jet, in a unit of its own."""
MOMENTUM = float(np.sqrt(ENERGY**2 - MASS**2))
RADIUS = 1.0
"""Delta R from the axis at which a constituent is dropped."""
FEWEST = 3
"""A jet of fewer constituents has no aligned ones: neither has one of two a substructure."""
MASSLESS = 1e-6
"""m / 2E below which a jet has no mass: directions are known as float32."""
JETS_AT_ONCE = 4000
"""This bounds the memory."""


@dataclass(frozen=True)
class AlignedJets(NumberLists):
    """Constituents of aligned jets as lists in the order of their chain: 12 bytes each.

    Attributes
    ----------
    starts, stops
        (jet,) where the constituents of a jet begin and end.
    pt
        (particle,) share of the aligned jet's pT.
    eta, phi
        (particle,) in the frame of the aligned jet.

    Examples
    --------
    >>> import numpy as np
    >>> pt, eta, phi = np.array([[0.5, 0.3, 0.2], [0, 0.1, 0.2], [0.3, 0, 0]], np.float32)
    >>> jets = AlignedJets(np.array([0, 3]), np.array([3, 3]), pt, eta, phi)
    >>> jets.counts.tolist(), jets.dense(4).shape
    ([3, 0], (2, 4, 3))
    """

    parts: ClassVar = ("pt", "eta", "phi")

    pt: Float32Array
    eta: Float32Array
    phi: Float32Array


def aligned_jets(constituents: ak.Array, most: int = 20) -> AlignedJets:
    """Return up to `most` constituents of every jet in its own boosted frame.

    Constituents are taken for massless, as in the paper. Jets have no aligned constituents, an
    empty list, where they have no mass (m / 2E below 1e-6) or fewer than three constituents, from
    the beginning or left by a step. Neither the boost along z, nor phi, nor the scale of all
    momenta, nor the order of the constituents has any influence.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    most
        Constituents that are kept of a jet, at least 3.

    Raises
    ------
    ValueError
        `most` is below 3.

    Source: arXiv:2101.08320, section 3.1.1 and equation 3.1.

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
    >>> found = aligned_jets(jets)
    >>> found.counts.tolist()
    [3, 0]
    >>> found.dense(3)[0].round(2)
    array([[ 0.61,  0.  ,  0.13],
           [ 0.32,  0.04, -0.37],
           [ 0.1 , -0.11,  0.33]], dtype=float32)
    """
    if most < FEWEST:
        msg = f"at least {FEWEST} constituents of a jet are kept, got {most}"
        raise ValueError(msg)
    counts, columns = polar(momentum_lists(constituents, "constituents"))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    parts = [(np.zeros(0, np.int64), np.zeros((3, 0)))]
    for first in range(0, len(counts), JETS_AT_ONCE):
        block = slice(first, first + JETS_AT_ONCE)
        start, *_, stop = offsets[first : first + JETS_AT_ONCE + 1]
        flat = np.stack([column[start:stop] for column in columns])
        parts.append(_of_block(counts[block], flat, most))
    number = np.concatenate([part for part, _ in parts])
    values = np.concatenate([part for _, part in parts], axis=1)
    values[0] /= MOMENTUM
    return AlignedJets(*list_bounds(number), *values.astype(np.float32))


def _of_block(
    counts: IntArray, particles: Float64Array, most: int
) -> tuple[IntArray, Float64Array]:
    # Constituents of every jet, and (3, particle) pT, eta, phi in the order of the chain.
    jets = len(counts)
    jet = np.repeat(np.arange(jets), counts)
    # In an order of their own, so that sums have the same bits whatever the given one was.
    order = np.lexsort((particles[2], particles[1], -particles[0], jet))
    order = order[particles[0, order] > 0]
    jet, particles = jet[order], particles[:, order]
    jet, particles = _gathered(jet, particles, jets)
    hardness = particles[0] * np.hypot(particles[1], particles[2])
    order = np.lexsort((-hardness, jet))
    rank = np.arange(len(order)) - np.repeat(*_bounds(jet, jets))
    kept = np.sort(order[rank < most])
    fuller = np.bincount(jet, minlength=jets) > most
    again = fuller[jet[kept]]
    jet, particles = jet[kept], particles[:, kept]
    redone = _gathered(jet[again], particles[:, again], jets)
    jet = np.concatenate([jet[~again], redone[0]])
    particles = np.concatenate([particles[:, ~again], redone[1]], axis=1)
    order = np.argsort(jet, kind="stable")
    number = np.bincount(jet, minlength=jets)
    padded = np.zeros((3, jets, most))
    there = np.arange(most) < number[:, None]
    padded[:, there] = particles[:, order]
    return number, _chained(padded, there)[:, there]


def _bounds(jet: IntArray, jets: int) -> tuple[IntArray, IntArray]:
    counts = np.bincount(jet, minlength=jets)
    return list_bounds(counts)[0], counts


def _gathered(jet: IntArray, particles: Float64Array, jets: int) -> tuple[IntArray, Float64Array]:
    # Steps 1 to 4, until no constituent of any jet is dropped; jets without a mass, or with
    # too few constituents, lose all.
    done: list[tuple[IntArray, Float64Array]] = []
    while len(jet):
        particles, massive = _boosted(jet, particles, jets)
        near = np.hypot(particles[1], particles[2]) < RADIUS
        alive = massive & (np.bincount(jet, near, minlength=jets) >= FEWEST)
        final = alive & (np.bincount(jet, ~near, minlength=jets) == 0)
        ready, further = final[jet], near & (alive & ~final)[jet]
        done.append((jet[ready], particles[:, ready]))
        jet, particles = jet[further], particles[:, further]
    if not done:
        return jet, particles
    jet = np.concatenate([numbers for numbers, _ in done])
    order = np.argsort(jet, kind="stable")
    return jet[order], np.concatenate([values for _, values in done], axis=1)[:, order]


def _boosted(jet: IntArray, particles: Float64Array, jets: int) -> tuple[Float64Array, BoolArray]:
    # Steps 1 to 3 for (3, particle) pT, eta, phi, and which jets have a mass.
    def total(values: Float64Array) -> Float64Array:
        sums: Float64Array = np.bincount(jet, values, minlength=jets).astype(np.float64)
        return sums

    pt, eta, phi = particles
    x, y = total(pt * np.cos(phi)), total(pt * np.sin(phi))
    with np.errstate(divide="ignore", invalid="ignore"):
        axis = np.log(total(pt * np.exp(eta)) / total(pt * np.exp(-eta))) / 2
    eta = eta - axis[jet]
    phi = np.remainder(phi - np.arctan2(y, x)[jet] + np.pi, 2 * np.pi) - np.pi
    # E - px without a difference of large numbers: the mass of narrow jets is in it.
    behind = 2 * pt * (np.sinh(eta / 2) ** 2 + np.sin(phi / 2) ** 2)
    ahead = pt * (np.cosh(eta) + np.cos(phi))
    sum_ahead, sum_behind = total(ahead), total(behind)
    massive = (sum_ahead > 0) & (np.sqrt(sum_behind) > MASSLESS * np.sqrt(sum_ahead))
    sum_ahead[~massive] = sum_behind[~massive] = 1.0
    scale = (MASS / np.sqrt(sum_ahead * sum_behind))[jet]
    ahead *= ((ENERGY + MOMENTUM) / sum_ahead)[jet]
    behind *= ((ENERGY - MOMENTUM) / sum_behind)[jet]
    px, py, pz = (ahead - behind) / 2, pt * np.sin(phi) * scale, pt * np.sinh(eta) * scale
    pt = np.hypot(px, py)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.where(pt > 0, np.arcsinh(pz / pt), np.inf)
    return np.stack([pt, eta, np.arctan2(py, px)]), massive


def _chained(particles: Float64Array, there: BoolArray) -> Float64Array:
    # Steps 6 to 8 for (3, jet, particle) pT, eta, phi with the constituents of a jet in front.
    pt, eta, phi = particles
    jets, most = pt.shape
    row = np.arange(jets)
    first = np.argmax(np.where(there, pt, -1.0), axis=1)
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    angle = np.arctan2(pz, py)[row, first][:, None]
    py, pz = np.cos(angle) * py + np.sin(angle) * pz, np.cos(angle) * pz - np.sin(angle) * py
    pt = np.hypot(px, py)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.where(there, np.arcsinh(pz / pt), 0.0)
    eta[row, first] = 0.0
    phi = np.arctan2(py, px)
    left = there.copy()
    order = np.broadcast_to(np.arange(most), pt.shape).copy()
    last = first
    for place in range(most):
        more = left.any(axis=1)
        order[more, place] = last[more]
        left[row, last] = False
        away = np.hypot(eta - eta[row, last][:, None], phi - phi[row, last][:, None])
        last = np.argmax(np.where(left, pt * away, -1.0), axis=1)
    pt, eta, phi = (np.take_along_axis(values, order, axis=1) for values in (pt, eta, phi))
    second = eta[:, min(1, most - 1)]
    eta = eta * np.where(second < 0, -1.0, 1.0)[:, None] + 0.0  # no -0
    return np.stack([pt, eta, phi])
