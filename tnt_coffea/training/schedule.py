"""All training runs of a search, in the order in which they build on each other.

For each scored fold t with the other folds T, divided into inner folds a: a first tagger per
jet on T without a; the events of a labelled only by the tagger of their other jet that left a
out; a classifier per jet on T without a; and again, labelling with the classifiers. Nothing
here sees t. Prequential, split and swapped mode are the same with other folds around t.

Source: arXiv:2002.12376, section 2, with the folds of docs/architecture.md, "How a search stays
honest".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tnt_coffea.config import FoldMode, MassRange, SearchConfig, training_order
from tnt_coffea.errors import ConfigError, InputError, LeakError, TrainingError
from tnt_coffea.events.roles import DATA, SIMULATION, prior_name
from tnt_coffea.events.sample import Sample
from tnt_coffea.training.folds import WHOLE, FoldPlan, IndependentPlan, plans_of
from tnt_coffea.training.labels import Labeller, Scope
from tnt_coffea.training.mapped import mapped_events
from tnt_coffea.training.method import Method, methods_of
from tnt_coffea.training.task import (
    Outcome,
    RoleEvents,
    Task,
    run_task,
    selected,
    truth_hash,
)
from tnt_coffea.training.windows import windows_of

__all__ = ["RunTasks", "Schedule", "Step", "Wave", "cross_validate", "steps_of"]

RunTasks = Callable[[Sequence[Task], Callable[[Task], Outcome]], Sequence[Outcome]]
"""Function that runs independent tasks, here or on workers, and returns their outcomes."""
_PURPOSES = {"score": "scores", "weight": "weights of simulated events"}
Parts = Mapping[str, Iterable[str | Path]]
"""Parts of a skim by role: `data`, `simulation`, `prior:NAME`."""


@dataclass(frozen=True)
class Step:
    """All training runs of a method in one window; they may run at the same time.

    Attributes
    ----------
    name
        Name of the method in `train.methods`.
    method
        The method.
    window
        Window in mass, if it or a method it builds on depends on one.
    set_name
        Tagger set of its outcomes: the name, and the window where there are several.
    round_
        Number of training runs that it builds on, one on the other.
    inner
        Whether there is a training run for each inner fold.
    independent
        Whether no event of the data has a part in it: one training run serves all folds.
    uses_truth
        Whether it or a method it builds on reads labels.
    weighted_by
        Tagger set whose weights make simulated events its background, if any.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> from tnt_coffea.training import plans_of
    >>> config = SearchConfig()  # two outer folds, four inner ones
    >>> (first,), (second,) = steps_of(config)
    >>> first.name, first.window, second.name, second.window.edges
    ('autoencoder', None, 'tnt', (3300.0, 3700.0))
    >>> second.runs(plans_of(config.train.folds, config.seed, rounds=2), config)
    16
    """

    name: str
    method: Method
    window: MassRange | None
    set_name: str
    round_: int
    inner: bool
    independent: bool
    uses_truth: bool
    weighted_by: str | None = None

    def plans(self, plans: Sequence[FoldPlan]) -> Sequence[FoldPlan]:
        """Return the folds around its training runs."""
        if not self.independent:
            return tuple(dict.fromkeys(plan.at(self.round_) for plan in plans))
        scores = tuple(sorted({fold for plan in plans for fold in plan.scores}))
        return (IndependentPlan(plans[0].settings, plans[0].seed, scores=scores),)

    def members(self, config: SearchConfig) -> int:
        """Return the number of training runs that differ in their seed alone."""
        return config.train.members if self.method.is_random else 1

    def runs(self, plans: Sequence[FoldPlan], config: SearchConfig) -> int:
        """Return the number of its training runs."""
        places = sum(len(plan.places(inner=self.inner)) for plan in self.plans(plans))
        return places * len(self.method.scopes) * self.members(config)


Wave = Sequence[Step]
"""Steps that may run at the same time."""


def steps_of(config: SearchConfig) -> list[list[Step]]:
    """Return all steps of a search, wave by wave.

    Raises
    ------
    ConfigError
        A window does not suit a method, or `search.cuts` cut jets that it gives no scores of.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> [[step.set_name for step in wave] for wave in steps_of(SearchConfig())]
    [['autoencoder'], ['tnt']]
    """
    methods, windows = methods_of(config), windows_of(config)
    order = training_order(methods, methods)
    built_on = {name for name in order for name in methods[name].builds_on()}
    rounds: dict[str, int] = {}
    known: dict[str, tuple[bool, bool, bool]] = {}  # has a window, reads data, uses truth
    steps: list[Step] = []
    for name in order:
        method, reads, before = methods[name], methods[name].reads, methods[name].builds_on()
        if config.search.cuts and method.scopes == ("event",):
            msg = (
                f"train.methods.{name} ({method.kind}) gives one score an event, which "
                f"search.cuts ({', '.join(config.search.cuts)}) cannot cut jet by jet: leave out "
                "the cuts or the method"
            )
            raise ConfigError(msg)
        has_window = reads.window or any(known[other][0] for other in before)
        reads_data = reads.data or any(known[other][1] for other in before)
        uses_truth = reads.truth or any(known[other][2] for other in before)
        known[name] = has_window, reads_data, uses_truth
        behind = [rounds[other] for other in before if known[other][1]]
        # In swapped mode fold 0 is for first taggers alone, also where these read no data.
        first = -1 if config.train.folds.mode is not FoldMode.SWAPPED or not before else 0
        rounds[name] = 1 + max(behind, default=first)
        for window in windows if has_window else (None,):
            if window is not None:
                method.check_window(window, config.search.fit_range)
            several = len(windows) > 1 and window is not None
            suffix = f"-{window.name}" if several and window else ""
            steps.append(
                Step(
                    name=name,
                    method=method,
                    window=window,
                    set_name=f"{name}{suffix}",
                    round_=rounds[name],
                    inner=method.uses_inner_folds or name in built_on,
                    independent=not reads_data,
                    uses_truth=uses_truth,
                    weighted_by=method.weighted_by and f"{method.weighted_by}{suffix}",
                )
            )
    depth: dict[str, int] = {}
    for name in order:
        depth[name] = 1 + max((depth[other] for other in methods[name].builds_on()), default=-1)
    return [
        [step for step in steps if depth[step.name] == level]
        for level in range(1 + max(depth.values()))
    ]


def cross_validate(
    skim: Parts | Iterable[str | Path],
    config: SearchConfig,
    run_tasks: RunTasks,
    folder: str | Path,
    plans: Sequence[FoldPlan] | None = None,
) -> dict[str, list[Outcome]]:
    """Return the members of every tagger set of `train.methods` for every scored fold.

    Parameters
    ----------
    skim
        Parts of one skim by role, or those of the data alone.
    config
        Settings of the search; `seed`, `train`, `search.window` and `search.fit_range` are
        read.
    run_tasks
        Runs a wave's tasks; its outcomes may come in any order.
    folder
        Folder of taggers and histories. Training runs that are finished in it are read, not
        repeated.
    plans
        Folds to train and score; by default those of `train.folds`.

    Returns
    -------
    dict
        By set, members ordered by scored fold, scope, inner fold and member. The scores of
        members that share scored fold and scope are to be combined.

    Raises
    ------
    TrainingError
        A training run fails, or its outcome did not come back.
    ConfigError, InputError
        The skim lacks what a method reads; nothing has been trained.
    LeakError
        An event is in two roles.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, Skim, testing
    >>> config = SearchConfig.from_text("train: {methods: {mass: {kind: feature}}}")
    >>> skim = Skim.from_sample(testing.make_sample(100))
    >>> with TemporaryDirectory() as folder:
    ...     outcomes = cross_validate(skim.by_role, config, testing.one_by_one, folder)
    >>> [(item.scope, item.scored) for item in outcomes["mass"]]
    [('heavy', 0), ('light', 0), ('heavy', 1), ('light', 1)]
    """
    schedule = Schedule.planned(skim, config, folder, plans)
    schedule.check()
    for wave in schedule.waves:
        schedule.finish(wave, run_tasks)
    return schedule.sets()


_Place = tuple[str, int, int, int, str]
"""Set, scored fold, inner fold left out, member, scope."""


@dataclass
class Schedule:
    """Training runs of a search, and the outcomes of those that are finished.

    Attributes
    ----------
    config
        Settings of the search.
    parts
        Parts of the skim by role.
    folder
        Folder of the taggers.
    plans
        Folds trained on and scored.
    waves
        Steps that may run at the same time, in order.
    outcomes
        Outcomes of finished training runs by place.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from tnt_coffea import SearchConfig, Skim, testing
    >>> skim = Skim.from_sample(testing.make_sample(100))
    >>> with TemporaryDirectory() as folder:
    ...     schedule = Schedule.planned(skim.by_role, SearchConfig(), folder)
    ...     tasks = schedule.tasks(schedule.waves[0])
    >>> len(tasks), tasks[0].description
    (16, 'autoencoder of the heavy jet for fold 0, without inner fold 0')
    """

    config: SearchConfig
    parts: Mapping[str, tuple[str, ...]]
    folder: str
    plans: tuple[FoldPlan, ...]
    waves: list[list[Step]]
    outcomes: dict[_Place, Outcome] = field(default_factory=dict)
    _hashes: dict[tuple[str, str, bool], tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def planned(
        cls,
        skim: Parts | Iterable[str | Path],
        config: SearchConfig,
        folder: str | Path,
        plans: Sequence[FoldPlan] | None = None,
    ) -> Schedule:
        """Return the training runs of a search before the first of them; see `cross_validate`."""
        waves = steps_of(config)
        if plans is None:
            rounds = 1 + max(step.round_ for wave in waves for step in wave)
            plans = plans_of(config.train.folds, config.seed, rounds)
        by_role = skim if isinstance(skim, Mapping) else {DATA: skim}
        parts = {role: tuple(sorted(map(str, paths))) for role, paths in by_role.items()}
        return cls(config, parts, str(folder), tuple(plans), waves)

    def check(self) -> None:
        """Refuse a skim without what a method reads or builds on, or with an event in two roles."""
        self.check_roles()
        self.check_needs()
        none = np.arange(0)
        self.check_inputs(
            {role: mapped_events(p, self.folder).select(none) for role, p in self.parts.items()}
        )
        seen: dict[str, np.ndarray] = {}
        for role, paths in self.parts.items():
            ids = mapped_events(paths, self.folder).event_id
            for other, others in seen.items():
                shared = np.intersect1d(ids, others)
                if len(shared):
                    files = ", ".join(sorted({*self.parts[other][:2], *paths[:2]}))
                    msg = (
                        f"{len(shared)} events are both '{other}' and '{role}', first "
                        f"{shared[0]}: what trains a tagger must not be searched by it ({files})"
                    )
                    raise LeakError(msg)
            seen[role] = ids

    def check_roles(self) -> None:
        """Refuse a method that reads a role which is not there."""
        for step in (step for wave in self.waves for step in wave):
            self._check_roles(step)

    def check_needs(self) -> None:
        """Refuse a method that builds on one whose taggers give something else."""
        for step in (step for wave in self.waves for step in wave):
            for scope in step.method.scopes:
                self._check_needs(step, scope)

    def check_inputs(self, events: Mapping[str, Sample]) -> None:
        """Refuse a skim without the columns that a method reads.

        Parameters
        ----------
        events
            Of every role, the data first of all; none are needed, their columns count.
        """
        variable = self.config.search.variable
        data = events[DATA].with_variable(variable)
        for step in (step for wave in self.waves for step in wave):
            reads = step.method.reads
            read = {
                role: sample.with_variable(variable)
                for role, sample in events.items()
                if role != DATA and reads.role(role)
            }
            for scope in step.method.scopes:
                for role, sample in {"": data, **read}.items():
                    try:
                        step.method.check(sample, scope)
                    except (ConfigError, InputError) as error:
                        of = f", events of role {role}" if role else ""
                        msg = f"train.methods.{step.name}{of}: {error}"
                        raise type(error)(msg) from error

    def _check_roles(self, step: Step) -> None:
        reads = step.method.reads
        if reads.simulation and SIMULATION not in self.parts:
            msg = (
                f"train.methods.{step.name} ({step.method.kind}) reads simulated background; "
                "give it with --simulation FILE"
            )
            raise ConfigError(msg)
        given = [name for name in map(prior_name, self.parts) if name is not None]
        for name in reads.named_priors:
            if name not in given:
                has = f"; it has {', '.join(given)}" if given else ""
                msg = (
                    f"train.methods.{step.name} ({step.method.kind}) reads the simulated signal "
                    f"'{name}', which the skim lacks{has}: give it with --prior {name}=FILE"
                )
                raise ConfigError(msg)
        if reads.priors and not given and not reads.without_priors:
            msg = (
                f"train.methods.{step.name} ({step.method.kind}) reads simulated signals; "
                "give them with --prior NAME=FILE"
            )
            raise ConfigError(msg)
        try:
            step.method.check_priors([name for name in given if reads.prior(name)])
        except ConfigError as error:
            msg = f"train.methods.{step.name} ({step.method.kind}): {error}"
            raise ConfigError(msg) from error

    def _check_needs(self, step: Step, scope: Scope) -> None:
        for need in step.method.needs(scope):
            before = self._step(need.method, step.window).method
            if before.purpose != need.purpose:
                has, wanted = _PURPOSES[before.purpose], _PURPOSES[need.purpose]
                msg = (
                    f"train.methods.{step.name} needs {wanted} of '{need.method}', but "
                    f"{before.kind} gives {has}"
                )
                raise ConfigError(msg)
            if need.scope not in before.scopes:
                what = "event" if need.scope == "event" else f"{need.scope} jet"
                msg = (
                    f"train.methods.{step.name} needs taggers of the {what}, but '{need.method}' "
                    f"({before.kind}) trains those of {' and '.join(before.scopes)}"
                )
                raise ConfigError(msg)

    def finish(self, wave: Wave, run_tasks: RunTasks) -> None:
        """Run all tasks of a wave; those of the waves before it are finished."""
        tasks = self.tasks(wave)
        for item in run_tasks(tasks, run_task):
            place = (item.set_name, item.scored, item.left_out, item.member, item.scope)
            self.outcomes[place] = item
        missing = [task.description for task in tasks if _place(task) not in self.outcomes]
        if missing:
            msg = (
                f"{len(missing)} of {len(tasks)} training runs did not come back, first: "
                f"{missing[0]}; run again, finished ones are not repeated"
            )
            raise TrainingError(msg)

    def tasks(self, wave: Wave) -> list[Task]:
        """Return the tasks of a wave."""
        return [
            self._task(step, plan, left_out, scope, member)
            for step in wave
            for plan in step.plans(self.plans)
            for left_out in plan.places(inner=step.inner)
            for scope in step.method.scopes
            for member in range(step.members(self.config))
        ]

    def sets(self) -> dict[str, list[Outcome]]:
        """Return the members of every tagger set, in order."""
        found: dict[str, list[Outcome]] = {}
        order = {name: i for i, name in enumerate(self.config.train.methods)}
        steps = [step for wave in self.waves for step in wave]
        for step in sorted(steps, key=lambda step: order[step.name]):
            scored = {plan.scored: plan.scores for plan in step.plans(self.plans)}
            found[step.set_name] = sorted(
                (
                    replace(item, scored=fold)
                    for (name, first, *_), item in self.outcomes.items()
                    if name == step.set_name
                    for fold in scored[first]
                ),
                key=lambda item: (item.scored, item.scope, item.left_out, item.member),
            )
        return found

    def _task(self, step: Step, plan: FoldPlan, left_out: int, scope: Scope, member: int) -> Task:
        reads = step.method.reads
        roles = [role for role in self.parts if reads.role(role)]
        contents = {role: self._content(step, plan, left_out, role) for role in roles}
        labellers, adoptable = self._labellers(step, plan, left_out, scope, member)
        return Task(
            name=step.name,
            method=step.method,
            set_name=step.set_name,
            plan=plan,
            left_out=left_out,
            scope=scope,
            round_=step.round_,
            member=member,
            labellers=labellers,
            events={
                role: RoleEvents(self.parts[role], content)
                for role, (content, _) in contents.items()
            },
            layout=self.parts[DATA],
            truth=contents[DATA][1] if DATA in contents else "",
            uses_truth=step.uses_truth,
            window=step.window,
            variable=self.config.search.variable,
            seed=self.config.seed,
            folder=self.folder,
            adoptable=adoptable,
        )

    def _content(self, step: Step, plan: FoldPlan, left_out: int, role: str) -> tuple[str, str]:
        truth = step.method.reads.truth and role == DATA
        sample = mapped_events(self.parts[role], self.folder, truth=truth)
        mask = selected(step.method, plan, left_out, step.round_, role)(sample.event_id)
        key = (role, hashlib.sha256(np.packbits(mask).tobytes()).hexdigest(), truth)
        if key not in self._hashes:
            chosen = sample.select(mask)
            self._hashes[key] = (chosen.content_hash(), truth_hash(chosen) if truth else "")
        return self._hashes[key]

    def _labellers(
        self, step: Step, plan: FoldPlan, left_out: int, scope: Scope, member: int
    ) -> tuple[tuple[Labeller, ...], tuple[Labeller, ...]]:
        """Return the taggers that label the events of a run, and those that it may adopt."""
        labellers, adoptable = [], []
        # Events of the inner fold left out need a tagger as well where they are read.
        without = WHOLE if step.method.reads.left_out else left_out
        for need in step.method.needs(scope):
            before = self._step(need.method, step.window)
            (own,) = (other for other in before.plans(self.plans) if _covers(other, plan))
            like = member if before.members(self.config) > member else 0
            for inner, place in plan.labellers(without, step.round_):
                at = place if place in own.places(inner=before.inner) else WHOLE
                first, same = (
                    self.outcomes[before.set_name, own.scored, at, number, need.scope]
                    for number in (0, like)
                )
                item = first if need.adopted else same
                labellers.append(Labeller(need.method, need.scope, inner, item.path, item.sha256))
                if need.adopted and place == left_out and need.scope == scope:
                    adoptable.append(
                        Labeller(need.method, need.scope, inner, same.path, same.sha256)
                    )
        return tuple(labellers), tuple(adoptable)

    def _step(self, name: str, window: MassRange | None) -> Step:
        steps = [step for wave in self.waves for step in wave if step.name == name]
        return next(step for step in steps if step.window in (None, window))


def _covers(plan: FoldPlan, other: FoldPlan) -> bool:
    return set(other.scores) <= set(plan.scores)


def _place(task: Task) -> _Place:
    return (task.set_name, task.plan.scored, task.left_out, task.member, task.scope)
