"""Tag N' Train: a weak tagger of one jet labels the events that train the other jet's."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ClassifierSettings, Initial, MassRange, Reweighting, TrainSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import classifiers
from tnt_coffea.training.features import FeatureSet
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.labellers import JETS, OTHER_JET, Jet
from tnt_coffea.training.labels import Labels, rich_labels
from tnt_coffea.training.methods.interface import Job, Labelling, Method, Scope
from tnt_coffea.training.reweighting import ratio_bins, ratio_weights
from tnt_coffea.training.selection import Group, Selection
from tnt_coffea.training.trained import Trained

__all__ = ["SameJet", "TagNTrain", "tnt_labels"]


class TagNTrain(Method):
    """Any number of rounds; signal-rich events may have to lie in the m_jj window.

    Source: arXiv:2002.12376, sections 2 and 4.1.
    """

    name = "tnt"

    def last(self, settings: TrainSettings) -> int:
        """Return the number of iterations."""
        return settings.tnt.iterations

    def shared(self, settings: TrainSettings) -> bool:
        """Return whether one network serves both jets."""
        return settings.tnt.shared

    def has_window(self, settings: TrainSettings) -> bool:
        """Return whether signal-rich events lie in it, or weights are measured beside it."""
        return self.labels_in_window(settings) or settings.tnt.measures_beside

    def labels_in_window(self, settings: TrainSettings) -> bool:
        """Return whether it is TNT + m_jj."""
        return settings.tnt.mass_window

    def tags_with(self, scope: Scope) -> Jet:
        """Return the jet whose tagger labels events for a scope."""
        return OTHER_JET[scope]

    def labelled_by(
        self, settings: TrainSettings, scope: Scope, iteration: int
    ) -> Labelling | None:
        """Return the initial taggers for the first round, then those of the round before."""
        jets = self._labelling_jets(settings, scope)
        if iteration > self.first:
            return Labelling(self.name, iteration - 1, jets)
        if settings.tnt.initial.kind is Initial.AUTOENCODER:
            return Labelling("autoencoder", 0, jets)
        return None

    def files(self, settings: TrainSettings, scope: Scope, iteration: int) -> dict[Jet, str]:
        """Return the tagger files of the first round, if it begins with any."""
        initial = settings.tnt.initial
        if iteration > self.first or initial.kind is not Initial.FILES:
            return {}
        given: dict[Jet, str] = {"heavy": initial.heavy, "light": initial.light}
        return {jet: given[jet] for jet in self._labelling_jets(settings, scope)}

    def epochs(self, settings: TrainSettings) -> int:
        """Return the most epochs, or trees."""
        chosen = settings.tnt
        return classifiers.epochs(chosen.classifier, chosen.epochs)

    def options(self, settings: TrainSettings) -> dict[str, Any]:
        """Return labels, network and optimiser."""
        values = settings.model_dump(mode="json")
        return {"tnt": values["tnt"], "optimizer": values["optimizer"]}

    def classifier(self, settings: TrainSettings) -> ClassifierSettings:
        """Return `train.tnt.classifier`."""
        return settings.tnt.classifier

    def check(self, sample: Sample, settings: TrainSettings) -> None:
        """Refuse a skim without the variable of the weights as well."""
        super().check(sample, settings)
        if settings.tnt.reweight is not Reweighting.NONE:
            for jet in JETS:
                _followed(sample, jet, settings.tnt.reweight)

    def train(self, job: Job) -> Trained:
        """Return a classifier of one jet, or of both alike."""
        chosen = job.settings.tnt
        scopes: tuple[Jet, ...] = (
            JETS if self.shared(job.settings) else ("heavy" if job.scope == "heavy" else "light",)
        )
        selection = self._selection(job, scopes[0])
        for scope in scopes[1:]:
            selection = selection.joined(self._selection(job, scope))
        return classifiers.classifier(
            ClassifierInputs(job.sample, scopes, chosen.classifier),
            selection,
            chosen.classifier,
            classifiers.Budget(chosen.epochs, job.settings.optimizer, chosen.pixel_scale),
            job.seed,
        )

    def _labelling_jets(self, settings: TrainSettings, scope: Scope) -> tuple[Jet, ...]:
        return JETS if self.shared(settings) else (self.tags_with(scope),)

    def _selection(self, job: Job, jet: Jet) -> Selection:
        window = job.window if self.labels_in_window(job.settings) else None
        labels, quantile = tnt_labels(job, self.tags_with(jet), window)
        settings, sample = job.settings.tnt, job.sample
        targets = quantile if settings.soft_labels else labels.signal_rich.astype(np.float64)
        weight, notes = sample.weight, {}
        if settings.reweight is not Reweighting.NONE:
            wanted, measured = labels.signal_rich, None
            if settings.measures_beside:
                wanted, measured = labels.tagged, ~job.in_window
            poor = labels.background_rich
            followed = _followed(sample, jet, settings.reweight)
            weight = ratio_weights(followed, weight, wanted, poor, measured)
            notes["weight bins"] = ratio_bins(wanted, poor, measured)
        return Selection(
            event_id=sample.event_id,
            targets=targets,
            weight=weight,
            groups=(
                Group("signal-rich", labels.signal_rich),
                Group("background-rich", labels.background_rich & (weight > 0)),
            ),
            notes=notes,
        )


class SameJet(TagNTrain):
    """Labels from the jet that is trained on: appendix A shows that it cannot improve.

    Source: arXiv:2002.12376, appendix A.
    """

    name = "same_jet"

    def shared(self, settings: TrainSettings) -> bool:
        """Return False: with one network for both jets the labels would be the other jet's."""
        return False

    def labels_in_window(self, settings: TrainSettings) -> bool:
        """Return False: a window would bring in what the jet does not know."""
        return False

    def tags_with(self, scope: Scope) -> Jet:
        """Return the jet itself."""
        return "heavy" if scope == "heavy" else "light"


def tnt_labels(
    job: Job, jet: Jet, window: MassRange | None
) -> tuple[Labels, np.ndarray[Any, np.dtype[np.float64]]]:
    """Return the labels that one jet's taggers give, and the quantiles they come from.

    Parameters
    ----------
    job
        The training.
    jet
        Whose taggers label.
    window
        Signal-rich events lie in it as well, if there is one.

    Returns
    -------
    Labels, (event,) quantile within the inner fold
    """
    settings, sample = job.settings.tnt, job.sample
    signal_rich, background_rich, tagged = np.zeros((3, len(sample)), dtype=np.bool_)
    quantile = np.full(len(sample), 0.5)
    rich, poor = settings.shares(job.iteration)
    for ranking in job.rankings(jet):
        rows = ranking.rows
        labels = rich_labels(
            ranking.order,
            sample.m_jj[rows],
            signal_rich=rich,
            background_rich=poor,
            window=window,
        )
        tagged[rows] = labels.tagged
        signal_rich[rows] = labels.signal_rich
        background_rich[rows] = labels.background_rich
        quantile[rows] = ranking.quantile
    return Labels(signal_rich, background_rich, tagged), quantile


def _followed(sample: Sample, jet: Jet, reweight: Reweighting) -> npt.NDArray[Any]:
    if reweight is Reweighting.M_JJ:
        return sample.m_jj
    # Of the right jet: the one that is trained on, event by event.
    features = FeatureSet.of((reweight.value,), (jet,), sample)
    return features.raw(sample, np.arange(len(sample)))[:, 0]
