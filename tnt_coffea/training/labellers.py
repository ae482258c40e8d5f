"""Labelling without leaks: an event is labelled only by taggers that never saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange, TntSettings
from tnt_coffea.errors import LeakError, TrainingError
from tnt_coffea.events.skim import Sample
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.labels import Labels, rich_labels, score_order, signal_share

__all__ = ["OTHER_JET", "Jet", "Labeller", "tagged"]

Jet = Literal["heavy", "light"]
OTHER_JET: Mapping[Jet, Jet] = {"heavy": "light", "light": "heavy"}
_SCORING_BATCH = 1024


@dataclass(frozen=True)
class Labeller:
    """The tagger that labels one inner fold: trained without it, on the other jet.

    Attributes
    ----------
    inner
        Inner fold that it labels.
    path
        Its file.
    sha256
        What the file has to contain.
    """

    inner: int
    path: str
    sha256: str


def tagged(
    sample: Sample,
    inner: npt.NDArray[np.int64],
    labellers: Sequence[Labeller],
    *,
    plan: FoldPlan,
    left_out: int,
    jet: Jet,
    settings: TntSettings,
    iteration: int,
    window: MassRange | None,
) -> Labels:
    """Return the labels of all events of a training, each from the labeller of its inner fold.

    Parameters
    ----------
    sample
        Events to train on: T without the inner fold left out.
    inner
        (event,) their inner folds.
    labellers
        One for every inner fold trained on, ascending.
    plan, left_out
        Folds of the training.
    jet
        Jet that the labels are for; the other one gives them.
    settings, iteration, window
        Shares and mass window of the labels.

    Raises
    ------
    LeakError
        A labeller was trained on events that it would label, on the same jet, or
        descends from the scored fold.
    TaggerError
        A labeller's file has changed.
    TrainingError
        There is not exactly one labeller for every inner fold trained on.
    """
    wanted = [fold for fold in plan.inner if fold != left_out]
    if [item.inner for item in labellers] != wanted:
        msg = f"labellers for inner folds {[item.inner for item in labellers]}, expected {wanted}"
        raise TrainingError(msg)
    signal_rich, background_rich = np.zeros((2, len(sample)), dtype=np.bool_)
    for labeller in labellers:
        rows = np.flatnonzero(inner == labeller.inner)
        tagger = _checked(labeller, plan, OTHER_JET[jet])
        scores = _scores(tagger, sample, OTHER_JET[jet], rows)
        # Ranks within the inner fold: raw scores of two taggers do not compare.
        labels = rich_labels(
            score_order(scores, sample.event_id[rows], tagger.sha256),
            sample.m_jj[rows],
            signal_rich=signal_share(settings, iteration),
            background_rich=settings.background_rich,
            window=window,
        )
        signal_rich[rows] = labels.signal_rich
        background_rich[rows] = labels.background_rich
    return Labels(signal_rich, background_rich)


def _scores(
    tagger: Tagger, sample: Sample, jet: Jet, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(rows), _SCORING_BATCH):
        parts.append(tagger.score(sample.images(jet, rows[start : start + _SCORING_BATCH])))
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
    place = (card.folds, card.fold_seed, card.settings.get("scored"))
    if place != (plan.settings, plan.seed, plan.scored) or plan.scored in card.ancestors:
        msg = (
            f"{labeller.path}: a tagger with ancestors in folds {list(card.ancestors)} cannot "
            f"label for a tagger that scores fold {plan.scored}"
        )
        raise LeakError(msg)
    if card.settings.get("left_out") != labeller.inner:
        msg = (
            f"{labeller.path}: trained without inner fold {card.settings.get('left_out')}, so it "
            f"was trained on inner fold {labeller.inner}, which it must not label"
        )
        raise LeakError(msg)
    return tagger
