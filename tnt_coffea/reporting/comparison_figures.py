"""Figures of methods against each other, with bands over their training runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.reporting.comparison import Comparison
from tnt_coffea.reporting.curves import rejection_scales
from tnt_coffea.reporting.figures import (
    COLOURS,
    GREY,
    Plot,
    Section,
    logarithmic,
    mass_label,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["comparison_plots", "improvement_bands", "roc_bands", "sculpting_panels"]

_LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
_SHOWN = (0.1, 0.05, 0.01)
PANELS_IN_A_ROW = 3


def _styles(comparison: Comparison) -> dict[str, tuple[str, object]]:
    n = len(COLOURS)
    return {
        name: (COLOURS[i % n], _LINES[i // n % len(_LINES)])
        for i, name in enumerate(comparison.methods)
    }


def _label(comparison: Comparison, method: str) -> str:
    runs = len(comparison.methods[method])
    known = comparison.knowledge.get(method, "none")
    marks = ", uses the truth" if method in comparison.truth else ""
    marks += f", {known}" if known != "none" else ""
    return f"{method}{marks}{f' ({runs} training runs)' if runs > 1 else ''}"


@styled
def roc_bands(comparison: Comparison) -> Figure:
    """Return background rejection against signal efficiency, both jets, in the fit range.

    Lines are medians over training runs, bands their central 68 %.
    """
    figure = new_figure(6.6, 5.0)
    axes = figure.subplots()
    share = np.linspace(0.02, 1, 150)
    for name, (colour, line) in _styles(comparison).items():
        curves = []
        for run in comparison.methods[name].values():
            roc = run.rocs["both"]
            passed = np.interp(share, roc.true_positive, roc.false_positive)
            curves.append(1 / np.maximum(passed, 1 / roc.n_background))
        low, median, high = np.quantile(curves, (0.16, 0.5, 0.84), axis=0)
        axes.plot(share, median, color=colour, ls=line, label=_label(comparison, name))
        axes.fill_between(share, low, high, color=colour, alpha=0.2, lw=0)
    axes.plot(share, 1 / share, color=GREY, lw=1, label="guessing")
    rejection_scales(axes)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def improvement_bands(comparison: Comparison) -> Figure:
    """Return eps_S / sqrt(eps_B) in the window against the background kept.

    Points are medians over training runs, bars their central 68 % or, where that is wider, the
    median's statistical uncertainty. Stars are the medians of the largest values.
    """
    figure = new_figure(6.6, 5.0)
    axes = figure.subplots()
    for i, (name, (colour, line)) in enumerate(_styles(comparison).items()):
        runs = list(comparison.methods[name].values())
        points = []
        for k, improvement in enumerate(runs[0].improvements):
            values = [run.improvements[k].value for run in runs]
            errors = [run.improvements[k].uncertainty for run in runs]
            if None in values or improvement.efficiency == 1:
                continue
            low, median, high = np.quantile(np.array(values, float), (0.16, 0.5, 0.84))
            error = float(np.median(np.array(errors, float)))
            bar = (max(median - low, error), max(high - median, error))
            points.append((improvement.efficiency, float(median), *bar))
        best = [run.max_sic for run in runs if run.max_sic.value is not None]
        if len(best) == len(runs):
            at, top = np.median([(one.efficiency, one.value) for one in best], axis=0)
            axes.plot(at, top, "*", color=colour, mec="black", mew=0.6, ms=11, zorder=4)
        if not points:
            continue
        x, y, below, above = np.array(points).T
        shifted = x * 1.04 ** (i - len(comparison.methods) / 2)
        axes.errorbar(
            shifted,
            y,
            yerr=(below, above),
            color=colour,
            ls=line,
            marker="o",
            ms=4,
            label=_label(comparison, name),
        )
    for (name, figures), line in zip(comparison.baselines.items(), _LINES, strict=False):
        known = [
            (each.efficiency, each.value)
            for each in figures.improvements
            if each.value is not None and each.efficiency < 1
        ]
        axes.plot(*np.array(known).reshape(-1, 2).T, color=GREY, ls=line, label=f"{name} alone")
    axes.axhline(1, color=GREY, lw=1, label="no selection")
    axes.plot([], [], "*", color="black", ms=9, label=r"largest, $\epsilon_B$ known to 20 %")
    axes.set(
        xscale="log",
        xlabel=r"background efficiency $\epsilon_B$ in the signal region",
        ylabel=r"significance improvement $\epsilon_S / \sqrt{\epsilon_B}$",
    )
    axes.set_ylim(bottom=0)
    logarithmic(axes.xaxis)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


@styled
def sculpting_panels(comparison: Comparison) -> Figure:
    """Return the background's spectrum after a selection over that before, a panel a method.

    The first training run of each; flat is one.
    """
    names = list(comparison.methods)
    columns = min(len(names), PANELS_IN_A_ROW)
    rows = -(-len(names) // columns)
    figure = new_figure(max(4.6, 2.9 * columns + 0.4), 2.5 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for panel, name in zip(panels.ravel(), names, strict=False):
        first = next(iter(comparison.methods[name].values()))
        shown = [selection for selection in first.sculpting if selection.efficiency in _SHOWN]
        for colour, selection in zip(COLOURS, shown, strict=False):
            edges = np.array(selection.edges)
            panel.errorbar(
                0.5 * (edges[1:] + edges[:-1]) / 1000,
                selection.ratio,
                xerr=0.5 * np.diff(edges) / 1000,
                yerr=selection.uncertainty,
                fmt="o",
                ms=3,
                color=colour,
                label=f"{100 * selection.efficiency:g} % kept",
            )
        panel.axhline(1, color=GREY, lw=1)
        panel.axvspan(*(edge / 1000 for edge in comparison.window), color=GREY, alpha=0.15, lw=0)
        known = comparison.knowledge.get(name, "none")
        marks = ["truth"] if name in comparison.truth else []
        marks += [known] if known != "none" else []
        mark = f" ({', '.join(marks)})" if marks else ""
        panel.set_title(f"{name}{mark}", fontsize=10)
    for panel in panels.ravel()[len(names) :]:
        panel.remove()
    panels[0, 0].set_ylim(0, 2.5)
    for panel in panels[-1]:
        panel.set_xlabel(mass_label(comparison.variable, "TeV"))
    for panel in panels[:, 0]:
        panel.set_ylabel("share kept / mean")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def comparison_plots(comparison: Comparison) -> list[Plot]:
    """Return all figures of a comparison with captions and numbers."""
    numbers = comparison.to_dict()["methods"]

    def data(*wanted: str) -> dict[str, object]:
        return {
            method: {
                run: {name: run_figures[name] for name in wanted}
                for run, run_figures in rows["training_runs"].items()
            }
            for method, rows in numbers.items()
        }

    truth = " Methods marked so were trained with the truth."
    return [
        Plot(
            "comparison-roc",
            "Background rejection of all methods",
            "Both jets above the same quantile, in the fit range; medians over training runs "
            f"with the central 68 %.{truth}",
            roc_bands(comparison),
            data("rocs"),
            Section.TRUTH,
            "Curves of background rejection against signal efficiency, one for each method.",
        ),
        Plot(
            "comparison-improvement",
            "Significance improvement of all methods",
            "In the signal region; medians over training runs, with the wider of their central "
            "68 % and the statistical uncertainty. Stars: the largest value of all cuts whose "
            f"background efficiency is known to 20 %.{truth}",
            improvement_bands(comparison),
            data("improvements", "max_sic"),
            Section.TRUTH,
            "Points of significance improvement against background efficiency for each method.",
        ),
        Plot(
            "comparison-sculpting",
            "Dijet mass of the background after and before",
            f"Share kept in slices of m_jj over the share kept in all; flat is one.{truth}",
            sculpting_panels(comparison),
            data("sculpting"),
            Section.TRUTH,
            "A panel for each method with the ratio of background spectra in mass.",
        ),
    ]
