"""Data against simulation in the signal region."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from tnt_coffea.training.classifiers import (
    CLASSIFIER_NETWORKS,
    AnyClassifier,
    ClassifierMethod,
    Dense,
)
from tnt_coffea.training.method import Job, Reads, Scope, Scorer
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

__all__ = ["DataVsSimulation"]


class DataVsSimulation(ClassifierMethod):
    """Classifier of both jets of an event, data against simulation in the signal region.

    Assumes that simulation describes the background: whatever it gets wrong is learned as well.

    Source: PRD 104 (2021) 035003, sections III and IV ("data vs sim.").

    Examples
    --------
    >>> DataVsSimulation().reads.simulation, DataVsSimulation().reads.truth
    (True, False)
    """

    kind: Literal["data_vs_simulation"] = "data_vs_simulation"
    classifier: AnyClassifier = Field(
        default_factory=lambda: Dense.paper("light_mass", "mass_difference", "tau21"),
        description=CLASSIFIER_NETWORKS,
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "probability of the data"

    @property
    def reads(self) -> Reads:
        """The window and simulated background."""
        return Reads(window=True, simulation=True)

    def train(self, job: Job) -> Scorer:
        """Return a classifier of data against simulation, either of weight one in all."""
        simulated = job.window.contains(job.simulation.mass)
        labels = WeakLabels(
            (
                SampleClass("data", job.data, job.in_window, 1.0),
                SampleClass("simulation", job.simulation, simulated, 0.0),
            )
        )
        return self.classifier.train(labels, job.scope, job.seed)
