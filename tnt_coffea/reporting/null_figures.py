"""Figures of searches without a signal: how their p-values are distributed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import binom

from tnt_coffea.reporting.figures import COLOURS, GREY, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["cumulative_p_values", "small_p_values"]

_LEAST = 0.005


@styled
def cumulative_p_values(
    tests: Mapping[str, Mapping[str, Sequence[float]]],
    refuted: Mapping[str, Collection[str]] | None = None,
) -> Figure:
    """Return the share of samples with a p-value at or below p, one panel a test.

    The diagonal is that of uniform p-values, the band 95 % of as many of these.

    Parameters
    ----------
    tests
        p-values by test and method.
    refuted
        By test, methods that are drawn in colour and named.

    Examples
    --------
    >>> len(cumulative_p_values({"0.1": {"cwola": [0.1, 0.5]}, "global": {"cwola": [1.0]}}).axes)
    2
    """
    figure = new_figure(max(5.0, 3.6 * len(tests)), 4.6)
    p = np.geomspace(_LEAST, 0.5, 200)
    panels = np.ravel(figure.subplots(1, len(tests), sharey=True))
    colours: dict[str, str] = {}
    for panel, (title, methods) in zip(panels, tests.items(), strict=True):
        n = max(map(len, methods.values()))
        low, high = binom.ppf(0.025, n, p) / n, binom.ppf(0.975, n, p) / n
        panel.fill_between(p, low, high, color=GREY, alpha=0.25, lw=0)
        panel.plot(p, p, color="black", lw=1, ls=(0, (2, 2)))
        for name, values in methods.items():
            share = np.searchsorted(np.sort(values), p, "right") / len(values)
            if name in (refuted or {}).get(title, ()):
                colour = colours.setdefault(name, COLOURS[len(colours) % len(COLOURS)])
                panel.plot(p, share, color=colour, lw=1.8, label=name, zorder=3)
            else:
                panel.plot(p, share, color=GREY, lw=0.7)
        panel.set(xscale="log", xlim=(_LEAST, 0.5), ylim=(0, 1), xlabel="p", title=title)
    panels[0].set_ylabel("share of samples")
    shown = {
        text: handle
        for panel in panels
        for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    if shown:
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3)
    return figure


@styled
def small_p_values(tests: Mapping[str, Mapping[str, Sequence[float]]], below: float) -> Figure:
    """Return the share of p-values at or below one, a row a method and a panel a test.

    Parameters
    ----------
    tests
        p-values by test and method.
    below
        The p-value.

    Examples
    --------
    >>> figure = small_p_values({"0.1": {"cwola": [0.1, 0.5], "norm": [0.5]}}, 0.1)
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['cwola', 'norm']
    """
    names = list(dict.fromkeys(name for methods in tests.values() for name in methods))
    figure = new_figure(max(5.0, 2.4 * len(tests) + 2), 1.4 + 0.24 * len(names))
    panels = np.ravel(figure.subplots(1, len(tests), sharey=True))
    for panel, (title, methods) in zip(panels, tests.items(), strict=True):
        for name, values in methods.items():
            share = float(np.mean(np.asarray(values) <= below))
            error = float(np.sqrt(below * (1 - below) / len(values)))
            panel.errorbar(share, names.index(name), xerr=error, fmt="o", ms=3.5, color=COLOURS[0])
        panel.axvline(below, color="black", lw=1, ls=(0, (2, 2)))
        panel.set(xlabel=f"share with p ≤ {below:g}", title=title)
        panel.set_xlim(left=0)
    panels[0].set_yticks(range(len(names)), names)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    return figure
