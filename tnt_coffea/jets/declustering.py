"""The splittings of a jet: its clustering by Cambridge/Aachen undone from the last step on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import awkward as ak
import numpy as np

from tnt_coffea.config import Branches, JetAlgorithm, SplittingSettings
from tnt_coffea.jets.frames import NumberLists, list_bounds
from tnt_coffea.jets.kinematics import delta_phi, invariant_mass, rapidity, transverse_momentum
from tnt_coffea.jets.momenta import cartesian, momentum_lists
from tnt_coffea.jets.reclustering import momenta, reclustered
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["JetSplittings", "jet_splittings", "mass_drop_sum"]

PARALLEL = 1e-6
"""Delta R of branches that are no two: directions are known as float32."""


@dataclass(frozen=True)
class JetSplittings(NumberLists):
    """Splittings of jets as lists, those undone first in front: 16 bytes each.

    Attributes
    ----------
    starts, stops
        (jet,) where the splittings of a jet begin and end.
    angle
        (splitting,) ln(1 / Delta R) of the two branches.
    kt
        (splitting,) ln(kt / GeV), kt = pT of the softer branch times Delta R.
    mass
        (splitting,) of what splits [GeV].
    drop
        (splitting,) mass of the heavier branch over `mass`; 0 where that is 0.

    Examples
    --------
    >>> one = np.ones(3, np.float32)
    >>> bounds = np.array([0, 2]), np.array([2, 3])  # two splittings, and one
    >>> splittings = JetSplittings(*bounds, angle=one, kt=one, mass=one, drop=one)
    >>> splittings.counts.tolist(), splittings.dense(2).shape
    ([2, 1], (2, 2, 5))
    """

    parts: ClassVar = ("angle", "kt", "mass", "drop")

    angle: Float32Array
    kt: Float32Array
    mass: Float32Array
    drop: Float32Array

    @property
    def _numbers(self) -> tuple[Float32Array, ...]:
        # A one in front tells where there is a splitting.
        return np.broadcast_to(np.float32(1.0), self.mass.shape), *super()._numbers


def jet_splittings(constituents: ak.Array, settings: SplittingSettings) -> JetSplittings:
    """Return up to `most` splittings of every jet, the reverse of a Cambridge/Aachen clustering.

    The jet is followed along all branches, or along that of larger pT alone; the splittings that
    are undone first, mostly the widest, are kept. Parallel branches are none.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV, pT > 0.
    settings
        Which splittings, and how many.

    Source: arXiv:2101.08320, section 3.6; ln(1 / Delta R) and ln kt: arXiv:1807.04758, section 2.

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
    >>> splittings = jet_splittings(jets, SplittingSettings())
    >>> splittings.counts.tolist()
    [2, 0]
    >>> splittings.mass.round(1), splittings.drop.round(2)
    (array([251.5,  54.7], dtype=float32), array([0.22, 0.  ], dtype=float32))
    """
    number, values = _undone(constituents, settings)
    return JetSplittings(*list_bounds(number), *values.astype(np.float32))


def mass_drop_sum(constituents: ak.Array, mass_min: float = 20.0) -> Float64Array:
    """Return the sum of m_parent / m_daughter over the splittings of every jet.

    The jet's clustering by Cambridge/Aachen is undone along all branches. The daughter is the
    heavier of the two that a parent splits into; a splitting counts where the daughter has at
    least `mass_min`, and so has its parent then. The published text leaves open which branches
    are followed and which daughter is meant. Parallel branches are none.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV, pT > 0.
    mass_min
        Lowest mass of a daughter [GeV], above 0.

    Returns
    -------
    (jet,) float64, 0 where no daughter has this mass.

    Source: arXiv:2101.08320, section 3.3.

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
    >>> mass_drop_sum(jets).round(2).tolist()  # 251.5 GeV / 54.7 GeV
    [4.6, 0.0]
    """
    if mass_min <= 0:
        msg = f"the lowest mass of a daughter is above 0 GeV, got {mass_min:g}"
        raise ValueError(msg)
    number, (_, _, mass, drop) = _undone(constituents, _AllOf(mass_min))
    jet = np.repeat(np.arange(len(number)), number)
    counts = mass * drop >= mass_min
    sums = np.bincount(jet[counts], 1 / drop[counts], minlength=len(number))
    return sums.astype(np.float64)


@dataclass(frozen=True)
class _AllOf:
    """All splittings of at least a mass, however many there are."""

    mass_min: float
    most: int = 2**31
    branches: Branches = Branches.ALL


def _undone(
    constituents: ak.Array, settings: SplittingSettings | _AllOf
) -> tuple[IntArray, Float64Array]:
    # Splittings of every jet, and (4, splitting) angle, kt, mass, drop.
    p4, offsets = cartesian(momentum_lists(constituents))
    counts = np.diff(offsets)
    rows = np.flatnonzero(counts > 1)
    several = np.repeat(counts > 1, counts)
    filled = np.concatenate([[0], np.cumsum(counts[rows])])
    number, parts = np.zeros(len(counts), np.int64), [np.zeros((4, 0))]
    for block, sequence in reclustered(p4[:, several], filled, JetAlgorithm.CAMBRIDGE):
        number[rows[block]], values = _of_block(sequence, settings)
        parts.append(values)
    return number, np.concatenate(parts, axis=1)


def _of_block(sequence: Any, settings: SplittingSettings | _AllOf) -> tuple[IntArray, Float64Array]:
    history = sequence.jets().layout
    p4, offsets = momenta(history.content), np.asarray(history.offsets, dtype=np.int64)
    branches = _branches(sequence, offsets)
    pt, mass = transverse_momentum(p4), np.maximum(invariant_mass(p4), 0.0)
    wanted = branches[0] >= 0
    if settings.branches is Branches.HARDER:
        wanted &= _primary(branches, pt, offsets)
    node = np.flatnonzero(wanted & (mass >= settings.mass_min))
    first, second = branches[:, node]
    turn = delta_phi(p4[:, first], p4[:, second])
    angle = np.hypot(rapidity(p4[:, first]) - rapidity(p4[:, second]), turn)
    node, first, second, angle = (
        each[..., angle > PARALLEL] for each in (node, first, second, angle)
    )
    kt = np.minimum(pt[first], pt[second]) * angle
    heavier = np.maximum(mass[first], mass[second])
    drop = np.divide(heavier, mass[node], out=np.zeros(len(node)), where=mass[node] > 0)
    values = np.stack([-np.log(angle), np.log(kt), mass[node], drop])
    # The history is in the order of the clustering: what was merged last is undone first.
    jet = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[node]
    order = np.lexsort((-node, jet))
    counts = np.bincount(jet, minlength=len(offsets) - 1)
    rank = np.arange(len(order)) - np.repeat(list_bounds(counts)[0], counts)
    return np.minimum(counts, settings.most), values[:, order[rank < settings.most]]


def _branches(sequence: Any, offsets: IntArray) -> IntArray:
    # (2, node) rows of the two that every momentum of the history is the sum of; -1 for
    # particles. The binding tells an order in which both come before their sum, that is a
    # tree in postfix notation: a stack gives it back, step by step for all jets at once.
    layout = sequence.unique_history_order().layout
    starts, order = np.asarray(layout.offsets), np.asarray(layout.content.data)
    nodes = np.diff(offsets)
    particles = (nodes + 1) // 2
    stack = np.zeros((len(nodes), int(particles.max(initial=0)) + 1), np.int64)
    height = np.zeros(len(nodes), np.int64)
    branches = np.full((2, int(offsets[-1])), -1)
    for step in range(int(nodes.max(initial=0))):
        jet = np.flatnonzero(step < nodes)
        node = order[starts[jet] + step]
        summed = node >= particles[jet]
        new = jet[summed]
        height[new] -= 2
        row = offsets[new] + node[summed]
        branches[:, row] = stack[new, height[new]], stack[new, height[new] + 1]
        stack[jet, height[jet]] = offsets[jet] + node
        height[jet] += 1
    return branches


def _primary(branches: IntArray, pt: Float64Array, offsets: IntArray) -> BoolArray:
    # (node,) whether it is the jet, or the harder branch of one that is primary.
    primary = np.zeros(len(pt), dtype=bool)
    node = offsets[1:] - 1
    while len(node):
        primary[node] = True
        first, second = branches[:, node[branches[0, node] >= 0]]
        node = np.where(pt[first] >= pt[second], first, second)
    return primary
