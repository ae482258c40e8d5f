"""Figures of curves: ROC, significance improvement, and losses of training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.reporting.evaluation import Evaluation, Roc
from tnt_coffea.reporting.figures import COLOURS, GREY, logarithmic, new_figure, styled
from tnt_coffea.reporting.figures_of_merit import FEWEST_BACKGROUND, improvement_uncertainty
from tnt_coffea.reporting.wording import selection_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["loss_curves", "rejection_scales", "roc_curves", "significance_improvement"]

_JETS = {"heavy": (0, (4, 1.5)), "light": (0, (1, 1.2)), "both": "-"}
_LONG_NAME = 20
"""Characters of a set's name, with what is said of it, of which two do not fit into a row."""
PANELS_IN_A_ROW = 3


@styled
def roc_curves(evaluation: Evaluation) -> Figure:
    """Return the ROC curves of every tagger set and jet, and the same as background rejection."""
    names = [evaluation.shown(name) for name in evaluation.sets]
    long = max(map(len, names), default=0) > _LONG_NAME
    rows = (1 + len(_JETS) * len(names)) * (1.0 if long else 0.5)
    figure = new_figure(7.2, 3.8 + 0.2 * rows)
    linear, rejection = figure.subplots(1, 2)
    for colour, (name, tagger_set) in zip(cycle(COLOURS), evaluation.sets.items(), strict=False):
        for jet, line in _JETS.items():
            roc = tagger_set.rocs[jet]
            wanted = "both jets" if jet == "both" else f"{jet} jet"
            label = (
                f"{evaluation.shown(name)}, {wanted}: AUC {roc.auc:.3f} ± {roc.auc_uncertainty:.3f}"
            )
            linear.plot(roc.false_positive, roc.true_positive, color=colour, ls=line, label=label)
            eps_background, eps_signal = _seen(roc)
            rejection.plot(eps_signal, 1 / eps_background, color=colour, ls=line)
    share = np.geomspace(1e-3, 1)
    linear.plot([0, 1], [0, 1], color=GREY, lw=1, label="guessing")
    rejection.plot(share, 1 / share, color=GREY, lw=1)
    linear.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel=r"background efficiency $\epsilon_B$",
        ylabel=r"signal efficiency $\epsilon_S$",
    )
    rejection_scales(rejection)
    figure.legend(loc="outside lower center", ncols=1 if long else 2)
    return figure


def rejection_scales(axes: Axes) -> None:
    """Make axes those of background rejection against signal efficiency."""
    axes.set(
        xlim=(0, 1),
        yscale="log",
        xlabel=r"signal efficiency $\epsilon_S$",
        ylabel=r"background rejection $1/\epsilon_B$",
    )
    axes.set_ylim(bottom=1)
    logarithmic(axes.yaxis)


@styled
def significance_improvement(evaluation: Evaluation) -> Figure:
    """Return eps_S / sqrt(eps_B) in the window against eps_S, with statistical bands.

    A curve ends where fewer than ten background events are left.
    """
    figure = new_figure(6.2, 4.2)
    axes = figure.subplots()
    highest = 1.0
    # Working points of two sets may lie on each other: the labels of one go below.
    below = cycle((True, False))
    for colour, (name, tagger_set) in zip(cycle(COLOURS), evaluation.sets.items(), strict=False):
        roc = tagger_set.rocs["both_in_window"]
        eps_background, eps_signal = _seen(roc)
        value = eps_signal / np.sqrt(eps_background)
        error = np.array(
            [
                improvement_uncertainty(s, b, roc.n_signal, roc.n_background) or np.nan
                for s, b in zip(eps_signal, eps_background, strict=True)
            ]
        )
        axes.plot(eps_signal, value, color=colour, label=evaluation.shown(name))
        axes.fill_between(eps_signal, value - error, value + error, color=colour, alpha=0.25, lw=0)
        _working_points(axes, tagger_set.working_points, colour, below=next(below))
        best = tagger_set.max_sic
        if best.value is not None:
            at = best.value * np.sqrt(best.efficiency)
            axes.plot(at, best.value, "*", color=colour, mec="black", mew=0.6, ms=11, zorder=4)
        highest = max(highest, float((value + np.nan_to_num(error)).max(initial=0.0)))
    axes.axhline(1, color=GREY, lw=1, label="no selection")
    axes.plot([], [], "o", color="black", ms=5, label="working points of the search")
    axes.plot([], [], "*", color="black", ms=9, label=r"maximum, $\epsilon_B$ known to 20 %")
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1.12 * highest),
        xlabel=r"signal efficiency $\epsilon_S$ in the signal region",
        ylabel=r"significance improvement $\epsilon_S / \sqrt{\epsilon_B}$",
    )
    axes.legend(loc="best")
    return figure


@styled
def loss_curves(histories: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure | None:
    """Return the losses per epoch, one panel a kind of training run, or None without any.

    Parameters
    ----------
    histories
        Name and history of every training run. A name is 'kind/fold-rest', all of a kind
        share a panel, and those for one scored fold a colour. Histories without a list `loss`
        (closed-form fits) are left out; `validation_loss` and `best_epoch` are drawn where they
        are given.
        A training run of several `networks` holds a history of each.
    """
    kinds: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
    for name, training in histories:
        kind, _, place = name.partition("/")
        for history in training.get("networks", [training]):
            if isinstance(history.get("loss"), list | tuple):
                kinds.setdefault(kind, []).append((place.partition("-")[0], history))
    if not kinds:
        return None
    from matplotlib.ticker import MaxNLocator

    columns = min(len(kinds), PANELS_IN_A_ROW)
    rows = -(-len(kinds) // columns)
    figure = new_figure(max(5.2, 3.2 * columns + 0.4), 2.9 * rows + 0.7)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (kind, members) in zip(panels, kinds.items(), strict=False):
        colours = dict(
            zip(dict.fromkeys(fold for fold, _ in members), cycle(COLOURS), strict=False)
        )
        for fold, history in members:
            _losses(panel, history, colours[fold])
        panel.set_title(f"{kind} ({len(members)} run{'s' if len(members) > 1 else ''})")
        panel.set_xlabel("epoch")
        panel.set_ylabel("mean loss")
        panel.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    for panel in panels[len(kinds) :]:
        panel.remove()
    key = panels[0]
    scored = list(dict.fromkeys(fold for members in kinds.values() for fold, _ in members))
    if len(scored) > 1 and all(fold.isdigit() for fold in scored):
        for fold, colour in zip(scored, cycle(COLOURS), strict=False):
            key.plot([], [], color=colour, lw=4, label=f"scores fold {fold}")
    for style, label in (("-", "training"), ((0, (3, 1.2)), "validation")):
        key.plot([], [], color="black", ls=style, label=label)
    key.plot([], [], "o", color="black", mec="white", ms=5, label="weights kept")
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _losses(axes: Axes, history: Mapping[str, Any], colour: str) -> None:
    loss, validation = history["loss"], history.get("validation_loss", ())
    look: dict[str, Any] = {"color": colour, "lw": 1.1, "alpha": 0.75}
    axes.plot(np.arange(1, len(loss) + 1), loss, marker="." * (len(loss) == 1), **look)
    if not len(validation):
        return
    epochs = np.arange(1, len(validation) + 1)
    axes.plot(epochs, validation, ls=(0, (3, 1.2)), **look)
    if "best_epoch" in history:
        best = int(history["best_epoch"])
        axes.plot(epochs[best], validation[best], "o", color=colour, mec="black", mew=0.8, ms=5)


def _working_points(axes: Axes, points: Sequence[Any], colour: str, *, below: bool) -> None:
    for point in points:
        if point.improvement is None:
            continue
        axes.errorbar(
            point.eps_signal,
            point.improvement,
            yerr=point.improvement_uncertainty,
            fmt="o",
            ms=5,
            color=colour,
            mec="black",
            mew=0.6,
            zorder=3,
        )
        axes.annotate(
            selection_text(point.selection),
            (point.eps_signal, point.improvement),
            xytext=(0, -7 if below else 7),
            textcoords="offset points",
            ha="center",
            va="top" if below else "bottom",
            fontsize=9,
        )


def _seen(roc: Roc) -> tuple[Any, Any]:
    """Return (eps_B, eps_S) where enough background is left to know eps_B."""
    eps_background, eps_signal = np.array(roc.false_positive), np.array(roc.true_positive)
    known = eps_background * roc.n_background >= min(FEWEST_BACKGROUND, roc.n_background)
    return eps_background[known], eps_signal[known]
