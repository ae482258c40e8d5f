"""Figures of the score plane: where events lie, and whether the two scores are independent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.reporting.style import BLUE, GREY, ORANGE, RED, new_figure, over_ranges, styled
from tnt_coffea.stats.abcd_results import Closure
from tnt_coffea.stats.search_histogram import mass_bins, score_plane

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PlaneView", "closure_by_mass", "plane_view", "score_plane_panels"]

Float64Array = npt.NDArray[np.float64]
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
        Mean X of the folds by efficiency.
    background_quantile
        Below it a jet is 'low'.
    window, fit_range
        In m_jj [GeV].
    """

    heavy: tuple[float, ...]
    light: tuple[float, ...]
    outside: tuple[tuple[float, ...], ...]
    inside: tuple[tuple[float, ...], ...]
    working_points: tuple[tuple[float, float], ...]
    background_quantile: float
    window: Range
    fit_range: Range

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "heavy": list(self.heavy),
            "light": list(self.light),
            "outside": [list(row) for row in self.outside],
            "inside": [list(row) for row in self.inside],
            "working_points": [list(point) for point in self.working_points],
            "background_quantile": self.background_quantile,
            "window": list(self.window),
            "fit_range": list(self.fit_range),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PlaneView:
        """Return the inverse of `to_dict`."""

        def tupled(value: Any) -> Any:
            return tuple(map(tupled, value)) if isinstance(value, list) else value

        return cls(**{name: tupled(value) for name, value in values.items()})


def plane_view(
    histogram: Any,
    thresholds: Mapping[float, Mapping[int, float]],
    background_quantile: float,
    window: Range,
    fit_range: Range,
) -> PlaneView:
    """Return a search histogram's score plane, ready to be drawn.

    Parameters
    ----------
    histogram
        As `SearchProcessor` fills it.
    thresholds
        X by efficiency and fold.
    background_quantile
        An edge that is kept.
    window, fit_range
        Ranges in m_jj [GeV], edges of the histogram's axis.

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
            (efficiency, float(np.mean(list(points.values()))))
            for efficiency, points in sorted(thresholds.items(), reverse=True)
        ),
        background_quantile=background_quantile,
        window=window,
        fit_range=fit_range,
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
    names = ("outside the window", "inside the window")
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
        panel.set_xlabel("heavy-jet quantile [1]")
        panel.set_aspect("equal")
    panels[0].set_ylabel("light-jet quantile [1]")
    bar = figure.colorbar(mesh, ax=panels, label="events / expected if independent [1]", pad=0.02)
    bar.set_ticks([tick for tick in _RATIOS if 1 / reach <= tick <= reach])
    bar.set_ticks([], minor=True)
    bar.ax.yaxis.set_major_formatter("{x:g}")
    return figure


@styled
def closure_by_mass(closure: Closure, window: Range, title: str = "") -> Figure:
    """Return kappa = A D / (B C) beside the window, region by region, and all together."""
    figure = new_figure(6.2, 3.6)
    axes = figure.subplots()
    axes.axvspan(*window, color=GREY, alpha=0.22, lw=0, label="window, left out")
    low, high = closure.kappa - closure.uncertainty, closure.kappa + closure.uncertainty
    axes.axhspan(
        low, high, color=BLUE, alpha=0.25, lw=0, label="all regions, statistical uncertainty"
    )
    axes.axhline(closure.kappa, color=BLUE, label=rf"$\kappa$ = {closure.kappa:.3f}")
    axes.axhline(1, color="black", lw=0.9, ls=":", label="independent scores")
    found = [region for region in closure.regions if region.kappa is not None]
    over_ranges(
        axes,
        [region.mass_range for region in found],
        [region.kappa for region in found],
        [region.uncertainty for region in found],
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
    axes.set_xlabel(r"$m_{jj}$ [GeV]")
    axes.set_ylabel(r"closure $\kappa = A D \, / \, (B C)$ [1]")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


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
    for efficiency, x in view.working_points:
        axes.plot([x, x, 1], [1, x, x], color="black", lw=1.1)
        axes.annotate(
            f"{100 * efficiency:g} %",
            (x, x),
            xytext=(2, 2),
            textcoords="offset points",
            ha="left",
            va="bottom",
            fontsize=9,
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
