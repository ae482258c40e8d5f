"""References that are told the truth, to compare with; no search accepts their taggers."""

from __future__ import annotations

from typing import Any

import numpy as np

from tnt_coffea.config import ClassifierSettings, TrainSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.identity import uniform
from tnt_coffea.training import classifiers
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.labellers import OTHER_JET
from tnt_coffea.training.methods.interface import Job, Labelling, Method, Scope
from tnt_coffea.training.methods.tag_n_train import tnt_labels
from tnt_coffea.training.selection import BoolArray, Group, Selection
from tnt_coffea.training.trained import Trained

__all__ = ["PureCwola", "Supervised", "SupervisedBothJets"]


class _WithTruth(Method):
    uses_truth = True

    def epochs(self, settings: TrainSettings) -> int:
        """Return the most epochs, or trees."""
        chosen = settings.supervised
        return classifiers.epochs(chosen.classifier, chosen.epochs)

    def options(self, settings: TrainSettings) -> dict[str, Any]:
        """Return network and optimiser."""
        values = settings.model_dump(mode="json")
        chosen = settings.supervised.model_dump(mode="json")
        return {"supervised": chosen, "optimizer": values["optimizer"]}

    def classifier(self, settings: TrainSettings) -> ClassifierSettings:
        """Return `train.supervised.classifier`."""
        return settings.supervised.classifier

    def train(self, job: Job) -> Trained:
        """Return a classifier of what the truth says."""
        if (job.sample.label < 0).any():
            msg = f"{self.name} is trained with the truth, and these events have no labels"
            raise TrainingError(msg)
        chosen = job.settings.supervised
        positive, negative = self.samples(job)
        return classifiers.classifier(
            ClassifierInputs(job.sample, (job.scope,), chosen.classifier),
            Selection(
                event_id=job.sample.event_id,
                targets=positive.astype(np.float64),
                weight=job.sample.weight,
                groups=(Group("signal-rich", positive), Group("background-rich", negative)),
            ),
            chosen.classifier,
            classifiers.Budget(chosen.epochs, job.settings.optimizer, chosen.pixel_scale),
            job.seed,
        )

    def samples(self, job: Job) -> tuple[BoolArray, BoolArray]:
        """Return (event,) masks of the two samples: pure signal and pure background."""
        return job.sample.label == 1, job.sample.label == 0


class Supervised(_WithTruth):
    """A classifier for each jet: 'separate' in figure 2 of arXiv:2002.12376."""

    name = "supervised"


class SupervisedBothJets(_WithTruth):
    """One classifier of both jets: 'both jets' in figure 2 of arXiv:2002.12376."""

    name = "supervised_both_jets"

    def scopes(self, settings: TrainSettings) -> tuple[Scope, ...]:
        """Return the event."""
        return ("event",)


class PureCwola(_WithTruth):
    """Random mixed samples with the signal shares of the first round of Tag N' Train.

    Source: arXiv:2002.12376, figure 4; arXiv:1708.02949.
    """

    name = "pure_cwola"

    def has_window(self, settings: TrainSettings) -> bool:
        """Return whether the samples that it imitates have one."""
        return settings.tnt.mass_window

    def labelled_by(
        self, settings: TrainSettings, scope: Scope, iteration: int
    ) -> Labelling | None:
        """Return the autoencoder of the other jet, only to count signal and background."""
        return Labelling("autoencoder", 0, (OTHER_JET[scope],))

    def options(self, settings: TrainSettings) -> dict[str, Any]:
        """Return the shares as well."""
        return super().options(settings) | {"tnt": settings.tnt.model_dump(mode="json")}

    def samples(self, job: Job) -> tuple[BoolArray, BoolArray]:
        """Return two disjoint random samples with TNT's numbers of signal and background."""
        labels, _ = tnt_labels(job, OTHER_JET[job.scope], job.window)
        draw = np.argsort(uniform(job.sample.event_id, job.seed, "mixed samples"), kind="stable")
        rich, poor = np.zeros((2, len(draw)), dtype=np.bool_)
        for truth in (0, 1):
            of_class = draw[job.sample.label[draw] == truth]
            first = int((labels.signal_rich & (job.sample.label == truth)).sum())
            second = int((labels.background_rich & (job.sample.label == truth)).sum())
            rich[of_class[:first]] = True
            poor[of_class[first : first + second]] = True
        return rich, poor
