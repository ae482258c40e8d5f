"""Figures of the topics of jets that factorized topics learned, beside the jets of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.reporting.curves import PANELS_IN_A_ROW
from tnt_coffea.reporting.figures import (
    BLUE,
    COLOURS,
    GREY,
    PURPLE,
    RED,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["topic_columns", "topic_shapes", "topics_and_truth"]


@styled
def topic_shapes(histories: Sequence[tuple[str, Mapping[str, Any]]]) -> Figure | None:
    """Return the distributions of topics, one panel a tagger set, or None without any.

    Parameters
    ----------
    histories
        Name and history of every training run, a name 'set scope/fold-rest'; those with `topics`
        are drawn, all of a set in one panel.

    Source: arXiv:2101.08320, figure 48.
    """
    sets = _by_set(histories)
    if not sets:
        return None
    columns = min(len(sets), PANELS_IN_A_ROW - 1)
    rows = -(-len(sets) // columns)
    figure = new_figure(max(5.6, 4.0 * columns + 0.4), 3.2 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, (name, trained) in zip(panels, sets.items(), strict=False):
        for number, topics in enumerate(trained):
            edges = np.array(topics["edges"])
            for jet, line in (("heavy", "-"), ("light", (0, (3, 1.2)))):
                label = f"{jet} jets of the data" if not number else None
                panel.stairs(topics[jet], edges, color=GREY, ls=line, lw=1.4, label=label)
            for topic, (p, colour) in enumerate(zip(topics["p"], cycle(COLOURS[:4]), strict=False)):
                called = "common topic" if not topic else f"topic {topic + 1}"
                label = called if not number else None
                panel.stairs(p, edges, color=colour, lw=1.3, alpha=0.85, label=label)
        first = trained[0]
        panel.set_title(f"{name} ({len(trained)} run{'s' if len(trained) > 1 else ''})")
        mass = first["feature"] == "mass"
        panel.set(
            xlim=(first["edges"][0], first["edges"][-1]),
            ylim=(0, None),
            xlabel="jet mass [GeV]" if mass else first["feature"],
            ylabel="share of jets in a bin",
        )
    for panel in panels[len(sets) :]:
        panel.remove()
    # Sets may differ in how many topics they have.
    keys = (panel.get_legend_handles_labels() for panel in panels[: len(sets)])
    figure.legend(*max(keys, key=lambda key: len(key[1])), loc="outside lower center", ncols=3)
    return figure


@styled
def topics_and_truth(panels: Mapping[str, Mapping[str, Any]], edges: Sequence[float]) -> Figure:
    """Return anomalous topics above, the common one below, beside the true masses of jets.

    Parameters
    ----------
    panels
        By column, `topics` with the shares of jets by bin of the `lower`, `upper` and `common`
        topic, and `truth` with those of `light` and `heavy` jets of signal and of `background`,
        each with `mean` and `sd`.
    edges
        Of the bins [GeV].

    Source: arXiv:2101.08320, figure 48.
    """
    figure = new_figure(4.2 * len(panels) + 0.4, 6.4)
    axes = figure.subplots(2, len(panels), squeeze=False, sharex=True)
    for (above, below), (name, found) in zip(axes.T, panels.items(), strict=True):
        topics, truth = found["topics"], found["truth"]
        shown = (
            (above, "light", "lower", "light jets of signal", "topic of the lower peak", BLUE),
            (above, "heavy", "upper", "heavy jets of signal", "topic of the upper peak", RED),
            (below, "background", "common", "jets of background", "common topic", PURPLE),
        )
        for panel, true, learned, true_label, label, colour in shown:
            panel.stairs(
                truth[true]["mean"], edges, fill=True, color=colour, alpha=0.25, label=true_label
            )
            mean, sd = (np.array(topics[learned][key]) for key in ("mean", "sd"))
            panel.stairs(mean, edges, color=colour, lw=1.5, label=label)
            panel.stairs(
                mean + sd, edges, baseline=np.maximum(mean - sd, 0), fill=True, color=colour,
                alpha=0.3, lw=0,
            )  # fmt: skip
        above.set(title=name, ylabel="share of jets in a bin", ylim=(0, None))
        below.set(
            xlabel="jet mass [GeV]", ylabel="share of jets in a bin", ylim=(0, None),
            xlim=(edges[0], edges[-1]),
        )  # fmt: skip
    handles, labels = (
        [item for panel in axes[:, 0] for item in panel.get_legend_handles_labels()[i]]
        for i in (0, 1)
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def topic_columns(histories: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, list[object]]:
    """Return the same numbers as columns of a table, a row a topic and bin.

    Parameters
    ----------
    histories
        As in `topic_shapes`.

    Examples
    --------
    >>> topics = {"edges": [0, 1, 2], "p": [[0.5, 0.5]], "heavy": [1, 0], "light": [0, 1]}
    >>> table = topic_columns([("topics event/0", {"topics": topics})])
    >>> table["training"], table["topic"], table["share"], table["heavy"]
    (['topics event/0', 'topics event/0'], [1, 1], [0.5, 0.5], [1, 0])
    """
    names = ("training", "topic", "low", "high", "share", "heavy", "light")
    rows = [
        (name, topic + 1, *numbers)
        for name, history in histories
        if "topics" in history
        for topic, p in enumerate(history["topics"]["p"])
        for numbers in zip(
            history["topics"]["edges"][:-1],
            history["topics"]["edges"][1:],
            p,
            history["topics"]["heavy"],
            history["topics"]["light"],
            strict=True,
        )
    ]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _by_set(
    histories: Sequence[tuple[str, Mapping[str, Any]]],
) -> dict[str, list[Mapping[str, Any]]]:
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for name, history in histories:
        if "topics" in history:
            sets.setdefault(name.partition("/")[0].rpartition(" ")[0], []).append(history["topics"])
    return sets
