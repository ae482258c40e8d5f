"""All trainings of a search, wave after wave.

For each scored fold t with the other folds T, divided into inner folds a: an
autoencoder per jet on T without a; the events of a labelled only by the tagger of
their other jet that left a out; a classifier per jet on T without a; and again,
labelling with the classifiers. Nothing below sees t. Prequential and split mode are the
same with other folds around t.

Source: arXiv:2002.12376, section 2, with the folds of docs/architecture.md,
"How a search stays honest".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import TrainingError
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.labellers import Jet, Labeller
from tnt_coffea.training.methods import Scope, method_of
from tnt_coffea.training.reading import mapped_events
from tnt_coffea.training.rounds import Round, plans_for, set_name, wanted_rounds, waves
from tnt_coffea.training.running import run_task, truth_hash
from tnt_coffea.training.tasks import Outcome, Task
from tnt_coffea.training.windows import windows_of

__all__ = ["RunTasks", "Trainings", "cross_validate"]

RunTasks = Callable[[Sequence[Task], Callable[[Task], Outcome]], Sequence[Outcome]]
"""What runs independent tasks, anywhere, and returns their outcomes."""

_Place = tuple[Round, int, int, int, str]
"""Round, scored fold, place, member, scope."""


def cross_validate(
    skim: Iterable[str | Path],
    config: SearchConfig,
    run_tasks: RunTasks,
    folder: str | Path,
    plans: Sequence[FoldPlan] | None = None,
) -> dict[str, list[Outcome]]:
    """Return the members of every tagger set of `train.methods` for every scored fold.

    Parameters
    ----------
    skim
        Parts of one skim.
    config
        Settings of the search; `seed`, `train`, `search.window` and `search.fit_range` are
        read.
    run_tasks
        Runs a wave's tasks; its outcomes may come in any order.
    folder
        Where taggers and histories go. Those of the same trainings that are there
        already are taken, not made again.
    plans
        Folds to train and score; by default those of `train.folds`.

    Returns
    -------
    dict
        By set, members ordered by scored fold, scope, inner fold and member. The scores of
        members that share scored fold and scope are to be averaged.

    Raises
    ------
    TrainingError
        A training fails, or its outcome did not come back.
    ConfigError, InputError
        The skim lacks what a method reads; nothing has been trained.
    """
    trainings = Trainings.planned(skim, config, folder, plans)
    trainings.check()
    for wave in trainings.waves:
        trainings.finish(wave, run_tasks)
    return trainings.sets()


@dataclass
class Trainings:
    """The trainings of a search and what has come of them.

    Attributes
    ----------
    config
        Settings of the search.
    paths
        Parts of the skim.
    folder
        Where taggers go.
    plans
        Folds trained on and scored.
    waves
        Rounds that may run at the same time, in order.
    outcomes
        By place, as far as they are done.
    """

    config: SearchConfig
    paths: tuple[str, ...]
    folder: str
    plans: tuple[FoldPlan, ...]
    waves: list[list[Round]]
    outcomes: dict[_Place, Outcome] = field(default_factory=dict)
    _hashes: dict[tuple[str, bool], tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def planned(
        cls,
        skim: Iterable[str | Path],
        config: SearchConfig,
        folder: str | Path,
        plans: Sequence[FoldPlan] | None = None,
    ) -> Trainings:
        """Return the trainings of a search, of which none has been run; see `cross_validate`."""
        ordered = waves(config)
        if plans is None:
            plans = plans_for(ordered, config)
        paths = tuple(sorted(str(path) for path in skim))
        return cls(config, paths, str(folder), tuple(plans), ordered)

    def check(self) -> None:
        """Refuse a skim that lacks what a method reads."""
        none = mapped_events(self.paths, self.folder).select(np.arange(0))
        for name in sorted({one.method for wave in self.waves for one in wave}):
            method_of(name).check(none, self.config.train)

    def finish(self, wave: Sequence[Round], run_tasks: RunTasks) -> None:
        """Run all tasks of a wave, whose labellers are done."""
        tasks = self.tasks(wave)
        outcomes = {
            (item.set_name, item.iteration, item.scored, item.inner, item.member, item.scope): item
            for item in run_tasks([task for _, task in tasks], run_task)
        }
        missing = []
        for one, task in tasks:
            found = outcomes.get(
                (
                    task.set_name,
                    task.iteration,
                    task.plan.scored,
                    task.left_out,
                    task.member,
                    task.scope,
                )
            )
            if found is None:
                missing.append(task.name)
                continue
            place = (one, task.plan.scored, task.left_out, task.member)
            self.outcomes[(*place, task.scope)] = found
            if found.twin is not None:
                self.outcomes[(*place, found.twin.scope)] = found.twin
        if missing:
            msg = (
                f"{len(missing)} of {len(tasks)} trainings did not come back, first: "
                f"{missing[0]}; run again, finished ones are not repeated"
            )
            raise TrainingError(msg)

    def tasks(self, wave: Sequence[Round]) -> list[tuple[Round, Task]]:
        """Return the tasks of a wave with their rounds."""
        settings = self.config.train
        made = []
        for one in wave:
            method = method_of(one.method)
            scopes = method.scopes(settings)
            for plan in self.plans:
                for place in plan.places:
                    for scope in scopes[:1] if method.shared(settings) else scopes:
                        members = settings.members if method.has_chance(settings) else 1
                        made += [
                            (one, self._task(one, plan, place, scope, member))
                            for member in range(members)
                        ]
        return made

    def sets(self) -> dict[str, list[Outcome]]:
        """Return the members of every tagger set, in order."""
        scored = {plan.scored: plan.scores for plan in self.plans}
        return {
            name: sorted(
                (
                    replace(item, scored=fold, twin=None)
                    for (one, first, *_), item in self.outcomes.items()
                    if one == last
                    for fold in scored[first]
                ),
                key=lambda item: (item.scored, item.scope, item.inner, item.member),
            )
            for name, last in wanted_rounds(self.config).items()
        }

    def _task(self, one: Round, plan: FoldPlan, place: int, scope: Scope, member: int) -> Task:
        content, truth = self._content(one, plan, place)
        return Task(
            method=one.method,
            set_name=set_name(one, len(windows_of(self.config))),
            plan=plan,
            left_out=place,
            scope=scope,
            iteration=one.iteration,
            member=member,
            labellers=self._labellers(one, plan, place, scope, member),
            skim=self.paths,
            training_sample=content,
            truth=truth,
            settings=self.config.train,
            window=one.window,
            seed=self.config.seed,
            folder=self.folder,
        )

    def _content(self, one: Round, plan: FoldPlan, place: int) -> tuple[str, str]:
        method, settings = method_of(one.method), self.config.train
        truth = method.uses_truth
        sample = mapped_events(self.paths, self.folder, truth=truth)
        mine = plan.trains(
            sample.event_id, place, one.iteration, whole=method.chooses_on_left_out(settings)
        )
        key = (hashlib.sha256(np.packbits(mine).tobytes()).hexdigest(), truth)
        if key not in self._hashes:
            chosen = sample.select(mine)
            self._hashes[key] = (chosen.content_hash(), truth_hash(chosen) if truth else "")
        return self._hashes[key]

    def _labellers(
        self, one: Round, plan: FoldPlan, place: int, scope: Scope, member: int
    ) -> tuple[Labeller, ...]:
        method, settings = method_of(one.method), self.config.train
        wanted = plan.labellers(place, one.iteration)
        files = method.files(settings, scope, one.iteration)
        if files:
            return tuple(
                _from_file(inner, jet, path, independent=settings.tnt.initial.independent)
                for jet, path in files.items()
                for inner, _ in wanted
            )
        labelling = method.labelled_by(settings, scope, one.iteration)
        if labelling is None:
            return ()
        before = one.before(labelling, settings)
        if not method_of(labelling.method).has_chance(settings):
            member = 0
        found = []
        for jet in labelling.jets:
            for inner, at in wanted:
                item = self.outcomes[before, plan.scored, at, member, jet]
                found.append(Labeller(inner, item.path, item.sha256, at, jet))
        return tuple(found)


def _from_file(inner: int, jet: Jet, path: str, *, independent: bool) -> Labeller:
    try:
        sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        msg = f"train.tnt.initial.{jet}: {path}: cannot be opened: {error.strerror or error}"
        raise TrainingError(msg) from error
    return Labeller(inner, str(Path(path).resolve()), sha256, inner, jet, independent)
