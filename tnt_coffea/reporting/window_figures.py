"""Figures of counts in windows: p-values over the mass, and the spectra with their fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tnt_coffea.reporting.figures import (
    COLOURS,
    GREY,
    logarithmic,
    mass_label,
    new_figure,
    styled,
)
from tnt_coffea.reporting.mass_figures import LEAST_P, MASS_LABEL, sigma_lines
from tnt_coffea.reporting.wording import p_text, selection_text
from tnt_coffea.stats.window_results import WindowResult, WindowTests
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["window_columns", "window_name", "window_p_values", "window_spectra"]

_BEFORE = "all dijets"
_LEAST_SHOWN = 0.3
"""Where a logarithmic axis of events begins."""
_TINY = 1e-100
"""Smaller p-values are drawn as this."""


def window_name(selection: float | str | None) -> str:
    """Return a selection in words: 'all dijets', '3 %', or the name of its cuts."""
    return _BEFORE if selection is None else selection_text(selection)


@styled
def window_p_values(tests: WindowTests, title: str = "") -> Figure:
    """Return the local Poisson p-value of every window over its centre, a line a selection.

    Parameters
    ----------
    tests
        Of one method.
    title
        Its name.

    Source: arXiv:2101.08320, figure 34.
    """
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    colours = iter(COLOURS * len(tests.selections))
    for selection in tests.selections:
        own = {test.result.window: test.result.p_poisson for test in tests.of(selection)}
        colour, line = ("black", "--") if selection is None else (next(colours), "-")
        # A window without the test is a gap.
        p_values = [max(own[w], _TINY) if w in own else np.nan for w in tests.windows]
        axes.plot(
            [sum(window) / 2 for window in tests.windows], p_values,
            color=colour, ls=line, marker="o", markersize=3.5, label=window_name(selection),
        )  # fmt: skip
    bottom = 0.2 * min(LEAST_P, *(test.result.p_poisson for test in tests.tests))
    sigma_lines(axes, max(bottom, _TINY))
    axes.set_xlabel(MASS_LABEL)
    axes.set_ylabel("local p-value, Poisson")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, fontsize=10)
    return figure


@styled
def window_spectra(results: Mapping[str, WindowResult], title: str = "") -> Figure:
    """Return the spectra of selections in one figure, each with the fit beside its window.

    Parameters
    ----------
    results
        Of one window, by selection.
    title
        By which taggers.

    Source: arXiv:2101.08320, figure 35.
    """
    figure = new_figure(6.2, 4.6)
    axes = figure.subplots()
    top, variable = 1.0, "m_jj"
    for window in dict.fromkeys(result.window for result in results.values()):
        axes.axvspan(*window, color=GREY, alpha=0.22, lw=0)
    colours = iter(COLOURS * len(results))
    for name, result in results.items():
        spectrum = result.spectrum
        if spectrum is None:
            continue
        colour = "black" if name == _BEFORE else next(colours)
        edges, observed = np.array(spectrum.edges), np.array(spectrum.observed)
        scale = np.array(spectrum.scale) if spectrum.scale else np.ones_like(observed)
        axes.stairs(spectrum.background, edges, color=colour, lw=1.5, baseline=None)
        axes.errorbar(
            0.5 * (edges[1:] + edges[:-1]), np.where(observed > 0, observed, np.nan),
            yerr=np.sqrt(observed * scale), fmt="o", color=colour, markersize=3, elinewidth=0.9,
            label=f"{name}: p = {p_text(result.p_poisson)}",
        )  # fmt: skip
        top, variable = max(top, observed.max(), max(spectrum.background)), spectrum.variable
        axes.set_xlim(edges[0], edges[-1])
        _label_events(axes, edges)
    axes.set_yscale("log")
    logarithmic(axes.yaxis)
    axes.set_ylim(_LEAST_SHOWN, 4 * top)
    axes.set_xlabel(mass_label(variable))
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, fontsize=10)
    return figure


def window_columns(tests: WindowTests) -> dict[str, list[object]]:
    """Return every test as a row of a table, by column."""
    columns: dict[str, Sequence[object]] = {
        "taggers": [test.taggers for test in tests.tests],
        "selection": [window_name(test.selection) for test in tests.tests],
        "low [GeV]": [test.result.window[0] for test in tests.tests],
        "high [GeV]": [test.result.window[1] for test in tests.tests],
        "observed": [test.result.observed for test in tests.tests],
        "expected": [test.result.expected for test in tests.tests],
        "uncertainty": [test.result.uncertainty for test in tests.tests],
        "local p, Poisson": [test.result.p_poisson for test in tests.tests],
        "local p, likelihood": [test.result.p_value for test in tests.tests],
        "parameters": [test.result.parameters for test in tests.tests],
        "goodness of fit p": [test.result.goodness_of_fit for test in tests.tests],
    }
    return {name: list(values) for name, values in columns.items()}


def _label_events(axes: Axes, edges: Float64Array) -> None:
    widths = np.diff(edges)
    same = np.allclose(widths, widths[0])
    axes.set_ylabel(f"events / {widths[0]:g} GeV" if same else "events / bin")
