"""Scores drawn by lot: the known answer of every plot and table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.typing import Float32Array

__all__ = ["EventRandom", "Random"]

_PRIME = 2**31 - 1
"""Numbers below it have squares that int64 holds."""
_STEPS = 2.0**20
"""Parts of a feature's unit that are told apart."""
_LARGEST = 2.0**42
_ROUNDS = 5


class Random(Method):
    """A hash of each jet's features as its score: uniform, and without relation to anything.

    AUC 0.5 and eps_S / sqrt(eps_B) = sqrt(eps) are what every plot has to show of it. The
    arithmetic is of whole numbers in the tagger's graph, so the score is the same everywhere;
    jets with the same features have the same score.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training import Job
    >>> sample = testing.make_sample(1000)
    >>> scorer = Random().train(Job(sample, "heavy", seed=1))
    >>> scores = scorer.predict({"features": scorer.inputs[0].read(sample)})
    >>> abs(float(np.corrcoef(scores, sample.columns["heavy_mass"])[0, 1])) < 0.1
    True
    """

    kind: Literal["random"] = "random"
    features: tuple[str, ...] = Field(
        ("mass",), min_length=1, description="columns or expressions that tell events apart"
    )
    seed: int = Field(1, ge=0, description="of the hash; others give scores of their own")

    orientation: ClassVar[str] = "none"

    @property
    def reads(self) -> Reads:
        """Nothing: one tagger serves all folds."""
        return Reads(data=False)

    @property
    def is_random(self) -> bool:
        """No: the hash is that of `seed`."""
        return False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: onnx writes the graph."""
        return ("numpy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger whose score is the hash."""
        features = FeatureSet.of(self.features, job.scope, job.data)
        numbers = [
            [seeds.integer(self.seed, "random", name, i) for i in range(_ROUNDS)]
            for name in features.names
        ]
        graph = Graph(features.input)
        score = _graph_hash(graph, features.add(graph, "features"), numbers)

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            return _hash(features.computed(inputs["features"]), numbers)

        return Scorer(graph.model(graph.flat(score)), (features.input,), predict=predict)


class EventRandom(Random):
    """A hash of the features of the event as its score.

    Examples
    --------
    >>> EventRandom().scopes
    ('event',)
    """

    kind: Literal["event_random"] = "event_random"  # type: ignore[assignment]

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)


def _hash(values: Float32Array, numbers: Sequence[Sequence[int]]) -> Float32Array:
    """Return (event,) numbers in [0, 1) of (event, feature) values.

    Rounds of k -> k (k + a) mod p, with an a each, into which the features go one by one.
    """
    limit = np.float32(_LARGEST)
    steps = np.clip(values * np.float32(_STEPS), -limit, limit).astype(np.int64)
    state = np.zeros(len(values), np.int64)
    for column, rounds in zip(steps.T, numbers, strict=True):
        state = (state + column) % _PRIME
        for number in rounds:
            state = state * ((state + number) % _PRIME) % _PRIME
    return state.astype(np.float32) * np.float32(1 / _PRIME)


def _graph_hash(graph: Graph, values: str, numbers: Sequence[Sequence[int]]) -> str:
    """Return the name of `_hash` (n, 1) of the values (n, feature) of a graph."""

    def modulo(value: str) -> str:
        return graph.add("Mod", value, graph.constant(_PRIME))

    def whole(operator: str, left: str, right: Any) -> str:
        return graph.add(operator, left, right if isinstance(right, str) else graph.constant(right))

    limits = graph.constant(-_LARGEST), graph.constant(_LARGEST)
    clipped = graph.add("Clip", graph.ops.multiply(values, np.float32(_STEPS)), *limits)
    steps = graph.cast(clipped, "int64")
    state = ""
    for i, rounds in enumerate(numbers):
        column = graph.slice(steps, i)
        state = modulo(graph.add("Add", state, column) if state else column)
        for number in rounds:
            other = modulo(whole("Add", state, number))
            state = modulo(whole("Mul", state, other))
    return graph.ops.multiply(graph.cast(state, "float"), np.float32(1 / _PRIME))
