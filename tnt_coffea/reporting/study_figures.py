"""Figures that studies share: curves with bands, numbers against signal, masses that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tnt_coffea.reporting.curves import rejection_scales
from tnt_coffea.reporting.figures import COLOURS, GREY, Plot, Section, new_figure, styled
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Banded",
    "Density",
    "Look",
    "Point",
    "curve_bands",
    "densities",
    "looks_of",
    "mass_ratios",
    "median_scan",
    "scan",
    "study_plot",
]

Look = tuple[str, Any, str]
"""Colour, line style, and label."""
Point = tuple[float, float, float]
"""x, mean and standard deviation."""
Banded = tuple[float, float, float, float]
"""x, median, and the lower and upper edge of its band."""
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
_MARKERS = ("s", "^", "D", "v", "P", "X", "*")
_RANDOM: dict[str, Any] = {"color": "black", "lw": 1, "ls": (0, (2, 2))}


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name, with other colours and lines in turn: curves may coincide.

    Examples
    --------
    >>> looks_of(["cwola", "norm"])["norm"][2]
    'norm'
    """
    return {
        name: (COLOURS[i % len(COLOURS)], _LINES[i % len(_LINES)], name)
        for i, name in enumerate(names)
    }


def study_plot(
    name: str, title: str, caption: str, figure: Figure, data: Any, alt: str = ""
) -> Plot:
    """Return a figure of a study with what it shows; without `alt` title and caption describe it.

    Examples
    --------
    >>> study_plot("one", "One", "A line.", new_figure(3, 2), {}).alt
    'One: A line.'
    """
    return Plot(name, title, caption, figure, data, Section.TRUTH, alt or f"{title}: {caption}")


@styled
def curve_bands(
    curves: Mapping[str, Mapping[str, Any]],
    efficiencies: Sequence[float],
    looks: Mapping[str, Look] | None = None,
    *,
    least: float = 0.0,
) -> Figure:
    """Return background rejection and significance improvement against signal efficiency.

    Lines are means of repetitions, bands their standard deviation, black a random choice.

    Parameters
    ----------
    curves
        By name `rejection` and `improvement`, each with `mean` and `sd` at the efficiencies.
    efficiencies
        Of signal.
    looks
        By name; those of `looks_of` without it.
    least
        Share of background below which curves end, such as that of ten events.

    Examples
    --------
    >>> flat = {"mean": [2.0, 1.0], "sd": [0.1, 0.0]}
    >>> len(curve_bands({"a": {"rejection": flat, "improvement": flat}}, [0.5, 1.0]).axes)
    2
    """
    looks = looks or looks_of(list(curves))
    figure = new_figure(8.4, 5.2)
    rejection, improvement = figure.subplots(1, 2)
    eps = np.array(efficiencies)
    highest = 1.0
    for name, curve in curves.items():
        colour, line, label = looks[name]
        seen = np.array(curve["rejection"]["mean"]) * least <= 1
        for panel, key in ((rejection, "rejection"), (improvement, "improvement")):
            mean, sd = (np.array(curve[key][kind])[seen] for kind in ("mean", "sd"))
            panel.plot(eps[seen], mean, color=colour, ls=line, lw=2, label=label)
            floor = 1 if key == "rejection" else 0
            low = np.maximum(mean - sd, floor)
            panel.fill_between(eps[seen], low, mean + sd, color=colour, alpha=0.15, lw=0)
        highest = max(highest, np.array(curve["improvement"]["mean"])[seen].max(initial=0.0))
    rejection.plot(eps, 1 / eps, **_RANDOM)
    improvement.plot(eps, np.sqrt(eps), **_RANDOM)
    rejection_scales(rejection)
    improvement.set(
        xlim=(0, 1),
        ylim=(0, 1.1 * highest),
        xlabel=r"signal efficiency $\epsilon_S$",
        ylabel=r"significance improvement $\epsilon_S / \sqrt{\epsilon_B}$",
    )
    handles, labels = rejection.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


@styled
def scan(
    panels: Mapping[str, Mapping[str, Sequence[Point]]],
    *,
    x: str,
    looks: Mapping[str, Look] | None = None,
    logarithmic_x: bool = False,
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Return numbers against a setting, such as S/B, one panel a number.

    Parameters
    ----------
    panels
        By the label of the panel's axis, and by curve, points (x, mean, standard deviation).
    x
        Label of the common axis.
    looks
        By curve.
    logarithmic_x
        Whether that axis is logarithmic.
    lines
        Height of a dashed line by panel: what means nothing, or is asked for.

    Examples
    --------
    >>> points = [(0.001, 1.0, 0.2), (0.002, 3.0, 0.3)]
    >>> len(scan({"Z": {"cwola": points}, "AUC": {"cwola": points}}, x="S/B").axes)
    2
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    looks = looks or looks_of(names)
    figure = new_figure(max(4.6, 4.0 * len(panels)), 4.2)
    for panel, (label, curves) in zip(
        np.ravel(figure.subplots(1, len(panels))), panels.items(), strict=True
    ):
        for name, points in curves.items():
            colour, line, text = looks[name]
            known = np.array([point for point in points if np.isfinite(point[1])]).reshape(-1, 3)
            place, mean, sd = known.T
            panel.plot(place, mean, marker="o", ms=4, color=colour, ls=line, label=text)
            panel.fill_between(place, mean - sd, mean + sd, color=colour, alpha=0.15, lw=0)
        if lines and label in lines:
            panel.axhline(lines[label], **_RANDOM)
        panel.set(xlabel=x, ylabel=label, xscale="log" if logarithmic_x else "linear")
    shown = {
        text: handle
        for panel in figure.axes
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3)
    return figure


@styled
def median_scan(
    panels: Mapping[str, Mapping[str, Sequence[Banded]]],
    *,
    x: str,
    y: str,
    looks: Mapping[str, Look] | None = None,
    published: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] | None = None,
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Return medians with bands against a number, one panel a signal, beside published points.

    Parameters
    ----------
    panels
        By the panel's title, and by curve, points (x, median, low, high).
    x, y
        Labels of the common axes.
    looks
        By curve.
    published
        By panel and name, (x, value) as papers have them: hollow grey markers.
    lines
        Height of a dashed line by panel: what means nothing, or is asked for.

    Examples
    --------
    >>> points = [(500.0, 4.0, 3.0, 5.0), (1000.0, 12.0, 11.0, 13.0)]
    >>> paper = {"two-prong": {"IAD": [(500, 14.8)]}}
    >>> panels = {"two-prong": {"cwola": points}}
    >>> len(median_scan(panels, x="N", y="max SIC", published=paper).axes)
    1
    """
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    looks = looks or looks_of(names)
    papers = list(dict.fromkeys(name for one in (published or {}).values() for name in one))
    figure = new_figure(max(5.6, 4.4 * len(panels)), 5.2)
    for panel, (title, curves) in zip(
        np.ravel(figure.subplots(1, len(panels), sharey=True)), panels.items(), strict=True
    ):
        for name, points in curves.items():
            colour, line, text = looks[name]
            known = np.array([one for one in points if np.isfinite(one[1])]).reshape(-1, 4)
            place, median, low, high = known.T
            panel.plot(place, median, marker="o", ms=3.5, color=colour, ls=line, label=text)
            panel.fill_between(place, low, high, color=colour, alpha=0.13, lw=0)
        for name, found in (published or {}).get(title, {}).items():
            marker = _MARKERS[papers.index(name) % len(_MARKERS)]
            panel.plot(
                *np.array(found, float).T, ls="", marker=marker, mfc="none", color=GREY, label=name
            )
        if lines and title in lines:
            panel.axhline(lines[title], **_RANDOM)
        panel.set(xlabel=x, title=title)
    figure.axes[0].set_ylim(bottom=0)  # the axis is shared: only now is its top known
    figure.axes[0].set_ylabel(y)
    shown = {
        text: handle
        for panel in figure.axes
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=2 if papers else 3
    )
    return figure


@dataclass(frozen=True, eq=False)
class Density:
    """Counts in a plane whose axes begin at 0.

    Attributes
    ----------
    counts
        (x, y) events, as many bins a side.
    highest
        Where x and y end.

    Examples
    --------
    >>> Density.of([4, 0, 0, 0], (1.0, 800.0)).counts.shape
    (2, 2)
    """

    counts: Float64Array
    highest: tuple[float, float]

    @classmethod
    def of(cls, counts: Sequence[float], highest: tuple[float, float]) -> Self:
        """Return the plane of counts in a row, y the faster one."""
        bins = round(len(counts) ** 0.5)
        return cls(np.reshape(np.asarray(counts, np.float64), (bins, bins)), highest)


@styled
def densities(panels: Mapping[str, Density], *, x: str, y: str) -> Figure:
    """Return planes, two a row, each relative to its fullest bin, white where no event is.

    Parameters
    ----------
    panels
        By title.
    x, y
        Labels of the axes.

    Examples
    --------
    >>> one = Density.of([4, 0, 0, 1], (1.0, 1.0))
    >>> len(densities({"signal": one, "background": one}, x="heavy", y="light").axes)
    2
    """
    rows = -(-len(panels) // 2)
    figure = new_figure(7.0, 3.1 * rows)
    axes = figure.subplots(rows, 2, squeeze=False)
    for panel, (title, plane) in zip(axes.ravel(), panels.items(), strict=False):
        x_edges, y_edges = (np.linspace(0, high, len(plane.counts) + 1) for high in plane.highest)
        shown = np.where(plane.counts > 0, plane.counts, np.nan)
        top = max(1.0, float(plane.counts.max()))
        panel.pcolormesh(x_edges, y_edges, shown.T / top, vmin=0, vmax=1, cmap="viridis_r")
        panel.set(xlabel=x, ylabel=y, title=f"{title}: {plane.counts.sum():,.0f} events")
    for panel in axes.ravel()[len(panels) :]:
        panel.remove()
    return figure


@styled
def mass_ratios(
    panels: Mapping[str, Mapping[str, Mapping[str, Any]]], *, x: str = r"$m_{jj}$ [GeV]"
) -> Figure:
    """Return how selections shape the background's mass: the share kept in slices over that in all.

    Parameters
    ----------
    panels
        By method, and by selection, `edges` and `ratio`, each with a `mean` (`ratio` also `sd`),
        as `sculpting` of a study's figures has them.
    x
        Label of the mass.

    Examples
    --------
    >>> slices = {"edges": {"mean": [2600, 3000, 4000]}, "ratio": {"mean": [1, 1], "sd": [0, 0]}}
    >>> len(mass_ratios({"cwola": {"0.1": slices}}).axes)
    1
    """
    figure = new_figure(max(4.6, 3.2 * len(panels)), 3.9)
    axes = np.ravel(figure.subplots(1, len(panels), sharey=True))
    for panel, (name, selections) in zip(axes, panels.items(), strict=True):
        for colour, (selection, slices) in zip(cycle(COLOURS), selections.items(), strict=False):
            edges = np.array(slices["edges"]["mean"])
            mean, sd = (np.array(slices["ratio"][kind]) for kind in ("mean", "sd"))
            label = f"{float(selection):.3g} of background kept"
            panel.stairs(mean, edges, color=colour, lw=1.6, label=label)
            panel.errorbar((edges[1:] + edges[:-1]) / 2, mean, yerr=sd, fmt="none", color=colour)
        panel.axhline(1, color=GREY, lw=1)
        panel.set(xlabel=x, title=name)
    axes[0].set_ylim(bottom=0)  # the axis is shared: only now is its top known
    axes[0].set_ylabel("share kept here / in all")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure
