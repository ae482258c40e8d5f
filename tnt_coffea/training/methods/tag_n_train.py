"""Tag N' Train: a weak tagger of one jet labels the events that train the other jet's."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from tnt_coffea.config import MassRange
from tnt_coffea.config.settings import Fraction
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.classifiers import (
    CLASSIFIER_NETWORKS,
    AnyClassifier,
    ClassifierMethod,
    Convolutional,
    Dense,
    Trees,
)
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.labels import JETS, OTHER_JET, Jet, Labels, rich_labels
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.reweighting import ratio_bins, ratio_weights
from tnt_coffea.training.templates import AnyTemplate
from tnt_coffea.training.templates.classification import against_template, template_features
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

__all__ = ["Reweighting", "SameJet", "TagNTrain", "tagged_labels"]


class Reweighting(StrEnum):
    """Variable of the trained jet in which background-rich events get the signal-rich shape."""

    NONE = "none"
    PT = "pt"
    MASS = "mass"
    M_JJ = "m_jj"


class TagNTrain(ClassifierMethod):
    """Classifier of each jet, of the events that the other jet's tagger ranks highest and lowest.

    Assumes that on background the scores of the two jets are independent. With a template
    background-rich events are synthetic ones of the window, made of the events that are tagged
    beside it; then it assumes that the features of tagged background change smoothly with the
    mass instead.

    Source: arXiv:2002.12376, sections 2 and 4.1.

    Examples
    --------
    >>> method = TagNTrain(after="autoencoder", signal_rich=0.1)
    >>> method.needs("heavy"), method.reads.window
    ((Need(method='autoencoder', scope='light', purpose='score'),), True)
    """

    kind: Literal["tag_n_train"] = "tag_n_train"
    after: str = Field(description="name of the method whose taggers label the events")
    signal_rich: Fraction = Field(0.2, description="top share of the labelling jet")
    background_rich: Fraction = Field(0.4, description="lowest share of the labelling jet")
    mass_window: bool = Field(True, description="signal-rich events lie in the window as well")
    reweight: Reweighting = Field(
        Reweighting.MASS, description="background-rich as signal-rich in none, pt, mass, m_jj"
    )
    sidebands_only: bool = Field(
        True, description="measure the pt or mass weights outside the window only"
    )
    soft_labels: bool = Field(False, description="targets: quantiles instead of 0 and 1")
    shared: bool = Field(False, description="train each jet's tagger on both jets")
    # Left out of what is stored where it is null: settings from before it have the same digest.
    template: AnyTemplate | None = Field(
        None,
        exclude_if=lambda template: template is None,
        description="background-rich: synthetic events of the window instead, made of tagged "
        "events beside it, kind (by) and its settings; null: what the other jet ranks lowest",
    )
    classifier: AnyClassifier = Field(Convolutional(), description=CLASSIFIER_NETWORKS)

    orientation: ClassVar[str] = "probability of signal-rich"

    @model_validator(mode="after")
    def _disjoint(self) -> Self:
        if self.signal_rich + self.background_rich > 1:
            msg = (
                f"signal_rich and background_rich overlap: {self.signal_rich} + "
                f"{self.background_rich} is above 1"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _template_possible(self) -> Self:
        if self.template is None:
            return self
        needed = {
            "mass_window": self.mass_window,
            "reweight: none": self.reweight is Reweighting.NONE,
            "shared: false": not self.shared,
            "soft_labels: false": not self.soft_labels,
            "a classifier of features, dense or trees": isinstance(self.classifier, Dense | Trees),
        }
        missing = [name for name, there in needed.items() if not there]
        if missing:
            msg = f"background-rich events from a template need {', '.join(missing)}"
            raise ValueError(msg)
        return self

    @property
    def passes(self) -> int:
        """Those of a template, and most epochs or trees."""
        return super().passes + (0 if self.template is None else self.template.passes)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Those of a template and of the classifier."""
        template = () if self.template is None else self.template.libraries
        return tuple(dict.fromkeys((*template, *super().libraries)))

    @property
    def reads(self) -> Reads:
        """The window: signal-rich events lie in it, or weights are measured beside it."""
        return Reads(window=self.mass_window or self.measures_beside)

    @property
    def measures_beside(self) -> bool:
        """Whether the weights are those outside the window."""
        return self.sidebands_only and self.reweight in {Reweighting.PT, Reweighting.MASS}

    def tags_with(self, jet: str) -> Jet:
        """Return the jet whose tagger labels events for a jet."""
        return OTHER_JET[jet]

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the tagger of the other jet; those of both jets where it is shared."""
        jets = JETS if self.shared else (self.tags_with(scope),)
        return tuple(Need(self.after, jet) for jet in jets)

    def check(self, sample: Sample, scope: Scope) -> None:
        """Refuse a skim without the classifier's inputs, or the variable of the weights."""
        self.classifier.inputs(scope, sample)
        if isinstance(self.classifier, Dense | Trees) and self.template is not None:
            template_features(self.classifier, scope, sample)
        if self.reweight is not Reweighting.NONE:
            _variable(sample, scope, self.reweight)

    def check_window(self, window: MassRange, fit_range: MassRange) -> None:
        """Refuse a window whose sidebands leave the fit range, where a template is made of them."""
        if self.template is not None:
            self.template.check_window(window, fit_range)

    def train(self, job: Job) -> Scorer:
        """Return the classifier of one jet."""
        if self.template is not None:
            return self._against_template(job, self.template)
        classes, notes = self._classes(job, job.scope)
        if self.shared:
            other = OTHER_JET[job.scope]
            further, of_other = self._classes(job, other)
            classes += further
            notes = {name: min(n, of_other[name]) for name, n in notes.items()}
        return self.classifier.train(WeakLabels(classes, notes), job.scope, job.seed)

    def _against_template(self, job: Job, template: AnyTemplate) -> Scorer:
        # Beside the window the same events are chosen: the other jet's tag shapes both alike.
        assert isinstance(self.classifier, Dense | Trees)
        labels, _ = tagged_labels(
            job,
            self.after,
            self.tags_with(job.scope),
            signal_rich=self.signal_rich,
            background_rich=self.background_rich,
            window=job.window,
        )
        return against_template(
            template, self.classifier, job, name="signal-rich", chosen=labels.tagged
        )

    def _classes(self, job: Job, jet: str) -> tuple[tuple[SampleClass, ...], dict[str, int]]:
        window = job.window if self.mass_window else None
        labels, quantile = tagged_labels(
            job,
            self.after,
            self.tags_with(jet),
            signal_rich=self.signal_rich,
            background_rich=self.background_rich,
            window=window,
        )
        rich, poor = labels.signal_rich, labels.background_rich
        weight, notes = job.data.weight, {}
        if self.reweight is not Reweighting.NONE:
            wanted, measured = rich, None
            if self.measures_beside:
                wanted, measured = labels.tagged, ~job.in_window
            values = _variable(job.data, jet, self.reweight)
            weight = ratio_weights(values, weight, wanted, poor, measured)
            notes["weight bins"] = ratio_bins(wanted, poor, measured)
        targets = (quantile, quantile) if self.soft_labels else (1.0, 0.0)
        inputs = self.classifier.inputs(jet, job.data) if self.shared else None
        return (
            SampleClass("signal-rich", job.data, rich, targets[0], weight=weight, inputs=inputs),
            SampleClass(
                "background-rich",
                job.data,
                poor & (weight > 0),
                targets[1],
                weight=weight,
                inputs=inputs,
            ),
        ), notes


class SameJet(TagNTrain):
    """Tag N' Train with labels of the trained jet itself, which cannot improve the tagger.

    Source: arXiv:2002.12376, appendix A.

    Examples
    --------
    >>> SameJet(after="autoencoder").needs("heavy")
    (Need(method='autoencoder', scope='heavy', purpose='score'),)
    """

    kind: Literal["same_jet"] = "same_jet"  # type: ignore[assignment]
    mass_window: Literal[False] = Field(
        False, description="a window would bring in what the jet does not know"
    )
    shared: Literal[False] = Field(
        False, description="with both jets the labels would be the other jet's"
    )
    template: Literal[None] = Field(
        None, exclude_if=lambda _: True, description="a template is for the events of a window"
    )

    def tags_with(self, jet: str) -> Jet:
        """Return the jet itself."""
        return "heavy" if jet == "heavy" else "light"


def tagged_labels(
    job: Job,
    after: str,
    jet: Jet,
    *,
    signal_rich: float,
    background_rich: float,
    window: MassRange | None,
) -> tuple[Labels, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the labels that one jet's taggers give, and the quantiles they come from.

    Parameters
    ----------
    job
        The training run.
    after
        Method whose taggers label.
    jet
        Jet that these score.
    signal_rich, background_rich
        Shares of the events of an inner fold, at the top and at the bottom.
    window
        Signal-rich events lie in it as well, if there is one.

    Returns
    -------
    Labels, (event,) quantile within the inner fold
    """
    data = job.data
    rich, poor, tagged = np.zeros((3, len(data)), dtype=np.bool_)
    quantile = np.full(len(data), 0.5)
    for ranking in job.rankings(after, jet):
        rows = ranking.rows
        labels = rich_labels(
            ranking.order,
            data.mass[rows],
            signal_rich=signal_rich,
            background_rich=background_rich,
            window=window,
        )
        tagged[rows] = labels.tagged
        rich[rows] = labels.signal_rich
        poor[rows] = labels.background_rich
        quantile[rows] = ranking.quantile
    return Labels(rich, poor, tagged), quantile


def _variable(sample: Sample, jet: str, reweight: Reweighting) -> npt.NDArray[Any]:
    if reweight is Reweighting.M_JJ:
        return sample.m_jj
    # Of the right jet: the one that is trained on, event by event.
    features = FeatureSet.of((reweight.value,), jet, sample)
    return features.input.reader(sample)(np.arange(len(sample)))[:, 0]
