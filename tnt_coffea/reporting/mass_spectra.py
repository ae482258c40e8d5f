"""Figures of m_jj spectra with their fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tnt_coffea.reporting.style import BLUE, GREY, ORANGE, RED, logarithmic, new_figure, styled
from tnt_coffea.reporting.wording import p_text
from tnt_coffea.stats.engine import pulls
from tnt_coffea.stats.results import BumpHuntResult, ChannelResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["channel_spectra", "mass_spectrum", "summed_channel"]

_SPARSE = 50.0
"""Below this many events in the fullest bin a peak is seen better on a linear axis."""

Float64Array = npt.NDArray[np.float64]
Range = tuple[float, float]

MASS_LABEL = r"$m_{jj}$ [GeV]"
PANELS_IN_A_ROW = 3


@styled
def mass_spectrum(result: BumpHuntResult, window: Range, title: str = "") -> Figure:
    """Return a spectrum with both fits above, and the pulls of the data below.

    Parameters
    ----------
    result
        The bump hunt; several channels are summed.
    window
        Shaded range in m_jj [GeV].
    title
        What was selected.
    """
    figure = new_figure(6.2, 5.0)
    main, low = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.2, 1)})
    channel = summed_channel(result.channels)
    _spectrum(main, channel, window)
    main.set_ylabel(f"events / {_bin_width(channel):g} GeV")
    main.set_title(title)
    main.legend(loc="upper right", title=_numbers(result), title_fontsize=10, alignment="left")
    _pulls(low, channel, window)
    low.set_xlabel(MASS_LABEL)
    low.set_xlim(*result.fit_range)
    figure.align_ylabels((main, low))
    return figure


@styled
def channel_spectra(result: BumpHuntResult, window: Range, title: str = "") -> Figure:
    """Return one small panel a channel; parameters as `mass_spectrum`."""
    n = len(result.channels)
    columns = min(n, PANELS_IN_A_ROW)
    rows = -(-n // columns)
    figure = new_figure(3.2 * columns + 0.4, 2.9 * rows + 0.8)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, channel in zip(panels, result.channels, strict=False):
        _spectrum(panel, channel, window)
        panel.set_title(f"{channel.name}: goodness of fit p = {p_text(channel.goodness_of_fit)}")
        panel.tick_params(labelbottom=True)
        panel.set_xlabel(MASS_LABEL)
    for panel in panels[::columns]:
        panel.set_ylabel(f"events / {_bin_width(result.channels[0]):g} GeV")
    for panel in panels[n:]:
        panel.remove()
    panels[0].set_xlim(*result.fit_range)
    panels[0].legend(fontsize=8)
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def summed_channel(channels: tuple[ChannelResult, ...]) -> ChannelResult:
    """Return all channels as one; only those with the first one's edges are in it.

    The pulls are those of the sums, and no goodness of fit is given (NaN): the sum is
    for the eye, the fit has the channels apart.
    """
    first, *rest = channels
    if not rest:
        return first
    same = [channel for channel in channels if channel.edges == first.edges]

    def total(name: str) -> Float64Array:
        return np.asarray(np.sum([getattr(channel, name) for channel in same], axis=0))

    observed, background = total("observed"), total("background")
    return ChannelResult(
        name="all",
        edges=first.edges,
        observed=tuple(observed.tolist()),
        background=tuple(background.tolist()),
        signal_plus_background=tuple(total("signal_plus_background").tolist()),
        parameters=sum(channel.parameters for channel in same),
        goodness_of_fit=float("nan"),
        goodness_calibration="none",
        pulls=tuple(pulls(observed, background).tolist()),
        share=sum(channel.share for channel in same),
    )


def _spectrum(axes: Axes, channel: ChannelResult, window: Range) -> None:
    from mplhep import histplot

    edges, observed = np.array(channel.edges), np.array(channel.observed)
    expectations = np.array([channel.background, channel.signal_plus_background])
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0, label="window")
    for values, colour, line, label in (
        (expectations[0], BLUE, "-", "background-only fit"),
        (expectations[1], RED, (0, (4, 1.5)), "signal + background fit"),
    ):
        histplot(
            (values, edges),
            ax=axes,
            yerr=False,
            edges=False,
            flow="none",
            color=colour,
            linestyle=line,
            linewidth=1.7,
            label=label,
        )
    _points(axes, observed, edges)
    top = max(observed.max(), expectations.max(), 1.0)
    if top < _SPARSE:
        axes.set_ylim(0, 1.9 * top)
    else:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
        axes.set_ylim(0.3, top * 9)
    axes.margins(x=0)


def _points(axes: Axes, observed: Float64Array, edges: Float64Array) -> None:
    """Draw counts with central 68.3 % Poisson intervals (Garwood's, as mplhep takes them)."""
    from mplhep import histplot
    from mplhep.error_estimation import poisson_interval

    # On a logarithmic axis an empty bin has no place; on both its error bar would be all ink.
    counts = np.where(observed > 0, observed, np.nan)
    errors = np.full((2, len(observed)), np.nan)
    if (observed > 0).any():
        low, high = poisson_interval(observed, observed)
        errors = np.where(observed > 0, [observed - low, high - observed], np.nan)
    histplot(
        (counts, edges),
        ax=axes,
        yerr=errors,
        histtype="errorbar",
        flow="none",
        color="black",
        marker="o",
        markersize=3,
        elinewidth=0.9,
        capsize=0,
        label="data",
    )


def _pulls(axes: Axes, channel: ChannelResult, window: Range) -> None:
    from matplotlib.ticker import MultipleLocator

    values = np.array(channel.pulls)
    limit = max(3.4, 1.1 * float(np.abs(values).max()))
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0)
    for level in (-2, 2):
        axes.axhline(level, color=GREY, lw=0.8, ls=":")
    axes.stairs(values, channel.edges, fill=True, color=ORANGE)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_ylim(-limit, limit)
    axes.yaxis.set_major_locator(MultipleLocator(2 if limit < 6 else 5))
    axes.set_ylabel("pull [\N{GREEK SMALL LETTER SIGMA}]")


def _bin_width(channel: ChannelResult) -> float:
    return channel.edges[1] - channel.edges[0]


def _numbers(result: BumpHuntResult) -> str:
    lines = [
        f"Z = {result.z:.2f}, local p = {p_text(result.p_value)}",
        f"signal {result.mu_hat:.0f} ± {result.mu_uncertainty:.0f} events",
    ]
    if len(result.channels) == 1:
        lines.append(f"goodness of fit p = {p_text(result.channels[0].goodness_of_fit)}")
    return "\n".join(lines)
