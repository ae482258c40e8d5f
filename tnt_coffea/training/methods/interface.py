"""The one interface of all methods: a sample and a configuration in, a tagger out.

A method is a small class. It says which scopes it trains, how many rounds, what labels a
round, and makes one tagger from one sample; folds, members, windows, caching and cards are
not its business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import ClassifierSettings, MassRange, TrainSettings
from tnt_coffea.events.sample import Sample
from tnt_coffea.training import classifiers
from tnt_coffea.training.inputs import ClassifierInputs
from tnt_coffea.training.labellers import Jet, Ranking
from tnt_coffea.training.trained import Trained

__all__ = ["Job", "Labelling", "Method", "Scope"]

Scope = Literal["heavy", "light", "event"]


@dataclass(frozen=True)
class Labelling:
    """What labels the events of a round.

    Attributes
    ----------
    method
        Whose taggers.
    iteration
        Of which round of it.
    jets
        The jets whose taggers are needed: the other one for Tag N' Train.
    """

    method: str
    iteration: int
    jets: tuple[Jet, ...]


@dataclass(frozen=True)
class Job:
    """One training as a method sees it.

    Attributes
    ----------
    sample
        Events to train on, and to choose the epoch by. Labels are -1 unless the method
        uses truth.
    scope
        heavy, light or event.
    iteration
        Round, counted as the method counts.
    settings
        Settings of all trainings.
    window
        m_jj window, for a method that has one.
    seed
        Seed of this training.
    held_back
        (event,) the inner fold left out, for a method that asks for it; else None.
    rankings
        Function from a jet to the order of the events by that jet's labellers.
    """

    sample: Sample
    scope: Scope
    iteration: int
    settings: TrainSettings
    window: MassRange | None
    seed: int
    held_back: npt.NDArray[np.bool_] | None
    rankings: Callable[[Jet], list[Ranking]]

    @property
    def in_window(self) -> npt.NDArray[np.bool_]:
        """(event,) whether m_jj lies in the window; everywhere without one."""
        if self.window is None:
            return np.ones(len(self.sample), dtype=np.bool_)
        m_jj = self.sample.m_jj
        out: npt.NDArray[np.bool_] = (m_jj >= self.window.low) & (m_jj < self.window.high)
        return out


class Method(ABC):
    """A way to train taggers.

    Attributes
    ----------
    name
        As in `train.methods`, and of its tagger set.
    uses_truth
        It reads labels; its taggers say so, and no search accepts them.
    first
        Number of its first round: 0 needs no labels, 1 may be labelled by round 0.
    """

    name: ClassVar[str]
    uses_truth: ClassVar[bool] = False
    first: ClassVar[int] = 1

    def scopes(self, settings: TrainSettings) -> tuple[Scope, ...]:
        """Return what it trains taggers of."""
        return ("heavy", "light")

    def last(self, settings: TrainSettings) -> int:
        """Return the number of its last round, whose taggers are the set."""
        return self.first

    def shared(self, settings: TrainSettings) -> bool:
        """Return whether the tagger of the heavy jet is that of the light one as well."""
        return False

    def has_window(self, settings: TrainSettings) -> bool:
        """Return whether the training depends on the m_jj window."""
        return False

    def has_chance(self, settings: TrainSettings) -> bool:
        """Return whether members with other seeds differ."""
        return True

    def chooses_on_left_out(self, settings: TrainSettings) -> bool:
        """Return whether the inner fold left out chooses the epoch, and so is read."""
        return False

    def labelled_by(
        self, settings: TrainSettings, scope: Scope, iteration: int
    ) -> Labelling | None:
        """Return what labels a round, None where nothing does."""
        return None

    def files(self, settings: TrainSettings, scope: Scope, iteration: int) -> dict[Jet, str]:
        """Return tagger files from outside that label a round, by jet."""
        return {}

    def title(self, settings: TrainSettings) -> str:
        """Return the method as on the card."""
        return self.name

    @abstractmethod
    def epochs(self, settings: TrainSettings) -> int:
        """Return the most epochs of one training, those of all candidates together."""

    @abstractmethod
    def options(self, settings: TrainSettings) -> dict[str, Any]:
        """Return the settings that a training depends on, as JSON values."""

    @abstractmethod
    def classifier(self, settings: TrainSettings) -> ClassifierSettings | None:
        """Return the settings of its classifier; None if it trains none."""

    def libraries(self, settings: TrainSettings) -> tuple[str, ...]:
        """Return the packages that have a part in the outcome."""
        chosen = self.classifier(settings)
        return () if chosen is None else classifiers.libraries(chosen)

    def check(self, sample: Sample, settings: TrainSettings) -> None:
        """Refuse a skim that lacks what trainings read, before the first of them.

        Parameters
        ----------
        sample
            Any events of it, or none.
        settings
            Settings of all trainings.

        Raises
        ------
        ConfigError, InputError
            What is missing.
        """
        chosen = self.classifier(settings)
        if chosen is not None:
            for scope in self.scopes(settings):
                ClassifierInputs(sample, (scope,), chosen).check()

    @abstractmethod
    def train(self, job: Job) -> Trained:
        """Return the tagger of one job."""
