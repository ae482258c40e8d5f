"""Cross-validated Tag N' Train: all trainings of a search, stage after stage.

For each scored fold t with the other folds T, divided into inner folds a: an
autoencoder per jet on T without a; the events of a labelled only by the tagger of
their other jet that left a out; a classifier per jet on T without a; and again,
labelling with the classifiers. Nothing below sees t.

Source: arXiv:2002.12376, section 2, with the folds of docs/architecture.md,
"How a search stays honest".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tnt_coffea.config import SearchConfig
from tnt_coffea.errors import TrainingError
from tnt_coffea.events.skim import Sample
from tnt_coffea.training.folds import OUTSIDE, FoldPlan, cross_validation_plans
from tnt_coffea.training.labellers import OTHER_JET, Jet, Labeller
from tnt_coffea.training.tasks import Outcome, Task, run_task

__all__ = ["RunTasks", "cross_validate"]

RunTasks = Callable[[Sequence[Task], Callable[[Task], Outcome]], Sequence[Outcome]]
"""What runs independent tasks, anywhere, and returns their outcomes."""

_Place = tuple[int, int, str]


def cross_validate(
    skim: Iterable[str | Path],
    config: SearchConfig,
    run_tasks: RunTasks,
    folder: str | Path,
    plans: Sequence[FoldPlan] | None = None,
) -> dict[str, list[Outcome]]:
    """Return the members of the sets `autoencoder` and `tnt` for every scored fold.

    Parameters
    ----------
    skim
        Parts of one skim.
    config
        Settings of the search; `seed`, `train` and `search.window` are read.
    run_tasks
        Runs a stage's tasks; its outcomes may come in any order.
    folder
        Where taggers and histories go. Those of the same trainings that are there
        already are taken, not made again.
    plans
        Folds to train and score; by default all, cross-validated.

    Returns
    -------
    dict
        By set, members ordered by scored fold, scope and inner fold. The scores of
        members that share scored fold and scope are to be averaged.

    Raises
    ------
    TrainingError
        A training fails, or its outcome did not come back.
    """
    paths = tuple(sorted(str(path) for path in skim))
    if plans is None:
        plans = cross_validation_plans(config.train.folds, config.seed)
    samples = _training_samples(paths, plans)

    def task(plan: FoldPlan, left_out: int, jet: Jet, before: dict[_Place, Outcome]) -> Task:
        labellers = _labellers(plan, left_out, jet, before)
        iteration = labellers[0][1] + 1 if labellers else 0
        return Task(
            plan=plan,
            left_out=left_out,
            jet=jet,
            iteration=iteration,
            labellers=tuple(labeller for labeller, _ in labellers),
            skim=paths,
            training_sample=samples[plan, left_out],
            settings=config.train,
            window=config.search.window if iteration and config.train.tnt.mass_window else None,
            seed=config.seed,
            folder=str(folder),
        )

    stages: list[dict[_Place, Outcome]] = [{}]
    for _ in range(1 + config.train.tnt.iterations):
        tasks = [
            task(plan, left_out, jet, stages[-1])
            for plan in plans
            for left_out in plan.inner
            for jet in OTHER_JET
        ]
        stages.append(_outcomes(tasks, run_tasks(tasks, run_task)))
    return {
        "autoencoder": _in_order(stages[1]),
        "tnt": _in_order(stages[-1]),
    }


def _training_samples(
    paths: tuple[str, ...], plans: Sequence[FoldPlan]
) -> dict[tuple[FoldPlan, int], str]:
    whole = Sample.read(paths)
    hashes = {}
    for plan in plans:
        inner = plan.inner_of(whole.event_id)
        for left_out in plan.inner:
            mine = (inner != OUTSIDE) & (inner != left_out)
            hashes[plan, left_out] = whole.select(mine).content_hash()
    return hashes


def _labellers(
    plan: FoldPlan, left_out: int, jet: Jet, before: dict[_Place, Outcome]
) -> list[tuple[Labeller, int]]:
    if not before:
        return []
    found = [
        (inner, before[plan.scored, inner, OTHER_JET[jet]])
        for inner in plan.inner
        if inner != left_out
    ]
    return [(Labeller(inner, item.path, item.sha256), item.iteration) for inner, item in found]


def _outcomes(tasks: Sequence[Task], outcomes: Sequence[Outcome]) -> dict[_Place, Outcome]:
    found = {(item.scored, item.inner, item.scope): item for item in outcomes}
    wanted = {(task.plan.scored, task.left_out, task.jet): task for task in tasks}
    missing = [task.name for place, task in wanted.items() if place not in found]
    if missing:
        msg = (
            f"{len(missing)} of {len(tasks)} trainings did not come back, first: {missing[0]}; "
            "run again, finished ones are not repeated"
        )
        raise TrainingError(msg)
    return {place: found[place] for place in wanted}


def _in_order(stage: dict[_Place, Outcome]) -> list[Outcome]:
    return sorted(stage.values(), key=lambda item: (item.scored, item.scope, item.inner))
