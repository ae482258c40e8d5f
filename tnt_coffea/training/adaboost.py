"""Real AdaBoost: decision trees that vote with half the log-odds of their leaves, SAMME.R.

Small and single-threaded on purpose, as `training.trees`: the same events give the same trees.

Source: J. Zhu, H. Zou, S. Rosset, T. Hastie, Statistics and Its Interface 2 (2009) 349, section 5,
for two classes; J. Friedman, T. Hastie, R. Tibshirani, Annals of Statistics 28 (2000) 337,
algorithm 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.trees import Tree, binned
from tnt_coffea.training.weak_labels import check_weights
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = ["VotingTrees", "reweighted", "voting_trees"]

_LEAST = 1e-6
"""Least probability of either class in a leaf: the vote of one class alone stays finite."""
_GAIN = 1e-12
"""Least gain of a split, as a share of the weights: below it is rounding."""


@dataclass(frozen=True)
class VotingTrees:
    """Trees whose summed votes are half the log-odds of the positive class. Call it for the sum.

    Attributes
    ----------
    trees
        In the order they were grown, their values being votes.
    errors
        Share of wrong signs of the sum on the events trained on, by weight, after every tree.
    """

    trees: tuple[Tree, ...]
    errors: tuple[float, ...]

    def __call__(self, features: Float32Array) -> Float32Array:
        """Return the (event,) sum of the votes of (event, feature)."""
        out = np.zeros(len(features), np.float32)
        for tree in self.trees:
            out += tree(features)
        return out


def voting_trees(
    features: Float32Array,
    targets: BoolArray,
    weights: Float64Array,
    *,
    trees: int,
    depth: int,
    learning_rate: float,
) -> VotingTrees:
    """Return the trees of real AdaBoost.

    Every tree splits by entropy, at up to 63 quantiles of a feature. A leaf votes
    learning_rate / 2 x ln(p / (1 - p)), p being the positive class's share of its weights, and an
    event's weight is multiplied by exp(-vote) where its class is the positive one and by
    exp(vote) where it is not.

    Parameters
    ----------
    features
        (event, feature) float32, finite.
    targets
        (event,) bool, which events are of the positive class.
    weights
        (event,) of the first tree, not negative.
    trees, depth
        Number of trees, and of splits from root to leaf.
    learning_rate
        Factor on the votes.

    Raises
    ------
    TrainingError
        A class has no weight, weights are negative, or no feature splits the events.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    >>> rising = x.sum(axis=1) > 0
    >>> settings = {"trees": 20, "depth": 2, "learning_rate": 1.0}
    >>> votes = voting_trees(x, rising, np.ones(400), **settings)
    >>> bool(((votes(x) > 0) == rising).mean() > 0.95)
    True
    """
    check_weights(weights, "AdaBoost")
    if not (weights[targets].sum() > 0 and weights[~targets].sum() > 0):
        msg = "one of the two classes has no events of positive weight: use more events"
        raise TrainingError(msg)
    edges, bins = binned(features)
    first = weights / weights.sum()
    current, summed = first, np.zeros(len(first))
    grown: list[Tree] = []
    errors: list[float] = []
    for _ in range(trees):
        tree, leaf = _grown(bins, edges, targets, current, depth, learning_rate)
        if not grown and len(tree.feature) == 1:
            msg = "no feature splits the events to grow trees with: all of them are constant"
            raise TrainingError(msg)
        grown.append(tree)
        votes = tree.value[leaf].astype(np.float64)
        summed += votes
        current = reweighted(current, targets, votes)
        errors.append(float(first[(summed > 0) != targets].sum()))
    return VotingTrees(tuple(grown), tuple(errors))


def reweighted(weights: Float64Array, targets: BoolArray, votes: Float64Array) -> Float64Array:
    """Return the weights of the next tree, which sum to one.

    Parameters
    ----------
    weights, targets, votes
        (event,) weights of this tree, positive class or not, and the votes of this tree.

    Examples
    --------
    >>> import numpy as np
    >>> ones, targets = np.ones(2), np.array([True, False])
    >>> reweighted(ones, targets, np.log([2.0, 2.0])).tolist()  # the second one was wrong
    [0.2, 0.8]
    """
    raised = weights * np.exp(np.where(targets, -votes, votes))
    out: Float64Array = raised / raised.sum()
    return out


def _grown(
    bins: npt.NDArray[np.uint8],
    edges: list[Float32Array],
    targets: BoolArray,
    weights: Float64Array,
    depth: int,
    learning_rate: float,
) -> tuple[Tree, IntArray]:
    """Return a tree, and the (event,) leaf of every event."""
    positive = targets.astype(np.int64)
    feature, threshold, left, right = [-1], [0.0], [0], [0]
    node, level = np.zeros(len(targets), np.int64), [0]
    for _ in range(depth):
        # Events of nodes that were not split are counted in a place of their own.
        place = np.full(len(feature), len(level))
        place[level] = np.arange(len(level))
        split = _best_splits(bins, edges, place[node], positive, weights, len(level))
        following: list[int] = []
        for parent, (column, cut) in zip(level, split, strict=True):
            if column < 0:
                continue
            feature[parent], threshold[parent] = column, float(edges[column][cut])
            own = np.flatnonzero(node == parent)
            below = bins[column, own] <= cut
            for children, rows in ((left, own[below]), (right, own[~below])):
                children[parent] = len(feature)
                node[rows] = len(feature)
                following.append(len(feature))
                for values, empty in ((feature, -1), (threshold, 0.0), (left, 0), (right, 0)):
                    values.append(empty)  # type: ignore[arg-type]
        level = following
        if not level:
            break
    sums = np.bincount(node * 2 + positive, weights, 2 * len(feature)).reshape(-1, 2)
    total = sums.sum(axis=1)
    share = np.divide(sums[:, 1], total, out=np.full(len(total), 0.5), where=total > 0)
    share = np.clip(share, _LEAST, 1 - _LEAST)
    votes = (0.5 * learning_rate * np.log(share / (1 - share))).astype(np.float32)
    tree = Tree(
        np.array(feature), np.array(threshold, np.float32), np.array(left), np.array(right), votes
    )
    return tree, node


def _best_splits(
    bins: npt.NDArray[np.uint8],
    edges: list[Float32Array],
    place: IntArray,
    positive: IntArray,
    weights: Float64Array,
    nodes: int,
) -> list[tuple[int, int]]:
    """Return the feature and bin of every node's best split; -1 where none gains anything."""
    best, chosen = np.full(nodes, _GAIN), [(-1, -1)] * nodes
    for column, column_edges in enumerate(edges):
        n = len(column_edges)
        cell = ((place * (n + 1)) + bins[column]) * 2 + positive
        sums = np.bincount(cell, weights, (nodes + 1) * (n + 1) * 2)
        sums = sums.reshape(nodes + 1, n + 1, 2)[:nodes]
        below: Float64Array = np.cumsum(sums, axis=1, dtype=np.float64)
        whole = below[:, -1:]
        gain = _purity(below[:, :-1]) + _purity(whole - below[:, :-1]) - _purity(whole)
        if not n:
            continue
        cut = gain.argmax(axis=1)
        value = gain[np.arange(nodes), cut]
        for k in np.flatnonzero(value > best):
            best[k], chosen[k] = value[k], (column, int(cut[k]))
    return chosen


def _purity(sums: Float64Array) -> Float64Array:
    """Return the (node, bin) weight times the negative entropy of (node, bin, class) weights."""
    sums = np.maximum(sums, 0.0)  # a difference of sums may be a little below zero
    total = sums.sum(axis=-1)
    logs = [np.log(np.where(part > 0, part, 1.0)) for part in (sums, total)]
    out: Float64Array = (sums * logs[0]).sum(axis=-1) - total * logs[1]
    return out
