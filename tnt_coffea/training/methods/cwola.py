"""CWoLa hunting: a window in mass against the sidebands beside it."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.settings import Fraction
from tnt_coffea.training.classifiers import (
    CLASSIFIER_NETWORKS,
    AnyClassifier,
    ClassifierMethod,
    Convolutional,
    Dense,
    Stopping,
    signal_efficiency,
)
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.method import Job, Reads, Scope, Scorer
from tnt_coffea.training.sidebands import SidebandMethod, Spacing
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels

__all__ = ["Cwola", "CwolaPerJet"]


class Cwola(SidebandMethod, ClassifierMethod):
    """Classifier of both jets of an event, signal region against sidebands.

    The sidebands have equal weights and together that of the signal region. Assumes that on
    background the inputs do not depend on the mass.

    Source: arXiv:1902.02634; arXiv:2002.12376, section 4.1; arXiv:2101.08320, section 4.1.

    Examples
    --------
    >>> from tnt_coffea.config import MassRange
    >>> method = Cwola(sideband=0.5)
    >>> [band.edges for band in method.sidebands(MassRange(low=3000, high=4000))]
    [(2500.0, 3000.0), (4000.0, 4500.0)]
    >>> method.scopes, method.reads.window
    (('event',), True)
    """

    kind: Literal["cwola"] = "cwola"
    classifier: AnyClassifier = Field(Convolutional(epochs=30), description=CLASSIFIER_NETWORKS)
    candidates: int = Field(1, ge=1, description="networks tried, of which the best is kept")
    choose_by_efficiency: bool = Field(
        False, description="epoch by efficiency on the inner fold left out, not by loss"
    )
    sideband_efficiency: Fraction = Field(0.01, description="where that efficiency is taken")

    scopes: ClassVar[tuple[Scope, ...]] = ("event",)
    orientation: ClassVar[str] = "probability of the signal region"

    @classmethod
    def olympics(cls, *, committed: bool = False) -> Self:
        """Return the settings of arXiv:2101.08320, section 4.1.

        The window is three of 16 logarithmic bins, either sideband two; folds: outer 5. The skim
        has to hold tau32, and its jets are ordered by pT there.

        Parameters
        ----------
        committed
            As in the public code of that section, where it differs from the text: the logarithm of
            the rescaled masses, inputs clipped at 3 widths, random first biases, no network of an
            epoch before the tenth, and at most 2000 epochs. The text has no largest number of
            epochs; 700 is a choice of this package.

        Examples
        --------
        >>> Cwola.olympics().classifier.epochs, Cwola.olympics(committed=True).classifier.clip
        (700, 3.0)
        """
        dense = Dense(
            features=("rescaled_mass", "tau21", "tau32"),
            epochs=700,
            optimizer=OptimizerSettings(batch=5000, patience=250),
        )
        if committed:
            dense = Dense(
                features=("log_rescaled_mass", "tau21", "tau32"),
                epochs=2000,
                min_epoch=10,
                clip=3.0,
                initial_biases=(0.04, 0.01),
                optimizer=dense.optimizer,
            )
        return cls(
            sideband=2 / 3,
            spacing=Spacing.LOGARITHMIC,
            classifier=dense,
            candidates=3,
            choose_by_efficiency=True,
        )

    @classmethod
    def comparison(cls) -> Self:
        """Return the settings of arXiv:2101.08320, section 4.2, in a window of three bins of 15.

        Twelve features, ten networks of which the best by the efficiency of the signal region at
        0.5 % of the sidebands is kept; folds: outer 5. The number of constituents stands for that
        of tracks.

        Examples
        --------
        >>> Cwola.comparison().classifier.layers, Cwola.comparison().sideband_efficiency
        ((64, 32, 16, 4), 0.005)
        """
        return cls(
            sideband=2 / 3,
            spacing=Spacing.LOGARITHMIC,
            classifier=Dense(
                features=("mass", "tau1_width", "tau21", "tau32", "tau43", "n_constituents"),
                layers=(64, 32, 16, 4),
                activations=("relu", "elu", "elu", "elu"),
                dropout=0.2,
                epochs=200,
                optimizer=OptimizerSettings(batch=20480, patience=200),
            ),
            candidates=10,
            choose_by_efficiency=True,
            sideband_efficiency=0.005,
        )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.classifier.network == "trees" and (
            self.candidates > 1 or self.choose_by_efficiency
        ):
            msg = "candidates and choose_by_efficiency are for networks; trees have no random start"
            raise ValueError(msg)
        if self.choose_by_efficiency and self.classifier.stopping is Stopping.ARGOS:
            msg = "choose_by_efficiency and stopping: argos both choose the epoch; leave one out"
            raise ValueError(msg)
        return self

    @property
    def reads(self) -> Reads:
        """The window, and the inner fold left out where the epoch is chosen on it."""
        return Reads(window=True, left_out=self.choose_by_efficiency)

    @property
    def passes(self) -> int:
        """Most epochs of all candidates, or trees."""
        return self.classifier.passes * self.candidates

    def classes(self, job: Job) -> tuple[SampleClass, ...]:
        """Return the signal region and either sideband of the data as classes."""
        left_out = job.left_out if self.choose_by_efficiency else None
        lower, upper = (band.contains(job.data.mass) for band in self.sidebands(job.window))

        def region(name: str, mask: np.ndarray, target: float, share: float) -> SampleClass:
            return SampleClass(name, job.data, mask, target, share, validation=left_out)

        return (
            region("signal-region", job.in_window, 1.0, 1.0),
            region("lower-sideband", lower, 0.0, 0.5),
            region("upper-sideband", upper, 0.0, 0.5),
        )

    def train(self, job: Job) -> Scorer:
        """Return a classifier of signal region against sidebands."""
        labels = WeakLabels(self.classes(job))
        merit = signal_efficiency(self.sideband_efficiency) if self.choose_by_efficiency else None
        return self.classifier.train(
            labels, job.scope, job.seed, merit=merit, candidates=self.candidates
        )


class CwolaPerJet(Cwola):
    """Classifier of each jet, signal region against sidebands; combined as in Tag N' Train.

    Source: arXiv:2002.12376, section 4.2.

    Examples
    --------
    >>> CwolaPerJet().scopes
    ('heavy', 'light')
    """

    kind: Literal["cwola_per_jet"] = "cwola_per_jet"  # type: ignore[assignment]

    scopes: ClassVar[tuple[Scope, ...]] = ("heavy", "light")
