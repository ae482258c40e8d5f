"""Figures over the mass: spectra with their fits, local p-values, limits, and impacts on a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr

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
from tnt_coffea.reporting.wording import nuisance_text, p_text, percent
from tnt_coffea.stats import LimitResult, NuisanceImpact, ScanResult
from tnt_coffea.stats.engine import pulls
from tnt_coffea.stats.results import BumpHuntResult, ChannelResult
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "LEAST_P",
    "MASS_LABEL",
    "brazil_band",
    "channel_spectra",
    "impacts",
    "last_seen",
    "local_p_values",
    "mass_spectrum",
    "sigma_lines",
    "summed_channel",
]

_SPARSE = 50.0
"""Below this many events in the fullest bin a peak is seen better on a linear axis."""

Range = tuple[float, float]

PANELS_IN_A_ROW = 3


@styled
def mass_spectrum(
    result: BumpHuntResult, window: Range, title: str = "", variable: str = "m_jj"
) -> Figure:
    """Return a spectrum with both fits above, and the pulls of the data below.

    Parameters
    ----------
    result
        The bump hunt; several channels are summed.
    window
        Shaded range in mass [GeV].
    title
        The selection.
    variable
        Column that the mass is.
    """
    figure = new_figure(6.2, 5.0)
    main, low = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (3.2, 1)})
    channel = summed_channel(result.channels)
    _spectrum(main, channel, window)
    _scale(main, [channel])
    main.set_ylabel(_events_label(channel))
    main.set_title(title)
    main.legend(loc="upper right", title=_numbers(result), title_fontsize=10, alignment="left")
    _pulls(low, channel, window)
    low.set_xlabel(mass_label(variable))
    low.set_xlim(result.fit_range[0], last_seen(result, window))
    figure.align_ylabels((main, low))
    return figure


@styled
def channel_spectra(
    result: BumpHuntResult, window: Range, title: str = "", variable: str = "m_jj"
) -> Figure:
    """Return one small panel a channel; parameters as `mass_spectrum`."""
    n = len(result.channels)
    columns = min(n, PANELS_IN_A_ROW)
    rows = -(-n // columns)
    figure = new_figure(3.2 * columns + 0.4, 2.9 * rows + 0.8)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for panel, channel in zip(panels, result.channels, strict=False):
        _spectrum(panel, channel, window)
        _scale(panel, result.channels)
        panel.set_title(f"{channel.name}: goodness of fit {_goodness(channel)}")
        panel.tick_params(labelbottom=True)
        panel.set_xlabel(mass_label(variable))
    for panel in panels[::columns]:
        panel.set_ylabel(_events_label(result.channels[0]))
    for panel in panels[n:]:
        panel.remove()
    panels[0].set_xlim(result.fit_range[0], last_seen(result, window))
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9
    )
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
    # The variance of a sum of weights, over the sum.
    squares = np.sum([_weights(c) * np.array(c.background) for c in same], axis=0)
    weights = squares / np.maximum(background, np.finfo(float).tiny)
    weighted = any(channel.scale for channel in same)
    unit = weights if weighted else np.ones_like(background)
    return ChannelResult(
        name="all",
        edges=first.edges,
        observed=tuple(observed.tolist()),
        background=tuple(background.tolist()),
        signal_plus_background=tuple(total("signal_plus_background").tolist()),
        parameters=sum(channel.parameters for channel in same),
        goodness_of_fit=float("nan"),
        goodness_calibration="none",
        pulls=tuple(pulls(observed / unit, background / unit).tolist()),
        share=sum(channel.share for channel in same),
        scale=tuple(weights.tolist()) if weighted else (),
    )


def last_seen(result: BumpHuntResult, window: Range) -> float:
    """Return where a plot of the spectra ends [GeV]: a little behind the last event.

    Parameters
    ----------
    result
        The bump hunt.
    window
        Range in mass that is always shown [GeV].
    """
    low, high = result.fit_range
    last = window[1]
    for channel in result.channels:
        filled = np.flatnonzero(channel.observed)
        last = max([last, *(channel.edges[i + 1] for i in filled[-1:])])
    end = last + 0.06 * (last - low)
    return float(end if end < 0.95 * high else high)


def _spectrum(axes: Axes, channel: ChannelResult, window: Range) -> None:
    from mplhep import histplot

    edges, observed = np.array(channel.edges), np.array(channel.observed)
    expectations = np.array([channel.background, channel.signal_plus_background])
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0, label="signal region")
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
    _points(axes, observed, edges, _weights(channel))
    axes.margins(x=0)


def _scale(axes: Axes, channels: Sequence[ChannelResult]) -> None:
    """Scale an axis of events for all channels that share it."""
    drawn = ("observed", "background", "signal_plus_background")
    top = max(1.0, *(max(getattr(channel, name)) for channel in channels for name in drawn))
    if top < _SPARSE:
        axes.set_ylim(0, 1.9 * top)
    else:
        axes.set_yscale("log")
        logarithmic(axes.yaxis)
        axes.set_ylim(0.3, top * 9)


def _points(axes: Axes, observed: Float64Array, edges: Float64Array, weights: Float64Array) -> None:
    """Draw events with central 68.3 % Poisson intervals (Garwood's, as mplhep takes them)."""
    from mplhep import histplot
    from mplhep.error_estimation import poisson_interval

    # On a logarithmic axis an empty bin has no place; on both its error bar would be all ink.
    counts = np.where(observed > 0, observed, np.nan)
    errors = np.full((2, len(observed)), np.nan)
    if (observed > 0).any():
        low, high = weights * np.array(poisson_interval(observed / weights, observed / weights))
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
    nothing = (np.array(channel.observed) == 0) & (np.array(channel.background) < 1)
    values[nothing] = 0.0  # far from all events a bar would only say that there are none
    limit = max(3.4, 1.1 * float(np.abs(values).max()))
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0)
    for level in (-2, 2):
        axes.axhline(level, color=GREY, lw=0.8, ls=":")
    axes.stairs(values, channel.edges, fill=True, color=ORANGE)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_ylim(-limit, limit)
    axes.yaxis.set_major_locator(MultipleLocator(2 if limit < 6 else 5))
    axes.set_ylabel("pull [\N{GREEK SMALL LETTER SIGMA}]")


def _events_label(channel: ChannelResult) -> str:
    widths = np.diff(channel.edges)
    same = np.allclose(widths, widths[0])
    return f"events / {widths[0]:g} GeV" if same else "events / bin"


def _weights(channel: ChannelResult) -> Float64Array:
    """Return the weight of an effective event per bin, 1 of counts."""
    return np.array(channel.scale) if channel.scale else np.ones(len(channel.observed))


def _numbers(result: BumpHuntResult) -> str:
    lines = [
        f"Z = {result.z:.2f}, local p = {p_text(result.p_value)}",
        f"signal {result.mu_hat:.0f} ± {result.mu_uncertainty:.0f} events",
    ]
    if len(result.channels) == 1:
        lines.append(f"goodness of fit {_goodness(result.channels[0])}")
    return "\n".join(lines)


def _goodness(channel: ChannelResult) -> str:
    sign = "≤" if channel.goodness_is_bound else "="
    return f"p {sign} {p_text(channel.goodness_of_fit)}"


MASS_LABEL = "resonance mass [GeV]"
# Below this local p-value the axis would show empty space.
LEAST_P = 1e-3


@styled
def local_p_values(scans: Mapping[str, ScanResult], title: str = "") -> Figure:
    """Return the local p-value of every scan by mass, with lines of local and global sigmas.

    Where several windows or selections have the mass, it is the smallest of theirs. Points are
    open where an asymptotic p-value is of too few background events near the mass.

    A global line stands where the toys' largest local significance is exceeded with the
    probability of that many standard deviations; it is drawn where enough toys lie beyond.

    Parameters
    ----------
    scans
        By name; the global lines are those of the last.
    title
        The quantity that was scanned.
    """
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    lowest = LEAST_P
    for colour, (name, scan) in zip(COLOURS, scans.items(), strict=False):
        masses = sorted({point.mass for point in scan.points})
        p = np.array([min(x.p_local for x in scan.points if x.mass == mass) for mass in masses])
        lowest = min(lowest, float(p.min()))
        text = "all dijets" if name == "before" else name
        if scan.z_global is not None:
            text += f": global Z = {scan.z_global:.1f}" + (
                " or more" if scan.p_global_is_bound else ""
            )
        axes.plot(masses, p, color=colour, marker="o", markersize=3.5, label=text)
        sparse = {x.mass for x in scan.points if x.sparse and not x.toys}
        open_ = [i for i, mass in enumerate(masses) if mass in sparse]
        axes.plot(
            np.array(masses)[open_], p[open_], color=colour, marker="o", markersize=3.5, ls="",
            markerfacecolor="white", zorder=3,
        )  # fmt: skip
    bottom = 0.2 * lowest
    sigma_lines(axes, bottom)
    _global_lines(axes, list(scans.values())[-1], bottom)
    axes.set_xlabel(MASS_LABEL)
    axes.set_ylabel("local p-value")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, fontsize=10)
    return figure


def sigma_lines(axes: Axes, bottom: float) -> None:
    """Make an axis one of p-values from `bottom` to 1, with lines of local standard deviations."""
    sigma = 1
    while (p_sigma := float(ndtr(-sigma))) > bottom:
        axes.axhline(p_sigma, color=GREY, lw=0.8, ls=":")
        axes.annotate(
            f"{sigma}\N{GREEK SMALL LETTER SIGMA} local", (1.0, p_sigma), (4, 0),
            xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="left", va="center", fontsize=9, color="#666",
        )  # fmt: skip
        sigma += 1
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.set_ylim(bottom, 1)


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
        0.6 * min(expected.min(), observed.min()), 1.6 * max(expected.max(), observed.max())
    )
    axes.set_xlabel(MASS_LABEL)
    level = percent(ordered[0].level)
    unit = "signal events" if events else "cross section [fb]"
    axes.set_ylabel(f"{level} CLs limit on {unit}")
    axes.set_title(title)
    figure.legend(loc="outside lower center", fontsize=10, ncols=2)
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
    axes.set_yticks(places, [nuisance_text(row.name) for row in ordered])
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


def _global_lines(axes: Axes, scan: ScanResult, bottom: float) -> None:
    maxima = np.sort(scan.toy_maxima)
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
