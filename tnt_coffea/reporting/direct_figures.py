"""The figure of a direct estimate: selected data, and simulation or a template, over the mass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.reporting.figures import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    logarithmic,
    mass_label,
    new_figure,
    styled,
)
from tnt_coffea.reporting.wording import p_text
from tnt_coffea.stats.direct_results import DirectEstimate, DirectSpectrum
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["direct_columns", "direct_spectrum"]

_MOST_BINS = 25
"""Bins that are drawn: neighbours are joined where there are more."""
_LEAST_TOP, _MOST_TOP = 2.0, 5.0
"""Where the axis of ratios ends."""


@styled
def direct_spectrum(result: DirectEstimate, title: str = "") -> Figure:
    """Return data with weighted simulation or a template above, and their ratio below.

    Parameters
    ----------
    result
        The estimate, of a search.
    title
        The selection.

    Raises
    ------
    FitError
        The estimate is of plain counts and has no spectrum.
    """
    if result.spectrum is None or result.window is None:
        msg = "a direct estimate of plain counts has no spectrum to draw"
        raise FitError(msg)
    windows = [result.window, *(one.mass_range for one in result.windows)]
    drawn = _joined(result.spectrum, [edge for window in windows for edge in window])
    figure = new_figure(6.2, 5.0)
    main, low = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.6, 1)})
    for axes in (main, low):
        axes.axvspan(*result.window, color=GREY, alpha=0.22, lw=0, label="signal region")
        for validation in result.windows:
            for edge in validation.mass_range:
                axes.axvline(edge, color=GREY, linewidth=0.8, linestyle=(0, (2, 2)))
    relative = result.relative
    _prediction(main, drawn, relative, result)
    _data(main, drawn)
    _ratio(low, drawn, relative)
    for validation in result.windows:
        first, last = validation.mass_range
        low.errorbar(
            0.5 * (first + last),
            validation.ratio,
            xerr=0.5 * (last - first),
            yerr=validation.uncertainty,
            color=PURPLE,
            marker="s",
            markersize=4,
            linewidth=1.4,
            label="validation windows" if validation is result.windows[0] else None,
        )
    main.set_ylabel(f"events / {drawn.edges[1] - drawn.edges[0]:g} GeV")
    main.set_title(title)
    main.set_xlim(drawn.edges[0], drawn.edges[-1])
    main.legend(loc="upper right", title=_numbers(result), title_fontsize=10, alignment="left")
    ratios = np.array(drawn.observed) / np.maximum(drawn.predicted, 1e-9)
    low.set_ylim(0, np.clip(1.2 * ratios.max(), _LEAST_TOP, _MOST_TOP))
    low.set_ylabel("data / template" if result.template else "data / weighted")
    low.set_xlabel(mass_label(drawn.variable))
    if result.windows:
        handles, labels = low.get_legend_handles_labels()
        last_one = labels.index("validation windows")
        low.legend([handles[last_one]], [labels[last_one]], loc="upper left", fontsize=8)
    return figure


def direct_columns(spectrum: DirectSpectrum, *, template: bool = False) -> dict[str, list[float]]:
    """Return a spectrum as columns of a table."""
    predicted, made = "weighted simulation", "simulated events"
    if template:
        predicted, made = "template", "synthetic events"
    return {
        "low [GeV]": list(spectrum.edges[:-1]),
        "high [GeV]": list(spectrum.edges[1:]),
        "data": list(spectrum.observed),
        predicted: list(spectrum.predicted),
        "statistical uncertainty": np.sqrt(spectrum.predicted_variances).tolist(),
        made: list(spectrum.simulated),
    }


def _joined(spectrum: DirectSpectrum, kept: list[float]) -> DirectSpectrum:
    """Return a spectrum of at most `_MOST_BINS` bins: whole groups of neighbours, of one size.

    The size divides the number of bins, so that no group is smaller; edges that are to be kept
    stay edges where there is such a size.
    """
    n = len(spectrum.observed)
    sizes = [k for k in range(1, n + 1) if n % k == 0 and n / k <= _MOST_BINS]
    places = [int(np.argmin(np.abs(np.array(spectrum.edges) - edge))) for edge in kept]
    aligned = [k for k in sizes if k < n and all(place % k == 0 for place in places)]
    size = (aligned or sizes)[0]

    def joined(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(np.reshape(values, (-1, size)).sum(axis=1).tolist())

    return DirectSpectrum(
        spectrum.edges[::size],
        joined(spectrum.observed),
        joined(spectrum.variances),
        joined(spectrum.predicted),
        joined(spectrum.predicted_variances),
        joined(spectrum.simulated),
        spectrum.variable,
    )


def _errors(drawn: DirectSpectrum, relative: float) -> tuple[Float64Array, Float64Array]:
    """Return the prediction and its whole uncertainty."""
    predicted = np.array(drawn.predicted)
    return predicted, np.sqrt(np.array(drawn.predicted_variances) + (relative * predicted) ** 2)


def _prediction(axes: Axes, drawn: DirectSpectrum, relative: float, result: DirectEstimate) -> None:
    predicted, errors = _errors(drawn, relative)
    simulated = np.array(drawn.simulated)
    scale = np.sum(drawn.observed) / max(simulated.sum(), 1.0)
    edges = np.array(drawn.edges)
    label = "simulation, weighted" + (f" by {result.weights}" if result.weights else "")
    if result.template:
        label, simulated = f"template ({result.weights})", 0 * simulated
    axes.stairs(predicted, edges, color=BLUE, linewidth=1.7, label=label)
    low, high = predicted - errors, predicted + errors
    axes.fill_between(
        edges, np.append(low, low[-1]), np.append(high, high[-1]),
        step="post", color=BLUE, alpha=0.25, linewidth=0,
    )  # fmt: skip
    if not result.template:
        axes.stairs(
            scale * simulated, edges, color=ORANGE, linewidth=1.3, linestyle=(0, (4, 1.5)),
            label="simulation as it is, scaled",
        )  # fmt: skip
    top = max([1.0, *high, *np.asarray(drawn.observed), *(scale * simulated)])
    if top > 1000 and predicted.min() > 0:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
        axes.set_ylim(0.3 * predicted.min(), 30 * top)
    else:
        axes.set_ylim(0, 1.9 * top)


def _data(axes: Axes, drawn: DirectSpectrum) -> None:
    edges = np.array(drawn.edges)
    axes.errorbar(
        0.5 * (edges[1:] + edges[:-1]), drawn.observed, yerr=np.sqrt(drawn.variances),
        fmt="o", color="black", markersize=3, elinewidth=0.9, label="data",
    )  # fmt: skip


def _ratio(axes: Axes, drawn: DirectSpectrum, relative: float) -> None:
    predicted, errors = _errors(drawn, relative)
    edges, there = np.array(drawn.edges), predicted > 0
    share = np.divide(errors, predicted, out=np.zeros_like(errors), where=there)
    axes.fill_between(
        edges, np.append(1 - share, 1 - share[-1]), np.append(1 + share, 1 + share[-1]),
        step="post", color=BLUE, alpha=0.25, linewidth=0,
    )  # fmt: skip
    axes.axhline(1, color=BLUE, linewidth=1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    values = np.array(drawn.observed)[there] / predicted[there]
    spread = np.sqrt(np.array(drawn.variances)[there]) / predicted[there]
    axes.errorbar(
        centres[there], values, yerr=spread, fmt="o", color="black", markersize=3, elinewidth=0.9
    )


def _numbers(result: DirectEstimate) -> str:
    return (
        f"Z = {result.z:.2f}, p = {p_text(result.p_value)}\n"
        f"{result.observed:g} seen, {result.predicted:.1f} ± {result.uncertainty:.1f} predicted"
    )
