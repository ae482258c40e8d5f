"""Who trains on whom: the folds around one scored fold.

The outer folds are those of the tagger sets and the search; the inner ones exist
in training only, so that no tagger ever labels an event that trained it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import FoldSettings
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.identity import fold_of

__all__ = ["OUTSIDE", "FoldPlan", "cross_validation_plans", "prequential_plans"]

OUTSIDE = -1
"""Inner fold of an event that has no part in a plan's trainings."""


@dataclass(frozen=True)
class FoldPlan:
    """The trainings whose mean scores one outer fold.

    Attributes
    ----------
    settings
        Outer folds K, and the parts of a training that is one fold alone.
    seed
        Root seed of the folds.
    scored
        The outer fold t that is scored and that nothing here reads.
    training
        The outer folds T trained on, ascending.

    Source: nested cross-validation as in arXiv:1902.02634; the inner folds of
    Tag N' Train as in docs/architecture.md, "How a search stays honest".
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

    def inner_of(self, event_id: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Return the inner fold of every event, `OUTSIDE` for those not in T."""
        outer = fold_of(event_id, self.settings.outer, self.seed)
        if len(self.training) > 1:
            inner = np.searchsorted(self.training, outer)
        else:
            inner = fold_of(event_id, self.settings.inner, self.seed, "inner", self.scored)
        return np.where(np.isin(outer, self.training), inner, OUTSIDE)

    def direct(self, left_out: int) -> tuple[int, ...]:
        """Return the outer folds that a training without inner fold a reads.

        Raises
        ------
        TrainingError
            There is no such inner fold.
        """
        if left_out not in self.inner:
            msg = f"inner fold {left_out} does not exist, there are {len(self.inner)}"
            raise TrainingError(msg)
        if len(self.training) == 1:
            return self.training
        return tuple(fold for i, fold in enumerate(self.training) if i != left_out)


def cross_validation_plans(settings: FoldSettings, seed: int) -> tuple[FoldPlan, ...]:
    """Return one plan for every outer fold, trained on all the others."""
    folds = range(settings.outer)
    return tuple(
        FoldPlan(settings, seed, scored, tuple(fold for fold in folds if fold != scored))
        for scored in folds
    )


def prequential_plans(settings: FoldSettings, seed: int) -> tuple[FoldPlan, ...]:
    """Return one plan for every outer fold but the first, trained on the folds before it.

    No event of a fold has had a part in the taggers of an earlier one, so under
    the null the folds' results are independent, exactly.
    """
    return tuple(
        FoldPlan(settings, seed, scored, tuple(range(scored)))
        for scored in range(1, settings.outer)
    )
