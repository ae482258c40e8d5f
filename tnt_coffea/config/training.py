"""Settings of training: folds, methods, windows."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Self

from pydantic import Field, model_validator

from tnt_coffea.config.methods import Methods, training_order
from tnt_coffea.config.settings import Settings

__all__ = ["Combination", "FoldMode", "FoldSettings", "TrainSettings", "WindowScan"]


class FoldMode(StrEnum):
    """Which events train the taggers that score an event."""

    CROSS_VALIDATION = "cross_validation"
    PREQUENTIAL = "prequential"
    SPLIT = "split"


class FoldSettings(Settings):
    """Outer folds are scored, inner folds are tagged."""

    outer: int = Field(2, ge=2, le=20, description="outer folds K")
    inner: int = Field(4, ge=2, le=20, description="inner folds; used where one fold trains")
    mode: FoldMode = Field(
        FoldMode.CROSS_VALIDATION,
        description="who trains: cross_validation, prequential, split (docs/methods.md)",
    )


class WindowScan(StrEnum):
    """Sets of m_jj windows with a tagger set each."""

    SINGLE = "single"
    OLYMPICS = "olympics"
    STAGGERED = "staggered"
    CWOLA = "cwola"
    OVERLAPPING = "overlapping"
    TOSSED = "tossed"


class Combination(StrEnum):
    """How the scores of the taggers of one fold and scope become one."""

    MEAN = "mean"
    TRIMMED_MEAN = "trimmed_mean"


def _default_methods() -> dict[str, Any]:
    return {
        "autoencoder": {"kind": "autoencoder"},
        "tnt": {"kind": "tag_n_train", "after": "autoencoder"},
    }


_SECTIONS = {
    "autoencoder": "methods: {autoencoder: {kind: autoencoder, ...}}",
    "tnt": "methods: {tnt: {kind: tag_n_train, after: autoencoder, ...}}",
    "cwola": "methods: {cwola: {kind: cwola, ...}}",
    "supervised": "methods: {supervised: {kind: supervised, ...}}",
    "optimizer": "classifier: {optimizer: {...}} of a method",
}
"""Sections that settings had before methods had names, and what each is now."""


class TrainSettings(Settings):
    """Training of the taggers on the unlabelled data."""

    folds: FoldSettings = FoldSettings()
    methods: Methods = Field(
        default_factory=_default_methods,
        validate_default=True,
        description="tagger sets to train, by a name of your choice",
    )
    members: int = Field(
        1, ge=1, le=1000, description="training runs of each network, each with its seed"
    )
    combine: Combination = Field(
        Combination.MEAN,
        description="scores of a fold's taggers: mean, or trimmed_mean (of the middle half)",
    )
    windows: WindowScan = Field(
        WindowScan.SINGLE,
        description="windows in mass: single (search.window), olympics, staggered, cwola, "
        "overlapping, tossed (of m_multijet)",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_sections(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            for name, now in _SECTIONS.items():
                if name in values:
                    msg = (
                        f"train.{name} is no section any more: settings of a method stand with "
                        f"it, so write `{now}`, and epochs, batch or learning_rate of a network "
                        "inside its classifier; `tnt-coffea methods show KIND` lists them"
                    )
                    raise ValueError(msg)
        return values

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        training_order(self.methods, self.methods)
        return self
