"""Figures of the score plane: where events lie, and whether the two scores are independent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.reporting.figures import (
    BLUE,
    COLOURS,
    GREY,
    ORANGE,
    RED,
    mass_label,
    new_figure,
    over_ranges,
    styled,
)
from tnt_coffea.reporting.wording import percent, selection_text
from tnt_coffea.stats import ClosureScan
from tnt_coffea.stats.abcd_results import Closure
from tnt_coffea.stats.search_histogram import mass_bins, score_plane
from tnt_coffea.typing import Float64Array
from tnt_coffea.working_points import Selection, WorkingPoints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "PlaneView",
    "closure_by_efficiency",
    "closure_by_mass",
    "plane_view",
    "score_distributions",
    "score_plane_panels",
    "score_spectra",
]

Range = tuple[float, float]

# Folds have their X close together; edges nearer than this are one edge to the eye.
NARROWEST = 0.012
_RATIOS = (0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


@dataclass(frozen=True)
class PlaneView:
    """The score plane as it is drawn, folds summed.

    Attributes
    ----------
    heavy, light
        Edges in the quantile.
    outside, inside
        Events by (q_heavy, q_light) bin, in the fit range outside and inside the window.
    working_points
        What each selection is known by, and the mean X of the folds for the heavy and the light
        jet.
    background_quantile
        Below it a jet is 'low'.
    window, fit_range
        In mass [GeV].
    axes
        What `heavy` and `light` are of.
    """

    heavy: tuple[float, ...]
    light: tuple[float, ...]
    outside: tuple[tuple[float, ...], ...]
    inside: tuple[tuple[float, ...], ...]
    working_points: tuple[tuple[Selection, float, float], ...]
    background_quantile: float
    window: Range
    fit_range: Range
    axes: tuple[str, str] = ("heavy jet", "light jet")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def plane_view(
    histogram: Any,
    points: WorkingPoints,
    background_quantile: float,
    window: Range,
    fit_range: Range,
) -> PlaneView:
    """Return a search histogram's score plane, ready to be drawn.

    Parameters
    ----------
    histogram
        As `SearchProcessor` fills it.
    points
        Working points.
    background_quantile
        An edge that is kept.
    window, fit_range
        Ranges in mass [GeV], edges of the histogram's axis.

    Raises
    ------
    FitError
        The histogram lacks an axis or an edge.
    """
    plane = score_plane(histogram)
    counts = plane.counts.sum(axis=0)
    inside = counts[mass_bins(plane, window)].sum(axis=0)
    outside = counts[mass_bins(plane, fit_range)].sum(axis=0) - inside
    heavy, light = (_merged(edges, background_quantile) for edges in (plane.heavy, plane.light))
    return PlaneView(
        heavy=tuple(plane.heavy[heavy].tolist()),
        light=tuple(plane.light[light].tolist()),
        outside=_summed(outside, heavy, light),
        inside=_summed(inside, heavy, light),
        working_points=tuple(
            (
                point.selection,
                float(np.mean([cut.heavy for cut in point.cuts.values()])),
                float(np.mean([cut.light for cut in point.cuts.values()])),
            )
            for point in points
        ),
        background_quantile=background_quantile,
        window=window,
        fit_range=fit_range,
        axes=(_named(histogram, "heavy"), _named(histogram, "light")),
    )


@styled
def score_plane_panels(view: PlaneView, title: str = "") -> Figure:
    """Return the plane outside and inside the window, events over those of independent scores.

    The expectation is that of quantiles flat in [0, 1] and independent of each other.
    """
    from matplotlib.colors import LogNorm

    figure = new_figure(7.0, 4.0, layout="compressed")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    ratios = [_over_independent(counts, view) for counts in (view.outside, view.inside)]
    seen = np.concatenate([ratio[ratio > 0] for ratio in map(np.ravel, ratios)])
    reach = max(2.0, *(max(value, 1 / value) for value in np.clip(seen, 0.02, 50.0)))
    names = ("sidebands", "signal region")
    for panel, ratio, counts, name in zip(
        panels, ratios, (view.outside, view.inside), names, strict=True
    ):
        # White where no event is, so that it cannot be taken for few.
        mesh = panel.pcolormesh(
            view.heavy,
            view.light,
            np.where(ratio > 0, ratio, np.nan).T,
            norm=LogNorm(1 / reach, reach),
            cmap="PuOr_r",
        )
        _lines(panel, view)
        panel.set_title(f"{title}, {name}:\n{np.sum(counts):,.0f} events", fontsize=10)
        panel.set_xlabel(f"score quantile, {view.axes[0]}")
        panel.set_aspect("equal")
    panels[0].set_ylabel(f"score quantile, {view.axes[1]}")
    bar = figure.colorbar(mesh, ax=panels, label="events / expected if independent", pad=0.02)
    bar.set_ticks([tick for tick in _RATIOS if 1 / reach <= tick <= reach])
    bar.set_ticks([], minor=True)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    return figure


def score_spectra(view: PlaneView) -> dict[str, Any]:
    """Return events by the quantile of either jet, in the sidebands and in the signal region.

    Parameters
    ----------
    view
        The score plane.

    Returns
    -------
    By jet: `edges`, and `sidebands` and `signal region` with events by bin; JSON values.
    """
    found: dict[str, Any] = {}
    for jet, axis in (("heavy", 1), ("light", 0)):
        found[jet] = {
            "edges": list(getattr(view, jet)),
            "sidebands": np.sum(view.outside, axis=axis).tolist(),
            "signal region": np.sum(view.inside, axis=axis).tolist(),
        }
    return found


@styled
def score_distributions(views: Mapping[str, PlaneView]) -> Figure:
    """Return the distributions of both jets' quantiles, over a flat one, by tagger set.

    Quantiles are flat over the fit range as a whole: what one region has more at high ones, the
    other has less.
    """
    figure = new_figure(7.0, 4.0)
    panels = dict(zip(("heavy", "light"), figure.subplots(1, 2, sharey=True), strict=True))
    for (name, view), colour in zip(views.items(), cycle(COLOURS), strict=False):
        for jet, regions in score_spectra(view).items():
            edges = np.array(regions["edges"])
            for region, line, width in (("signal region", "-", 1.8), ("sidebands", ":", 1.2)):
                events = np.array(regions[region])
                density = events / max(events.sum(), 1.0) / np.diff(edges)
                panels[jet].stairs(
                    density, edges, baseline=None, color=colour, ls=line, lw=width,
                    label=f"{name}, {region}",
                )  # fmt: skip
    for number, panel in enumerate(panels.values()):
        panel.axhline(1, color="black", lw=0.8)
        panel.set_xlim(0, 1)
        named = dict.fromkeys(view.axes[number] for view in views.values())
        panel.set_xlabel(f"score quantile of the {' or '.join(named)}")
    panels["heavy"].set_ylim(bottom=0)
    panels["heavy"].set_ylabel("events / flat distribution")
    handles = panels["heavy"].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2)
    return figure


@styled
def closure_by_mass(
    closure: Closure, window: Range, title: str = "", variable: str = "m_jj"
) -> Figure:
    """Return kappa = A D / (B C) in the sidebands, region by region, and all together."""
    figure = new_figure(6.2, 3.6)
    axes = figure.subplots()
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0, label="signal region, left out")
    low, high = closure.kappa - closure.uncertainty, closure.kappa + closure.uncertainty
    axes.axhspan(
        low, high, color=BLUE, alpha=0.25, lw=0, label="all regions, statistical uncertainty"
    )
    axes.axhline(closure.kappa, color=BLUE, label=rf"$\kappa$ = {closure.kappa:.3f}")
    axes.axhline(1, color="black", lw=0.9, ls=":", label="independent scores")
    measured = [region for region in closure.regions if region.kappa is not None]
    over_ranges(
        axes,
        [region.mass_range for region in measured],
        [region.kappa for region in measured],
        [region.uncertainty for region in measured],
        fmt="o",
        ms=4.5,
        color=ORANGE,
        ecolor=ORANGE,
        label="one region",
    )
    for region in closure.regions:
        if region.kappa is None:
            axes.axvspan(*region.mass_range, color=RED, alpha=0.08, lw=0, hatch="//")
    axes.set_xlim(
        min(r.mass_range[0] for r in closure.regions), max(r.mass_range[1] for r in closure.regions)
    )
    axes.set_xlabel(mass_label(variable))
    axes.set_ylabel(r"closure factor $\kappa = A D \, / \, (B C)$")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


@styled
def closure_by_efficiency(scan: ClosureScan, title: str = "") -> Figure:
    """Return closure in the sidebands, and observed over predicted in the window, by efficiency.

    Points known to no better than 30 % do not stretch the axis; those beyond it are triangles
    at its edge.
    """
    figure = new_figure(6.2, 4.0)
    axes = figure.subplots()
    beside = [point for point in scan.points if point.closure is not None]
    axes.axhline(1, color="black", lw=0.8)
    for edge in (0.97, 1.03):
        label = "within 3 % (arXiv:2002.12376)" if edge < 1 else None
        axes.axhline(edge, color=GREY, lw=1.2, ls=(0, (4, 1.5)), label=label)
    axes.errorbar(
        [point.efficiency for point in beside],
        [point.closure.kappa for point in beside if point.closure],
        [point.closure.uncertainty for point in beside if point.closure],
        color=BLUE, marker="o", ls="", capsize=2, label="A D / (B C), sidebands",
    )  # fmt: skip
    inside = [point for point in beside if point.predicted]
    seen = np.array([point.counts.a if point.counts else 0.0 for point in inside])
    predicted = np.array([point.predicted or 1.0 for point in inside])
    ratio, error = seen / predicted, np.sqrt(np.maximum(seen, 1.0)) / predicted
    axes.errorbar(
        [0.93 * point.efficiency for point in inside], ratio, error,
        color=RED, marker="s", ls="", capsize=2, label="observed / predicted, signal region",
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
    values = np.array([*(p.closure.kappa for p in beside if p.closure), *ratio])
    errors = np.array([*(p.closure.uncertainty for p in beside if p.closure), *error])
    where = np.array([p.efficiency for p in beside] + [0.93 * p.efficiency for p in inside])
    top = 1.1 * float(max([2.0, *(values + errors)[errors < 0.3 * values]]))
    beyond = values > top
    axes.plot(where[beyond], np.full(beyond.sum(), 0.97 * top), "^", color="black", ms=6)
    axes.set_ylim(0, top)
    axes.set_xlabel("efficiency of the selection, both jets")
    axes.set_ylabel("closure factor")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, fontsize=10)
    return figure


def _named(histogram: Any, jet: str) -> str:
    """Return what an axis of quantiles is of: its label says so where a search filled it."""
    label, _, quantile = str(histogram.axes[f"q_{jet}"].label).rpartition(" ")
    return label.replace("-", " ") if quantile == "quantile" else f"{jet} jet"


def _merged(edges: Float64Array, wanted: float) -> npt.NDArray[np.intp]:
    """Return which edges to keep: the first and last, the wanted one, none too near another."""
    kept = [0]
    for i, edge in enumerate(edges[1:-1], start=1):
        if edge == wanted:
            # The wanted edge drives out one that came just before it.
            if kept[-1] and edge - edges[kept[-1]] < NARROWEST:
                kept.pop()
            kept.append(i)
        elif min(edge - edges[kept[-1]], edges[-1] - edge) >= NARROWEST:
            kept.append(i)
    return np.array([*kept, len(edges) - 1])


def _summed(
    counts: Float64Array, heavy: npt.NDArray[np.intp], light: npt.NDArray[np.intp]
) -> tuple[tuple[float, ...], ...]:
    summed = np.add.reduceat(np.add.reduceat(counts, heavy[:-1], axis=0), light[:-1], axis=1)
    return tuple(map(tuple, summed.tolist()))


def _over_independent(counts: tuple[tuple[float, ...], ...], view: PlaneView) -> Float64Array:
    events = np.array(counts)
    expected = max(events.sum(), 1.0) * np.outer(np.diff(view.heavy), np.diff(view.light))
    return np.asarray(events / expected)


def _lines(axes: Axes, view: PlaneView) -> None:
    low = view.background_quantile
    axes.plot([0, low, low], [low, low, 0], color="black", lw=1.1, ls=":")
    axes.text(low / 2, low / 2, f"both low\n(< {low:g})", ha="center", va="center", fontsize=9)
    for selection, x, y in view.working_points:
        axes.plot([x, x, 1], [1, y, y], color="black", lw=1.1)
        axes.annotate(
            selection_text(selection),
            (x, y),
            xytext=(2, 2),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=9,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
