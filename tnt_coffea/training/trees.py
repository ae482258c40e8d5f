"""Boosted decision trees on features: histograms, logistic loss, leaves grown best first.

Small and single-threaded on purpose: the same events give the same trees on every machine.

Source: J. Friedman, Annals of Statistics 29 (2001) 1189 (boosting, Newton leaves);
arXiv:1603.02754, equations 6 and 7 (gain); G. Ke et al., NeurIPS 2017 (histograms, best
leaf first).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
        tree = _grown(bins, edges, w * (p - y), w * p * (1 - p), leaves, shrinkage)
        trees.append(tree)
        odds += tree(x)
        odds_held += tree(held_back)
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


def binned(features: Float32Array) -> tuple[list[Float32Array], IntArray]:
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
        (feature, event) int64: k for values in (edge k - 1, edge k].

    Examples
    --------
    >>> import numpy as np
    >>> edges, bins = binned(np.array([[1.0], [2.0], [2.0], [3.0]], np.float32))
    >>> edges[0].tolist(), bins.tolist()
    ([1.0, 2.0], [[0, 1, 1, 2]])
    """
    levels = np.arange(1, _BINS) / _BINS
    # `lower` takes values that occur: a float32 compares with itself exactly.
    edges = [np.unique(np.quantile(column, levels, method="lower")) for column in features.T]
    columns = zip(edges, features.T, strict=True)
    return edges, np.stack([np.searchsorted(e, column, side="left") for e, column in columns])


def _cross_entropy(odds: Float64Array, y: Float64Array, w: Float64Array) -> float:
    return float(np.average(np.logaddexp(0, odds) - y * odds, weights=w))


@dataclass
class _Leaf:
    node: int
    rows: IntArray
    gradient: float
    curvature: float
    split: tuple[float, int, int]
    """Gain, feature and bin of its best split."""


def _grown(
    bins: IntArray,
    edges: list[Float32Array],
    gradient: Float64Array,
    curvature: Float64Array,
    leaves: int,
    shrinkage: float,
) -> Tree:
    least = _LEAST * float(curvature.sum())

    def leaf(node: int, rows: IntArray) -> _Leaf:
        g, h = gradient[rows], curvature[rows]
        split = _best_split(bins, edges, rows, g, h, least)
        return _Leaf(node, rows, float(g.sum()), float(h.sum()), split)

    feature, threshold, left, right = [-1], [0.0], [0], [0]
    open_leaves = [leaf(0, np.arange(bins.shape[1]))]
    while len(open_leaves) < leaves:
        best = max(open_leaves, key=lambda item: item.split[0])
        gain, column, cut = best.split
        if gain <= 0:
            break
        open_leaves.remove(best)
        below = bins[column, best.rows] <= cut
        feature[best.node], threshold[best.node] = column, float(edges[column][cut])
        for children, rows in ((left, best.rows[below]), (right, best.rows[~below])):
            children[best.node] = len(feature)
            open_leaves.append(leaf(len(feature), rows))
            for values, empty in ((feature, -1), (threshold, 0.0), (left, 0), (right, 0)):
                values.append(empty)  # type: ignore[arg-type]
    value = np.zeros(len(feature), np.float32)
    for item in open_leaves:
        value[item.node] = -shrinkage * item.gradient / (item.curvature + _REGULAR)
    return Tree(
        np.array(feature), np.array(threshold, np.float32), np.array(left), np.array(right), value
    )


def _best_split(
    bins: IntArray,
    edges: list[Float32Array],
    rows: IntArray,
    gradient: Float64Array,
    curvature: Float64Array,
    least: float,
) -> tuple[float, int, int]:
    total_g, total_h = gradient.sum(), curvature.sum()
    best = (0.0, -1, -1)
    for column, column_edges in enumerate(edges):
        n = len(column_edges)
        if not n:
            continue
        place = bins[column, rows]
        g = np.cumsum(np.bincount(place, gradient, minlength=n + 1))[:n]
        h = np.cumsum(np.bincount(place, curvature, minlength=n + 1))[:n]
        gain = (
            g**2 / (h + _REGULAR)
            + (total_g - g) ** 2 / (total_h - h + _REGULAR)
            - total_g**2 / (total_h + _REGULAR)
        )
        gain[(h < least) | (total_h - h < least)] = 0.0
        cut = int(np.argmax(gain))
        if gain[cut] > best[0]:
            best = (float(gain[cut]), column, cut)
    return best
