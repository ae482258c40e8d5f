"""An observable as a tagger: a baseline beside every method, or a first label."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tnt_coffea.events.sample import Sample
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer
from tnt_coffea.typing import Float32Array

__all__ = ["EventFeature", "Feature"]


class Feature(Method):
    """Observable of each jet as its score; nothing is trained.

    Assumes that the observable is known a priori to tell signal from background.

    Source: the first labels of arXiv:2002.12376, section 2.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training import Job
    >>> sample = testing.make_sample(10)
    >>> scorer = Feature(feature="tau21", descending=True).train(Job(sample, "heavy", seed=1))
    >>> columns = scorer.inputs[0].reader(sample)([0, 1])
    >>> bool((scorer.predict({"features": columns}) == -sample.columns["heavy_tau21"][:2]).all())
    True
    """

    kind: Literal["feature"] = "feature"
    feature: str = Field("mass", description="column of the skim, or an expression of columns")
    descending: bool = Field(False, description="low values are anomalous")

    orientation: ClassVar[str] = "fixed sign"

    @property
    def reads(self) -> Reads:
        """Nothing: one tagger serves all folds."""
        return Reads(data=False)

    @property
    def is_random(self) -> bool:
        """No: the observable is fixed."""
        return False

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: onnx writes the graph."""
        return ("numpy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns."""
        FeatureSet.of((self.feature,), scope, sample)

    def train(self, job: Job) -> Scorer:
        """Return the tagger whose score is the observable, or its negative."""
        features = FeatureSet.of((self.feature,), job.scope, job.data)
        graph = Graph(features.input)
        value = graph.flat(graph.slice(features.add(graph, "features"), 0))
        if self.descending:
            value = graph.ops.negative(value)

        def predict(inputs: dict[str, Float32Array]) -> Float32Array:
            values = features.computed(inputs["features"])[:, 0]
            return -values if self.descending else values

        return Scorer(graph.model(value), (features.input,), predict=predict)


class EventFeature(Feature):
    """Observable of the event as its score, such as `heavy_tau21 + light_tau21`.

    Examples
    --------
    >>> EventFeature(feature="heavy_mass + light_mass").scopes
    ('event',)
    """

    kind: Literal["event_feature"] = "event_feature"  # type: ignore[assignment]
    feature: str = Field("m_jj", description="column of the skim, or an expression of columns")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
