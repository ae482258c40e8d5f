"""Settings of a skim: where jets come from and which events are kept."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from tnt_coffea.config.jets import (
    EVENT_OBSERVABLES,
    JET_OBSERVABLES,
    ImageSettings,
    JetSettings,
    SubstructureSettings,
)
from tnt_coffea.config.settings import Settings

__all__ = ["JetsFrom", "SkimSettings", "SourceSettings"]


class JetsFrom(StrEnum):
    """Where the jets of a source come from that holds both particles and jets."""

    PARTICLES = "particles"
    FILE = "file"


class SourceSettings(Settings):
    """Choices that a source leaves; sources that do not leave one ignore it."""

    jets: JetsFrom = Field(
        JetsFrom.PARTICLES,
        description="cluster the particles, or take the large-radius jets of the file",
    )
    puppi: bool = Field(True, description="scale particles by their PUPPI weights, where present")


class SkimSettings(Settings):
    """From particles to dijets, observables and images."""

    source: SourceSettings = SourceSettings()
    jets: JetSettings = JetSettings()
    images: ImageSettings | None = Field(
        ImageSettings(), description="the image of either jet; null: no images"
    )
    constituents: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="leading constituents of either jet that are kept, in the frame of the images; "
        "null: none",
    )
    observables: tuple[str, ...] = Field(
        ("pt", "eta", "phi", "mass", "tau21", "n_constituents"),
        description="columns of either jet and of the event, beside m_jj",
    )
    substructure: SubstructureSettings = SubstructureSettings()

    @field_validator("observables")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in (*JET_OBSERVABLES, *EVENT_OBSERVABLES)]
        if unknown:
            plain = [name for name in JET_OBSERVABLES if not name.startswith("tau")]
            msg = (
                f"unknown {unknown}; known are {', '.join((*plain, *EVENT_OBSERVABLES))}, "
                "tau1_width, tau1 to tau9 and the ratios tau21 to tau98, "
                "which also come with _beta05 and _beta2"
            )
            raise ValueError(msg)
        if len(set(names)) != len(names):
            msg = f"an observable is named twice in {list(names)}"
            raise ValueError(msg)
        return names

    @model_validator(mode="after")
    def _subjets(self) -> Self:
        asked = max(
            (int(name[6]) for name in self.observables if name.startswith("subjet")), default=0
        )
        if asked > self.substructure.subjets:
            msg = f"subjet{asked} is asked for; substructure.subjets is {self.substructure.subjets}"
            raise ValueError(msg)
        return self

    @property
    def frame(self) -> ImageSettings:
        """The steps to the frame of a jet; all of them where there are no images."""
        return self.images or ImageSettings()

    @property
    def leading_jets(self) -> int:
        """How many jets of an event the observables look at."""
        return 3 if "m_jjj" in self.observables else 2

    @property
    def of_jet(self) -> tuple[str, ...]:
        """The observables of either jet, in their order."""
        return tuple(name for name in self.observables if name in JET_OBSERVABLES)

    @property
    def of_event(self) -> tuple[str, ...]:
        """The observables of the event beside m_jj, in their order."""
        return tuple(name for name in self.observables if name in EVENT_OBSERVABLES)
