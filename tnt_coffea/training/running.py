"""Running a task: it trains and leaves its taggers, or finds that it has done so before.

A task maps the skim, keeps the events of its own folds before it looks at anything else,
trains, and leaves two files in its folder: the tagger, and the history beside it, which is
written last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea.config import Initial
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.sample import Sample
from tnt_coffea.taggers.card import Card
from tnt_coffea.training import backend
from tnt_coffea.training.export import seal
from tnt_coffea.training.labellers import Jet, Ranking, feature_rankings, rankings
from tnt_coffea.training.methods import Job
from tnt_coffea.training.progress import told
from tnt_coffea.training.reading import mapped_events
from tnt_coffea.training.tasks import Outcome, Task
from tnt_coffea.training.trained import Trained

__all__ = ["run_task", "trained_on", "truth_hash"]


def run_task(task: Task) -> Outcome:
    """Return the outcome of a task; one that is in the folder already is not made again.

    Parameters
    ----------
    task
        Training to run.

    Raises
    ------
    TrainingError
        The training cannot start or gives nothing usable, or the skim has changed.
    LeakError
        A labeller was trained on events that it would label.
    """
    finished = _finished(task)
    if finished is not None:
        return finished
    try:
        with told(task.news, task.name, task.how.epochs(task.settings)):
            trained, card = trained_on(task, _sample(task))
    except (TrainingError, ConfigError) as error:
        msg = f"{task.name}: {error}"
        raise type(error)(msg) from error
    found = []
    for scope in task.scopes:
        data = seal(trained.model, _for_scope(card, scope))
        _write(task.tagger(scope), data)
        found.append(hashlib.sha256(data).hexdigest())
    with_keras = "keras" in task.versions
    history = trained.history | (backend.accelerator() if with_keras else {})
    outcome = _outcome(task, found, history)
    _write(task.record, json.dumps(_record(outcome), indent=1).encode())
    return outcome


def _sample(task: Task) -> Sample:
    events = mapped_events(task.skim, task.folder, truth=task.how.uses_truth)
    mine = task.plan.trains(
        events.event_id, task.left_out, task.iteration, whole=_reads_left_out(task)
    )
    sample = events.select(mine)
    found = (sample.content_hash(), truth_hash(sample) if task.how.uses_truth else "")
    if found != (task.training_sample, task.truth):
        msg = "the skim is not the one that the training was planned for; start again"
        raise TrainingError(msg)
    return sample


def truth_hash(sample: Sample) -> str:
    """Return the SHA-256 of a sample's labels, in the order of the ids."""
    return hashlib.sha256(np.ascontiguousarray(sample.label).tobytes()).hexdigest()


def _reads_left_out(task: Task) -> bool:
    return task.how.chooses_on_left_out(task.settings)


def trained_on(task: Task, sample: Sample) -> tuple[Trained, Card]:
    """Return what the task's method makes of a sample, and its card.

    Parameters
    ----------
    task
        The training.
    sample
        The events that the folds leave.
    """
    inner = task.plan.inner_of(sample.event_id)

    def ranked(jet: Jet) -> list[Ranking]:
        initial = task.settings.tnt.initial
        if not task.labellers and initial.kind is Initial.FEATURE:
            column = f"{jet}_{initial.feature}"
            return feature_rankings(sample, inner, column, descending=initial.descending)
        return rankings(
            sample,
            inner,
            [item for item in task.labellers if item.jet == jet],
            plan=task.plan,
            place=task.left_out,
            iteration=task.iteration,
            jet=jet,
        )

    trained = task.how.train(
        Job(
            sample=sample,
            scope=task.scope,
            iteration=task.iteration,
            settings=task.settings,
            window=task.window,
            seed=task.training_seed,
            held_back=(
                task.plan.left_out(sample.event_id, task.left_out)
                if _reads_left_out(task)
                else None
            ),
            rankings=ranked,
        )
    )
    return trained, _card(task, sample, trained)


def _card(task: Task, sample: Sample, trained: Trained) -> Card:
    ancestors = task.plan.ancestors(task.iteration)
    # What the epoch is chosen on is read as much as what is trained on.
    direct = ancestors if _reads_left_out(task) else task.plan.direct(task.left_out, task.iteration)
    return Card(
        method=task.title,
        scope=task.scope,
        input=trained.input,
        inputs=trained.columns,
        skim=sample.settings,
        training_sample=task.training_sample,
        folds=task.plan.settings,
        fold_seed=task.plan.seed,
        direct=direct,
        ancestors=ancestors,
        labelled_by=tuple(item.sha256 for item in task.labellers),
        window=task.window,
        uses_truth=task.how.uses_truth,
        seed=task.training_seed,
        settings=task.own_settings(),
        history=trained.summary,
        versions=task.versions,
    )


def _for_scope(card: Card, scope: str) -> Card:
    if scope == card.scope:
        return card
    inputs = tuple(name.replace(f"{card.scope}_", f"{scope}_", 1) for name in card.inputs)
    return card.model_copy(update={"scope": scope, "inputs": inputs})


def _outcome(task: Task, sha256: list[str], history: Mapping[str, Any]) -> Outcome:
    first, *twins = (
        Outcome(
            set_name=task.set_name,
            scope=scope,
            scored=task.plan.scored,
            inner=task.left_out,
            iteration=task.iteration,
            sha256=found,
            path=str(task.tagger(scope)),
            history=history,
            member=task.member,
            uses_truth=task.how.uses_truth,
        )
        for scope, found in zip(task.scopes, sha256, strict=True)
    )
    return replace(first, twin=twins[0]) if twins else first


def _record(outcome: Outcome) -> dict[str, Any]:
    values = asdict(replace(outcome, twin=None)) | {"path": Path(outcome.path).name}
    del values["twin"]
    return values | ({"twin": outcome.twin.sha256} if outcome.twin else {})


def _finished(task: Task) -> Outcome | None:
    try:
        values = json.loads(task.record.read_bytes())
        found = [values["sha256"], *([values["twin"]] if "twin" in values else [])]
        outcome = _outcome(task, found, values["history"])
        data = [task.tagger(scope).read_bytes() for scope in task.scopes]
    except (OSError, ValueError, KeyError, TypeError):
        # Never begun, or killed half-way: made again.
        return None
    return outcome if [hashlib.sha256(item).hexdigest() for item in data] == found else None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two workers may run the same task after a lost connection.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)
