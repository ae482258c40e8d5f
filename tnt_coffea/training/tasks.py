"""One training as a task: picklable, named by everything that decides its outcome, resumable.

A task reads the skim, keeps the events of its own folds before it looks at
anything else, trains, and leaves two files in its folder: the tagger, and the
history beside it, which is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.config import Autoencoder, MassRange, TrainSettings, digest
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.events.skim import Sample
from tnt_coffea.taggers.card import Card
from tnt_coffea.training import backend, methods
from tnt_coffea.training.export import seal
from tnt_coffea.training.folds import OUTSIDE, FoldPlan
from tnt_coffea.training.labellers import Jet, Labeller, tagged

__all__ = ["Outcome", "Task", "run_task"]


@dataclass(frozen=True)
class Outcome:
    """A trained tagger and its place.

    Attributes
    ----------
    set_name
        `autoencoder` or `tnt`.
    scope
        `heavy` or `light`.
    scored
        Outer fold that it may score.
    inner
        Inner fold left out of its training.
    iteration
        0 for autoencoders, from 1 for Tag N' Train.
    sha256, path
        The ONNX file.
    history
        Losses and sizes, JSON values.
    """

    set_name: str
    scope: str
    scored: int
    inner: int
    iteration: int
    sha256: str
    path: str
    history: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One training.

    Attributes
    ----------
    plan
        Folds trained on, and the fold that the outcome may score.
    left_out
        Inner fold left out.
    jet
        Jet whose images are trained on.
    iteration
        0 trains an autoencoder, from 1 on a Tag N' Train classifier.
    labellers
        Taggers of the **other** jet, one for every inner fold trained on; none for
        an autoencoder.
    skim
        Paths of the skim's parts.
    training_sample
        Content hash of the events that the folds leave.
    settings
        Settings of all trainings.
    window
        m_jj window of the signal-rich sample.
    seed
        Root seed.
    folder
        Where the outcome goes.
    """

    plan: FoldPlan
    left_out: int
    jet: Jet
    iteration: int
    labellers: tuple[Labeller, ...]
    skim: tuple[str, ...]
    training_sample: str
    settings: TrainSettings
    window: MassRange | None
    seed: int
    folder: str

    @property
    def set_name(self) -> str:
        """Set that the outcome belongs to."""
        return "tnt" if self.iteration else "autoencoder"

    @property
    def method(self) -> str:
        """Method as on the card."""
        return "tnt" if self.iteration else f"autoencoder-{self.settings.autoencoder.kind}"

    @property
    def name(self) -> str:
        """The task in words, for messages."""
        return (
            f"{self.method} (iteration {self.iteration}) of the {self.jet} jet for fold "
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
            self.jet,
            self.method,
            self.iteration,
        )

    @cached_property
    def versions(self) -> dict[str, str]:
        """Libraries that have a part in the outcome."""
        linear = self.method == f"autoencoder-{Autoencoder.LINEAR}"
        return backend.versions(
            "numpy", "onnx", *(["scipy"] if linear else ["keras", "tensorflow"])
        )

    def own_settings(self) -> dict[str, Any]:
        """Return the settings that this training depends on, as JSON values."""
        settings = self.settings.model_dump(mode="json")
        place = {
            "scored": self.plan.scored,
            "left_out": self.left_out,
            "iteration": self.iteration,
        }
        if self.iteration:
            return place | {"tnt": settings["tnt"], "optimizer": settings["optimizer"]}
        if self.settings.autoencoder.kind is Autoencoder.LINEAR:
            # It has no epochs and no optimiser.
            return place | {"autoencoder": {"latent": settings["autoencoder"]["latent"]}}
        return place | {
            "autoencoder": settings["autoencoder"],
            "optimizer": settings["optimizer"],
        }

    @cached_property
    def key(self) -> str:
        """Digest of everything that decides the outcome; paths do not."""
        return digest(
            {
                "method": self.method,
                "jet": self.jet,
                "settings": self.own_settings(),
                "folds": self.plan.settings.model_dump(mode="json"),
                "fold_seed": self.plan.seed,
                "training_folds": list(self.plan.training),
                "training_sample": self.training_sample,
                "labelled_by": [[item.inner, item.sha256] for item in self.labellers],
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
        trained, card = _train(task)
    except (TrainingError, ConfigError) as error:
        msg = f"{task.name}: {error}"
        raise type(error)(msg) from error
    data = seal(trained.model, card)
    outcome = _outcome(task, hashlib.sha256(data).hexdigest(), trained.history)
    _write(Path(outcome.path), data)
    record = json.dumps(asdict(outcome) | {"path": Path(outcome.path).name}, indent=1)
    _write(_record_path(task), record.encode())
    return outcome


def _train(task: Task) -> tuple[methods.Trained, Card]:
    whole = Sample.read(task.skim)
    inner = task.plan.inner_of(whole.event_id)
    mine = (inner != OUTSIDE) & (inner != task.left_out)
    sample, inner = whole.select(mine), inner[mine]
    del whole
    if sample.content_hash() != task.training_sample:
        msg = "the skim is not the one that the training was planned for; start again"
        raise TrainingError(msg)
    settings, seed = task.settings, task.training_seed
    if task.iteration:
        labels = tagged(
            sample,
            inner,
            task.labellers,
            plan=task.plan,
            left_out=task.left_out,
            jet=task.jet,
            settings=settings.tnt,
            iteration=task.iteration,
            window=task.window,
        )
        trained = methods.tnt_classifier(
            sample, task.jet, labels, settings.tnt, settings.optimizer, seed
        )
    else:
        trained = methods.autoencoder(
            sample, task.jet, settings.autoencoder, settings.optimizer, seed
        )
    return trained, _card(task, sample, trained)


def _card(task: Task, sample: Sample, trained: methods.Trained) -> Card:
    # A tagger that labels was trained on the other inner folds, so with one
    # labeller or with twenty every fold of the plan is an ancestor.
    return Card(
        method=task.method,
        scope=task.jet,
        skim=sample.settings,
        training_sample=task.training_sample,
        folds=task.plan.settings,
        fold_seed=task.plan.seed,
        direct=task.plan.direct(task.left_out),
        ancestors=task.plan.training,
        labelled_by=tuple(item.sha256 for item in task.labellers),
        window=task.window,
        seed=task.training_seed,
        settings=task.own_settings(),
        history=trained.summary,
        versions=task.versions,
    )


def _outcome(task: Task, sha256: str, history: Mapping[str, Any]) -> Outcome:
    return Outcome(
        set_name=task.set_name,
        scope=task.jet,
        scored=task.plan.scored,
        inner=task.left_out,
        iteration=task.iteration,
        sha256=sha256,
        path=str(_record_path(task).with_suffix(".onnx")),
        history=history,
    )


def _record_path(task: Task) -> Path:
    return Path(task.folder) / f"{task.key}.json"


def _finished(task: Task) -> Outcome | None:
    record = _record_path(task)
    try:
        values = json.loads(record.read_bytes())
        data = record.with_suffix(".onnx").read_bytes()
        outcome = _outcome(task, values["sha256"], values["history"])
    except (OSError, ValueError, KeyError, TypeError):
        # Never begun, or killed half-way: made again.
        return None
    return outcome if hashlib.sha256(data).hexdigest() == outcome.sha256 else None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two workers may run the same task after a lost connection.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(data)
    partial.replace(path)
