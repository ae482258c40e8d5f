"""The rounds of a search: what is trained, in which order, and what labels what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tnt_coffea.config import MassRange, SearchConfig, TrainSettings
from tnt_coffea.training.folds import FoldPlan, plans_of
from tnt_coffea.training.methods import Labelling, method_of
from tnt_coffea.training.windows import windows_of

__all__ = [
    "Round",
    "depth",
    "needed",
    "networks",
    "plans_for",
    "set_name",
    "wanted_rounds",
    "waves",
]


@dataclass(frozen=True)
class Round:
    """All trainings of a method that may run at the same time.

    Attributes
    ----------
    method
        Name of the method.
    iteration
        As the method counts.
    window
        m_jj window, for a method that has one.
    """

    method: str
    iteration: int
    window: MassRange | None

    def before(self, labelling: Labelling, settings: TrainSettings) -> Round:
        """Return the round whose taggers label this one."""
        has_window = method_of(labelling.method).has_window(settings)
        return Round(labelling.method, labelling.iteration, self.window if has_window else None)


def wanted_rounds(config: SearchConfig) -> dict[str, Round]:
    """Return the last round of every tagger set by the set's name.

    Raises
    ------
    ConfigError
        A method is unknown, or a window's sidebands leave the fit range.
    """
    settings, windows = config.train, windows_of(config)
    wanted = {}
    for name in settings.methods:
        method = method_of(name)
        for window in windows if method.has_window(settings) else (None,):
            found = Round(name, method.last(settings), window)
            wanted[set_name(found, len(windows))] = found
    return wanted


def set_name(found: Round, windows: int) -> str:
    """Return the tagger set's name: the method, and its window where there are several."""
    several = windows > 1 and found.window is not None
    return f"{found.method}-{found.window.name}" if several and found.window else found.method


def needed(last: Sequence[Round], settings: TrainSettings) -> list[Round]:
    """Return the rounds and all that label them, each once."""
    found: list[Round] = []
    left = list(last)
    while left:
        one = left.pop(0)
        if one in found:
            continue
        found.append(one)
        method = method_of(one.method)
        for scope in method.scopes(settings):
            labelling = method.labelled_by(settings, scope, one.iteration)
            if labelling is not None:
                left.append(one.before(labelling, settings))
    return found


def depth(one: Round, settings: TrainSettings) -> int:
    """Return how many rounds have to be done before this one."""
    method = method_of(one.method)
    labelling = method.labelled_by(settings, method.scopes(settings)[0], one.iteration)
    return 0 if labelling is None else 1 + depth(one.before(labelling, settings), settings)


def networks(one: Round, plans: Sequence[FoldPlan], settings: TrainSettings) -> int:
    """Return how many trainings a round has."""
    method = method_of(one.method)
    scopes = 1 if method.shared(settings) else len(method.scopes(settings))
    members = settings.members if method.has_chance(settings) else 1
    return sum(len(plan.places) for plan in plans) * scopes * members


def plans_for(rounds: Sequence[Sequence[Round]], config: SearchConfig) -> tuple[FoldPlan, ...]:
    """Return the fold plans of a search whose waves of rounds these are."""
    last = max(one.iteration for wave in rounds for one in wave)
    return plans_of(config.train.folds, config.seed, 1 + last)


def waves(config: SearchConfig) -> list[list[Round]]:
    """Return all rounds in the order in which they can be trained."""
    rounds = needed(list(wanted_rounds(config).values()), config.train)
    depths = [depth(one, config.train) for one in rounds]
    return [
        [one for one, d in zip(rounds, depths, strict=True) if d == level]
        for level in range(max(depths) + 1)
    ]
