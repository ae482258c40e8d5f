"""Factorized topics: pairs of jets that are not two of the most common topic."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.settings import Positive
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import progress
from tnt_coffea.training.factorization import (
    Common,
    Factorization,
    Loss,
    Pairs,
    bins_of,
    factorizations,
    pair_histogram,
)
from tnt_coffea.training.features import FeatureSet, check_features
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.training.weak_labels import check_weights
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["FactorizedTopics"]

_DISAGREE = 0.05
"""Area under the ROC curve by which the score of a start differs from that of the best one."""
_NEAR = 1.01
"""Loss over the best one's, up to which a start has come as far."""
_MOST_ALIKE = 0.5
"""Largest share of events in one pair of bins, all of which have one score."""


class FactorizedTopics(Method):
    """Log ratio of all other pairs of topics to the pair of the common topic, at a pair of jets.

    The histogram of one observable of both jets is a mixture of products, D = P F P^T: jets of a
    topic have a distribution P_k, whichever jet they are, and F are the fractions of the pairs.
    The topic of most jets is taken for QCD. Assumes that the two jets of an event are independent
    for given topics, and that background is mostly one pair. With the masses the score is a cut
    on both masses, and shapes m_jj as one does.

    Source: arXiv:2101.08320, section 5.2.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(2400)
    >>> method = FactorizedTopics(bins=20, starts=4)
    >>> scorer = method.train(Job(sample, scope="event", seed=1))
    >>> scorer.inputs[0].columns
    ('heavy_mass', 'light_mass')
    """

    kind: Literal["factorized_topics"] = "factorized_topics"
    feature: str = Field("mass", description="observable of a jet, or an expression of several")
    low: float = Field(0.0, description="where the first bin begins [unit of the feature]")
    high: float = Field(800.0, description="where the last bin ends [unit of the feature]")
    bins: int = Field(60, ge=3, le=200, description="bins of each jet; the outermost are open")
    topics: int = Field(3, ge=2, le=6, description="number of topics, the common one included")
    loss: Loss = Field("poisson", description="poisson; frobenius, as published")
    starts: int = Field(20, ge=1, description="starts by lot, of which the least loss is kept")
    steps: int = Field(10_000, ge=1, description="most steps of a start")
    tolerance: Positive = Field(1e-9, description="fall of the loss in 50 steps that ends a start")
    pairs: Pairs = Field(
        "all",
        description="what counts as signal. all: every pair of topics but the common one's; "
        "unlike: pairs of two different topics beside the common one, equation 5.9",
    )
    common: Common = Field(
        "jets",
        description="which topic is taken for QCD. jets: that of most jets; pairs: that of the "
        "largest F_kk, most pairs of its own jets",
    )
    prior: Positive = Field(0.5, description="jets added to every bin of a topic before the score")
    slices: int = Field(
        1, ge=1, le=10, description="parts of the events, each with fractions F of its own"
    )
    slice_by: str = Field(
        "abs(heavy_eta) + abs(light_eta)",
        description="number of an event whose quantiles divide the parts",
    )
    mass_window: bool = Field(False, description="trained on the window alone")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "pairs beside the common topic"

    @model_validator(mode="after")
    def _range_is_one(self) -> Self:
        if not self.high > self.low:
            msg = f"high ({self.high:g}) has to be above low ({self.low:g})"
            raise ValueError(msg)
        if self.pairs == "unlike" and self.topics < 3:
            msg = "pairs: unlike needs topics: 3 or more, two beside the common one"
            raise ValueError(msg)
        return self

    @property
    def reads(self) -> Reads:
        """The window where it is trained on that alone."""
        return Reads(window=self.mass_window)

    @property
    def libraries(self) -> tuple[str, ...]:
        """NumPy and onnx: no Keras."""
        return ("numpy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns, and a feature that is none of the two jets."""
        self._features(sample, scope)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the topics of the best start."""
        began = perf_counter()
        table, histogram, notes = self._filled(job)
        filled = perf_counter() - began
        found = []
        rng = np.random.default_rng(job.seed)
        for one in factorizations(
            histogram,
            self.topics,
            rng,
            starts=self.starts,
            loss=self.loss,
            steps=self.steps,
            tolerance=self.tolerance,
        ):
            found.append(one.ordered(self.common))
            progress.report_epoch(len(found), one.loss, one.loss)
        found.sort(key=lambda one: one.loss)
        best = found[0]
        least = 1 / notes["effective events"]
        if not least < best.common < 1 - least:
            what = "no pair of the common topic" if best.common < 0.5 else "no other pair of topics"
            msg = (
                f"{what} in the histogram of {self.feature}: there is nothing to compare; use "
                "another number of topics, another feature or more events"
            )
            raise TrainingError(msg)
        ratios = [self._ratio(one, notes["effective events"]) for one in found]
        notes |= self._starts(found, ratios)
        table = table.with_values(ratios[0])
        notes["topics"] = self._shown(best, histogram, notes.pop("jets"))
        return table.scorer(notes, filled)

    def _features(self, sample: Sample, scope: Scope) -> FeatureSet:
        features = FeatureSet.of((self.feature,), scope, sample)
        if len(features) != 2:
            msg = (
                f"feature: {self.feature} is one number of the event; topics are of jets: name an "
                "observable without heavy_ or light_ before it, such as mass"
            )
            raise ConfigError(msg)
        if self.slices == 1:
            return features
        every = FeatureSet.of((self.feature, self.slice_by), scope, sample)
        if len(every) != 3:
            msg = (
                f"slice_by: {self.slice_by} is a number of each jet; name one of the event, such "
                "as abs(heavy_eta) + abs(light_eta)"
            )
            raise ConfigError(msg)
        return every

    def _filled(self, job: Job) -> tuple[_Table, Float64Array, dict[str, Any]]:
        """Return the edges of the bins, the histogram of the events, and its sizes."""
        data = job.data
        used = np.asarray(data.weight) != 0
        if self.mass_window:
            used &= job.in_window
        data = data.select(np.flatnonzero(used))
        where = f" in the window {job.window.name}" if self.mass_window else ""
        check_weights(data.weight, "a histogram", where)
        numbers = self.bins - 1, self.topics * (self.topics + 1) // 2 * self.slices - 1
        least = self.topics * numbers[0] + numbers[1]
        if len(data) < least:
            msg = (
                f"{len(data)} events{where} for {least} free numbers of {self.topics} topics; use "
                "more events or fewer bins"
            )
            raise TrainingError(msg)
        features = self._features(job.data, job.scope)
        values = features.values(data)
        check_features(values, features.names, "choose another feature")
        edges = np.linspace(self.low, self.high, self.bins + 1)[1:-1].astype(np.float32)
        between = np.zeros(0, np.float32)
        if self.slices > 1:
            shares = np.arange(1, self.slices) / self.slices
            between = np.quantile(values[:, 2], shares).astype(np.float32)
        table = _Table(features, edges, between)
        first, second, part = table.places(values)
        histogram = pair_histogram(first, second, data.weight, self.bins, part, self.slices)
        alike = float(histogram.max())
        if alike > _MOST_ALIKE:
            msg = (
                f"{alike:.0%} of the events{where} are in one pair of bins of {self.feature}, at "
                f"most {_MOST_ALIKE:.0%} may: choose low, high and bins that divide them"
            )
            raise TrainingError(msg)
        empty = np.flatnonzero(histogram.sum(axis=(1, 2)) == 0)
        if len(empty):
            msg = (
                f"{len(empty)} of {self.slices} slices of {self.slice_by} hold no event: "
                "choose fewer slices"
            )
            raise TrainingError(msg)
        weight = np.asarray(data.weight, np.float64)
        jets = {
            name: np.bincount(place, weight, self.bins) / weight.sum()
            for name, place in zip(("heavy", "light"), (first, second), strict=True)
        }
        effective = float(weight.sum() ** 2 / (weight**2).sum())
        return (
            table,
            histogram,
            {
                "events": float(len(data)),
                "effective events": effective,
                "jets": jets,
            },
        )

    def _ratio(self, found: Factorization, events: float) -> Float64Array:
        return found.log_ratio(events, pairs=self.pairs, prior=self.prior)

    def _starts(self, found: list[Factorization], ratios: list[Float64Array]) -> dict[str, Any]:
        """Return how far the starts, in the order of their losses, agree.

        By the area under the ROC curve of each one's score with the best one's topics for the
        truth, which asks for no label.
        """
        best = found[0]
        areas = np.array([best.auc(ratio) for ratio in ratios])
        apart = np.abs(areas - areas[0])
        losses = np.array([one.loss for one in found])
        near = losses <= _NEAR * losses[0] + self.tolerance
        return {
            "loss": float(losses[0]),
            "steps": float(best.steps),
            "common pair": best.common,
            "jets of the common topic": float(best.shares[0]),
            "area of the best": float(areas[0]),
            "spread of the areas": float(areas.std()),
            "starts that disagree": float((apart > _DISAGREE).sum()),
            "good starts": float(near.sum()),
            "good starts that disagree": float((apart[near] > _DISAGREE).sum()),
            "losses of starts": losses.tolist(),
            "areas of starts": areas.tolist(),
        }

    def _shown(
        self, best: Factorization, histogram: Float64Array, jets: dict[str, Float64Array]
    ) -> dict[str, Any]:
        """Return the topics for a figure, beside the data."""
        edges = np.linspace(self.low, self.high, self.bins + 1)
        return {
            "feature": self.feature,
            "edges": edges.tolist(),
            "p": best.p.T.tolist(),
            "f": best.f.sum(axis=0).tolist(),
            "peaks": (0.5 * (edges[:-1] + edges[1:]))[best.peaks()].tolist(),
            **{name: values.tolist() for name, values in jets.items()},
        }


@dataclass(frozen=True)
class _Table:
    """Scores by part of the events and bins of both jets.

    Attributes
    ----------
    features
        Observable of the heavy and the light jet, and what divides the parts where there are some.
    edges, between
        (bin - 1,) and (part - 1,), between the bins and between the parts.
    values
        (part, bin, bin).
    """

    features: FeatureSet
    edges: Float32Array
    between: Float32Array
    values: Float32Array | None = None

    def with_values(self, values: Float64Array) -> _Table:
        return _Table(self.features, self.edges, self.between, values.astype(np.float32))

    def places(self, values: Float32Array) -> tuple[IntArray, IntArray, IntArray | None]:
        """Return the (event,) bins of both jets, and the part."""
        first, second = (bins_of(values[:, jet], self.edges) for jet in (0, 1))
        part = bins_of(values[:, 2], self.between) if len(self.between) else None
        return first, second, part

    def scorer(self, notes: dict[str, Any], seconds: float) -> Scorer:
        """Return the table as a graph; `seconds` were needed to fill the histogram."""
        assert self.values is not None
        flat, bins = self.values.ravel(), len(self.edges) + 1
        graph = Graph(self.features.input)
        features = self.features.add(graph, "features")

        def place(column: int, edges: Float32Array) -> str:
            # What is no number is above no edge, as in `bins_of`.
            above = graph.add(
                "GreaterOrEqual", graph.slice(features, column), graph.constant(edges)
            )
            counted = graph.cast(above, "float")
            return graph.add("ReduceSum", counted, graph.constant([1]), keepdims=1)

        # Whole numbers below 2^24 are exact in float32.
        first, second = (place(jet, self.edges) for jet in (0, 1))
        if len(self.between):
            part = graph.ops.multiply(place(2, self.between), float(bins))
            first = graph.ops.add(part, first)
        number = graph.ops.add(graph.ops.multiply(first, float(bins)), second)
        score = graph.add("Gather", graph.constant(flat), graph.cast(number, "int64"))

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            first, second, part = self.places(self.features.computed(inputs["features"]))
            place = ((0 if part is None else part) * bins + first) * bins + second
            return np.asarray(flat[place])

        return Scorer(
            graph.model(graph.flat(score)),
            (self.features.input,),
            notes,
            {name: value for name, value in notes.items() if isinstance(value, float)},
            predict=predict,
            seconds=(seconds,),
        )
