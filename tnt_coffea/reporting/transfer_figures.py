"""The figure of a transfer factor: what passes with its prediction, and pass over fail."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.reporting.figures import (
    BLUE,
    GREY,
    ORANGE,
    logarithmic,
    mass_label,
    new_figure,
    styled,
)
from tnt_coffea.reporting.wording import p_text
from tnt_coffea.stats.transfer_results import TransferEstimate, TransferSpectrum
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["transfer_columns", "transfer_spectrum"]

Groups = NDArray[np.intp]

_MOST_BINS = 40
"""Bins that are drawn: neighbours are joined where there are more."""


@styled
def transfer_spectrum(result: TransferEstimate, title: str = "") -> Figure:
    """Return what passes with its prediction above, and pass over fail with the polynomial below.

    Parameters
    ----------
    result
        The test.
    title
        The selection.
    """
    spectrum = result.spectrum
    edges = np.array(spectrum.edges)
    groups = _groups(len(edges) - 1)
    drawn = np.append(edges[groups], edges[-1])
    figure = new_figure(6.2, 5.0)
    main, low = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2.2, 1)})
    for axes in (main, low):
        axes.axvspan(*result.window, color=GREY, alpha=0.22, lw=0)
    _above(main, spectrum, groups, drawn)
    _below(low, spectrum, groups, drawn)
    widths = np.diff(drawn)
    even = np.allclose(widths, widths[0], rtol=1e-6)
    main.set_ylabel(f"events / {widths[0]:g} GeV" if even else "events / bin")
    main.set_title(title)
    main.set_xlim(drawn[0], drawn[-1])
    main.legend(loc="upper right", title=_numbers(result), title_fontsize=10, alignment="left")
    low.set_ylabel("pass / fail")
    low.set_xlabel(mass_label(spectrum.variable))
    return figure


def transfer_columns(spectrum: TransferSpectrum) -> dict[str, list[float]]:
    """Return a spectrum as columns of a table."""
    return {
        "low [GeV]": list(spectrum.edges[:-1]),
        "high [GeV]": list(spectrum.edges[1:]),
        "pass": list(spectrum.passed),
        "fail": list(spectrum.failed),
        "polynomial": list(spectrum.transfer),
        "its uncertainty": list(spectrum.transfer_uncertainty),
        "prediction": list(spectrum.predicted),
        "prediction uncertainty": list(spectrum.predicted_uncertainty),
        "background, all bins": list(spectrum.background),
        "background and signal": list(spectrum.expected),
    }


def _groups(bins: int) -> Groups:
    """Return the first bins of whole groups of one size, at most `_MOST_BINS` of them."""
    size = next(k for k in range(1, bins + 1) if bins % k == 0 and bins / k <= _MOST_BINS)
    return np.arange(0, bins, size, dtype=np.intp)


def _summed(values: tuple[float, ...], groups: Groups) -> Float64Array:
    return np.asarray(np.add.reduceat(np.array(values), groups))


def _band(axes: Axes, edges: Float64Array, low: Float64Array, high: Float64Array) -> None:
    axes.fill_between(
        edges, np.append(low, low[-1]), np.append(high, high[-1]),
        step="post", color=BLUE, alpha=0.25, linewidth=0,
    )  # fmt: skip


def _above(axes: Axes, spectrum: TransferSpectrum, groups: Groups, edges: Float64Array) -> None:
    passed, predicted = (_summed(v, groups) for v in (spectrum.passed, spectrum.predicted))
    # The polynomial moves the bins of a group together, what fails each by itself.
    ratio, failed = np.array(spectrum.transfer), np.array(spectrum.failed)
    own = np.add.reduceat(ratio**2 * np.array(spectrum.failed_variances), groups)
    common = np.add.reduceat(np.array(spectrum.transfer_uncertainty) * failed, groups)
    errors = np.sqrt(own + common**2)
    axes.stairs(predicted, edges, color=BLUE, linewidth=1.7, label="fail, times the polynomial")
    _band(axes, edges, np.maximum(predicted - errors, 0.0), predicted + errors)
    expected = _summed(spectrum.expected, groups)
    axes.stairs(
        expected, edges, color=ORANGE, linewidth=1.3, linestyle=(0, (4, 1.5)),
        label="background + signal fit",
    )  # fmt: skip
    axes.errorbar(
        0.5 * (edges[1:] + edges[:-1]), passed,
        yerr=np.sqrt(_summed(spectrum.passed_variances, groups)),
        fmt="o", color="black", markersize=3, elinewidth=0.9, label="pass",
    )  # fmt: skip
    top = max([1.0, *passed, *(predicted + errors), *expected])
    if top > 50:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
        axes.set_ylim(max(0.3, 0.3 * predicted[predicted > 0].min(initial=top)), 60 * top)
    else:
        axes.set_ylim(0, 2.3 * top)


def _below(axes: Axes, spectrum: TransferSpectrum, groups: Groups, edges: Float64Array) -> None:
    passed, failed = (_summed(v, groups) for v in (spectrum.passed, spectrum.failed))
    there = (failed > 0) & (passed > 0)
    centres = 0.5 * (edges[1:] + edges[:-1])[there]
    ratio = passed[there] / failed[there]
    relative = _summed(spectrum.passed_variances, groups)[there] / passed[there] ** 2
    relative += _summed(spectrum.failed_variances, groups)[there] / failed[there] ** 2
    axes.errorbar(
        centres, ratio, yerr=ratio * np.sqrt(relative),
        fmt="o", color="black", markersize=3, elinewidth=0.9,
    )  # fmt: skip
    fine = np.array(spectrum.edges)
    middle = 0.5 * (fine[1:] + fine[:-1])
    transfer, spread = np.array(spectrum.transfer), np.array(spectrum.transfer_uncertainty)
    axes.plot(middle, transfer, color=BLUE, linewidth=1.5)
    axes.fill_between(
        middle, np.maximum(transfer - spread, 0), transfer + spread,
        color=BLUE, alpha=0.25, linewidth=0,
    )  # fmt: skip
    # Single events far out would leave no room for the rest.
    seen = passed[there] >= 3
    axes.set_ylim(0, 1.7 * max([*ratio[seen], float(np.median(transfer)), 1e-9]))


def _numbers(result: TransferEstimate) -> str:
    least, most = ("at most ", " or more") if result.p_is_bound else ("", "")
    exact = ", ".join(map(str, result.spectrum.at_bound))
    return (
        f"Z = {result.z:.2f}{most}, p = {least}{p_text(result.p_value)}\n"
        f"{result.observed:g} seen, {result.predicted:.1f} ± {result.uncertainty:.1f} predicted\n"
        f"order {result.order}, goodness of fit p = {p_text(result.goodness_of_fit)}"
        + (f"\nband too narrow: coefficients {exact} at their bound" if exact else "")
    )
