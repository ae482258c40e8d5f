"""Figures of the Gaussian study: populations, curves with their optima, and scans over lambda."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.reporting.curves import rejection_scales
from tnt_coffea.reporting.figures import (
    BLUE,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    VIOLET,
    Plot,
    Section,
    logarithmic,
    new_figure,
    styled,
)
from tnt_coffea.training.objectives import LARGEST_LOGIT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curves_with_optima", "divergence", "gaussian_plots", "populations", "strength_scan"]

_GREEN = "#2b8a57"
_LOOKS: Sequence[tuple[str, Any]] = (
    (_GREEN, "-"),
    (_GREEN, (0, (4, 1.5))),
    (RED, "-"),
    (PURPLE, "-"),
    (BLUE, (0, (4, 1.5))),
    (ORANGE, "-"),
    (RED, (0, (4, 1.5))),
)
"""Colours and lines of figure 2 in the paper, in the order of its curves here."""


def gaussian_plots(numbers: Mapping[str, Any]) -> list[Plot]:
    """Return all figures of the study with captions.

    Parameters
    ----------
    numbers
        Of the study, as `study.json` has them.
    """
    members = max(curve["members"] for curve in numbers["curves"].values())
    return [
        Plot(
            "populations",
            "Populations (figure 1)",
            "Densities of the two features, and both in the plane: circles hold 39 % of each "
            "population (one standard deviation). The signal is more like the sidebands than "
            "like the signal region; the simulation is slightly wrong.",
            populations(numbers["populations"]),
            numbers["populations"],
            Section.TRUTH,
            "Densities of five Gaussian populations in either feature, and their circles in the "
            "plane.",
        ),
        Plot(
            "curves",
            "Background rejection and significance improvement (figure 2)",
            f"Thick: mean of {members} trainings of 1/eps_B (left) and eps_S/sqrt(eps_B) (right) "
            "at fixed signal efficiency, bands: their standard deviation (supervised "
            "classifiers: fewer trainings); dotted: median. Thin: closed form of the optimum. The "
            "mean of 1/eps_B is drawn up by members that keep hardly any background.",
            curves_with_optima(numbers),
            numbers["curves"],
            Section.TRUTH,
            "Rejection and significance improvement against signal efficiency of seven "
            "classifiers, each with its closed form.",
        ),
        Plot(
            "strength",
            "Scan over lambda",
            "AUC of signal over background (left) and of background in the signal region over "
            "that in the sidebands (right; 0.5 where the score does not depend on the region). "
            "Points: mean and standard deviation of trainings. Lines: closed forms; that of the "
            "negative form is dotted where it is unbounded for more than 1 % of background.",
            strength_scan(numbers),
            numbers["scan"],
            Section.TRUTH,
            "Two areas under the curve against lambda, for swapped classes and negative weights.",
        ),
        Plot(
            "divergence",
            "Divergence of the form with negative weights",
            "Left: largest |logit| of every training on test events; the dotted line is where a "
            "warning is given. Right: share of background in the signal region where the "
            "coefficient of -log f is negative, so that the loss has no minimum (closed form).",
            divergence(numbers),
            numbers["scan"],
            Section.TRUTH,
            "Largest logit, and share of background without a minimum, against lambda.",
        ),
    ]


@styled
def populations(values: Mapping[str, Any]) -> Figure:
    """Return the densities of either feature, and the populations in the plane.

    Parameters
    ----------
    values
        By name of a population its `mean` and `variance`.
    """
    figure = new_figure(7.6, 3.6)
    panels = figure.subplots(1, 3)
    looks = dict(
        zip(
            values,
            ((BLUE, "-"), (RED, "-"), (_GREEN, "-"), (BLUE, (0, (3, 1.2))), (RED, (0, (3, 1.2)))),
            strict=True,
        )
    )
    x = np.linspace(-3.2, 4.2, 300)
    turn = np.linspace(0, 2 * np.pi, 200)
    for name, one in values.items():
        colour, line = looks[name]
        width = np.sqrt(one["variance"])
        for panel, mean in zip(panels, one["mean"], strict=False):
            density = np.exp(-((x - mean) ** 2) / (2 * width**2)) / (width * np.sqrt(2 * np.pi))
            panel.plot(x, density, color=colour, ls=line, lw=1.5)
        center = one["mean"]
        panels[2].plot(
            center[0] + width * np.cos(turn),
            center[1] + width * np.sin(turn),
            color=colour,
            ls=line,
            lw=1.5,
            label=name,
        )
        panels[2].plot(*center, "o", color=colour, ms=3)
    for i, panel in enumerate(panels[:2]):
        panel.set(xlabel=f"$x_{i}$", ylabel="density", xlim=(-3.2, 4.2), ylim=(0, 0.62))
    panels[2].set(xlabel="$x_0$", ylabel="$x_1$", xlim=(-1.4, 2.6), ylim=(-1.6, 2.6))
    panels[2].set_aspect("equal", adjustable="box")
    handles, labels = panels[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


@styled
def curves_with_optima(numbers: Mapping[str, Any]) -> Figure:
    """Return rejection and significance improvement against signal efficiency.

    Parameters
    ----------
    numbers
        Of the study: `efficiencies`, and `curves` with `in_figure`.
    """
    figure = new_figure(8.4, 5.2)
    rejection, improvement = figure.subplots(1, 2)
    eps = np.array(numbers["efficiencies"])
    shown = [one for one in numbers["curves"].values() if one["in_figure"]]
    for curve, (colour, line) in zip(shown, _LOOKS, strict=True):
        for panel, key in ((rejection, "rejection"), (improvement, "improvement")):
            values = {name: np.array(one) for name, one in curve[key].items()}
            panel.plot(eps, values["analytic"], color=colour, ls="-", lw=0.7, alpha=0.9)
            panel.plot(eps, values["median"], color=colour, ls=(0, (1, 1)), lw=1.1)
            panel.plot(eps, values["mean"], color=colour, ls=line, lw=2, label=curve["label"])
            low, high = values["mean"] - values["sd"], values["mean"] + values["sd"]
            floor = 1 if key == "rejection" else 0
            panel.fill_between(eps, np.maximum(low, floor), high, color=colour, alpha=0.18, lw=0)
    rejection.plot(eps, 1 / eps, color="black", lw=1, ls=(0, (2, 2)), label="random")
    improvement.plot(eps, np.sqrt(eps), color="black", lw=1, ls=(0, (2, 2)))
    rejection_scales(rejection)
    rejection.set_ylim(1, 1e4)
    improvement.set(
        xlim=(0, 1),
        ylim=(0, 5),
        xlabel=r"signal efficiency $\epsilon_S$",
        ylabel=r"significance improvement $\epsilon_S / \sqrt{\epsilon_B}$",
    )
    handles, labels = rejection.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


@styled
def strength_scan(numbers: Mapping[str, Any]) -> Figure:
    """Return both areas under the curve against lambda, trained and in closed form.

    Parameters
    ----------
    numbers
        Of the study: `scan` with the closed forms, `curves` with the trainings.
    """
    figure = new_figure(7.6, 4.0)
    panels = figure.subplots(1, 2)
    titles = ("AUC, signal over background", "AUC, SR over SB background")
    forms = (("swapped", ORANGE, "swapped classes (2.3)"), ("negative", VIOLET, "negative (4.11)"))
    for panel, key, title in zip(panels, ("auc", "auc_regions"), titles, strict=True):
        for form, colour, label in forms:
            _closed_form(panel, numbers["scan"][form], key, colour)
            trained = _trainings(numbers, form)
            panel.errorbar(
                [one["strength"] for one in trained],
                [one[key]["mean"] for one in trained],
                yerr=[one[key]["sd"] for one in trained],
                fmt="o" if form == "swapped" else "s",
                ms=5,
                color=colour,
                label=label,
            )
        panel.axhline(0.5, color=GREY, lw=1)
        panel.set(xlabel=r"$\lambda$", ylabel=title, ylim=(0, 1), xlim=(-0.05, 1.35))
    one_feature = numbers["curves"]["supervised-x1"]["auc"]["analytic"]
    panels[0].axhline(one_feature, color=_GREEN, lw=1, ls=(0, (4, 1.5)))
    panels[0].text(0.02, one_feature + 0.015, r"supervised, $x_1$ alone", color=_GREEN, fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _trainings(numbers: Mapping[str, Any], form: str) -> list[Mapping[str, Any]]:
    """Return the trained curves of a form in the order of lambda; CWoLa itself is at 0."""
    curves = numbers["curves"].items()
    chosen = [
        one
        for name, one in curves
        if one["form"] == form or (form == "swapped" and name == "cwola")
    ]
    return sorted(chosen, key=lambda one: float(one["strength"]))


def _closed_form(axes: Axes, scan: Mapping[str, Any], key: str, colour: str) -> None:
    strengths, values = np.array(scan["strengths"]), np.array(scan[key])
    bounded = np.array(scan["unbounded"]) <= 0.01
    axes.plot(strengths[bounded], values[bounded], color=colour, lw=0.9)
    if not bounded.all():
        rest = np.append(np.flatnonzero(bounded)[-1:], np.flatnonzero(~bounded))
        axes.plot(strengths[rest], values[rest], color=colour, lw=1.1, ls=(0, (1, 1.2)))


@styled
def divergence(numbers: Mapping[str, Any]) -> Figure:
    """Return the largest logit, and the share of background without a minimum, against lambda.

    Parameters
    ----------
    numbers
        Of the study: `scan` with the closed forms, `curves` with the trainings.
    """
    figure = new_figure(7.6, 3.8)
    logits, shares = figure.subplots(1, 2)
    for form, colour, marker in (("swapped", ORANGE, "o"), ("negative", VIOLET, "s")):
        for i, one in enumerate(_trainings(numbers, form)):
            largest = one["largest_logit"]
            logits.plot(
                [one["strength"]] * len(largest),
                largest,
                marker,
                color=colour,
                ms=4,
                alpha=0.6,
                label=None if i else f"{form} {'classes (2.3)' if form == 'swapped' else '(4.11)'}",
            )
        scan = numbers["scan"][form]
        shares.plot(scan["strengths"], scan["unbounded"], color=colour)
        for one in _trainings(numbers, form):
            shares.plot(one["strength"], one["unbounded"], marker, color=colour, ms=4)
    logits.axhline(LARGEST_LOGIT, color=GREY, lw=1, ls=(0, (1, 1.2)))
    logits.set(xlabel=r"$\lambda$", ylabel="largest |logit|", yscale="log", xlim=(-0.05, 1.35))
    logarithmic(logits.yaxis)
    shares.set(
        xlabel=r"$\lambda$",
        ylabel="share without a minimum",
        xlim=(-0.05, 1.35),
        ylim=(-0.02, 0.45),
    )
    handles, labels = logits.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure
