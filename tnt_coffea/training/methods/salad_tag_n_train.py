"""Tag N' Train whose background is weighted simulation with the same tag."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.config.settings import Fraction, Positive
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.classifiers import CLASSIFIER_NETWORKS, AnyClassifier, Dense
from tnt_coffea.training.density_ratio import (
    RatioNetwork,
    WeightSummary,
    check_mass,
    density_ratio,
    predicted,
    weights_of,
)
from tnt_coffea.training.labels import OTHER_JET
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.sidebands import SidebandMethod
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels
from tnt_coffea.typing import BoolArray

__all__ = ["SaladTagNTrain"]


class SaladTagNTrain(SidebandMethod):
    """Classifier of each jet, tagged data of the window against tagged simulation, weighted.

    Both samples are tagged by the other jet's tagger, and the weights are learned from the
    tagged events of the sidebands: what the tag does to background is the same on both sides,
    so the jets need not be independent.

    Source: arXiv:2002.12376, section 2, with the weights of arXiv:2009.02205, section II A.

    Examples
    --------
    >>> method = SaladTagNTrain(after="autoencoder")
    >>> method.needs("heavy"), method.reads.simulation
    ((Need(method='autoencoder', scope='light', purpose='score'),), True)
    """

    kind: Literal["salad_tag_n_train"] = "salad_tag_n_train"
    after: str = Field(description="name of the method whose taggers label the events")
    signal_rich: Fraction = Field(0.2, description="top share of the labelling jet")
    sideband: Positive = Field(0.75, description="width of either sideband, in window widths")
    ratio: RatioNetwork = Field(
        default_factory=lambda: Dense.paper("mass", "tau21", "m_jj"),
        description="network of the weights: convolutional, dense or particle_flow",
    )
    limit: Positive = Field(6.0, description="largest logarithm of a weight, or of its inverse")
    classifier: AnyClassifier = Field(
        default_factory=lambda: Dense.paper("mass", "tau21"), description=CLASSIFIER_NETWORKS
    )

    orientation: ClassVar[str] = "probability of tagged data in the signal region"

    @property
    def reads(self) -> Reads:
        """The window and simulated background."""
        return Reads(window=True, simulation=True)

    @property
    def passes(self) -> int:
        """Most epochs of both networks."""
        return self.classifier.passes + self.ratio.passes

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the tagger of the other jet."""
        return (Need(self.after, OTHER_JET[scope]),)

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the networks' inputs."""
        self.classifier.inputs(scope, sample)
        check_mass(self.ratio.inputs(scope, sample), sample, "ratio")

    def train(self, job: Job) -> Scorer:
        """Return the classifier of one jet."""
        data, simulation = job.data, job.simulation
        tagged = self._tagged(job, data), self._tagged(job, simulation)
        lower, upper = self.sidebands(job.window)
        sidebands = [("tagged lower sideband", lower), ("tagged upper sideband", upper)]
        ratio = density_ratio(
            sidebands,
            (data, simulation),
            self.ratio,
            job.scope,
            seeds.integer(job.seed, "ratio"),
            self.limit,
            tagged,
        )
        kept = tagged[1] & job.window.contains(simulation.mass)
        inside = simulation.select(kept)
        weights = weights_of(predicted(ratio, inside), inside)
        every = np.ones(len(inside), dtype=np.bool_)
        labels = WeakLabels(
            (
                SampleClass("signal-rich", data, tagged[0] & job.in_window, 1.0),
                SampleClass("simulation", inside, every, 0.0, weight=weights),
            ),
            WeightSummary.of(np.abs(weights)).to_dict() if len(inside) else {},
        )
        return self.classifier.train(labels, job.scope, job.seed)

    def _tagged(self, job: Job, sample: Sample) -> BoolArray:
        """Return (event,) whether the other jet is in the top share of its inner fold."""
        tagged = np.zeros(len(sample), dtype=np.bool_)
        for ranking in job.rankings(self.after, OTHER_JET[job.scope], sample):
            n = len(ranking.order)
            tagged[ranking.rows[ranking.order[n - round(self.signal_rich * n) :]]] = True
        return tagged
