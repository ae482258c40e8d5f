"""How figures look: one style for all of them, applied to nothing else.

Matplotlib is imported on first use and its pyplot state is never touched.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

if TYPE_CHECKING:
    from matplotlib.axis import Axis
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
    "logarithmic",
    "new_figure",
    "power_of_ten",
    "styled",
]

P = ParamSpec("P")
R = TypeVar("R")

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# Six colours that stay apart for colour-blind readers; source: M. Petroff, arXiv:2107.02270.
BLUE, ORANGE, RED, PURPLE, GREY, VIOLET = (
    "#5790fc",
    "#f89c20",
    "#e42536",
    "#964a8b",
    "#9c9ca1",
    "#7a21dd",
)
COLOURS = (BLUE, ORANGE, RED, PURPLE, GREY, VIOLET)

# The conventions of collider experiments (ticks inwards on all sides, axis titles at the
# ends, no frame around legends) in sizes for a page of text.
_RC: Mapping[str, Any] = {
    "axes.grid": False,
    "axes.labelsize": 11,
    "axes.linewidth": 0.9,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "lines.linewidth": 1.7,
    "mathtext.fontset": "dejavusans",
    "savefig.facecolor": "white",
    "svg.hashsalt": "tnt_coffea",
    "xaxis.labellocation": "right",
    "xtick.direction": "in",
    "xtick.major.size": 6,
    "xtick.minor.size": 3,
    "xtick.minor.visible": True,
    "xtick.top": True,
    "yaxis.labellocation": "top",
    "ytick.direction": "in",
    "ytick.major.size": 6,
    "ytick.minor.size": 3,
    "ytick.minor.visible": True,
    "ytick.right": True,
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Return a drawing function that runs in our style and leaves the user's as it was."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        import matplotlib as mpl

        with mpl.rc_context():
            # From matplotlib's defaults, so that a user's own style has no say.
            mpl.rcParams.update({**_plain_defaults(), **_RC})
            mpl.rcParams["axes.prop_cycle"] = f"cycler('color', {list(COLOURS)})"
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float, *, square_panels: bool = False) -> Figure:
    """Return an empty figure that belongs to no window.

    Parameters
    ----------
    width, height
        Inches.
    square_panels
        Whether the panels keep an aspect of their own, and space between them goes.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="compressed" if square_panels else "constrained")


def logarithmic(axis: Axis) -> None:
    """Label the decades of a logarithmic axis, and nothing between them.

    In plain text: mathematical text takes most of the time that drawing a figure needs.
    """
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    axis.set_minor_formatter(NullFormatter())


def power_of_ten(value: float) -> str:
    """Return a decade as text: '0.1', '1', '10', and beyond with an exponent."""
    exponent = round(math.log10(value))
    if -1 <= exponent <= 1:
        return f"{value:g}"
    return f"10{str(exponent).translate(SUPERSCRIPTS)}"


def _plain_defaults() -> dict[str, Any]:
    import matplotlib as mpl

    # Choosing a backend would load pyplot.
    return {key: value for key, value in mpl.rcParamsDefault.items() if "backend" not in key}
