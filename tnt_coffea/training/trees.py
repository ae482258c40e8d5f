"""Boosted decision trees on features: histograms, logistic loss, leaves grown best first.

Small and single-threaded on purpose: the same events give the same trees on every machine. A
histogram of every feature, the larger child's as what the smaller one leaves of its parent's, only
says which features may have the best split. What decides are sums over the events themselves, in
their order: no rounding of a difference chooses a split.

Source: J. Friedman, Annals of Statistics 29 (2001) 1189 (boosting, Newton leaves);
arXiv:1603.02754, equations 6 and 7 (gain); G. Ke et al., NeurIPS 2017 (histograms, best
leaf first).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from tnt_coffea.errors import TrainingError
from tnt_coffea.training import progress
from tnt_coffea.training.fitting import Merit
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["FEWEST_TREES", "BoostedTrees", "Tree", "binned", "boosted_trees"]

_BINS = 64
FEWEST_TREES = 20
"""Least number of trees, even where fewer fit better."""
_REGULAR = 1.0
"""Added to the curvature of a leaf; in units of an event of weight one."""
_LEAST = 1e-3
"""Least curvature of a leaf, as a share of all of it: no leaf of a handful of events."""
_BLOCK = 8192
"""Events whose bins are added up at a time: they stay in the cache."""
_COMPARED = 65536
"""Events compared with one edge at a time."""
_ROUNDING = 1e-7
"""Share of a gain's terms by which a difference of histograms may be wrong; it is less by far."""


@dataclass(frozen=True)
class Tree:
    """One tree as arrays over nodes; node 0 is the root. Call it for the values of its leaves.

    Attributes
    ----------
    feature
        (node,) int64, the feature compared; -1 for a leaf.
    threshold
        (node,) float32: values up to it go left; of no meaning for a leaf.
    left, right
        (node,) int64, the children; 0 for a leaf.
    value
        (node,) float32, what an event in a leaf gets: summed over trees by `Graph.add_trees`.

    >>> ints, floats = np.int64, np.float32
    >>> stump = Tree(
    ...     feature=np.array([0, -1, -1], ints),
    ...     threshold=np.array([0.5, 0, 0], floats),
    ...     left=np.array([1, 0, 0], ints),
    ...     right=np.array([2, 0, 0], ints),
    ...     value=np.array([0, -1, 1], floats),
    ... )
    >>> stump(np.array([[0.2], [0.5], [0.7]], floats)).tolist()
    [-1.0, -1.0, 1.0]
    """

    feature: IntArray
    threshold: Float32Array
    left: IntArray
    right: IntArray
    value: Float32Array

    def __call__(self, features: Float32Array) -> Float32Array:
        """Return the (event,) value of the leaf that each of (event, feature) falls in."""
        node = np.zeros(len(features), np.int64)
        rows = np.arange(len(features))
        while (inner := self.feature[node] >= 0).any():
            goes_left = features[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        return self.value[node]


@dataclass(frozen=True)
class BoostedTrees:
    """Trees whose sum is the log-odds of the positive class.

    Attributes
    ----------
    base
        Log-odds before any tree.
    trees
        In the order they were grown.
    loss, validation_loss
        Mean cross-entropy after every round, those of dropped rounds included.
    merit
        Figure of merit after every round, where that one chose their number.
    """

    base: float
    trees: tuple[Tree, ...]
    loss: tuple[float, ...]
    validation_loss: tuple[float, ...]
    merit: tuple[float, ...] = ()

    def __call__(self, features: Float32Array) -> Float32Array:
        """Return the (event,) probability of the positive class, of (event, feature)."""
        odds = np.full(len(features), np.float32(self.base))
        for tree in self.trees:
            odds += tree(features)
        out: Float32Array = (1 / (1 + np.exp(-odds))).astype(np.float32)
        return out


def boosted_trees(
    features: tuple[Float32Array, Float32Array],
    targets: tuple[npt.ArrayLike, npt.ArrayLike],
    weights: tuple[npt.ArrayLike, npt.ArrayLike],
    *,
    rounds: int,
    leaves: int,
    shrinkage: float,
    patience: int,
    merit: Merit | None = None,
) -> BoostedTrees:
    """Return trees trained on one sample and cut off where another one fits best.

    At least 20 are kept: where there is nothing to learn one tree fits best, and gives so few
    different scores that ties would decide who passes a cut.

    Parameters
    ----------
    features
        (event, feature) float32 to train on, and to choose the number of trees by.
    targets
        (event,) in [0, 1] of both samples.
    weights
        (event,) of both samples.
    rounds, leaves, shrinkage
        Most trees, leaves of a tree, and the share of its value that is added.
    patience
        Rounds without a better validation loss before the end.
    merit
        Function of (event,) targets and log-odds of the sample that chooses, to a figure that is
        largest for the best number of trees; without it the validation loss is least.

    Raises
    ------
    TrainingError
        A sample is empty.
    """
    if not all(len(part) for part in features):
        msg = "no events to grow trees with, or none to choose their number by: use more events"
        raise TrainingError(msg)
    x, held_back = features
    y, y_held = (np.asarray(t, dtype=np.float64) for t in targets)
    w, w_held = (_of_mean_one(part) for part in weights)
    edges, bins = binned(x)
    cells = _Cells(bins)
    held_columns = np.ascontiguousarray(held_back.T)
    share = np.average(y, weights=w)
    base = float(np.log(share / (1 - share)))
    odds, odds_held = np.full(len(y), base), np.full(len(y_held), base)
    trees: list[Tree] = []
    losses: list[float] = []
    held_losses: list[float] = []
    merits: list[float] = []
    best = fewest = min(FEWEST_TREES, rounds)
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-odds))
        tree, rows = _grown(cells, edges, w * (p - y), w * p * (1 - p), leaves, shrinkage)
        trees.append(tree)
        _add(odds, tree, rows)
        _add(odds_held, tree, _rows_of_leaves(tree, held_columns))
        losses.append(_cross_entropy(odds, y, w))
        held_losses.append(_cross_entropy(odds_held, y_held, w_held))
        if merit is not None:
            merits.append(merit(y_held.astype(np.float32), odds_held.astype(np.float32)))
        progress.report_epoch(len(trees), losses[-1], held_losses[-1])
        if len(trees) >= fewest:
            figures = np.negative(merits) if merits else held_losses
            best = fewest + int(np.argmin(figures[fewest - 1 :]))
            if len(trees) - best >= patience:
                break
    history = (tuple(losses), tuple(held_losses), tuple(merits))
    return BoostedTrees(base, tuple(trees[:best]), *history)


def _of_mean_one(weights: npt.ArrayLike) -> Float64Array:
    values = np.asarray(weights, dtype=np.float64)
    out: Float64Array = values / values.mean()
    return out


def _add(odds: Float64Array, tree: Tree, rows: dict[int, IntArray]) -> None:
    for node, own in rows.items():
        odds[own] += tree.value[node]


def _rows_of_leaves(tree: Tree, columns: Float32Array) -> dict[int, IntArray]:
    """Return the rows in every leaf, of (feature, event) values."""
    rows = {0: np.arange(columns.shape[1])}
    for node in np.flatnonzero(tree.feature >= 0):  # children come after their parents
        own = rows.pop(int(node))
        below = columns[tree.feature[node], own] <= tree.threshold[node]
        rows[int(tree.left[node])] = own[np.flatnonzero(below)]
        rows[int(tree.right[node])] = own[np.flatnonzero(~below)]
    return rows


def binned(features: Float32Array) -> tuple[list[Float32Array], npt.NDArray[np.uint8]]:
    """Return where the values of every feature may be cut, and the bins that events fall in.

    Parameters
    ----------
    features
        (event, feature) float32.

    Returns
    -------
    edges
        For each feature its quantiles, up to 63 values that occur, ascending.
    bins
        (feature, event) uint8: k for values in (edge k - 1, edge k].

    Examples
    --------
    >>> import numpy as np
    >>> edges, bins = binned(np.array([[1.0], [2.0], [2.0], [3.0]], np.float32))
    >>> edges[0].tolist(), bins.tolist()
    ([1.0, 2.0], [[0, 1, 1, 2]])
    """
    places = np.floor(np.arange(1, _BINS) / _BINS * (len(features) - 1)).astype(np.int64)
    edges: list[Float32Array] = []
    bins = np.empty(features.shape[::-1], np.uint8)
    for column, own in zip(np.ascontiguousarray(features.T), bins, strict=True):
        # Values that occur: a float32 compares with itself exactly.
        ordered = np.sort(column)
        # One that is not a number for some events, which sort last, has no quantiles.
        edges.append(ordered[-1:] if np.isnan(ordered[-1]) else np.unique(ordered[places]))
        _count_below(column, edges[-1], own)
    return edges, bins


def _count_below(column: Float32Array, edges: Float32Array, out: npt.NDArray[np.uint8]) -> None:
    """Write how many edges are below each value: a third of the time of a search in them."""
    for first in range(0, len(column), _COMPARED):
        values, counts = column[first : first + _COMPARED], out[first : first + _COMPARED]
        counts[:] = 0
        above = np.empty(len(values), bool)
        for edge in edges:
            np.greater(values, edge, out=above)
            counts += above.view(np.uint8)


class _Cells:
    """Bins of all events, by feature and by event, to add up in.

    Attributes
    ----------
    bins
        (feature, event) uint8.
    """

    def __init__(self, bins: npt.NDArray[np.uint8]) -> None:
        self.bins = bins
        features, _ = bins.shape
        # A row an event: the cells feature x 64 + bin that it adds to.
        self._of_events = np.empty(bins.shape[::-1], np.min_scalar_type(features * _BINS))
        np.add(bins.T, np.arange(features)[None] * _BINS, out=self._of_events, casting="unsafe")
        # A column of ones an event, one in each feature: a product adds up the events of a cell.
        self._block = self._one_hot(np.zeros((_BLOCK, features), np.int32))

    def _one_hot(self, cells: npt.NDArray[np.int32]) -> csc_array:
        events, features = cells.shape
        starts = np.arange(events + 1, dtype=np.int32) * features
        shape = (features * _BINS, events)
        return csc_array((np.ones(cells.size), cells.ravel(), starts), shape=shape)

    def sums(self, rows: IntArray, values: Sequence[Float64Array]) -> Float64Array:
        """Return (value, feature, bin) sums of some rows; `values` are of these rows."""
        features, events = self.bins.shape
        out = np.zeros((len(values), features * _BINS))
        for first in range(0, len(rows), _BLOCK):
            part = slice(first, first + _BLOCK)
            if len(rows) == events:
                cells = self._of_events[part]
            else:
                cells = np.take(self._of_events, rows[part], axis=0)
            if len(cells) == _BLOCK:
                hot = self._block
                hot.indices.reshape(cells.shape)[:] = cells
            else:
                hot = self._one_hot(cells.astype(np.int32))
            for total, value in zip(out, values, strict=True):
                total += hot @ value[part]
        return out.reshape(len(values), features, _BINS)


def _cross_entropy(odds: Float64Array, y: Float64Array, w: Float64Array) -> float:
    return float(np.average(np.logaddexp(0, odds) - y * odds, weights=w))


@dataclass
class _Leaf:
    node: int
    rows: IntArray
    gradient: Float64Array
    curvature: Float64Array
    sums: Float64Array = field(default_factory=lambda: np.empty(0))
    """Sums (2, feature, bin) of both, where it may be split."""
    split: tuple[float, int, int] = (0.0, -1, -1)
    """Gain, feature and bin of its best split."""


def _grown(
    cells: _Cells,
    edges: list[Float32Array],
    gradient: Float64Array,
    curvature: Float64Array,
    leaves: int,
    shrinkage: float,
) -> tuple[Tree, dict[int, IntArray]]:
    """Return a tree, and the rows in each of its leaves."""
    least = _LEAST * float(curvature.sum())

    def prepare(leaf: _Leaf, sums: Float64Array) -> None:
        leaf.sums = sums
        leaf.split = _best_split(cells.bins, edges, leaf, least)

    def summed(leaf: _Leaf) -> Float64Array:
        return cells.sums(leaf.rows, (leaf.gradient, leaf.curvature))

    feature, threshold, left, right = [-1], [0.0], [0], [0]
    open_leaves = [_Leaf(0, np.arange(cells.bins.shape[1]), gradient, curvature)]
    prepare(open_leaves[0], summed(open_leaves[0]))
    while len(open_leaves) < leaves:
        best = max(open_leaves, key=lambda item: item.split[0])
        gain, column, cut = best.split
        if gain <= 0:
            break
        open_leaves.remove(best)
        below = cells.bins[column, best.rows] <= cut
        feature[best.node], threshold[best.node] = column, float(edges[column][cut])
        for children, side in ((left, below), (right, ~below)):
            children[best.node] = len(feature)
            own = np.flatnonzero(side)  # faster by far than a mask for each
            of_child = (best.rows[own], best.gradient[own], best.curvature[own])
            open_leaves.append(_Leaf(len(feature), *of_child))
            for values, empty in ((feature, -1), (threshold, 0.0), (left, 0), (right, 0)):
                values.append(empty)  # type: ignore[arg-type]
        if len(open_leaves) < leaves:
            smaller, larger = sorted(open_leaves[-2:], key=lambda item: len(item.rows))
            prepare(smaller, summed(smaller))
            prepare(larger, best.sums - smaller.sums)
    value = np.zeros(len(feature), np.float32)
    for item in open_leaves:
        total_g, total_h = float(item.gradient.sum()), float(item.curvature.sum())
        value[item.node] = -shrinkage * total_g / (total_h + _REGULAR)
    tree = Tree(
        np.array(feature), np.array(threshold, np.float32), np.array(left), np.array(right), value
    )
    return tree, {item.node: item.rows for item in open_leaves}


def _best_split(
    bins: npt.NDArray[np.uint8], edges: list[Float32Array], leaf: _Leaf, least: float
) -> tuple[float, int, int]:
    total_g, total_h = leaf.gradient.sum(), leaf.curvature.sum()
    best = (0.0, -1, -1)
    for column in _promising(leaf, total_g, total_h, least):
        n = len(edges[column])
        place = bins[column, leaf.rows].astype(np.int64)
        sums = [np.bincount(place, of, n + 1) for of in (leaf.gradient, leaf.curvature)]
        g, h = (np.cumsum(each, dtype=np.float64)[:n] for each in sums)
        gain = _gain(g, h, total_g, total_h)
        gain[(h < least) | (total_h - h < least)] = 0.0
        cut = int(np.argmax(gain))
        if gain[cut] > best[0]:
            best = (float(gain[cut]), int(column), cut)
    return best


def _promising(leaf: _Leaf, total_g: float, total_h: float, least: float) -> IntArray:
    """Return the features whose best gain is the largest, or too near to it to tell."""
    g, h = leaf.sums.cumsum(axis=2)[:, :, :-1]
    gain = _gain(g, h, total_g, total_h)
    least -= _ROUNDING * abs(least)
    gain[(h < least) | (total_h - h < least)] = -np.inf
    of_features = gain.max(axis=1)
    rounding = _ROUNDING * (1 + total_g**2 / (total_h + _REGULAR) + abs(of_features.max()))
    largest = max(of_features.max(), 0.0)
    return np.flatnonzero(of_features >= largest - rounding)


def _gain(g: Float64Array, h: Float64Array, total_g: float, total_h: float) -> Float64Array:
    """Return what a cut gains of one half the loss; `g` and `h` are the sums below it."""
    out: Float64Array = (
        g**2 / (h + _REGULAR)
        + (total_g - g) ** 2 / (total_h - h + _REGULAR)
        - total_g**2 / (total_h + _REGULAR)
    )
    return out
