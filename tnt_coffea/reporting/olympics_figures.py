"""Figures of the LHC Olympics: answers beside the truth, as figure 51 of arXiv:2101.08320."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.reporting.figures import BLUE, GREY, ORANGE, RED, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Panel", "answers_figure", "verdicts_figure"]

Row = tuple[str, float, float | None]
"""Who answered, the value, and its uncertainty, if there is one."""
_COLOURS = {"found": BLUE, "false": RED, "nothing": "#e8e8ec", "unknown": ORANGE}
_OTHER = "white"


@dataclass(frozen=True)
class Panel:
    """Answers to one question about one box.

    Attributes
    ----------
    title
        The question, with its unit.
    true
        The truth; None where nobody may know it.
    ours, published
        (name, value, uncertainty) of every answer.

    Examples
    --------
    >>> Panel("mass [GeV]", 3823.0, (("cwola", 3810.0, 20.0),), ()).ours[0][0]
    'cwola'
    """

    title: str
    true: float | None
    ours: Sequence[Row]
    published: Sequence[Row]


@styled
def answers_figure(panels: Sequence[Panel]) -> Figure:
    """Return answers beside the truth, a panel a question, with pulls where there are errors.

    Examples
    --------
    >>> figure = answers_figure([Panel("mass [GeV]", 3823.0, (("cwola", 3810.0, 20.0),), ())])
    >>> len(figure.axes)
    2
    """
    most = max([len(one.ours) + len(one.published) for one in panels] + [1])
    figure = new_figure(9.6, (1.1 + 0.26 * most) * len(panels))
    rows = figure.subplots(len(panels), 2, squeeze=False, width_ratios=(3, 1))
    for (answers, pulls), panel in zip(rows, panels, strict=True):
        every = [*panel.published, *panel.ours]
        for place, (_, value, error) in enumerate(every):
            colour = GREY if place < len(panel.published) else BLUE
            answers.errorbar(
                value, place, xerr=error, fmt="o", markersize=4, color=colour, capsize=2
            )
            if error and panel.true is not None:
                pulls.plot((value - panel.true) / error, place, "o", markersize=4, color=colour)
        if panel.true is not None:
            answers.axvline(panel.true, color=RED, linewidth=1)
        pulls.axvspan(-1, 1, color=GREY, alpha=0.2, linewidth=0)
        pulls.axvline(0, color=RED, linewidth=1)
        farthest = max([abs(x) for x in pulls.dataLim.intervalx if np.isfinite(x)] + [3.5])
        pulls.set_xlim(-1.1 * farthest, 1.1 * farthest)
        for axes in (answers, pulls):
            axes.set_ylim(-0.7, max(len(every) - 0.3, 0.7))
            axes.set_yticks(range(len(every)), [name for name, _, _ in every])
            axes.minorticks_off()
        pulls.tick_params(labelleft=False)
        answers.set_xlabel(panel.title)
        pulls.set_xlabel("pull")
    return figure


@styled
def verdicts_figure(verdicts: Mapping[str, Mapping[str, tuple[str, str]]]) -> Figure:
    """Return methods x boxes, a field coloured by its verdict and with a text.

    Parameters
    ----------
    verdicts
        By method and box, verdict and text.

    Examples
    --------
    >>> figure = verdicts_figure({"pca": {"blackbox-1": ("nothing", "Z = 0.1")}})
    >>> len(figure.axes)
    1
    """
    boxes = list(dict.fromkeys(box for own in verdicts.values() for box in own))
    figure = new_figure(1.8 + 1.5 * max(len(boxes), 1), 0.9 + 0.45 * max(len(verdicts), 1))
    axes = figure.subplots()
    for row, own in enumerate(verdicts.values()):
        for column, box in enumerate(boxes):
            verdict, text = own.get(box, ("", ""))
            axes.barh(
                row,
                1,
                left=column,
                height=1,
                color=_COLOURS.get(verdict, _OTHER),
                edgecolor="white",
            )
            dark = verdict in ("found", "false")
            axes.text(
                column + 0.5,
                row,
                f"{verdict}\n{text}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else "black",
            )
    axes.set_xticks([i + 0.5 for i in range(len(boxes))], boxes, fontsize=9)
    axes.set_yticks(range(len(verdicts)), list(verdicts), fontsize=9)
    axes.set_xlim(0, max(len(boxes), 1))
    axes.set_ylim(max(len(verdicts), 1) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.minorticks_off()
    return figure
