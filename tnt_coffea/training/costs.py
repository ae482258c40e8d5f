"""Cost of a training on this machine, measured on a slice of the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.roles import DATA, SIMULATION
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.training.folds import OUTSIDE, FoldPlan
from tnt_coffea.training.labels import Ranking, Scope
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.training.method import Job, Scorer
from tnt_coffea.training.schedule import Parts, Schedule, Step
from tnt_coffea.training.task import by_prior, selected
from tnt_coffea.typing import Float32Array

__all__ = ["EARLY", "Costs", "StepCost", "training_costs"]

_SLICES = (2000, 8000, 32000)
"""Events a measurement is tried with; rare windows need more."""
_MEASURED = 2
"""Epochs of a measurement; the second one is timed, the first one compiles."""
Measured = Mapping[Scope, tuple[float, float]]
"""Seconds of a start, and of a pass per event, by scope."""
EARLY = 0.3
"""Share of the largest number of epochs at which early stopping usually ends a training run."""


@dataclass(frozen=True)
class StepCost:
    """Training runs of one method in one window, and their cost.

    Attributes
    ----------
    name
        Tagger set and kind of the method.
    networks
        Number of training runs.
    events
        Events of all roles that the epochs of each one go over, on average.
    epochs
        Most passes over the events.
    start
        Seconds of a training run besides its epochs.
    epoch
        Seconds of an epoch, measured on a slice and scaled to `events`.

    Examples
    --------
    >>> cost = StepCost("tnt (tag_n_train)", 16, events=5000, epochs=40, start=2.0, epoch=0.5)
    >>> cost.expected, cost.most  # seconds of one training run
    (8.0, 22.0)
    """

    name: str
    networks: int
    events: int
    epochs: int
    start: float
    epoch: float

    @property
    def most(self) -> float:
        """Seconds of one training run that takes all its epochs."""
        return self.start + self.epochs * self.epoch

    @property
    def expected(self) -> float:
        """Seconds of one training run that stops early."""
        share = EARLY if self.epochs > 1 else 1.0
        return self.start + share * self.epochs * self.epoch


@dataclass(frozen=True)
class Costs:
    """Cost of all training runs of a search.

    Attributes
    ----------
    steps
        Cost of every step, in the order of the training.
    workers
        Number of processes that train at the same time.

    Examples
    --------
    >>> step = StepCost("tnt (tag_n_train)", 16, events=5000, epochs=40, start=2.0, epoch=0.5)
    >>> costs = Costs((step,), workers=4)
    >>> costs.networks, costs.expected, costs.most
    (16, 32.0, 88.0)
    """

    steps: tuple[StepCost, ...]
    workers: int

    @property
    def networks(self) -> int:
        """All training runs."""
        return sum(step.networks for step in self.steps)

    @property
    def expected(self) -> float:
        """Seconds of wall time with early stopping."""
        return sum(self._waves(step.networks) * step.expected for step in self.steps)

    @property
    def most(self) -> float:
        """Seconds of wall time if no training run stops early."""
        return sum(self._waves(step.networks) * step.most for step in self.steps)

    def _waves(self, networks: int) -> int:
        return -(-networks // self.workers)

    def summary(self) -> str:
        """Return the steps and the total as text."""
        lines = [
            f"{step.networks:4d} x {step.name}: {step.expected:.3g} s each, "
            f"at most {step.most:.3g} s ({step.events} events, at most {step.epochs} epochs)"
            for step in self.steps
        ]
        total = (
            f"{self.networks} training runs, {self.workers} at a time: "
            f"about {self.expected:.0f} s, at most {self.most:.0f} s; "
            "finished ones in the folder are not repeated"
        )
        return "\n".join([*lines, total])


def training_costs(
    skim: Parts | Iterable[str | Path], config: SearchConfig, *, workers: int = 1
) -> Costs:
    """Return the cost of all training runs of a search, without running them.

    The network of every method is trained for two epochs on a slice of the events with random
    labels: neither truth nor any tagger is needed.

    Parameters
    ----------
    skim
        Parts of one skim by role, or those of the data alone.
    config
        Settings of the search.
    workers
        Number of processes that would train.

    Raises
    ------
    TrainingError
        A window holds too few events to train with.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig, Skim, testing
    >>> config = SearchConfig.from_text("train: {methods: {mass: {kind: feature}}}")
    >>> skim = Skim.from_sample(testing.make_sample(100))
    >>> costs = training_costs(skim.by_role, config)
    >>> [(step.name, step.networks) for step in costs.steps]
    [('mass (feature)', 2)]
    """
    measured: dict[str, Measured] = {}
    costs = []
    with TemporaryDirectory() as folder:
        schedule = Schedule.planned(skim, config, folder)
        schedule.check()
        samples = {
            role: mapped_events(paths, folder).with_variable(config.search.variable)
            for role, paths in schedule.parts.items()
        }
        for step in (step for wave in schedule.waves for step in wave):
            if step.name not in measured:
                measured[step.name] = _measured(step, samples, schedule.plans[0], config)
            costs.append(_cost(step, schedule, samples, measured[step.name]))
    return Costs(tuple(costs), max(workers, 1))


def _cost(
    step: Step,
    schedule: Schedule,
    samples: Mapping[str, Sample],
    measured: Measured,
) -> StepCost:
    roles = _roles_read(step, samples)
    read = [
        {
            role: int(
                selected(step.method, plan, place, step.round_, role)(samples[role].event_id).sum()
            )
            for role in roles
        }
        for plan in step.plans(schedule.plans)
        for place in plan.places(inner=step.inner)
    ]
    events = {
        scope: float(np.mean([step.method.trained_on(each, scope) for each in read]))
        if roles
        else len(samples[DATA])
        for scope in step.method.scopes
    }
    return StepCost(
        name=f"{step.set_name} ({step.method.kind})",
        networks=step.runs(schedule.plans, schedule.config),
        events=round(float(np.mean(list(events.values())))),
        epochs=step.method.passes,
        start=float(np.mean([measured[scope][0] for scope in events])),
        epoch=float(np.mean([measured[scope][1] * n for scope, n in events.items()])),
    )


def _roles_read(step: Step, samples: Mapping[str, Sample]) -> list[str]:
    return [role for role in samples if step.method.reads.role(role)]


def _measured(
    step: Step, samples: Mapping[str, Sample], plan: FoldPlan, config: SearchConfig
) -> Measured:
    """Return what every scope costs; the networks of the two jets are alike, and timed once."""
    scopes = step.method.scopes
    if scopes == JETS:
        return dict.fromkeys(scopes, _of_scope(step, scopes[0], samples, plan, config))
    return {scope: _of_scope(step, scope, samples, plan, config) for scope in scopes}


def _of_scope(
    step: Step,
    scope: Scope,
    samples: Mapping[str, Sample],
    plan: FoldPlan,
    config: SearchConfig,
) -> tuple[float, float]:
    data = samples[DATA]
    own = np.flatnonzero(plan.inner_of(data.event_id) != OUTSIDE)
    for size in _SLICES:
        part = data.select(own[:size])
        try:
            return _timed(step, scope, part, samples, plan, config)
        except TrainingError:
            if size >= len(own) or size == _SLICES[-1]:
                raise
    raise AssertionError


def _timed(
    step: Step,
    scope: Scope,
    part: Sample,
    samples: Mapping[str, Sample],
    plan: FoldPlan,
    config: SearchConfig,
) -> tuple[float, float]:
    """Return the seconds of a start, and of a pass per event that it goes over."""
    method = step.method.shortened()
    inner = plan.inner_of(part.event_id)
    lot = seeds.generator(config.seed, "costs")
    part = replace(part, label=(lot.random(len(part)) < 0.1).astype(np.int8))

    def rankings(name: str, scope: Scope, sample: Sample = part) -> list[Ranking]:
        inner = plan.inner_of(sample.event_id)
        rows = (np.flatnonzero(inner == fold) for fold in np.unique(inner))
        return [Ranking(chosen, lot.permutation(len(chosen))) for chosen in rows]

    def scores(name: str, scope: Scope, sample: Sample) -> Float32Array:
        return lot.random(len(sample), dtype=np.float32)

    further = {
        role: sample.select(np.arange(min(len(sample), len(part))))
        for role, sample in samples.items()
        if role != DATA
    }
    priors = {name: own for name, own in by_prior(further).items() if method.reads.prior(name)}
    shown = {DATA: part, **further}
    read = {role: len(shown[role]) for role in _roles_read(step, samples)}
    tried = method.trained_on(read, scope) or len(part)
    place = plan.places(inner=True)[0]
    began = perf_counter()
    scorer = method.train(
        Job(
            data=part if method.reads.data else part.select(np.arange(0)),
            scope=scope,
            window=step.window,
            seed=config.seed,
            left_out=inner == place if method.reads.left_out else None,
            simulation=further.get(SIMULATION),
            priors=priors if method.reads.priors else None,
            rankings=rankings,
            scores=scores,
            adopted=lambda name: Scorer(None, ()),
        )
    )
    total = perf_counter() - began
    if not scorer.seconds:  # no epochs: all of it goes with the events
        return 0.0, total / method.passes / tried
    warm = scorer.seconds[-1]
    start = max(total - sum(scorer.seconds), 0.0) + max(scorer.seconds[0] - warm, 0.0)
    return start, warm / tried
