"""References that are trained with the truth, to compare with; no search accepts their taggers."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from tnt_coffea.config.settings import Fraction
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.identity import uniform
from tnt_coffea.training.classifiers import (
    CLASSIFIER_NETWORKS,
    AnyClassifier,
    ClassifierMethod,
    Convolutional,
    Dense,
)
from tnt_coffea.training.labels import OTHER_JET
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.methods.tag_n_train import tagged_labels
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels
from tnt_coffea.typing import BoolArray

__all__ = [
    "OptimalCwola",
    "OptimalCwolaPerJet",
    "PureCwola",
    "Supervised",
    "SupervisedBothJets",
]


class _WithTruth(ClassifierMethod):
    """Base of the references."""

    classifier: AnyClassifier = Field(Convolutional(), description=CLASSIFIER_NETWORKS)

    orientation: ClassVar[str] = "probability of signal"

    @property
    def reads(self) -> Reads:
        """The truth."""
        return Reads(truth=True)

    def train(self, job: Job) -> Scorer:
        """Return a classifier of what the truth says."""
        if (job.data.label < 0).any():
            msg = f"{self.kind} is trained with the truth, and these events have no labels"
            raise TrainingError(msg)
        positive, negative = self.samples(job)
        labels = WeakLabels(
            (
                SampleClass("signal-rich", job.data, positive, 1.0),
                SampleClass("background-rich", job.data, negative, 0.0),
            )
        )
        return self.classifier.train(labels, job.scope, job.seed)

    @abstractmethod
    def samples(self, job: Job) -> tuple[BoolArray, BoolArray]:
        """Return (event,) masks of the two samples."""


class Supervised(_WithTruth):
    """Classifier of each jet, signal against background by their labels.

    Source: 'separate' in figure 2 of arXiv:2002.12376.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.training import Job
    >>> from tnt_coffea.training.classifiers import Trees
    >>> job = Job(testing.make_sample(400), "heavy", seed=1)
    >>> scorer = Supervised(classifier=Trees(features=("mass", "tau21"), trees=20)).train(job)
    >>> scorer.history["signal-rich"], scorer.history["background-rich"]
    (32, 368)
    """

    kind: Literal["supervised"] = "supervised"

    def samples(self, job: Job) -> tuple[BoolArray, BoolArray]:
        """Return pure signal and pure background."""
        return job.data.label == 1, job.data.label == 0


class SupervisedBothJets(Supervised):
    """Classifier of both jets of an event, signal against background by their labels.

    Source: 'both jets' in figure 2 of arXiv:2002.12376.

    Examples
    --------
    >>> SupervisedBothJets().scopes, SupervisedBothJets().reads.truth
    (('event',), True)
    """

    kind: Literal["supervised_both_jets"] = "supervised_both_jets"  # type: ignore[assignment]

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)


class PureCwola(_WithTruth):
    """Classifier of random mixed samples with the signal shares of Tag N' Train.

    Source: arXiv:2002.12376, figure 4; arXiv:1708.02949.

    Examples
    --------
    >>> method = PureCwola(after="autoencoder")
    >>> method.needs("heavy"), method.reads.truth
    ((Need(method='autoencoder', scope='light', purpose='score'),), True)
    """

    kind: Literal["pure_cwola"] = "pure_cwola"
    after: str = Field(description="name of the method whose taggers set the signal shares")
    signal_rich: Fraction = Field(0.2, description="top share of the other jet")
    background_rich: Fraction = Field(0.4, description="lowest share of the other jet")
    mass_window: bool = Field(True, description="signal-rich events lie in the window as well")

    @property
    def reads(self) -> Reads:
        """The truth, and the window where the samples that it imitates have one."""
        return Reads(truth=True, window=self.mass_window)

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the tagger of the other jet, only to count signal and background."""
        return (Need(self.after, OTHER_JET[scope]),)

    def samples(self, job: Job) -> tuple[BoolArray, BoolArray]:
        """Return two disjoint random samples with Tag N' Train's signal and background."""
        labels, _ = tagged_labels(
            job,
            self.after,
            OTHER_JET[job.scope],
            signal_rich=self.signal_rich,
            background_rich=self.background_rich,
            window=job.window if self.mass_window else None,
        )
        data = job.data
        draw = np.argsort(uniform(data.event_id, job.seed, "mixed samples"), kind="stable")
        rich, poor = np.zeros((2, len(draw)), dtype=np.bool_)
        for truth in (0, 1):
            of_class = draw[data.label[draw] == truth]
            first = int((labels.signal_rich & (data.label == truth)).sum())
            second = int((labels.background_rich & (data.label == truth)).sum())
            rich[of_class[:first]] = True
            poor[of_class[first : first + second]] = True
        return rich, poor


class OptimalCwola(_WithTruth):
    """Classifier of the signal region against background of the same region, an independent sample.

    CWoLa hunting without its assumption: both classes have one mass, so nothing is learned but
    the signal. Without `background` the events are halved by their ids: background of one half
    is one class, all of the other half the other, so that S/B stays and half of the signal is
    not used.

    Source: PRD 104 (2021) 035003, sections III and IV ("optimal CWoLa").

    Examples
    --------
    >>> OptimalCwola().reads.window, OptimalCwola(background="more").reads.priors
    (True, True)
    """

    kind: Literal["optimal_cwola"] = "optimal_cwola"
    background: str | None = Field(
        None,
        min_length=1,
        description="name of the signal-free sample, as of --prior NAME=FILE; null: half of the "
        "data's own background, by its labels",
    )
    classifier: AnyClassifier = Field(
        default_factory=lambda: Dense.paper("light_mass", "mass_difference", "tau21"),
        description=CLASSIFIER_NETWORKS,
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "probability of the data"

    @property
    def reads(self) -> Reads:
        """The truth, the window, and the sample of `background`."""
        return Reads(truth=True, window=True, priors=self.background is not None)

    def train(self, job: Job) -> Scorer:
        """Return a classifier of the signal region against its background."""
        if self.background is None:
            return super().train(job)
        if self.background not in job.priors:
            msg = (
                f"{self.kind}: no sample is called '{self.background}', there are "
                f"{', '.join(job.priors)}; give it with --prior {self.background}=FILE"
            )
            raise ConfigError(msg)
        background = job.priors[self.background]
        labels = WeakLabels(
            (
                SampleClass("signal-rich", job.data, job.in_window, 1.0),
                SampleClass(
                    "background-rich", background, job.window.contains(background.mass), 0.0
                ),
            )
        )
        return self.classifier.train(labels, job.scope, job.seed)

    def samples(self, job: Job) -> tuple[BoolArray, BoolArray]:
        """Return one half of the signal region, and the background of the other."""
        first = uniform(job.data.event_id, job.seed, "halves") < 0.5
        return job.in_window & first, job.in_window & ~first & (job.data.label == 0)


class OptimalCwolaPerJet(OptimalCwola):
    """Classifier of each jet, likewise; combined as in Tag N' Train.

    It sees one jet and no tag: a signal-rich sample that the other jet's tag has enriched may
    teach more than it knows.

    Source: this project, as `cwola_per_jet` is of `cwola` (arXiv:2002.12376, section 4.2).

    Examples
    --------
    >>> OptimalCwolaPerJet().scopes, OptimalCwolaPerJet().reads.truth
    (('heavy', 'light'), True)
    """

    kind: Literal["optimal_cwola_per_jet"] = "optimal_cwola_per_jet"  # type: ignore[assignment]
    classifier: AnyClassifier = Field(
        default_factory=lambda: Dense.paper("mass", "tau21"), description=CLASSIFIER_NETWORKS
    )

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")
