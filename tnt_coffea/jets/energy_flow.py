"""Energy flow polynomials of jets.

That of a multigraph is a sum over all ways to put a constituent of the jet on each vertex: of the
product of z_i = pT_i / sum pT over the vertices and of theta_ij, the distance in rapidity and phi
to the power beta, over the edges.

A vertex with one neighbour or two can be summed over by itself. What is left of it is a vector, a
factor of its neighbour, or a matrix, a factor of the edge between its two. So nested sums become
matrix products, and the graphs share them: three for all graphs of at most five edges. The smallest
graph that needs more than this has six.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, TypeAlias

import awkward as ak
import numpy as np

from tnt_coffea.config import ENERGY_FLOW_GRAPHS
from tnt_coffea.jets.kinematics import rapidity, transverse_momentum
from tnt_coffea.jets.momenta import cartesian, momentum_lists
from tnt_coffea.typing import Float64Array, IntArray

__all__ = ["correlator_ratios", "energy_correlators", "energy_flow_polynomials"]

_Product: TypeAlias = "tuple[_Matrix, tuple[_Vector, ...], _Matrix]"
"""left diag(z vectors) right."""
_Factor: TypeAlias = "str | _Product"
"""theta, or a product."""
_Matrix: TypeAlias = tuple[_Factor, ...]
"""The factors of a matrix, multiplied element by element."""
_Vector: TypeAlias = tuple[_Matrix, tuple["_Vector", ...]]
"""matrix (z vectors), the vectors multiplied element by element."""
_THETA = "theta"

_SIZES = 8
"""Jets are padded to a multiple of so many constituents, those of one size computed together."""
_ELEMENTS = 2**16
"""Elements of a matrix of one batch: few enough for the processor's cache."""


def energy_flow_polynomials(
    constituents: ak.Array,
    names: Sequence[str] = tuple(ENERGY_FLOW_GRAPHS),
    *,
    beta: float = 1.0,
) -> Float64Array:
    """Return the energy flow polynomials of every jet, hadronic measure, normalised.

    A jet's values are the same bit for bit whatever jets are beside it. The memory is a few MB
    beside the constituents, or about 50 N^2 bytes for a large jet of N constituents, whose time
    grows with N^3.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.
    names
        Which of `ENERGY_FLOW_GRAPHS`: `efp_N_D_K` of N vertices and D edges; by default all.
    beta
        Angular exponent.

    Returns
    -------
    (jet, name) float64; 0 for a jet without constituents, and, but for the single vertex, whose
    polynomial is 1, for one of a single constituent.

    Raises
    ------
    ValueError
        A name is not known, or beta is not positive.

    Source: arXiv:1712.07124, equation 1.1.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of two particles, and one of a single particle
    ...     "pt": ak.Array([[600.0, 400.0], [500.0]]),
    ...     "eta": ak.Array([[0.0, 0.3], [1.0]]),
    ...     "phi": ak.Array([[0.1, 0.5], [3.0]]),
    ...     "mass": ak.Array([[0.0, 0.0], [0.0]]),
    ... })
    >>> energy_flow_polynomials(jets, ["efp_2_1_0", "efp_2_2_0"]).round(3).tolist()
    [[0.24, 0.12], [0.0, 0.0]]
    """
    unknown = [name for name in names if name not in ENERGY_FLOW_GRAPHS]
    if unknown or beta <= 0:
        msg = (
            "energy flow polynomials are efp_N_D_K of ENERGY_FLOW_GRAPHS, with beta above 0; got "
            f"{unknown or beta}"
        )
        raise ValueError(msg)
    z, y, phi, offsets = _shares_and_directions(constituents)
    counts = np.diff(offsets)
    graphs = [_summed(ENERGY_FLOW_GRAPHS[name]) for name in names]
    values = np.zeros((len(counts), len(graphs)))
    sizes = -(-counts // _SIZES) * _SIZES
    for size in np.unique(sizes[sizes > 0]):
        rows = np.flatnonzero(sizes == size)
        at_once = max(1, _ELEMENTS // size**2)
        for batch in np.split(rows, range(at_once, len(rows), at_once)):
            there = np.arange(size) < counts[batch, None]
            place = np.where(there, offsets[batch, None] + np.arange(size), 0)
            sums = _Sums(np.where(there, z[place], 0.0), _theta(y[place], phi[place], beta))
            for column, graph in enumerate(graphs):
                values[batch, column] = sums.of(graph)
    return values


def energy_correlators(constituents: ak.Array) -> tuple[Float64Array, Float64Array]:
    """Return e2 and e3 of every jet: sums over pairs and triplets of z products and distances.

    They are the polynomials of an edge and of a triangle, which count every pair twice and every
    triplet six times.

    Parameters
    ----------
    constituents
        (jet, particle) `Momentum4D`, GeV.

    Source: arXiv:1305.0007, equation 2 of section 1, with beta = 1.

    Examples
    --------
    >>> import awkward as ak
    >>> import vector
    >>> jets = vector.zip({  # one jet of two particles
    ...     "pt": ak.Array([[600.0, 400.0]]),
    ...     "eta": ak.Array([[0.0, 0.3]]),
    ...     "phi": ak.Array([[0.1, 0.5]]),
    ...     "mass": ak.Array([[0.0, 0.0]]),
    ... })
    >>> e2, e3 = energy_correlators(jets)
    >>> e2.round(3).tolist(), e3.tolist()  # 0.6 * 0.4 * 0.5
    ([0.12], [0.0])
    """
    edge, triangle = energy_flow_polynomials(constituents, ("efp_2_1_0", "efp_3_3_1")).T
    return edge / 2, triangle / 6


def correlator_ratios(e2: Float64Array, e3: Float64Array) -> dict[str, Float64Array]:
    """Return the ratios of energy correlators that tell two prongs from one, 0 where e2 is 0.

    Parameters
    ----------
    e2, e3
        (jet,) normalised correlators: sums over pairs and triplets.

    Returns
    -------
    dict
        `c2`, e3 / e2^2, and `d2`, e3 / e2^3, (jet,) each.

    Source: C2, arXiv:1305.0007, equation 5; D2, arXiv:1409.6298, equation 1.

    Examples
    --------
    >>> import numpy as np
    >>> found = correlator_ratios(np.array([0.1, 0.0]), np.array([0.002, 0.0]))
    >>> {name: values.round(3).tolist() for name, values in found.items()}
    {'c2': [0.2, 0.0], 'd2': [2.0, 0.0]}
    """
    found = {}
    for name, power in (("c2", 2), ("d2", 3)):
        found[name] = np.zeros_like(e2)
        np.divide(e3, e2**power, out=found[name], where=e2 > 0)
    return found


def _shares_and_directions(
    constituents: ak.Array,
) -> tuple[Float64Array, Float64Array, Float64Array, IntArray]:
    p4, offsets = cartesian(momentum_lists(constituents, "constituents"))
    pt = transverse_momentum(p4)
    jet = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    # Without pT there is no share, and no direction either.
    p4, pt, jet = p4[:, pt > 0], pt[pt > 0], jet[pt > 0]
    z = pt / np.bincount(jet, pt, minlength=len(offsets) - 1)[jet]
    counts = np.bincount(jet, minlength=len(offsets) - 1)
    return z, rapidity(p4), np.arctan2(p4[1], p4[0]), np.concatenate([[0], np.cumsum(counts)])


def _theta(y: Float64Array, phi: Float64Array, beta: float) -> Float64Array:
    # (jet, particle, particle).
    dy = y[:, :, None] - y[:, None]
    dphi = np.abs(phi[:, :, None] - phi[:, None])
    np.minimum(dphi, 2 * np.pi - dphi, out=dphi)
    squared = dy * dy + dphi * dphi
    theta: Float64Array = np.sqrt(squared) if beta == 1 else squared ** (beta / 2)
    return theta


class _Sums:
    """Vectors and matrices of a batch of jets, computed when they are asked for, once.

    Parameters
    ----------
    z
        (jet, particle) shares of pT.
    theta
        (jet, particle, particle) distances.
    """

    def __init__(self, z: Float64Array, theta: Float64Array) -> None:
        self.z = z
        self.theta = theta
        self.products: dict[_Product, Float64Array] = {}
        self.vectors: dict[_Vector, Float64Array] = {}

    def of(self, graph: tuple[_Vector, ...]) -> Float64Array:
        """Return (jet,) sum of z and the product of the vectors on the last vertex."""
        total: Float64Array = self._weighted(graph).sum(axis=1)
        return total

    def _weighted(self, vectors: Sequence[_Vector]) -> Float64Array:
        weighted = self.z
        for vector in vectors:
            weighted = weighted * self._vector(vector)
        return weighted

    def _vector(self, key: _Vector) -> Float64Array:
        if key not in self.vectors:
            matrix, vectors = key
            summed = self._matrix(matrix) @ self._weighted(vectors)[..., None]
            self.vectors[key] = summed[..., 0]
        return self.vectors[key]

    def _matrix(self, key: _Matrix) -> Float64Array:
        matrix = self._factor(key[0])
        for factor in key[1:]:
            matrix = matrix * self._factor(factor)
        return matrix

    def _factor(self, key: _Factor) -> Float64Array:
        if isinstance(key, str):
            return self.theta
        if key not in self.products:
            mirrored = _transposed(key)
            if repr(mirrored) < repr(key):
                self.products[key] = self._factor(mirrored).swapaxes(1, 2)
            else:
                left, vectors, right = key
                weighted = self._matrix(left) * self._weighted(vectors)[:, None]
                self.products[key] = weighted @ self._matrix(right)
        return self.products[key]


@cache
def _summed(graph: str) -> tuple[_Vector, ...]:
    """Return the vectors on the vertex that is left when all others are summed over."""
    edges = graph.split()
    matrices: dict[str, dict[str, _Matrix]] = {vertex: {} for vertex in "a" + "".join(edges)}
    vectors: dict[str, tuple[_Vector, ...]] = dict.fromkeys(matrices, ())
    for i, j in map(tuple, edges):
        matrices[i][j] = matrices[j][i] = (_THETA,) * edges.count(i + j)

    def cost(vertex: str) -> tuple[int, bool, int, str]:
        # The fewest neighbours, and then the fewest edges, which other graphs have too.
        around = (tuple(matrices[vertex].values()), vectors[vertex])
        neighbours = len(matrices[vertex])
        return neighbours, neighbours > 1 and bool(vectors[vertex]), _edges(around), repr(around)

    while len(matrices) > 1:
        vertex = min(matrices, key=cost)
        on_vertex = vectors.pop(vertex)
        (i, to_i), *second = matrices.pop(vertex).items()
        from_i = matrices[i].pop(vertex)
        if not second:
            vectors[i] = _sorted((*vectors[i], (from_i, on_vertex)))
            continue
        ((j, to_j),) = second
        from_j = matrices[j].pop(vertex)
        matrices[i][j] = _sorted((*matrices[i].get(j, ()), (from_i, on_vertex, to_j)))
        matrices[j][i] = _sorted((*matrices[j].get(i, ()), (from_j, on_vertex, to_i)))
    (left,) = vectors.values()
    return left


def _sorted(keys: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(keys, key=repr))


def _edges(key: Any) -> int:
    return 1 if key == _THETA else sum(map(_edges, key))


def _transposed(key: _Factor) -> _Factor:
    if isinstance(key, str):
        return key
    left, vectors, right = key
    return _sorted(map(_transposed, right)), vectors, _sorted(map(_transposed, left))
