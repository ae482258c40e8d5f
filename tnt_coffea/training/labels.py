"""Weak labels of jets from the scores of other taggers, each event's from one that never saw it.

Source: arXiv:2002.12376, section 2, and its public code for the shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.errors import LeakError, TrainingError
from tnt_coffea.events.identity import hashed
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.inputs import readers
from tnt_coffea.taggers.stored import Scope
from tnt_coffea.taggers.tagger import Tagger
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array, IntArray

__all__ = [
    "JETS",
    "OTHER_JET",
    "Jet",
    "Labeller",
    "Labels",
    "Ranking",
    "Scope",
    "labeller_scores",
    "labelling_tagger",
    "labelling_taggers",
    "rankings",
    "rich_labels",
    "score_order",
]

Jet = Literal["heavy", "light"]
JETS: tuple[Jet, Jet] = ("heavy", "light")
OTHER_JET: Mapping[str, Jet] = {"heavy": "light", "light": "heavy"}
_SCORING_BATCH = 1024


@dataclass(frozen=True)
class Labels:
    """Which events of one inner fold train the tagger of a jet, and as what.

    Attributes
    ----------
    signal_rich
        (event,) bool.
    background_rich
        (event,) bool, never true where `signal_rich` is.
    tagged
        (event,) bool, signal-rich before the cut on the window.

    Examples
    --------
    >>> import numpy as np
    >>> tagged, in_window = np.array([True, True, False]), np.array([True, False, True])
    >>> labels = Labels(tagged & in_window, background_rich=~tagged, tagged=tagged)
    >>> labels.signal_rich.tolist()
    [True, False, False]
    """

    signal_rich: BoolArray
    background_rich: BoolArray
    tagged: BoolArray


def score_order(scores: npt.ArrayLike, event_id: npt.NDArray[np.uint64], tagger: str) -> IntArray:
    """Return the events' positions from lowest to highest score, ties in the order of a hash.

    Parameters
    ----------
    scores
        (event,) scores of one tagger.
    event_id
        (event,) uint64.
    tagger
        SHA-256 of the tagger, part of the hash: ties fall differently for every tagger.

    Raises
    ------
    TrainingError
        A score is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> event_id = np.array([11, 12, 13], np.uint64)
    >>> score_order([0.5, 0.9, 0.1], event_id, "sha256 of the tagger").tolist()
    [2, 0, 1]
    """
    values = np.asarray(scores, dtype=np.float64)
    bad = int(np.count_nonzero(~np.isfinite(values)))
    if bad:
        msg = f"{bad} of {len(values)} scores of tagger {tagger[:12]} are not finite"
        raise TrainingError(msg)
    # The id itself is last: without it two events with equal hashes would be
    # ordered by position.
    return np.lexsort((event_id, hashed(event_id, 0, "ties", tagger), values))


def rich_labels(
    order: IntArray,
    mass: npt.ArrayLike,
    *,
    signal_rich: float,
    background_rich: float,
    window: MassRange | None = None,
) -> Labels:
    """Return the labels of the events of one inner fold.

    Parameters
    ----------
    order
        (event,) positions from lowest to highest score of the **other** jet.
    mass
        (event,) mass that the window is in [GeV].
    signal_rich
        Share of events with the highest scores.
    background_rich
        Share of events with the lowest scores, at any mass.
    window
        Signal-rich events lie in it as well (TNT + m_jj), the share being of all events.

    Raises
    ------
    TrainingError
        The two shares overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.config import MassRange
    >>> order = np.array([4, 0, 3, 1, 2])  # event 2 has the highest score, event 4 the lowest
    >>> m_jj, window = [3500, 2700, 3450, 3000, 5000], MassRange(low=3300, high=3700)
    >>> labels = rich_labels(order, m_jj, signal_rich=0.4, background_rich=0.4, window=window)
    >>> labels.tagged.nonzero()[0].tolist(), labels.signal_rich.nonzero()[0].tolist()
    ([1, 2], [2])
    >>> labels.background_rich.nonzero()[0].tolist()
    [0, 4]
    """
    if signal_rich + background_rich > 1:
        msg = (
            f"the signal-rich share {signal_rich} and the background-rich share "
            f"{background_rich} overlap: lower one of them"
        )
        raise TrainingError(msg)
    n = len(order)
    tagged = _mask(order[n - round(signal_rich * n) :], n)
    top = tagged
    if window is not None:
        top = tagged & window.contains(mass)
    return Labels(top, _mask(order[: round(background_rich * n)], n), tagged)


def _mask(positions: IntArray, n: int) -> BoolArray:
    mask = np.zeros(n, dtype=np.bool_)
    mask[positions] = True
    return mask


@dataclass(frozen=True)
class Labeller:
    """The tagger that labels the events of one inner fold, which had no part in it.

    Attributes
    ----------
    method
        Name of the method that trained it.
    scope
        What it scores.
    inner
        Inner fold that it labels.
    path, sha256
        Its ONNX file, and the SHA-256 that the file has to have.
    """

    method: str
    scope: Scope
    inner: int
    path: str
    sha256: str


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

    rows: IntArray
    order: IntArray

    @property
    def quantile(self) -> Float64Array:
        """(labelled event,) share of these events below, (k + 1/2) / n."""
        out = np.empty(len(self.order))
        out[self.order] = (np.arange(len(self.order)) + 0.5) / max(len(self.order), 1)
        return out


def rankings(
    sample: Sample, inner: IntArray, labellers: Sequence[Labeller], plan: FoldPlan
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
        One for every inner fold.
    plan
        Folds of the training.

    Raises
    ------
    LeakError
        A labeller was trained on events that it would label, or descends from the scored fold.
    TaggerError
        A labeller's file has changed.
    TrainingError
        There is not exactly one labeller for every inner fold trained on.
    """
    found = []
    for labeller, tagger, rows in _places(sample, inner, labellers, plan):
        scores = _scores(tagger, sample, rows)
        order = score_order(scores, sample.event_id[rows], labeller.sha256)
        found.append(Ranking(rows, order))
    return found


def labeller_scores(
    sample: Sample, inner: IntArray, labellers: Sequence[Labeller], plan: FoldPlan
) -> Float32Array:
    """Return (event,) the raw scores of the labellers, each of its own inner fold.

    Parameters, errors as for `rankings`. Scores of two inner folds come from two taggers.
    """
    out = np.empty(len(sample), np.float32)
    for _, tagger, rows in _places(sample, inner, labellers, plan):
        out[rows] = _scores(tagger, sample, rows)
    return out


def labelling_taggers(
    sample: Sample, inner: IntArray, labellers: Sequence[Labeller], plan: FoldPlan
) -> list[tuple[Tagger, IntArray]]:
    """Return the labellers' taggers with the (labelled event,) row numbers of their inner folds.

    In the order of the inner folds. Parameters, errors as for `rankings`.
    """
    places = _places(sample, inner, labellers, plan)
    places.sort(key=lambda place: place[0].inner)
    return [(tagger, rows) for _, tagger, rows in places]


def _places(
    sample: Sample, inner: IntArray, labellers: Sequence[Labeller], plan: FoldPlan
) -> list[tuple[Labeller, Tagger, IntArray]]:
    wanted = [int(fold) for fold in np.unique(inner)]
    given = sorted(item.inner for item in labellers)
    if len(set(given)) != len(given) or not set(wanted) <= set(given):
        msg = f"labellers for inner folds {given}, expected one for each of {wanted}"
        raise TrainingError(msg)
    return [
        (item, labelling_tagger(item, plan), np.flatnonzero(inner == item.inner))
        for item in labellers
        if item.inner in wanted
    ]


def _scores(tagger: Tagger, sample: Sample, rows: IntArray) -> Float32Array:
    reading = readers(tagger.card.inputs, sample)
    parts = [np.zeros(0, np.float32)]
    for start in range(0, len(rows), _SCORING_BATCH):
        chosen = rows[start : start + _SCORING_BATCH]
        parts.append(tagger.score({name: read(chosen) for name, read in reading.items()}))
    return np.concatenate(parts)


def labelling_tagger(labeller: Labeller, plan: FoldPlan) -> Tagger:
    """Return the tagger of a labeller, proved to know nothing of what it labels.

    Errors as for `rankings`.
    """
    tagger = Tagger.from_file(labeller.path, sha256=labeller.sha256)
    card = tagger.card
    if card.scope != labeller.scope:
        msg = f"{labeller.path}: a tagger of scope {card.scope}, expected {labeller.scope}"
        raise LeakError(msg)
    if not card.ancestors:  # trained on no searched event
        return tagger
    place = (card.folds, card.fold_seed, card.place.get("scored"))
    own = plan.at(card.place.get("round", 0)).scored
    if place != (plan.settings, plan.seed, own) or plan.scored in card.ancestors:
        msg = (
            f"{labeller.path}: a tagger with ancestors in folds {list(card.ancestors)} cannot "
            f"label for a tagger that scores fold {plan.scored}"
        )
        raise LeakError(msg)
    if not plan.may_label(card, labeller.inner):
        msg = (
            f"{labeller.path}: trained without inner fold {card.place.get('left_out')}, so it was "
            f"trained on inner fold {labeller.inner}, which it must not label"
        )
        raise LeakError(msg)
    return tagger
