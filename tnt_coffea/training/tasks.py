"""One training as a task: picklable, named by everything that decides its outcome, resumable.

A task maps the skim, keeps the events of its own folds before it looks at
anything else, trains, and leaves two files in its folder: the tagger, and the
history beside it, which is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.config import Initial, MassRange, TrainSettings, digest
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.skim import Sample
from tnt_coffea.taggers.card import Card
from tnt_coffea.training import backend
from tnt_coffea.training.export import seal
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.labellers import (
    OTHER_JET,
    Jet,
    Labeller,
    Ranking,
    feature_rankings,
    rankings,
)
from tnt_coffea.training.methods import Job, Method, Scope, method_of
from tnt_coffea.training.reading import mapped_events
from tnt_coffea.training.trained import Trained

__all__ = ["Outcome", "Task", "run_task", "trained_on", "truth_hash"]


@dataclass(frozen=True)
class Outcome:
    """A trained tagger and its place.

    Attributes
    ----------
    set_name
        Tagger set that it belongs to.
    scope
        `heavy`, `light` or `event`.
    scored
        Outer fold that it may score.
    inner
        Inner fold left out of its training.
    iteration
        0 for autoencoders, else from 1.
    sha256, path
        The ONNX file.
    history
        Losses and sizes, JSON values.
    member
        Number among trainings that differ in their seed alone.
    uses_truth
        It was trained with the truth.
    twin
        The same network for the other jet, where both share one.
    """

    set_name: str
    scope: str
    scored: int
    inner: int
    iteration: int
    sha256: str
    path: str
    history: Mapping[str, Any]
    member: int = 0
    uses_truth: bool = False
    twin: Outcome | None = None


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes
    ----------
    method
        Name of the method.
    set_name
        Tagger set of the outcome: the method, and the window where several are scanned.
    plan
        Folds trained on, and the fold that the outcome may score.
    left_out
        Inner fold left out.
    scope
        What the tagger scores.
    iteration
        Round of the method.
    member
        Number among trainings that differ in their seed alone.
    labellers
        Taggers of the labelling jets, one for every inner fold trained on.
    skim
        Paths of the skim's parts.
    training_sample
        Content hash of the events that the folds leave.
    truth
        Hash of their labels, for a method that uses them.
    settings
        Settings of all trainings.
    window
        m_jj window of the method, if it has one.
    seed
        Root seed.
    folder
        Where the outcome goes.
    """

    method: str
    set_name: str
    plan: FoldPlan
    left_out: int
    scope: Scope
    iteration: int
    member: int
    labellers: tuple[Labeller, ...]
    skim: tuple[str, ...]
    training_sample: str
    truth: str
    settings: TrainSettings
    window: MassRange | None
    seed: int
    folder: str

    @property
    def how(self) -> Method:
        """The method itself."""
        return method_of(self.method)

    @property
    def title(self) -> str:
        """Method as on the card."""
        return self.how.title(self.settings)

    @property
    def is_shared(self) -> bool:
        """Whether the network is that of the other jet as well."""
        return self.how.shared(self.settings)

    @property
    def name(self) -> str:
        """The task in words, for messages."""
        what = "event" if self.scope == "event" else f"{self.scope} jet"
        return (
            f"{self.title} (iteration {self.iteration}) of the {what} for fold "
            f"{self.plan.scored}, without inner fold {self.left_out}"
        )

    @property
    def training_seed(self) -> int:
        """Seed of this training alone."""
        return seeds.integer(
            self.seed,
            "train",
            self.window.name if self.window else "all masses",
            self.plan.scored,
            self.left_out,
            "shared" if self.is_shared else self.scope,
            self.title,
            self.iteration,
            *(("member", self.member) if self.member else ()),
        )

    @cached_property
    def versions(self) -> dict[str, str]:
        """Libraries that have a part in the outcome."""
        return backend.versions(*self.how.libraries(self.settings))

    def own_settings(self) -> dict[str, Any]:
        """Return the settings that this training depends on, as JSON values."""
        place = {
            "scored": self.plan.scored,
            "left_out": self.left_out,
            "iteration": self.iteration,
            **({"member": self.member} if self.member else {}),
        }
        return place | self.how.options(self.settings)

    @cached_property
    def key(self) -> str:
        """Digest of everything that decides the outcome; paths do not."""
        return digest(
            {
                "method": self.title,
                "jet": self.scope,
                "settings": self.own_settings(),
                "folds": self.plan.settings.model_dump(mode="json"),
                "fold_seed": self.plan.seed,
                "training_folds": list(self.plan.training),
                "training_sample": self.training_sample,
                "truth": self.truth,
                "labelled_by": [[item.inner, item.jet, item.sha256] for item in self.labellers],
                "window": self.window and self.window.model_dump(mode="json"),
                "seed": self.training_seed,
                "versions": self.versions,
            }
        )[:32]


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
        trained, card = trained_on(task, _sample(task))
    except (TrainingError, ConfigError) as error:
        msg = f"{task.name}: {error}"
        raise type(error)(msg) from error
    found = []
    for scope in _scopes(task):
        data = seal(trained.model, _for_scope(card, scope))
        _write(_tagger_path(task, scope), data)
        found.append(hashlib.sha256(data).hexdigest())
    outcome = _outcome(task, found, trained.history)
    _write(_record_path(task), json.dumps(_record(outcome), indent=1).encode())
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


def _scopes(task: Task) -> tuple[str, ...]:
    return (task.scope, OTHER_JET[task.scope]) if task.is_shared else (task.scope,)


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
            path=str(_tagger_path(task, scope)),
            history=history,
            member=task.member,
            uses_truth=task.how.uses_truth,
        )
        for scope, found in zip(_scopes(task), sha256, strict=True)
    )
    return replace(first, twin=twins[0]) if twins else first


def _record(outcome: Outcome) -> dict[str, Any]:
    values = asdict(replace(outcome, twin=None)) | {"path": Path(outcome.path).name}
    del values["twin"]
    return values | ({"twin": outcome.twin.sha256} if outcome.twin else {})


def _record_path(task: Task) -> Path:
    return Path(task.folder) / f"{task.key}.json"


def _tagger_path(task: Task, scope: str) -> Path:
    path = _record_path(task).with_suffix(".onnx")
    return path if scope == task.scope else path.with_stem(f"{path.stem}-{scope}")


def _finished(task: Task) -> Outcome | None:
    try:
        values = json.loads(_record_path(task).read_bytes())
        found = [values["sha256"], *([values["twin"]] if "twin" in values else [])]
        outcome = _outcome(task, found, values["history"])
        data = [_tagger_path(task, scope).read_bytes() for scope in _scopes(task)]
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
