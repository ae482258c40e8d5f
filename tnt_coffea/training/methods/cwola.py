"""CWoLa hunting: a window in m_jj against the sidebands beside it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tnt_coffea.config import ClassifierSettings, TrainSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import classifiers
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.methods.interface import Job, Method, Scope
from tnt_coffea.training.selection import Group, Selection
from tnt_coffea.training.trained import Trained

__all__ = ["CwolaHunting", "CwolaPerJet"]


class CwolaHunting(Method):
    """Both jets of an event in one classifier.

    The sidebands have equal weights and together that of the signal region.

    Source: arXiv:1902.02634; arXiv:2002.12376, section 4.1; arXiv:2101.08320, section 4.1.
    """

    name = "cwola"

    def scopes(self, settings: TrainSettings) -> tuple[Scope, ...]:
        """Return the event."""
        return ("event",)

    def has_window(self, settings: TrainSettings) -> bool:
        """Return True: the window is the signal region."""
        return True

    def chooses_on_left_out(self, settings: TrainSettings) -> bool:
        """Return whether epoch and network are chosen on the inner fold left out."""
        return settings.cwola.choose_by_efficiency

    def epochs(self, settings: TrainSettings) -> int:
        """Return the most epochs, or trees."""
        chosen = settings.cwola
        return classifiers.epochs(chosen.classifier, chosen.epochs) * settings.cwola.candidates

    def options(self, settings: TrainSettings) -> dict[str, Any]:
        """Return regions, network and optimiser."""
        return {
            "cwola": settings.cwola.model_dump(mode="json"),
            "optimizer": settings.optimizer.model_dump(mode="json"),
        }

    def classifier(self, settings: TrainSettings) -> ClassifierSettings:
        """Return `train.cwola.classifier`."""
        return settings.cwola.classifier

    def train(self, job: Job) -> Trained:
        """Return a classifier of signal region against sidebands."""
        chosen = job.settings.cwola
        changes = {"batch": chosen.batch, "patience": chosen.patience}
        optimizer = job.settings.optimizer.model_copy(
            update={name: value for name, value in changes.items() if value is not None}
        )
        merit = (
            classifiers.signal_efficiency(chosen.sideband_efficiency)
            if chosen.choose_by_efficiency
            else None
        )
        return classifiers.classifier(
            ClassifierInputs(job.sample, (job.scope,), chosen.classifier),
            _selection(job),
            chosen.classifier,
            classifiers.Budget(
                chosen.epochs, optimizer, chosen.pixel_scale, chosen.candidates, merit
            ),
            job.seed,
        )


class CwolaPerJet(CwolaHunting):
    """A classifier for each jet, combined like those of Tag N' Train."""

    name = "cwola_per_jet"

    def scopes(self, settings: TrainSettings) -> tuple[Scope, ...]:
        """Return both jets, one by one."""
        return ("heavy", "light")


def _selection(job: Job) -> Selection:
    if job.window is None:
        msg = "CWoLa hunting needs a window in m_jj"
        raise TrainingError(msg)
    m_jj = job.sample.m_jj
    lower, upper = (
        (m_jj >= band.low) & (m_jj < band.high) for band in job.settings.cwola.sidebands(job.window)
    )
    selection = Selection(
        event_id=job.sample.event_id,
        targets=job.in_window.astype(np.float64),
        weight=job.sample.weight,
        groups=(
            Group("signal-region", job.in_window),
            Group("lower-sideband", lower, 0.5),
            Group("upper-sideband", upper, 0.5),
        ),
    )
    return replace(selection, held_back=job.held_back)
