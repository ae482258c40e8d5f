"""SA-CWoLa: CWoLa hunting that simulation teaches not to learn the mass."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tnt_coffea.config.settings import Positive
from tnt_coffea.training.classifiers import CLASSIFIER_NETWORKS, AnyClassifier, Dense, Momenta
from tnt_coffea.training.density_ratio import predicted, weights_of
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.training.method import Job, Need, Reads, Scope, Scorer
from tnt_coffea.training.methods.cwola import Cwola
from tnt_coffea.training.sidebands import Spacing
from tnt_coffea.training.weak_labels import SampleClass, WeakLabels
from tnt_coffea.typing import Float64Array

__all__ = ["Form", "SaCwola"]

_LARGEST = 1e4
"""Largest logarithm of the odds that is kept: what diverges stays finite."""


class Form(StrEnum):
    """How simulation enters the loss."""

    SWAPPED = "swapped"
    NEGATIVE = "negative"


class SaCwola(Cwola):
    """Classifier of signal region against sidebands, which must not tell them in simulation.

    The form `swapped` shows it the regions of simulation with exchanged targets
    (arXiv:2009.02205, equation 2.3); with perfect simulation and strength 1 background has one
    score in all regions. The form `negative` subtracts the loss on simulation (arXiv:2101.08320,
    equation 4.11), which has no minimum from strength 1 on and is steep before.

    Source: arXiv:2009.02205, section II B; arXiv:2101.08320, section 4.5, equation 4.11.

    Examples
    --------
    >>> method = SaCwola(strength=0.5)
    >>> method.form.value, method.reads.simulation, method.scopes
    ('swapped', True, ('event',))
    >>> SaCwola.tossed().classifier.network
    'momenta'
    """

    kind: Literal["sa_cwola"] = "sa_cwola"  # type: ignore[assignment]
    sideband: Positive = Field(0.75, description="width of either sideband, in window widths")
    form: Form = Field(Form.SWAPPED, description="swapped (2009.02205) or negative (2101.08320)")
    strength: float = Field(1.0, ge=0, description="weight lambda of the simulation's loss")
    after: str | None = Field(None, description="name of a method (dctr) that weights simulation")
    classifier: AnyClassifier = Field(
        default_factory=lambda: Dense.paper("light_mass", "mass_difference", "tau21"),
        description=CLASSIFIER_NETWORKS,
    )

    @classmethod
    def tossed(cls, strength: float = 1.0) -> Self:
        """Return Tossed CWoLa SALAD, arXiv:2101.08320, section 4.1.3.

        It takes `search.variable: m_multijet`, `train.windows: tossed` and a skim with the jets in
        sequence: the window is three of 16 logarithmic bins, either sideband two. The epoch is
        chosen by the loss, not by the efficiency as in CWoLa hunting: targets of simulation are
        exchanged.
        """
        return cls(
            strength=strength,
            sideband=2 / 3,
            spacing=Spacing.LOGARITHMIC,
            classifier=Momenta(epochs=700, optimizer=OptimizerSettings(batch=5000, patience=250)),
        )

    @model_validator(mode="after")
    def _has_minimum(self) -> Self:
        if self.strength and self.choose_by_efficiency:
            msg = (
                "choose_by_efficiency takes targets for regions, which simulation has exchanged; "
                "leave it out"
            )
            raise ValueError(msg)
        if self.form is not Form.NEGATIVE:
            return self
        if self.strength >= 1:
            msg = (
                f"form negative has no minimum from strength 1 on, got {self.strength:g}; choose "
                "one below 1, or form: swapped"
            )
            raise ValueError(msg)
        if self.classifier.network == "trees" or self.classifier.optimizer.keep != "last":
            msg = (
                "form negative needs a network that keeps its last weights, optimizer: {keep: "
                "last}: its loss does not fall to a minimum that could choose an epoch"
            )
            raise ValueError(msg)
        return self

    @property
    def reads(self) -> Reads:
        """The window, and simulated background."""
        return Reads(window=True, left_out=self.choose_by_efficiency, simulation=True)

    def needs(self, scope: Scope) -> tuple[Need, ...]:
        """Return the weights of the simulation, where it has some."""
        return () if self.after is None else (Need(self.after, "event", "weight"),)

    def train(self, job: Job) -> Scorer:
        """Return the classifier; with strength 0 it is that of CWoLa hunting."""
        if not self.strength:
            return super().train(job)
        labels = WeakLabels((*self.classes(job), *self._simulated(job)))
        if self.form is Form.SWAPPED:
            return self.classifier.train(labels, job.scope, job.seed, candidates=self.candidates)
        scorer = self.classifier.train(
            labels, job.scope, job.seed, candidates=self.candidates, log_odds=_LARGEST
        )
        largest = {"largest_log_odds": float(np.abs(predicted(scorer, job.data)).max())}
        return replace(
            scorer, history={**scorer.history, **largest}, summary={**scorer.summary, **largest}
        )

    def _simulated(self, job: Job) -> tuple[SampleClass, ...]:
        simulation, swapped = job.simulation, self.form is Form.SWAPPED
        lower, upper = self.sidebands(job.window)
        weight: Float64Array | None = None
        if self.after is not None:
            weight = weights_of(job.scores(self.after, "event", simulation), simulation)

        def region(name: str, mask: np.ndarray, target: float, share: float) -> SampleClass:
            share = self.strength * share * (1 if swapped else -1)
            return SampleClass(
                f"simulated {name}",
                simulation,
                mask,
                1.0 - target if swapped else target,
                share,
                weight=weight,
            )

        return (
            region("signal-region", job.window.contains(simulation.mass), 1.0, 1.0),
            region("lower-sideband", lower.contains(simulation.mass), 0.0, 0.5),
            region("upper-sideband", upper.contains(simulation.mass), 0.0, 0.5),
        )
