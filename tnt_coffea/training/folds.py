"""Folds of a training: which events train the taggers that score one outer fold.

The outer folds are those of the tagger sets and the search; the inner ones exist
in training only, so that no tagger ever labels an event that trained it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import FoldMode, FoldSettings
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.identity import fold_of, outer_fold
from tnt_coffea.taggers.card import Card
from tnt_coffea.typing import BoolArray, IntArray

__all__ = [
    "OUTSIDE",
    "WHOLE",
    "FoldPlan",
    "IndependentPlan",
    "SplitPlan",
    "SwappedPlan",
    "cross_validation_plans",
    "plans_of",
    "prequential_plans",
    "split_plan",
    "swapped_plans",
]

OUTSIDE = -1
"""Inner fold of an event that has no part in a plan's training runs."""
WHOLE = -1
"""Place of a training run that leaves no inner fold out."""


@dataclass(frozen=True)
class FoldPlan:
    """Folds of the training runs whose taggers score one outer fold.

    Attributes
    ----------
    settings
        Number K of outer folds, and of inner folds where a single outer fold is trained on.
    seed
        Root seed of the folds.
    scored
        The outer fold t that is scored and that nothing here reads.
    training
        The outer folds T trained on, ascending.

    Source: nested cross-validation as in arXiv:1902.02634; the inner folds of
    Tag N' Train as in docs/architecture.md, "How a search stays honest".

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.config import FoldSettings
    >>> plan = FoldPlan(FoldSettings(outer=3), seed=1, scored=0, training=(1, 2))
    >>> plan.places(inner=True), plan.direct(left_out=0)  # without inner fold 0, which is fold 1
    ((0, 1), (2,))
    >>> event_id = np.arange(6, dtype=np.uint64)
    >>> plan.inner_of(event_id).tolist()  # -1: in the fold that is scored
    [1, 0, -1, 1, 1, 1]
    """

    settings: FoldSettings
    seed: int
    scored: int
    training: tuple[int, ...]

    def __post_init__(self) -> None:
        folds = range(self.settings.outer)
        wrong = [fold for fold in (self.scored, *self.training) if fold not in folds]
        if wrong:
            msg = f"fold {wrong[0]} does not exist, there are {self.settings.outer}"
            raise ConfigError(msg)
        if self.scored in self.training or not self.training:
            msg = (
                f"fold {self.scored} cannot be scored by a training on folds "
                f"{list(self.training)}: train on one or more other folds"
            )
            raise ConfigError(msg)
        if list(self.training) != sorted(set(self.training)):
            msg = f"training folds must ascend without repetition, got {list(self.training)}"
            raise ConfigError(msg)

    @property
    def inner(self) -> range:
        """The inner folds a: the outer ones in T, or parts of T where T is one fold."""
        return range(len(self.training) if len(self.training) > 1 else self.settings.inner)

    def inner_of(self, event_id: npt.NDArray[np.uint64]) -> IntArray:
        """Return the inner fold of every event, `OUTSIDE` for those not in T."""
        outer = outer_fold(event_id, self.settings, self.seed)
        if len(self.training) > 1:
            inner = np.searchsorted(self.training, outer)
        else:
            inner = fold_of(event_id, self.settings.inner, self.seed, "inner", self.scored)
        return np.where(np.isin(outer, self.training), inner, OUTSIDE)

    @property
    def scores(self) -> tuple[int, ...]:
        """The outer folds that the trainings score."""
        return (self.scored,)

    def places(self, *, inner: bool) -> tuple[int, ...]:
        """Return the inner fold that each training run of a round leaves out; `WHOLE` for none.

        Parameters
        ----------
        inner
            Whether there is one run for each inner fold, or a single one.
        """
        return tuple(self.inner) if inner else (WHOLE,)

    def trains(
        self, event_id: npt.NDArray[np.uint64], place: int, round_: int, *, whole: bool = False
    ) -> BoolArray:
        """Return (event,) whether a training run reads the event.

        Parameters
        ----------
        event_id
            (event,) uint64.
        place
            Inner fold that the run leaves out, or `WHOLE`.
        round_
            Number of training runs that it builds on, one on the other.
        whole
            Whether it reads the inner fold left out as well, to choose its epoch.
        """
        inner = self.inner_of(event_id)
        out: BoolArray = (inner != OUTSIDE) & (whole | (place == WHOLE) | (inner != place))
        return out

    def simulation(self, event_id: npt.NDArray[np.uint64], place: int, round_: int) -> BoolArray:
        """Return (event,) whether a training run reads a simulated event, folded like data."""
        return self.trains(event_id, place, round_)

    def left_out(self, event_id: npt.NDArray[np.uint64], place: int) -> BoolArray | None:
        """Return (event,) whether an event lies in the inner fold left out, None without one."""
        out: BoolArray = self.inner_of(event_id) == place
        return out

    def labellers(self, place: int, round_: int) -> tuple[tuple[int, int], ...]:
        """Return the (inner fold, place of the tagger that labels it) of a training run."""
        return tuple((inner, inner) for inner in self.inner if place == WHOLE or inner != place)

    def may_label(self, card: Card, inner: int) -> bool:
        """Return whether the tagger of a card saw nothing of an inner fold."""
        return card.place.get("left_out") == inner

    def at(self, round_: int) -> FoldPlan:
        """Return the plan of the training runs that build on this many others."""
        return self

    def ancestors(self, round_: int) -> tuple[int, ...]:
        """Return the outer folds that any tagger behind one of this round was trained on.

        A tagger that labels was trained on the other inner folds, so with one labeller or
        with twenty every fold of the plan is among them.
        """
        return self.training

    def direct(self, left_out: int, round_: int = 0) -> tuple[int, ...]:
        """Return the outer folds that a training run without inner fold a reads.

        Raises
        ------
        TrainingError
            There is no such inner fold.
        """
        if left_out == WHOLE:
            return self.training
        if left_out not in self.inner:
            msg = f"inner fold {left_out} does not exist, there are {len(self.inner)}"
            raise TrainingError(msg)
        if len(self.training) == 1:
            return self.training
        return tuple(fold for i, fold in enumerate(self.training) if i != left_out)


@dataclass(frozen=True)
class _OwnRounds(FoldPlan):
    """Folds where every round of training has a sample of its own, an inner fold of its number."""

    def places(self, *, inner: bool) -> tuple[int, ...]:
        """Return one place: every round has a sample of its own."""
        return (WHOLE,)

    def left_out(self, event_id: npt.NDArray[np.uint64], place: int) -> None:
        """Return None: no inner fold is left out."""
        return

    def trains(
        self, event_id: npt.NDArray[np.uint64], place: int, round_: int, *, whole: bool = False
    ) -> BoolArray:
        """Return (event,) whether a training run reads the event: its own sample."""
        out: BoolArray = self.inner_of(event_id) == round_
        return out

    def labellers(self, place: int, round_: int) -> tuple[tuple[int, int], ...]:
        """Return the sample of the round, and the one tagger of a round before."""
        return ((round_, WHOLE),)


@dataclass(frozen=True)
class SplitPlan(_OwnRounds):
    """Folds of the paper's scheme: every round of training has an outer fold of its own.

    Fold 0 trains the first taggers, fold i those that build on i others, one on the other. All
    folds from `scored` on are scored by the same taggers.

    Source: arXiv:2002.12376, section 4.1.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> plan = split_plan(FoldSettings(outer=4, mode="split"), seed=1, rounds=2)
    >>> plan.scores, plan.direct(WHOLE, round_=1), plan.ancestors(round_=1)
    ((2, 3), (1,), (0, 1))
    """

    @property
    def scores(self) -> tuple[int, ...]:
        """The outer folds that the trainings score."""
        return tuple(range(self.scored, self.settings.outer))

    @property
    def inner(self) -> range:
        """The outer folds trained on; each is labelled as a whole."""
        return range(len(self.training))

    def inner_of(self, event_id: npt.NDArray[np.uint64]) -> IntArray:
        """Return the outer fold of every event, `OUTSIDE` for those that are scored."""
        outer = outer_fold(event_id, self.settings, self.seed)
        return np.where(outer < self.scored, outer, OUTSIDE)

    def may_label(self, card: Card, inner: int) -> bool:
        """Return whether the tagger of a card was trained on earlier folds alone."""
        return inner not in card.ancestors

    def ancestors(self, round_: int) -> tuple[int, ...]:
        """Return the folds of this round and of those before."""
        return tuple(range(round_ + 1))

    def direct(self, left_out: int, round_: int = 0) -> tuple[int, ...]:
        """Return the fold of the round."""
        return (round_,)


@dataclass(frozen=True)
class SwappedPlan(_OwnRounds):
    """Folds of two halves that search each other with the same first taggers.

    Fold 0 trains the first taggers, which serve both halves and which no search scores it with.
    The taggers that score one half are trained on the other one, every further round on a part of
    its own: what labels an event was trained on other parts alone. All parts of a half are equal.

    Attributes
    ----------
    parts
        Number of parts of a half, one for each round behind the first taggers.

    Source: arXiv:2101.08320, section 4.3.1.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> plan, _ = swapped_plans(FoldSettings(mode="swapped"), seed=1, rounds=3)
    >>> plan.scores, plan.direct(WHOLE, round_=2), plan.ancestors(round_=2)
    ((1,), (2,), (0, 2))
    >>> plan.at(0).scores, plan.at(0).ancestors(round_=0)  # the first taggers
    ((1, 2), (0,))
    """

    parts: int = 1

    @property
    def half(self) -> int:
        """The fold that trains the taggers of the scored one."""
        return self.training[-1]

    @property
    def inner(self) -> range:
        """The first taggers' part, and the parts of the half."""
        return range(1 + self.parts)

    def inner_of(self, event_id: npt.NDArray[np.uint64]) -> IntArray:
        """Return 0 for the first taggers' part, from 1 on the parts of the half, or `OUTSIDE`."""
        outer = outer_fold(event_id, self.settings, self.seed)
        part = 1 + fold_of(event_id, self.parts, self.seed, "parts", self.half)
        inner = np.where(outer == self.half, part, OUTSIDE)
        return np.where(outer == 0, 0, inner)

    def at(self, round_: int) -> FoldPlan:
        """Return the plan of a round: the first taggers have one that both halves share."""
        return split_plan(self.settings, self.seed, 1) if round_ == 0 else self

    def may_label(self, card: Card, inner: int) -> bool:
        """Return whether the tagger of a card was trained on parts before this one alone."""
        return card.place.get("round", inner) < inner

    def direct(self, left_out: int, round_: int = 0) -> tuple[int, ...]:
        """Return the half that trains, or the first taggers' part."""
        return (self.half,) if round_ else (0,)


@dataclass(frozen=True)
class IndependentPlan(FoldPlan):
    """Folds of training runs that read no event of the data: their taggers score every fold.

    Attributes
    ----------
    scores
        The outer folds that the other plans of the search score.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> plan = IndependentPlan(FoldSettings(), seed=1, scores=(0, 1))
    >>> plan.scores, plan.places(inner=True), plan.ancestors(round_=0)
    ((0, 1), (-1,), ())
    """

    scored: int = OUTSIDE
    training: tuple[int, ...] = ()
    scores: tuple[int, ...] = ()  # a field here, a property above

    def __post_init__(self) -> None:
        """Accept everything: no fold is trained on, so none can be wrong."""

    @property
    def inner(self) -> range:
        """No inner folds."""
        return range(0)

    def inner_of(self, event_id: npt.NDArray[np.uint64]) -> IntArray:
        """Return `OUTSIDE` for every event."""
        return np.full(len(event_id), OUTSIDE)

    def places(self, *, inner: bool) -> tuple[int, ...]:
        """Return one place: nothing is left out."""
        return (WHOLE,)

    def simulation(self, event_id: npt.NDArray[np.uint64], place: int, round_: int) -> BoolArray:
        """Return (event,) True: no data set but the data has folds here."""
        return np.ones(len(event_id), dtype=np.bool_)

    def ancestors(self, round_: int) -> tuple[int, ...]:
        """Return no fold."""
        return ()

    def direct(self, left_out: int, round_: int = 0) -> tuple[int, ...]:
        """Return no fold."""
        return ()


def plans_of(settings: FoldSettings, seed: int, rounds: int) -> tuple[FoldPlan, ...]:
    """Return the plans of a search in the mode of its settings.

    Parameters
    ----------
    settings, seed
        Folds and their root seed.
    rounds
        Number of training runs that build on each other, the first ones included.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> settings = FoldSettings(outer=4, mode="prequential")
    >>> [(plan.scored, plan.training) for plan in plans_of(settings, seed=1, rounds=2)]
    [(1, (0,)), (2, (0, 1)), (3, (0, 1, 2))]
    """
    if settings.mode is FoldMode.SPLIT:
        return (split_plan(settings, seed, rounds),)
    if settings.mode is FoldMode.PREQUENTIAL:
        return prequential_plans(settings, seed)
    if settings.mode is FoldMode.SWAPPED:
        return swapped_plans(settings, seed, rounds)
    return cross_validation_plans(settings, seed)


def split_plan(settings: FoldSettings, seed: int, rounds: int) -> SplitPlan:
    """Return the plan with a fold for every round of training; the remaining folds are scored.

    Raises
    ------
    ConfigError
        No fold remains.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> split_plan(FoldSettings(outer=4, mode="split"), seed=1, rounds=2).scores
    (2, 3)
    """
    if settings.outer <= rounds:
        msg = (
            f"{rounds} rounds of training and at least one fold to search need "
            f"train.folds.outer of {rounds + 1} or more, got {settings.outer}"
        )
        raise ConfigError(msg)
    return SplitPlan(settings, seed, rounds, tuple(range(rounds)))


def swapped_plans(settings: FoldSettings, seed: int, rounds: int) -> tuple[SwappedPlan, ...]:
    """Return the plan of each half, trained on the other one behind the same first taggers.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> plans = swapped_plans(FoldSettings(mode="swapped"), seed=1, rounds=3)
    >>> [(plan.scored, plan.training, plan.parts) for plan in plans]
    [(1, (0, 2), 2), (2, (0, 1), 2)]
    """
    parts = max(rounds - 1, 1)
    return tuple(
        SwappedPlan(settings, seed, scored, (0, half), parts) for scored, half in ((1, 2), (2, 1))
    )


def cross_validation_plans(settings: FoldSettings, seed: int) -> tuple[FoldPlan, ...]:
    """Return one plan for every outer fold, trained on all the others.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> plans = cross_validation_plans(FoldSettings(outer=3), seed=1)
    >>> [(plan.scored, plan.training) for plan in plans]
    [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))]
    """
    folds = range(settings.outer)
    return tuple(
        FoldPlan(settings, seed, scored, tuple(fold for fold in folds if fold != scored))
        for scored in folds
    )


def prequential_plans(settings: FoldSettings, seed: int) -> tuple[FoldPlan, ...]:
    """Return one plan for every outer fold but the first, trained on the folds before it.

    No event of a fold has had a part in the taggers of an earlier one, so under
    the null the folds' results are independent, exactly.

    Examples
    --------
    >>> from tnt_coffea.config import FoldSettings
    >>> plans = prequential_plans(FoldSettings(outer=3), seed=1)
    >>> [(plan.scored, plan.training) for plan in plans]
    [(1, (0,)), (2, (0, 1))]
    """
    return tuple(
        FoldPlan(settings, seed, scored, tuple(range(scored)))
        for scored in range(1, settings.outer)
    )
