"""Figures of taggers trained on labelled simulation: scores, hard and soft ROC curves, masses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.reporting.figures import BLUE, GREY, ORANGE, RED, new_figure, shades, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["hard_and_soft_rocs", "mass_panels", "score_panels", "transfer_matrix"]

_COLOURS = (GREY, RED, BLUE, ORANGE)
_LINES: tuple[Any, ...] = ("-", (0, (4, 1.5)))


@styled
def score_panels(panels: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Return the distributions of probabilities of signal, a panel a method.

    Parameters
    ----------
    panels
        By method, and by population, the share of its events in equal bins from 0 to 1.

    Examples
    --------
    >>> len(score_panels({"table": {"background": [0.9, 0.1], "signal": [0.2, 0.8]}}).axes)
    1
    """
    figure = new_figure(max(4.6, 3.3 * len(panels)), 3.9)
    axes = np.ravel(figure.subplots(1, len(panels), sharey=True))
    for panel, (name, populations) in zip(axes, panels.items(), strict=True):
        for colour, (label, shares) in zip(_COLOURS, populations.items(), strict=False):
            edges = np.linspace(0, 1, len(shares) + 1)
            panel.stairs(np.asarray(shares) * len(shares), edges, color=colour, lw=1.8, label=label)
        panel.set(xlabel="probability of signal", title=name, yscale="log")
    axes[0].set_ylabel("density of events")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@styled
def hard_and_soft_rocs(curves: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Return ROC curves of scores, and the two lines that predictions of 0 or 1 give.

    Parameters
    ----------
    curves
        By method `eps_s` and `eps_b`, shares of signal and of background above ascending cuts,
        and `hard`, both shares above the one cut of the predictions.

    Examples
    --------
    >>> curve = {"eps_s": [1.0, 0.9, 0.0], "eps_b": [1.0, 0.2, 0.0], "hard": (0.9, 0.2)}
    >>> len(hard_and_soft_rocs({"table": curve}).axes)
    1
    """
    figure = new_figure(max(4.6, 3.3 * len(curves)), 4.0)
    axes = np.ravel(figure.subplots(1, len(curves), sharey=True))
    for panel, (name, curve) in zip(axes, curves.items(), strict=True):
        eps_s, eps_b = curve["hard"]
        panel.plot(curve["eps_b"], curve["eps_s"], color=RED, lw=2, label="scores")
        panel.plot(
            [0, eps_b, 1], [0, eps_s, 1], color=GREY, lw=1.6, marker="o", ms=4,
            label="predictions of 0 or 1 (figure 44)",
        )  # fmt: skip
        panel.plot([0, 1], [0, 1], color="black", lw=1, ls=(0, (2, 2)))
        panel.set(xlim=(0, 1), ylim=(0, 1), title=name, xlabel="background efficiency")
    axes[0].set_ylabel("signal efficiency")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@styled
def mass_panels(panels: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Return distributions of masses, a panel each, with the masses of signals as lines.

    Parameters
    ----------
    panels
        By the label of the axis: `edges`, `shares` (by population, in these bins) and `lines`
        (masses by signal).

    Examples
    --------
    >>> panel = {"edges": [0, 1, 2], "shares": {"selected": [0.5, 0.5]}, "lines": {"told": 1.2}}
    >>> len(mass_panels({"m_jj [GeV]": panel}).axes)
    1
    """
    figure = new_figure(max(4.6, 3.6 * len(panels)), 4.0)
    axes = np.ravel(figure.subplots(1, len(panels)))
    for panel, (label, found) in zip(axes, panels.items(), strict=True):
        for colour, (name, shares) in zip(_COLOURS, found["shares"].items(), strict=False):
            panel.stairs(shares, found["edges"], color=colour, lw=1.8, label=name)
        for line, (name, mass) in zip(_LINES, found["lines"].items(), strict=False):
            panel.axvline(mass, color="black", lw=1.2, ls=line, label=name)
        panel.set(xlabel=label, ylim=(0, None))
    axes[0].set_ylabel("share of events a bin")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@styled
def transfer_matrix(
    rows: Mapping[str, Mapping[str, Mapping[str, float]]], *, label: str = "AUC"
) -> Figure:
    """Return how well methods that learned one signal tell another one, a panel a method.

    Parameters
    ----------
    rows
        By method, signal trained on and signal tested on, the number.
    label
        What the number is.

    Examples
    --------
    >>> numbers = {"A": {"A": 0.98, "B": 0.7}, "B": {"A": 0.8, "B": 0.97}}
    >>> len(transfer_matrix({"lstm": numbers}).axes)
    1
    """
    figure = new_figure(max(4.6, 3.4 * len(rows)), 3.9)
    axes = np.ravel(figure.subplots(1, len(rows), sharey=True))
    for panel, (name, trained) in zip(axes, rows.items(), strict=True):
        tested = list(dict.fromkeys(signal for row in trained.values() for signal in row))
        values = np.array([[row[signal] for signal in tested] for row in trained.values()])
        panel.imshow(values, cmap=shades(), vmin=0.5, vmax=1.0, aspect="auto")
        for i, j in np.ndindex(values.shape):
            dark = values[i, j] > 0.72
            panel.text(j, i, f"{values[i, j]:.3f}", ha="center", va="center",
                       color="white" if dark else "black")  # fmt: skip
        panel.set_xticks(range(len(tested)), tested)
        panel.set_yticks(range(len(trained)), list(trained))
        panel.set(xlabel="tested on", title=f"{name}: {label}")
        panel.minorticks_off()
    axes[0].set_ylabel("trained on")
    return figure
