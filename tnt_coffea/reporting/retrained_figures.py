"""Limits with retraining: their table, and CLs and efficiency over the strength."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.reporting.figures import (
    BLUE,
    Plot,
    Section,
    logarithmic,
    new_figure,
    styled,
)
from tnt_coffea.reporting.wording import percent, selection_text
from tnt_coffea.stats import RetrainedLimit

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

__all__ = ["retrained_limit_figure", "retrained_limit_plot", "retrained_limit_table"]

_LEAST_CLS = 1e-4
"""Smaller ones are drawn as this."""


def retrained_limit_table(found: RetrainedLimit) -> Table:
    """Return the table of a terminal, a row a strength."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=f"{found.signal} by {found.tagger_set} at {selection_text(found.selection)}",
        box=box.SIMPLE_HEAD,
    )
    columns = ("produced\nevents", "trained\nwith dijets", "efficiency", "selected", "CLs")
    for name in (*columns, "expected\nCLs", "within one\nsigma"):
        table.add_column(name, justify="right")
    for one in found.strengths:
        spread = f" +- {one.spread:.1g}" if one.spread else ""
        expected = one.expected
        table.add_row(
            f"{one.events:g}",
            ", ".join(str(test.injected) for test in one.tests),
            f"{one.efficiency:.3g}{spread}",
            f"{np.mean([test.selected for test in one.tests]):.3g}",
            f"{one.observed:.3g}{' excluded' if one.observed < 1 - found.level else ''}",
            f"{expected[2]:.3g}",
            f"{expected[1]:.2g} to {expected[3]:.2g}",
        )
    return table


@styled
def retrained_limit_figure(found: RetrainedLimit, title: str = "") -> Figure:
    """Return CLs above, observed and expected with its bands, and below the efficiency.

    Parameters
    ----------
    found
        The limit.
    title
        Of which tagger set.
    """
    events = np.array([one.events for one in found.strengths])
    observed = np.maximum([one.observed for one in found.strengths], _LEAST_CLS)
    expected = np.maximum([one.expected for one in found.strengths], _LEAST_CLS)
    efficiency = np.array([one.efficiency for one in found.strengths])
    figure = new_figure(6.2, 5.2, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    sigma = "\N{GREEK SMALL LETTER SIGMA}"
    for low, high, colour, text in ((0, 4, "#f5e17a", f"2{sigma}"), (1, 3, "#79c27a", f"1{sigma}")):
        upper.fill_between(
            events,
            expected[:, low],
            expected[:, high],
            color=colour,
            lw=0,
            label=f"expected {text}",
        )
    upper.plot(events, expected[:, 2], color="black", ls="--", label="expected, median")
    upper.plot(events, observed, color="black", marker="o", markersize=3.5, label="observed")
    upper.axhline(1 - found.level, color="#666", lw=1)
    if found.observed is not None:
        upper.axvline(found.observed, color="#666", lw=1, ls=":")
    upper.set_yscale("log")
    logarithmic(upper.yaxis)
    upper.set_ylim(0.7 * _LEAST_CLS, 1.2)
    upper.set_ylabel("CLs")
    upper.set_title(title or f"{found.signal}, {found.tagger_set} trained at each strength")
    upper.legend(fontsize=9, loc="lower left")
    lower.plot(events, efficiency, color=BLUE, marker="o", markersize=3.5)
    for one in found.strengths:
        every = [test.efficiency for test in one.tests]
        if len(every) > 1:
            lower.plot([one.events] * len(every), every, color=BLUE, ls="", marker="_")
    lower.set_ylim(0)
    lower.set_ylabel("signal efficiency")
    lower.set_xlabel("produced signal events, those the taggers were trained with")
    return figure


def retrained_limit_plot(found: RetrainedLimit) -> Plot:
    """Return the figure of a limit with its caption and its numbers."""
    limit = found.limit_in_words(found.observed)
    bands = ("-2 sigma", "-1 sigma", "median", "+1 sigma", "+2 sigma")
    return Plot(
        f"retrained-limit-{found.signal}-{found.tagger_set}",
        f"Limit on {found.signal} with retraining: {found.tagger_set}",
        f"Above: CLs of every strength of {found.signal}, of the data as the taggers select them "
        "that were trained with that strength put among the data, and of background alone; below "
        f"the line at {percent(1 - found.level)} it is excluded. Below: what these taggers keep of "
        f"the signal that they were not trained with. The limit, {limit} produced events"
        f"{'' if found.observed is None else ' (dotted)'}, is where all larger strengths are "
        "excluded.",
        retrained_limit_figure(found),
        found.to_dict(),
        Section.MASS,
        f"CLs and signal efficiency of {len(found.strengths)} strengths of {found.signal}, with "
        f"{found.tagger_set} trained at each; the limit is {limit} produced events, expected "
        f"{found.limit_in_words(found.expected[2])}.",
        {
            "produced events": [one.events for one in found.strengths],
            "efficiency": [one.efficiency for one in found.strengths],
            "spread of the efficiency": [one.spread for one in found.strengths],
            "CLs": [one.observed for one in found.strengths],
            **{
                f"expected CLs, {name}": [one.expected[place] for one in found.strengths]
                for place, name in enumerate(bands)
            },
        },
    )
