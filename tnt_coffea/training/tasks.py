"""One training as a task: picklable, and named by everything that decides its outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tnt_coffea import seeds
from tnt_coffea.config import MassRange, TrainSettings, digest
from tnt_coffea.training import backend
from tnt_coffea.training.folds import FoldPlan
from tnt_coffea.training.labellers import OTHER_JET, Labeller
from tnt_coffea.training.methods import Method, Scope, method_of

__all__ = ["CODE", "Outcome", "Task"]

CODE = 2
"""Raised by whoever changes what the same settings train to: finished trainings in a folder
have it in their names, and those of another number are made again."""


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
                "code": CODE,
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

    @property
    def scopes(self) -> tuple[str, ...]:
        """What its taggers score: its scope, and the other jet's where both share a network."""
        return (self.scope, OTHER_JET[self.scope]) if self.is_shared else (self.scope,)

    @property
    def record(self) -> Path:
        """Where its history goes, which is written last; its taggers lie beside it."""
        return Path(self.folder) / f"{self.key}.json"

    @property
    def news(self) -> Path:
        """Where it tells how it stands, while it runs."""
        return self.record.with_suffix(".progress")

    def tagger(self, scope: str) -> Path:
        """Return where the tagger of one of its scopes goes."""
        path = self.record.with_suffix(".onnx")
        return path if scope == self.scope else path.with_stem(f"{path.stem}-{scope}")
