"""Labelling without leaks: an event is labelled only by taggers that never saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import LeakError, TrainingError
from tnt_coffea.events.identity import hashed
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import inputs_of
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.labels import score_order

__all__ = ["JETS", "OTHER_JET", "Jet", "Labeller", "Ranking", "feature_rankings", "rankings"]

Jet = Literal["heavy", "light"]
JETS: tuple[Jet, Jet] = ("heavy", "light")
OTHER_JET: Mapping[str, Jet] = {"heavy": "light", "light": "heavy"}
_SCORING_BATCH = 1024


@dataclass(frozen=True)
class Labeller:
    """The tagger that labels one inner fold: trained without it.

    Attributes
    ----------
    inner
        Inner fold that it labels.
    path
        Its file.
    sha256
        What the file has to contain.
    place
        Where it stands in its round: the inner fold that its own training left out.
    independent
        It comes from outside, and was promised to be trained on none of these events.
    jet
        Jet that it scores.
    """

    inner: int
    path: str
    sha256: str
    place: int
    jet: Jet
    independent: bool = False


@dataclass(frozen=True)
class Ranking:
    """The order of the events that one labeller labels.

    Attributes
    ----------
    rows
        (labelled event,) row numbers in the sample.
    order
        (labelled event,) positions within `rows` from the lowest to the highest score.
    """

    rows: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]

    @property
    def quantile(self) -> npt.NDArray[np.float64]:
        """(labelled event,) share of these events below, (k + 1/2) / n."""
        out = np.empty(len(self.order))
        out[self.order] = (np.arange(len(self.order)) + 0.5) / max(len(self.order), 1)
        return out


def rankings(
    sample: Sample,
    inner: npt.NDArray[np.int64],
    labellers: Sequence[Labeller],
    *,
    plan: FoldPlan,
    place: int,
    iteration: int,
    jet: Jet,
) -> list[Ranking]:
    """Return the events of a training in the order of their labellers' scores.

    They are ranked within the inner fold: raw scores of two taggers do not compare.

    Parameters
    ----------
    sample
        Events to train on.
    inner
        (event,) their inner folds.
    labellers
        One for every inner fold trained on, ascending.
    plan, place, iteration
        Folds of the training.
    jet
        Jet that the labels have to come from.

    Raises
    ------
    LeakError
        A labeller was trained on events that it would label, on the wrong jet, or
        descends from the scored fold.
    TaggerError
        A labeller's file has changed.
    TrainingError
        There is not exactly one labeller for every inner fold trained on.
    """
    wanted = [fold for fold, _ in plan.labellers(place, iteration)]
    if [item.inner for item in labellers] != wanted:
        msg = f"labellers for inner folds {[item.inner for item in labellers]}, expected {wanted}"
        raise TrainingError(msg)
    found = []
    for labeller in labellers:
        rows = np.flatnonzero(inner == labeller.inner)
        tagger = _checked(labeller, plan, jet)
        scores = _scores(tagger, sample, jet, rows)
        found.append(Ranking(rows, score_order(scores, sample.event_id[rows], tagger.sha256)))
    return found


def feature_rankings(
    sample: Sample, inner: npt.NDArray[np.int64], column: str, *, descending: bool
) -> list[Ranking]:
    """Return the events of every inner fold in the order of a column of the skim.

    Parameters
    ----------
    sample, inner
        Events to train on and their inner folds.
    column
        Known a priori to tell signal from background; no tagger, hence no leak.
    descending
        Low values are anomalous.
    """
    if column not in sample.columns:
        known = ", ".join(sorted(sample.columns))
        msg = f"the skim holds no '{column}' to label with, only {known}"
        raise TrainingError(msg)
    values = sample.columns[column] * (-1 if descending else 1)
    found = []
    for fold in np.unique(inner):
        rows = np.flatnonzero(inner == fold)
        ids = sample.event_id[rows]
        order = np.lexsort((ids, hashed(ids, 0, "ties", column), values[rows]))
        found.append(Ranking(rows, order))
    return found


def _scores(
    tagger: Tagger, sample: Sample, jet: Jet, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(rows), _SCORING_BATCH):
        chosen = rows[start : start + _SCORING_BATCH]
        parts.append(tagger.score(inputs_of(tagger.card, jet, sample, chosen)))
    return np.concatenate(parts)


def _checked(labeller: Labeller, plan: FoldPlan, jet: Jet) -> Tagger:
    tagger = Tagger.from_file(labeller.path, sha256=labeller.sha256)
    card = tagger.card
    if card.scope != jet:
        msg = (
            f"{labeller.path}: trained on the {card.scope} jet, but labels for the "
            f"{OTHER_JET[jet]} jet come from the {jet} one"
        )
        raise LeakError(msg)
    if labeller.independent:
        return tagger
    place = (card.folds, card.fold_seed, card.settings.get("scored"))
    if place != (plan.settings, plan.seed, plan.scored) or plan.scored in card.ancestors:
        msg = (
            f"{labeller.path}: a tagger with ancestors in folds {list(card.ancestors)} cannot "
            f"label for a tagger that scores fold {plan.scored}"
        )
        raise LeakError(msg)
    if card.settings.get("left_out") != labeller.place or not plan.may_label(card, labeller.inner):
        msg = (
            f"{labeller.path}: trained without inner fold {card.settings.get('left_out')}, so it "
            f"was trained on inner fold {labeller.inner}, which it must not label"
        )
        raise LeakError(msg)
    return tagger
