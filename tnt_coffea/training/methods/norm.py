"""The squared distance from the mean: what an autoencoder that learned nothing gives."""

from __future__ import annotations

from functools import reduce
from typing import ClassVar, Literal

from pydantic import Field

from tnt_coffea.events.sample import Sample
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Method, Scope, Scorer
from tnt_coffea.typing import Float32Array

__all__ = ["EventNorm", "Norm"]


class Norm(Method):
    """Squared length of each jet's standardised features; no epochs, no random numbers.

    The score is sum_i ((x_i - mean_i) / width_i)^2. Autoencoders of a few features hardly do
    better, so it stands beside them. Assumes that what is far from the mean is anomalous.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training import Job
    >>> sample = testing.make_sample(100)
    >>> scorer = Norm().train(Job(sample, "heavy", seed=1))
    >>> scores = scorer.predict({"features": scorer.inputs[0].read(sample)})
    >>> round(float(scores.mean()), 3)  # a variance of 1 for each of two features
    2.0
    """

    kind: Literal["norm"] = "norm"
    features: tuple[str, ...] = Field(
        ("mass", "tau21"), min_length=1, description="columns or expressions of them"
    )

    orientation: ClassVar[str] = "squared distance from the mean"

    @property
    def is_random(self) -> bool:
        """No: means and widths follow from the events."""
        return False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: onnx writes the graph."""
        return ("numpy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of(self.features, scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the means and widths of the events."""
        features = FeatureSet.of(self.features, job.scope, job.data)
        standard = Standardisation.of(features.values(job.data), job.data.weight)
        graph = Graph(features.input)
        scaled = standard.add(graph, features.add(graph, "features"))
        squares = graph.ops.multiply(scaled, scaled)
        terms = [graph.slice(squares, i) for i in range(len(features))]

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            squared = standard.applied(features.computed(inputs["features"])) ** 2
            return reduce(lambda total, term: total + term, squared.T)

        return Scorer(
            graph.model(graph.flat(graph.ops.total(terms))),
            (features.input,),
            predict=predict,
        )


class EventNorm(Norm):
    """Squared length of the standardised features of the event.

    Examples
    --------
    >>> EventNorm().scopes
    ('event',)
    """

    kind: Literal["event_norm"] = "event_norm"  # type: ignore[assignment]

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
