"""Principal components of an event's features, and three distances made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.features import FeatureSet, Standardisation, check_independent
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.linear import PrincipalComponents, principal_components
from tnt_coffea.training.method import Job, Method, Reads, Scope, Scorer, TrainedOn
from tnt_coffea.training.orientation import skewness
from tnt_coffea.training.quantile_knots import QuantileKnots
from tnt_coffea.training.weak_labels import check_weights
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["Pca"]

_FEWEST = 100


class Pca(Method):
    """Distance of an event in principal components of its features' quantiles; no epochs.

    Features become their share of the events below, are standardised to x, and turned to their
    principal components v_i of variance lambda_i. The score is a sum over the `selected` ones of
    the smallest variance among those kept. Its features are those of the publication, which chose
    them with labels. Assumes that what is rare breaks the correlations of the background;
    `event_norm` with the same features says what of it is more than a distance.

    Source: arXiv:2101.08320, section 6.1.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> sample = testing.make_sample(200)
    >>> method = Pca(features=("mass", "tau21"), score="projection", selected=3)
    >>> scorer = method.train(Job(sample, scope="event", seed=1))
    >>> scores = scorer.predict({"features": scorer.inputs[0].read(sample)})
    >>> round(float(scores.mean()), 3)  # a variance of 1 for each of three components
    3.0
    """

    kind: Literal["pca"] = "pca"
    features: tuple[str, ...] = Field(
        (
            *("pt", "tau1_width", "tau21", "tau32", "tau43"),
            *("mass_sum", "abs(heavy_mass - light_mass)"),
        ),
        min_length=1,
        description="columns or expressions of them; the default is fixed by publication, chosen "
        "there with labels",
    )
    score: Literal["published", "projection", "residual"] = Field(
        "published",
        description="published: sum of |x - v_i| / lambda_i, the distance from the tip of the "
        "component, which points away from its longer tail; projection: sum of "
        "(v_i x)^2 / lambda_i; residual: squared distance from what is kept",
    )
    components: int | None = Field(
        None,
        ge=0,
        description="components kept, of largest variance; all but one if not given, the "
        "publication's 11 of 12; with 0 residual is the squared length",
    )
    selected: int = Field(
        1, ge=1, description="components in the score, the last of those kept; all of residual"
    )
    knots: int = Field(1000, ge=2, description="most knots of a feature's quantile function")
    sample: TrainedOn = Field(
        TrainedOn.DATA,
        description="data (outliers); or simulation of the background (novelties), where no event "
        "of the data is read",
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = (
        "distance; published: from the tip of a component that points away from its longer tail"
    )

    @property
    def reads(self) -> Reads:
        """The data, or simulated background instead of them."""
        return self.sample.reads

    @property
    def is_random(self) -> bool:
        """No: all follows from the events."""
        return False

    @property
    def notes(self) -> dict[str, str]:
        """Where the features come from, if they are the publication's."""
        published = type(self).model_fields["features"].default
        return {"features": "fixed by publication"} if self.features == published else {}

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: numpy and scipy compute, onnx writes the graph."""
        return ("numpy", "scipy", "onnx")

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the columns, and numbers of components that do not exist."""
        self._kept(FeatureSet.of(self.features, scope, sample))

    def train(self, job: Job) -> Scorer:
        """Return the tagger of the events' components."""
        sample = self.sample.events(job)
        features = FeatureSet.of(self.features, job.scope, sample)
        kept = self._kept(features)
        check_weights(sample.weight, "a quantile function")
        rows = sample.weight > 0
        weight = np.asarray(sample.weight[rows], np.float64)
        least = max(_FEWEST, 2 * len(features))
        if len(weight) < least:
            without = len(rows) - len(weight)
            msg = (
                f"{len(weight)} events{f' ({without} more have weight 0)' * bool(without)} for "
                f"principal components of {len(features)} features, at least {least} are needed: "
                f"{'give events weights above 0' if len(rows) >= least else 'use more events'}"
            )
            raise TrainingError(msg)
        values = features.values(sample)[rows]
        knots = QuantileKnots.of(values, weight, names=features.names, knots=self.knots)
        levels = knots.applied(values)
        standard = Standardisation.of(levels, weight)
        x = standard.applied(levels)
        check_independent(x, features.names)
        found = principal_components(
            lambda chosen: x[chosen, :, None, None], weight, latent=len(features)
        )
        distance = _distance(found, x, weight, self.score, kept, self.selected)
        notes = {
            "variances": found.variances.tolist(),
            "skewness": [skewness(x @ axis, weight) for axis in distance.axes],
            "events": len(weight),
        }
        return _scorer(features, knots, standard, distance, notes)

    def _kept(self, features: FeatureSet) -> int:
        """Return the number of components kept."""
        d = len(features)
        kept = max(1, d - 1) if self.components is None else self.components
        if kept > d or (kept == d and self.score == "residual"):
            wanted = "one component left out" if self.score == "residual" else f"{kept} components"
            msg = f"pca: {wanted} of {d} features; set components lower, or name more features"
            raise ConfigError(msg)
        if self.score != "residual" and self.selected > kept:
            msg = (
                f"pca: selected is {self.selected} of {kept} components kept of {d} features; "
                f"set it to {kept} or less"
            )
            raise ConfigError(msg)
        return kept


@dataclass(frozen=True)
class _Distance:
    """A score of standardised features x, in numpy and in a graph alike.

    Attributes
    ----------
    axes
        (component, feature) float32, those in the score.
    variances
        (component,) float32, 1 for residuals.
    from_tips
        Whether distances are from the axes' tips, instead of along the axes.
    """

    axes: Float32Array
    variances: Float32Array
    from_tips: bool

    def of(self, columns: Sequence[Any], ops: Any) -> Any:
        """Return the score of (n, 1) features, one after the other."""
        terms = []
        for axis, variance in zip(self.axes, self.variances, strict=True):
            pairs = list(zip(columns, axis, strict=True))
            if self.from_tips:
                apart = [ops.subtract(column, part) for column, part in pairs]
                squares = reduce(ops.add, [ops.multiply(each, each) for each in apart])
                terms.append(ops.divide(ops.sqrt(squares), variance))
            else:
                along = reduce(ops.add, [ops.multiply(column, part) for column, part in pairs])
                terms.append(ops.divide(ops.multiply(along, along), variance))
        return reduce(ops.add, terms)


def _distance(
    found: PrincipalComponents,
    x: Float32Array,
    weight: Float64Array,
    score: str,
    kept: int,
    selected: int,
) -> _Distance:
    if score == "residual":
        axes = found.axes[kept:].astype(np.float32)
        return _Distance(axes, np.ones(len(axes), np.float32), from_tips=False)
    axes = found.axes[kept - selected : kept].astype(np.float32)
    variances = found.variances[kept - selected : kept].astype(np.float32)
    # An axis has no sign of its own, but the distance from its tip has one.
    signs = [-1 if skewness(x @ axis, weight) > 0 else 1 for axis in axes]
    turned = (axes.T * np.array(signs, np.float32)).T
    return _Distance(turned, variances, from_tips=score == "published")


def _scorer(
    features: FeatureSet,
    knots: QuantileKnots,
    standard: Standardisation,
    distance: _Distance,
    notes: dict[str, Any],
) -> Scorer:
    graph, d = Graph(features.input), len(features)
    levels = knots.add(graph, features.add(graph, "features"))
    x = standard.add(graph, levels)
    score = distance.of([graph.slice(x, i) for i in range(d)], graph.ops)

    def predict(inputs: dict[str, Float32Array]) -> Float32Array:
        x = standard.applied(knots.applied(features.computed(inputs["features"])))
        out: Float32Array = distance.of([x[:, [i]] for i in range(d)], np)[:, 0]
        return out

    summary = {"variance": float(distance.variances[-1]), "events": float(notes["events"])}
    return Scorer(
        graph.model(graph.flat(score)),
        (features.input,),
        history=notes,
        summary=summary,
        predict=predict,
    )
