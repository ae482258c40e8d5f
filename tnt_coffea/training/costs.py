"""What a training would cost on this machine, measured on a slice of the events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import SearchConfig, TrainSettings
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.cross_validation import Trainings
from tnt_coffea.training.folds import OUTSIDE, FoldPlan
from tnt_coffea.training.labellers import Jet, Ranking
from tnt_coffea.training.methods import Job, method_of
from tnt_coffea.training.reading import mapped_events
from tnt_coffea.training.rounds import Round, networks

__all__ = ["CostedRound", "Costs", "training_costs"]

_SLICES = (2000, 8000, 32000)
"""Events a measurement is tried with; rare windows need more."""
_MEASURED = 2
"""Epochs of a measurement; the second one is timed, the first one compiles."""
EARLY = 0.3
"""Share of the most epochs after which early stopping usually ends a network's training."""


@dataclass(frozen=True)
class CostedRound:
    """One round of trainings and its cost.

    Attributes
    ----------
    name
        Method, window and iteration.
    networks
        Trainings of the round.
    events
        Events that each one reads, on average.
    epochs
        Most epochs of a training.
    start
        Seconds of a training besides its epochs.
    epoch
        Seconds of an epoch, measured on a slice and scaled to `events`.
    """

    name: str
    networks: int
    events: int
    epochs: int
    start: float
    epoch: float

    @property
    def most(self) -> float:
        """Seconds of one training that takes all its epochs."""
        return self.start + self.epochs * self.epoch

    @property
    def expected(self) -> float:
        """Seconds of one training that stops early."""
        share = EARLY if self.epochs > 1 else 1.0
        return self.start + share * self.epochs * self.epoch


@dataclass(frozen=True)
class Costs:
    """All rounds of a search, in their order.

    Attributes
    ----------
    rounds
        One after the other.
    workers
        Processes that train at the same time.
    """

    rounds: tuple[CostedRound, ...]
    workers: int

    @property
    def networks(self) -> int:
        """All trainings."""
        return sum(one.networks for one in self.rounds)

    @property
    def expected(self) -> float:
        """Seconds of wall time with early stopping."""
        return sum(self._waves(one.networks) * one.expected for one in self.rounds)

    @property
    def most(self) -> float:
        """Seconds of wall time if no training stops early."""
        return sum(self._waves(one.networks) * one.most for one in self.rounds)

    def _waves(self, networks: int) -> int:
        return -(-networks // self.workers)

    def summary(self) -> str:
        """Return the rounds and the total as text."""
        lines = [
            f"{one.networks:4d} x {one.name}: {one.expected:.3g} s each, at most {one.most:.3g} s "
            f"({one.events} events, at most {one.epochs} epochs)"
            for one in self.rounds
        ]
        total = (
            f"{self.networks} trainings, {self.workers} at a time: about {self.expected:.0f} s, "
            f"at most {self.most:.0f} s; finished ones in the folder are not repeated"
        )
        return "\n".join([*lines, total])


def training_costs(skim: Iterable[str | Path], config: SearchConfig, *, workers: int = 1) -> Costs:
    """Return what the trainings of a search would cost; none of them is made.

    Every method's network is built and trained for two epochs on a slice of the events, with
    labels drawn by lot: neither truth nor any tagger is needed.

    Parameters
    ----------
    skim
        Parts of one skim.
    config
        Settings of the search.
    workers
        Processes that would train.

    Raises
    ------
    TrainingError
        A window holds too few events to train with.
    """
    paths = tuple(skim)
    trainings = Trainings.planned(paths, config, "", None)
    measured: dict[tuple[str, int], tuple[float, float]] = {}
    found = []
    with TemporaryDirectory() as folder:
        sample = mapped_events(paths, folder)
        for one in (one for wave in trainings.waves for one in wave):
            key = (one.method, one.iteration)
            if key not in measured:
                measured[key] = _measured(one, sample, trainings.plans[0], config)
            found.append(_costed(one, trainings, sample, measured[key]))
    return Costs(tuple(found), max(workers, 1))


def _costed(
    one: Round, trainings: Trainings, sample: Sample, measured: tuple[float, float]
) -> CostedRound:
    method, settings = method_of(one.method), trainings.config.train
    whole = method.chooses_on_left_out(settings)
    read = [
        int(plan.trains(sample.event_id, place, one.iteration, whole=whole).sum())
        for plan in trainings.plans
        for place in plan.places
    ]
    window = f", window {one.window.name}" if one.window else ""
    events = round(float(np.mean(read)))
    return CostedRound(
        name=f"{method.title(settings)}{window}, iteration {one.iteration}",
        networks=networks(one, trainings.plans, settings),
        events=events,
        epochs=method.epochs(settings),
        start=measured[0],
        epoch=measured[1] * events,
    )


def _measured(
    one: Round, sample: Sample, plan: FoldPlan, config: SearchConfig
) -> tuple[float, float]:
    """Return the seconds of a start, and of an epoch per event read."""
    mine = np.flatnonzero(plan.inner_of(sample.event_id) != OUTSIDE)
    for size in _SLICES:
        part = sample.select(mine[:size])
        try:
            return _timed(one, part, plan, config)
        except TrainingError:
            if size >= len(mine) or size == _SLICES[-1]:
                raise
    raise AssertionError


def _timed(one: Round, part: Sample, plan: FoldPlan, config: SearchConfig) -> tuple[float, float]:
    method, settings = method_of(one.method), _shortened(config.train)
    inner = plan.inner_of(part.event_id)
    lot = seeds.generator(config.seed, "costs")
    part = replace(part, label=(lot.random(len(part)) < 0.1).astype(np.int8))

    def rankings(jet: Jet) -> list[Ranking]:
        rows = (np.flatnonzero(inner == fold) for fold in np.unique(inner))
        return [Ranking(chosen, lot.permutation(len(chosen))) for chosen in rows]

    began = perf_counter()
    trained = method.train(
        Job(
            sample=part,
            scope=method.scopes(settings)[0],
            iteration=one.iteration,
            settings=settings,
            window=one.window,
            seed=config.seed,
            held_back=(inner == plan.places[0] if method.chooses_on_left_out(settings) else None),
            rankings=rankings,
        )
    )
    total = perf_counter() - began
    if not trained.seconds:  # no epochs: all of it goes with the events
        return 0.0, total / method.epochs(settings) / len(part)
    warm = trained.seconds[-1]
    return max(total - sum(trained.seconds), 0.0) + (
        max(trained.seconds[0] - warm, 0.0)
    ), warm / len(part)


def _shortened(settings: TrainSettings) -> TrainSettings:
    sections = {}
    for name in ("autoencoder", "tnt", "cwola", "supervised"):
        section = getattr(settings, name)
        update: dict[str, object] = {"epochs": _MEASURED}
        if name == "autoencoder":
            update["keep"] = section.keep[:1]
        else:
            update["classifier"] = section.classifier.model_copy(update={"trees": _MEASURED})
        if name == "cwola":
            update["candidates"] = 1
        sections[name] = section.model_copy(update=update)
    return settings.model_copy(update=sections)
