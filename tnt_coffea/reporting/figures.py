"""Figures of a report: their files, captions and numbers, and how they look.

They have mplhep's style in sizes for a page; a user's own style stays as it was. Matplotlib and
mplhep are imported on first use, and no figure belongs to pyplot.
"""

from __future__ import annotations

import csv
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "COLOURS",
    "GREY",
    "ORANGE",
    "PURPLE",
    "RED",
    "SUPERSCRIPTS",
    "VIOLET",
    "Plot",
    "Section",
    "logarithmic",
    "mass_label",
    "new_figure",
    "over_ranges",
    "power_of_ten",
    "shades",
    "stamp",
    "styled",
]


class Section(StrEnum):
    """Parts of a report that hold plots, in order; the values are their headings."""

    MASS = "Mass spectra, before and after the selection"
    SCORES = "Scores of the two jets"
    JETS = "What the taggers find anomalous"
    TRAINING = "Training runs"
    TRUTH = "Evaluation"


@dataclass(frozen=True, eq=False)
class Plot:
    """A figure, what it shows, and its numbers.

    Attributes
    ----------
    name
        Stem of its files.
    title
        Its subject, in a few words.
    caption
        How to read it.
    figure
        The figure.
    data
        Its numbers, JSON values.
    section
        Where it stands in the report.
    alt
        A description for readers who cannot see it.
    columns
        The same numbers as a table, by the names of its columns; None where they are none.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    data: Any
    section: Section
    alt: str
    columns: Mapping[str, Sequence[object]] | None = None

    @property
    def truth(self) -> bool:
        """Whether it needed the truth."""
        return self.section is Section.TRUTH

    def save(self, folder: Path) -> list[Path]:
        """Write PNG, PDF, JSON and, with columns, CSV; the same plot gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{self.name}.{suffix}" for suffix in ("png", "pdf", "json")]
        # The layout is found once: it takes longer than the drawing. With any engine left, even one
        # that does nothing, every file would be drawn twice.
        layout = self.figure.get_layout_engine()
        if layout is not None:
            layout.execute(self.figure)
            _without_layout(self.figure)
        self.figure.savefig(paths[0], metadata={"Software": None})
        self.figure.savefig(paths[1], metadata={"CreationDate": None})
        paths[2].write_text(json.dumps(self.data, sort_keys=True, allow_nan=False) + "\n")
        if self.columns is not None:
            paths.append(folder / f"{self.name}.csv")
            with paths[-1].open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(self.columns)
                rows.writerows(zip(*self.columns.values(), strict=True))
        return paths


def _without_layout(figure: Figure) -> None:
    import matplotlib as mpl

    # What None stands for is a user's setting.
    with mpl.rc_context({"figure.autolayout": False, "figure.constrained_layout.use": False}):
        figure.set_layout_engine(None)


P = ParamSpec("P")
R = TypeVar("R")
Layout = Literal["constrained", "compressed"] | None

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# Six colours that stay apart for colour-blind readers, also mplhep's own cycle;
# source: M. Petroff, arXiv:2107.02270.
BLUE, ORANGE, RED, PURPLE, GREY, VIOLET = (
    "#5790fc",
    "#f89c20",
    "#e42536",
    "#964a8b",
    "#9c9ca1",
    "#7a21dd",
)
COLOURS = (BLUE, ORANGE, RED, PURPLE, GREY, VIOLET)

# mplhep draws for slides of 10 x 10 inches; these are its proportions on a page. A page is read
# on phones too, so figures are narrow and their text is not small.
_PAGE: Mapping[str, Any] = {
    "axes.labelsize": 12,
    "axes.linewidth": 0.9,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "figure.dpi": 150,
    "font.size": 11,
    "legend.borderpad": 0.4,
    "legend.fontsize": 10,
    "lines.linewidth": 1.7,
    "savefig.facecolor": "white",
    "svg.hashsalt": "tnt_coffea",
    "xtick.labelsize": 10.5,
    "xtick.major.pad": 4,
    "xtick.major.size": 6,
    "xtick.minor.size": 3,
    "ytick.labelsize": 10.5,
    "ytick.major.pad": 4,
    "ytick.major.size": 6,
    "ytick.minor.size": 3,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return a drawing function that runs in our style and leaves the user's as it was."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context():
            # From matplotlib's defaults, so that a user's own style has no say.
            mpl.rcParams.update({**_plain_defaults(), **_mplhep_style(), **_PAGE})
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float, layout: Layout = "constrained") -> Figure:
    """Return an empty figure that belongs to no window.

    Parameters
    ----------
    width, height
        Inches.
    layout
        'compressed' where panels keep an aspect of their own, so that space between them
        goes; None where the caller places them.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout=layout)


def stamp(figure: Figure, text: str) -> None:
    """Write an experiment's label over a figure; nothing where there is none."""
    if not text:
        return
    if figure.get_suptitle():
        figure.suptitle(f"{text}\n{figure.get_suptitle()}", fontsize=11, x=0.01, ha="left")
    elif figure.get_layout_engine() is None:
        figure.text(0.995, 0.995, text, fontsize=10, ha="right", va="top")
    else:
        figure.suptitle(text, fontsize=10.5, x=0.99, ha="right")


_SYMBOLS = {"m_jj": "$m_{jj}$", "m_jjj": "$m_{jjj}$", "m_multijet": r"$m_\mathrm{multijet}$"}


def mass_label(variable: str, unit: str = "GeV") -> str:
    """Return the label of an axis in the mass of a search, by the column that it is."""
    return f"{_SYMBOLS.get(variable, variable)} [{unit}]"


def logarithmic(axis: Axis) -> None:
    """Label the decades of a logarithmic axis, and nothing between them.

    In plain text: mathematical text takes most of the time that drawing a figure needs.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axis.set_minor_formatter(NullFormatter())


def over_ranges(
    axes: Axes,
    ranges: Sequence[tuple[float, float]],
    values: Sequence[float | None],
    uncertainties: Sequence[float | None],
    **look: Any,
) -> None:
    """Draw values with their uncertainties over the ranges that they hold for; none is missing."""
    edges = np.array(ranges).reshape(-1, 2)
    axes.errorbar(
        edges.mean(axis=1),
        np.array(values, dtype=float),
        xerr=np.diff(edges, axis=1)[:, 0] / 2,
        yerr=np.array(uncertainties, dtype=float),
        **look,
    )


def power_of_ten(value: float) -> str:
    """Return a decade as text: '0.1', '1', '10', and beyond with an exponent."""
    exponent = round(math.log10(value))
    if -1 <= exponent <= 1:
        return f"{value:g}"
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def shades() -> Colormap:
    """Return a map from light to dark, with white for what is empty or below its range.

    Lightness alone orders it, so colour blindness and grey prints do no harm.
    """
    import matplotlib as mpl

    return mpl.colormaps["magma_r"].with_extremes(under="white", bad="white")


def _plain_defaults() -> dict[str, Any]:
    import matplotlib as mpl

    # Choosing a backend would load pyplot.
    return {key: value for key, value in mpl.rcParamsDefault.items() if "backend" not in key}


def _mplhep_style() -> dict[str, Any]:
    from mplhep import style

    # Its fonts lack the primes and superscripts of our labels, which DejaVu has.
    skipped = ("font.", "mathtext.")
    return {key: value for key, value in style.ROOT.items() if not key.startswith(skipped)}
