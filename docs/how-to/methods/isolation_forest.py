"""Isolation forest: how soon random cuts leave a jet alone."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tnt_coffea.events.sample import Sample
from tnt_coffea.training import FeatureSet, Graph, Job, Method, Scorer
from tnt_coffea.training.trees import Tree

__all__ = ["IsolationForest"]

Array = npt.NDArray[np.float32]


class IsolationForest(Method):
    """Anomaly score 2^(-E[h] / c) of a forest of random trees, h being a jet's depth.

    Each tree cuts a random subsample at random until every jet is alone. Assumes that jets
    unlike the others are anomalous.

    Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, Isolation Forest, ICDM 2008: the tree is
    algorithm 2, the path length algorithm 3, c equation 1 and the score equation 2.
    """

    kind: Literal["isolation_forest"] = "isolation_forest"
    features: tuple[str, ...] = Field(
        ("mass", "tau21"), min_length=1, description="columns or expressions of them"
    )
    trees: int = Field(100, ge=1, description="number of trees")
    subsample: int = Field(256, ge=2, description="most jets a tree is grown from")

    scopes: ClassVar = ("heavy", "light")
    orientation: ClassVar[str] = "isolated by fewer cuts"

    @property
    def passes(self) -> int:
        """Return the number of trees."""
        return self.trees

    @property
    def libraries(self) -> tuple[str, ...]:
        """Return the packages whose versions belong on the card."""
        return ("numpy", "onnx")

    def check(self, sample: Sample, scope: str) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the forest of one jet; a jet is drawn as often as its weight says."""
        features = FeatureSet.of(self.features, job.scope, job.data)
        columns = features.input.read(job.data)
        values = features.computed(columns)
        chance = np.clip(job.data.weight, 0, None)
        chance /= chance.sum()
        size = min(self.subsample, int(np.count_nonzero(chance)))
        unit = self.trees * mean_depth(size)
        rng = np.random.default_rng(job.seed)
        forest = []
        for _ in range(self.trees):
            drawn = rng.choice(len(values), size, replace=False, p=chance)
            forest.append(grown(values[drawn], rng, unit))

        graph = Graph(features.input)
        exponent = graph.add_trees(features.add(graph, "features"), forest)
        score = graph.flat(graph.add("Pow", graph.constant(2.0), exponent))

        def predict(inputs: dict[str, Array]) -> Array:
            values = features.computed(inputs["features"])
            return np.exp2(sum(value_of(tree, values) for tree in forest))

        return Scorer(graph.model(score), (features.input,), predict=predict)


def mean_depth(jets: int) -> float:
    """Return c: the mean depth of an unsuccessful search in a binary tree of so many jets."""
    harmonic = (1 / np.arange(1, max(jets, 1))).sum()
    return float(2 * harmonic - 2 * (jets - 1) / jets) if jets > 1 else 0.0


def grown(values: Array, rng: np.random.Generator, unit: float) -> Tree:
    """Return a tree of (jet, feature) values whose leaves hold -h / unit."""
    deepest = int(np.ceil(np.log2(len(values))))
    nodes: list[list[float]] = []  # feature, threshold, left, right, value

    def grow(values: Array, depth: int) -> int:
        here = len(nodes)
        nodes.append([-1, 0, -1, -1, -(depth + mean_depth(len(values))) / unit])
        low, high = values.min(axis=0), values.max(axis=0)
        if depth < deepest and (low < high).any():
            feature = rng.choice(np.flatnonzero(low < high))
            # Below the highest value, also after rounding: either side keeps a jet.
            cut = min(
                np.float32(rng.uniform(low[feature], high[feature])),
                np.nextafter(high[feature], low[feature]),
            )
            goes = values[:, feature] <= cut
            sides = grow(values[goes], depth + 1), grow(values[~goes], depth + 1)
            nodes[here] = [feature, cut, *sides, 0]
        return here

    grow(values, 0)
    feature, threshold, left, right, value = np.array(nodes).T
    whole = (each.astype(np.int64) for each in (feature, left, right))
    feature, left, right = whole
    return Tree(feature, threshold.astype(np.float32), left, right, value.astype(np.float32))


def value_of(tree: Tree, values: Array) -> Array:
    """Return the (jet,) value of the leaf that each jet ends in."""
    node = np.zeros(len(values), np.int64)
    while (inner := tree.feature[node] >= 0).any():
        goes = values[np.arange(len(values)), tree.feature[node]] <= tree.threshold[node]
        node = np.where(inner, np.where(goes, tree.left[node], tree.right[node]), node)
    return tree.value[node]
