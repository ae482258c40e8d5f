"""SALAD: data of a window against simulation that is weighted to be its background."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.training.classifiers import (
    CLASSIFIER_NETWORKS,
    AnyClassifier,
    ClassifierMethod,
    Dense,
)
from tnt_coffea.training.density_ratio import WeightSummary, weights_of
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

__all__ = ["Salad"]


class Salad(ClassifierMethod):
    """Classifier of an event, data against weighted simulation, both of the signal region.

    Assumes that the weights of `dctr`, learned beside the window, hold in it. What it selects
    can be compared with the weighted simulation that passes: its direct background estimate.

    Source: arXiv:2009.02205, equation 2.1; arXiv:2101.08320, section 4.4.

    Examples
    --------
    >>> method = Salad(after="dctr")
    >>> method.needs("event"), method.weighted_by
    ((Need(method='dctr', scope='event', purpose='weight'),), 'dctr')
    """

    kind: Literal["salad"] = "salad"
    after: str = Field(description="name of the method (dctr) that weights the simulation")
    classifier: AnyClassifier = Field(
        default_factory=lambda: Dense.paper("light_mass", "mass_difference", "tau21"),
        description=CLASSIFIER_NETWORKS,
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "probability of data in the signal region"

    @property
    def reads(self) -> Reads:
        """The window and simulated background."""
        return Reads(window=True, simulation=True)

    @property
    def weighted_by(self) -> str:
        """The method whose weights make the simulation its background."""
        return self.after

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the weights, each simulated event's from networks that left it out."""
        return (Need(self.after, "event", "weight"),)

    def train(self, job: Job) -> Scorer:
        """Return a classifier of data against weighted simulation."""
        inside = job.simulation.select(job.window.contains(job.simulation.mass))
        weights = weights_of(job.scores(self.after, "event", inside), inside)
        every = np.ones(len(inside), dtype=np.bool_)
        labels = WeakLabels(
            (
                SampleClass("signal-region", job.data, job.in_window, 1.0),
                SampleClass("simulation", inside, every, 0.0, weight=weights),
            ),
            WeightSummary.of(np.abs(weights)).to_dict() if len(inside) else {},
        )
        return self.classifier.train(labels, job.scope, job.seed)
