"""Figures over hypotheses: p-values and limits by mass, ABCD closure by efficiency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

from tnt_coffea.reporting.style import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    RED,
    logarithmic,
    new_figure,
    styled,
)
from tnt_coffea.reporting.wording import percent, set_name
from tnt_coffea.stats import ClosureScan, LimitResult, NuisanceImpact, ScanResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["brazil_band", "closure_by_efficiency", "impacts", "local_p_values"]

_MASS_LABEL = "resonance mass [GeV]"
# Below this local p-value the axis would show empty space.
_LEAST_P = 1e-3


@styled
def local_p_values(scans: Mapping[str, ScanResult], title: str = "") -> Figure:
    """Return the local p-value of every scan by mass, with lines of local and global sigmas.

    Where several windows or selections have the mass, it is the smallest of theirs.

    A global line stands where the toys' largest local significance is exceeded with the
    probability of that many standard deviations; it is drawn where enough toys lie beyond.

    Parameters
    ----------
    scans
        By name; the global lines are those of the last.
    title
        What was scanned.
    """
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    lowest = _LEAST_P
    for colour, (name, found) in zip(COLOURS, scans.items(), strict=False):
        masses = sorted({point.mass for point in found.points})
        p = np.array([min(x.p_local for x in found.points if x.mass == mass) for mass in masses])
        lowest = min(lowest, float(p.min()))
        text = "all dijets" if name == "before" else set_name(name)
        if found.z_global is not None:
            text += f": global Z = {found.z_global:.1f}" + (
                " or more" if found.p_global == 1 / (found.toys + 1) else ""
            )
        axes.plot(masses, p, color=colour, marker="o", markersize=3.5, label=text)
    bottom = 0.2 * lowest
    sigma = 1
    while (p_sigma := float(ndtr(-sigma))) > bottom:
        axes.axhline(p_sigma, color=GREY, lw=0.8, ls=":")
        axes.annotate(
            f"{sigma}\N{GREEK SMALL LETTER SIGMA} local", (1.0, p_sigma), (-3, 2),
            xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="bottom", fontsize=8, color="#666",
        )  # fmt: skip
        sigma += 1
    _global_lines(axes, list(scans.values())[-1], bottom)
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    # Room for the legend above p = 1.
    axes.set_ylim(bottom, 60)
    axes.set_xlabel(_MASS_LABEL)
    axes.set_ylabel("local p-value")
    axes.set_title(title)
    axes.legend(loc="upper right", fontsize=9)
    return figure


@styled
def brazil_band(limits: Sequence[LimitResult], title: str = "") -> Figure:
    """Return observed and expected limits by mass, with bands of one and two sigmas.

    Cross sections where every limit has one, else events.
    """
    ordered = sorted(limits, key=lambda limit: limit.mass)
    masses = np.array([limit.mass for limit in ordered])
    events = any(limit.observed_cross_section is None for limit in ordered)
    observed = np.array([x.observed if events else x.observed_cross_section for x in ordered])
    expected = np.array([x.expected if events else x.expected_cross_section for x in ordered])
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    sigma = "\N{GREEK SMALL LETTER SIGMA}"
    # The collaborations' green and yellow, light enough to differ in grey as well.
    for low, high, colour, text in ((0, 4, "#f5e17a", f"2{sigma}"), (1, 3, "#79c27a", f"1{sigma}")):
        axes.fill_between(
            masses,
            expected[:, low],
            expected[:, high],
            color=colour,
            lw=0,
            label=f"expected {text}",
        )
    axes.plot(masses, expected[:, 2], color="black", ls="--", label="expected, median")
    axes.plot(masses, observed, color="black", marker="o", markersize=3.5, label="observed")
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.set_ylim(
        0.6 * min(expected.min(), observed.min()), 3 * max(expected.max(), observed.max())
    )
    axes.set_xlabel(_MASS_LABEL)
    level = percent(ordered[0].level)
    unit = "signal events" if events else "cross section [fb]"
    axes.set_ylabel(f"{level} CLs limit on {unit}")
    axes.set_title(title)
    axes.legend(loc="upper right", fontsize=9, ncols=2)
    return figure


@styled
def closure_by_efficiency(scan: ClosureScan, title: str = "") -> Figure:
    """Return closure beside the window, and observed over predicted in it, by efficiency."""
    figure = new_figure(6.2, 4.0)
    axes = figure.subplots()
    beside = [point for point in scan.points if point.closure is not None]
    axes.axhline(1, color="black", lw=0.8)
    axes.axhspan(0.97, 1.03, color=GREY, alpha=0.25, lw=0, label="3 % of the paper")
    axes.errorbar(
        [point.efficiency for point in beside],
        [point.closure.kappa for point in beside if point.closure],
        [point.closure.uncertainty for point in beside if point.closure],
        color=BLUE, marker="o", ls="", capsize=2, label="A D / (B C) beside the window",
    )  # fmt: skip
    inside = [point for point in beside if point.predicted]
    seen = np.array([point.counts.a if point.counts else 0.0 for point in inside])
    predicted = np.array([point.predicted or 1.0 for point in inside])
    ratio, error = seen / predicted, np.sqrt(np.maximum(seen, 1.0)) / predicted
    axes.errorbar(
        [0.93 * point.efficiency for point in inside], ratio, error,
        color=RED, marker="s", ls="", capsize=2, label="observed / predicted in the window",
    )  # fmt: skip
    refused = [point.efficiency for point in scan.points if point.closure is None]
    for i, efficiency in enumerate(refused):
        axes.axvline(efficiency, color=ORANGE, ls=":", label=None if i else "no closure")
    axes.set_xscale("log")
    from matplotlib.ticker import FuncFormatter, NullFormatter

    shares = [point.efficiency for point in scan.points]
    decades = [digit * 10.0**power for power in range(-6, 0) for digit in (1, 3)]
    axes.set_xticks([tick for tick in decades if min(shares) / 2 < tick < 2 * max(shares)])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12)
    axes.set_ylim(0, None)
    axes.set_xlabel("selected share of events, both jets [1]")
    axes.set_ylabel("closure [1]")
    axes.set_title(title)
    axes.legend(loc="best", fontsize=9)
    return figure


@styled
def impacts(rows: Sequence[NuisanceImpact], title: str = "") -> Figure:
    """Return pulls of nuisance parameters and what each does to the signal.

    Parameters
    ----------
    rows
        The parameters; bars are their impacts, open ones those before the fit.
    title
        Of which fit.
    """
    ordered = sorted(rows, key=lambda row: max(abs(row.up), abs(row.down)))
    figure = new_figure(6.2, 1.6 + 0.4 * len(ordered))
    axes = figure.subplots()
    other = axes.twiny()
    places = np.arange(len(ordered))
    other.barh(places, [row.up for row in ordered], 0.7, color=RED, alpha=0.45, label="+1 sigma")
    other.barh(places, [row.down for row in ordered], 0.7, color=BLUE, alpha=0.45, label="-1 sigma")
    for colour, changes in (
        (RED, [row.before_up or 0.0 for row in ordered]),
        (BLUE, [row.before_down or 0.0 for row in ordered]),
    ):
        other.barh(places, changes, 0.7, facecolor="none", edgecolor=colour, lw=0.8)
    axes.errorbar(
        [row.pull for row in ordered], places, xerr=[row.uncertainty for row in ordered],
        color="black", marker="o", ls="", capsize=2, zorder=3,
    )  # fmt: skip
    for level in (-1, 1):
        axes.axvline(level, color=GREY, lw=0.8, ls=":")
    axes.set_yticks(places, [row.name for row in ordered])
    farthest = max((abs(row.pull) + row.uncertainty for row in ordered), default=0.0)
    axes.set_xlim(-max(2.6, 1.1 * farthest), max(2.6, 1.1 * farthest))
    changes = [
        abs(change or 0.0)
        for row in ordered
        for change in (row.up, row.down, row.before_up, row.before_down)
    ]
    largest = max(changes, default=1.0) or 1.0
    other.set_xlim(-1.3 * largest, 1.3 * largest)
    axes.set_xlabel("pull, with its uncertainty (points)")
    other.set_xlabel("change of the signal [events] (bars)")
    axes.set_zorder(other.get_zorder() + 1)
    axes.patch.set_visible(False)
    other.legend(loc="lower right", fontsize=9)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def _global_lines(axes: Axes, found: ScanResult, bottom: float) -> None:
    maxima = np.sort(found.toy_maxima)
    for sigma in (1, 2, 3):
        beyond = float(ndtr(-sigma)) * len(maxima)
        if beyond < 5:
            break
        p = float(ndtr(-np.quantile(maxima, 1 - float(ndtr(-sigma)))))
        if p > bottom:
            axes.axhline(p, color=ORANGE, lw=1.0, ls="--")
            axes.annotate(
                f"{sigma}\N{GREEK SMALL LETTER SIGMA} global", (0.0, p), (3, 2),
                xycoords=("axes fraction", "data"), textcoords="offset points",
                ha="left", va="bottom", fontsize=8, color="#a05a00",
            )  # fmt: skip
