"""A figure of a report with its caption, the numbers behind it, and its files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plot", "Section"]


class Section(StrEnum):
    """Parts of a report that hold plots, in order; the values are their headings."""

    MASS = "Dijet mass, before and after the selection"
    SCORES = "Scores of the two jets"
    JETS = "What the taggers find anomalous"
    TRAINING = "Trainings"
    TRUTH = "Evaluation"


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure, what it shows, and its numbers.

    Attributes
    ----------
    name
        Stem of its files.
    title
        What it shows, in a few words.
    caption
        How to read it.
    figure
        The figure.
    data
        Its numbers, JSON values.
    section
        Where it stands in the report.
    alt
        What it shows to those who cannot see it.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    data: Any
    section: Section
    alt: str

    @property
    def truth(self) -> bool:
        """Whether it needed the truth."""
        return self.section is Section.TRUTH

    def save(self, folder: Path) -> list[Path]:
        """Write PNG, PDF and JSON into a folder; the same plot gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("png", "pdf", "json")]
        self.figure.savefig(paths[0], metadata={"Software": None})
        # The layout is found once: it takes longer than the drawing.
        self.figure.set_layout_engine("none")
        self.figure.savefig(paths[1], metadata={"CreationDate": None})
        paths[2].write_text(json.dumps(self.data, sort_keys=True, allow_nan=False) + "\n")
        return paths
