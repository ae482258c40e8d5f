"""Figures for a review: blinded spectra, expected limits, bias and linearity of the signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.reporting.figures import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    RED,
    logarithmic,
    mass_label,
    new_figure,
    styled,
)
from tnt_coffea.reporting.wording import p_text, percent
from tnt_coffea.stats import BiasStudy, BiasTruth, Expectation, ExpectationScan
from tnt_coffea.stats.engine import pulls
from tnt_coffea.typing import BoolArray, Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bias_figure", "blinded_spectrum", "expected_band", "summed_bins"]

_SPARSE = 50.0
"""Below this many events in the fullest bin a linear axis shows them better."""
_LARGEST_PULL = 3.4
_SIGMA = "\N{GREEK SMALL LETTER SIGMA}"


def summed_bins(result: Expectation) -> Mapping[str, Float64Array]:
    """Return the bins of all channels with the edges of the first one, as one spectrum.

    Parameters
    ----------
    result
        Its channels.

    Returns
    -------
    `edges`; and `observed` and `pull`, NaN where they are hidden, `background` and `weight`, the
    weight of an effective event, each of shape (bins,).
    """
    first = result.channels[0]
    same = [channel for channel in result.channels if channel.edges == first.edges]
    # A hidden bin is None, NaN as a number.
    observed = np.sum([np.array(c.observed, dtype=float) for c in same], axis=0)
    background = np.sum([np.array(c.background) for c in same], axis=0)
    squares = [np.array(c.scale or np.ones_like(background)) * np.array(c.background) for c in same]
    weight = np.sum(squares, axis=0) / np.maximum(background, np.finfo(float).tiny)
    pull = np.full_like(background, np.nan)
    seen = ~np.isnan(observed)
    pull[seen] = pulls((observed / weight)[seen], (background / weight)[seen])
    return {
        "edges": np.array(first.edges),
        "observed": observed,
        "background": background,
        "pull": pull,
        "weight": weight,
    }


@styled
def blinded_spectrum(result: Expectation, title: str = "", variable: str = "m_jj") -> Figure:
    """Return the bins that are not hidden with the background-only fit, and their pulls below.

    Parameters
    ----------
    result
        The expectation; several channels are summed.
    title
        The selection.
    variable
        Column that the mass is.
    """
    from mplhep import histplot

    bins = summed_bins(result)
    edges, seen = bins["edges"], ~np.isnan(bins["observed"])
    figure = new_figure(6.2, 5.0)
    main, low = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.2, 1)})
    if result.window is not None:
        hidden = edges[:-1][~seen].min(), edges[1:][~seen].max()
        for axes in (main, low):
            axes.axvspan(
                *hidden, facecolor="none", edgecolor=GREY, hatch="///", lw=0,
                label="hidden" if axes is main else None,
            )  # fmt: skip
    histplot(
        (bins["background"], edges), ax=main, yerr=False, edges=False, flow="none", color=BLUE,
        linewidth=1.7, label="background-only fit",
    )  # fmt: skip
    _points(main, bins, seen)
    top = max(1.0, float(bins["background"].max()), float(np.nanmax(bins["observed"])))
    if top < _SPARSE:
        main.set_ylim(0, 1.9 * top)
    else:
        main.set_yscale("log")
        logarithmic(main.yaxis)
        main.set_ylim(0.3, top * 9)
    widths = np.diff(edges)
    same = np.allclose(widths, widths[0])
    main.set_ylabel(f"events / {widths[0]:g} GeV" if same else "events / bin")
    main.set_title(title)
    main.legend(loc="upper right", title=_numbers(result), title_fontsize=10, alignment="left")
    # Far from all events a bar would only say that there are none.
    nothing = (bins["observed"] == 0) & (bins["background"] < 1)
    low.stairs(np.where(nothing, 0.0, np.nan_to_num(bins["pull"])), edges, fill=True, color=ORANGE)
    low.axhline(0, color="black", lw=0.8)
    for level in (-2, 2):
        low.axhline(level, color=GREY, lw=0.8, ls=":")
    limit = max(_LARGEST_PULL, 1.1 * float(np.nanmax(np.abs(bins["pull"]))))
    low.set_ylim(-limit, limit)
    low.set_ylabel(f"pull [{_SIGMA}]")
    low.set_xlabel(mass_label(variable))
    filled = edges[1:][seen & (bins["observed"] > 0)]
    last = max([result.mass + 3 * result.width, *filled[-1:]])
    low.set_xlim(edges[0], min(edges[-1], last + 0.06 * (last - edges[0])))
    figure.align_ylabels((main, low))
    return figure


def _points(axes: Axes, bins: Mapping[str, Float64Array], seen: BoolArray) -> None:
    from mplhep.error_estimation import poisson_interval

    drawn = seen & (np.nan_to_num(bins["observed"]) > 0)
    if not drawn.any():
        return
    n, weight = bins["observed"][drawn], bins["weight"][drawn]
    low, high = weight * np.array(poisson_interval(n / weight, n / weight))
    centres = 0.5 * (bins["edges"][1:] + bins["edges"][:-1])[drawn]
    axes.errorbar(
        centres, n, yerr=[n - low, high - n], color="black", marker="o", ls="", markersize=3,
        elinewidth=0.9, capsize=0, label="data",
    )  # fmt: skip


def _numbers(result: Expectation) -> str:
    lines = [f"expected Z = {s.z:.2f} for {s.events:g} events" for s in result.signals]
    if result.limit is not None:
        events = result.limit.events[2]
        lines.append(f"expected {percent(result.limit.level)} limit {events:.3g} events")
    if len(result.channels) == 1:
        lines.append(f"goodness of fit p = {p_text(result.channels[0].goodness_of_fit)}")
    return "\n".join(lines)


@styled
def expected_band(scan: ExpectationScan, title: str = "") -> Figure:
    """Return the expected limits by mass, with their bands of one and two sigmas.

    Cross sections where every limit has one, else events; where there is no limit, the signals of
    an expected significance of 3 and 5.

    Parameters
    ----------
    scan
        The expectations.
    title
        The selection.
    """
    points = [point for point in scan.points if point.limit is not None]
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    masses = np.array([point.mass for point in points])
    limits = [point.limit for point in points if point.limit is not None]
    events = not limits or any(limit.cross_section is None for limit in limits)
    if limits:
        values = np.array([x.events if events else x.cross_section for x in limits])
        for low, high, colour, text in ((0, 4, "#f5e17a", "2"), (1, 3, "#79c27a", "1")):
            axes.fill_between(
                masses, values[:, low], values[:, high], color=colour, lw=0,
                label=f"expected limit {text}{_SIGMA}",
            )  # fmt: skip
        axes.plot(masses, values[:, 2], color="black", ls="--", label="expected limit, median")
    if events:
        for goal, colour in ((3.0, BLUE), (5.0, RED)):
            reached = [
                (point.mass, s.events) for point in scan.points for s in point.reach if s.z == goal
            ]
            if reached:
                axes.plot(*np.array(reached).T, color=colour, label=f"expected Z = {goal:g}")
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.set_xlabel("resonance mass [GeV]")
    axes.set_ylabel("signal events" if events else "cross section [fb]")
    axes.set_title(title)
    figure.legend(loc="outside lower center", fontsize=10, ncols=2)
    return figure


@styled
def bias_figure(study: BiasStudy, title: str = "") -> Figure:
    """Return the pulls of a bias study by truth and strength, and fitted over injected signals.

    Parameters
    ----------
    study
        The study. Above, the pull's mean by truth, one colour a strength; below, the mean of
        the fitted signal less the injected one with the straight line through them, one colour
        a truth.
    title
        Of what.
    """
    figure = new_figure(6.4, 6.8)
    above, below = figure.subplots(2, 1)
    truths = study.truths
    strengths = [point.strength for point in truths[0].points]
    offsets = 0.12 * (np.arange(len(strengths)) - 0.5 * (len(strengths) - 1))
    for i, (strength, offset) in enumerate(zip(strengths, offsets, strict=True)):
        above.errorbar(
            np.arange(len(truths)) + offset,
            [truth.points[i].pull for truth in truths],
            yerr=[truth.points[i].pull_error for truth in truths],
            color=COLOURS[i % len(COLOURS)], marker="o", markersize=4, ls="", capsize=2,
            label=f"{strength:g}{_SIGMA}",
        )  # fmt: skip
    above.axhline(0, color="black", lw=0.8)
    above.set_xticks(range(len(truths)), [truth.function.replace("_", " ") for truth in truths])
    above.minorticks_off()
    above.set_xlim(-0.6, len(truths) - 0.4)
    pulled = [abs(p.pull) + p.pull_error for truth in truths for p in truth.points]
    largest = max(0.5, 1.1 * max(pulled))
    above.set_ylim(-largest, 1.5 * largest)
    above.set_ylabel(f"mean pull of the signal [{_SIGMA}]")
    above.set_xlabel("background of the toys")
    above.set_title(title)
    above.legend(title="injected", ncols=len(strengths), loc="upper right", title_fontsize=10)
    injected = np.array([point.injected for point in truths[0].points])
    step = 0.012 * max(float(np.ptp(injected)), 1.0)
    for i, truth in enumerate(truths):
        colour = COLOURS[i % len(COLOURS)]
        below.errorbar(
            injected + step * (i - 0.5 * (len(truths) - 1)),
            [p.fitted - p.injected for p in truth.points],
            yerr=[p.fitted_error for p in truth.points],
            color=colour, marker="o", markersize=4, ls="", capsize=2, label=_line_text(truth),
        )  # fmt: skip
        if truth.slope is not None and truth.offset is not None:
            line = (truth.slope - 1) * injected + truth.offset
            below.plot(injected, line, color=colour, lw=1.2)
    below.axhline(0, color="black", lw=0.8)
    below.set_xlabel("injected signal [events]")
    below.set_ylabel("mean fitted - injected [events]")
    figure.legend(
        *below.get_legend_handles_labels(), loc="outside lower center", fontsize=9.5, ncols=1
    )
    return figure


def _line_text(truth: BiasTruth) -> str:
    name = truth.function.replace("_", " ")
    if truth.slope is None:
        return name
    return (
        f"{name}: slope {truth.slope:.3f} ± {truth.slope_error:.3f}, offset {truth.offset:+.1f} ± "
        f"{truth.offset_error:.1f} events"
    )
