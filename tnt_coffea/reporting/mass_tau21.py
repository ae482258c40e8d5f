"""Jet mass against tau21: where the most anomalous jets lie, and where the truth does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.errors import InputError
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.anomalous_jets import most_anomalous, most_anomalous_share
from tnt_coffea.reporting.figures import BLUE, ORANGE, RED, new_figure, styled
from tnt_coffea.reporting.wording import percent
from tnt_coffea.taggers import Ranks
from tnt_coffea.typing import BoolArray, Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLUMNS",
    "JetShapes",
    "TrueShapes",
    "jet_shape_panels",
    "jet_shapes",
    "true_shape_panels",
    "true_shapes",
]


COLUMNS = ("mass", "tau21")
BINS = 32
SMOOTHING = 1.5
"""Width in bins of the Gaussian that contours are smoothed with."""
_ABOVE_ALL = 0.995
"""The mass axis ends at this quantile of all jets, or behind the last anomalous one."""


@dataclass(frozen=True, eq=False)
class JetShapes:
    """Mass and tau21 of all jets, as counts, and of the most anomalous ones, each.

    Attributes
    ----------
    mass_edges, tau21_edges
        By jet, edges of the counts: GeV, and without unit.
    everything
        By jet, (mass, tau21) weighted events of all.
    mass, tau21
        By jet, (anomalous event,), the most anomalous one first.
    top
        Share of events called most anomalous.
    """

    mass_edges: Mapping[str, Float64Array]
    tau21_edges: Float64Array
    everything: Mapping[str, Float64Array]
    mass: Mapping[str, Float64Array]
    tau21: Mapping[str, Float64Array]
    top: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        by_jet = {
            name: {jet: values.tolist() for jet, values in getattr(self, name).items()}
            for name in ("mass_edges", "everything", "mass", "tau21")
        }
        return {**by_jet, "tau21_edges": self.tau21_edges.tolist(), "top": self.top}


@dataclass(frozen=True, eq=False)
class TrueShapes:
    """The truth of the same jets; for evaluation only.

    Attributes
    ----------
    signal, background
        By jet, (mass, tau21) weighted events of either kind, binned as `JetShapes`.
    anomalous_is_signal
        (anomalous event,), in the order of `JetShapes`.
    """

    signal: Mapping[str, Float64Array]
    background: Mapping[str, Float64Array]
    anomalous_is_signal: BoolArray

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "signal": {jet: counts.tolist() for jet, counts in self.signal.items()},
            "background": {jet: counts.tolist() for jet, counts in self.background.items()},
            "anomalous_is_signal": self.anomalous_is_signal.tolist(),
        }


def jet_shapes(sample: Sample, ranks: Ranks, top: float = 0.01) -> JetShapes:
    """Return mass and tau21 of all jets and of the most anomalous events' jets.

    Parameters
    ----------
    sample, ranks, top
        As for `most_anomalous_share`.

    Raises
    ------
    InputError
        There is no event, or the skim lacks a column.
    """
    missing = [name for name in COLUMNS if f"{JETS[0]}_{name}" not in sample.columns]
    if missing:
        msg = (
            f"the skim holds no {' and no '.join(missing)} of jets; name them in "
            "skim.observables and make the skim again"
        )
        raise InputError(msg)
    rows = most_anomalous_share(sample, ranks, top)
    mass, tau21 = (
        {jet: sample.columns[f"{jet}_{name}"].astype(np.float64) for jet in JETS}
        for name in COLUMNS
    )
    mass_edges = {
        jet: np.linspace(
            0, max(np.quantile(mass[jet], _ABOVE_ALL), 1.05 * mass[jet][rows].max()), BINS + 1
        )
        for jet in JETS
    }
    tau21_edges = np.linspace(0, 1, BINS + 1)
    return JetShapes(
        mass_edges=mass_edges,
        tau21_edges=tau21_edges,
        everything=_counts(sample, mass_edges, tau21_edges),
        mass={jet: mass[jet][rows] for jet in JETS},
        tau21={jet: tau21[jet][rows] for jet in JETS},
        top=top,
    )


def true_shapes(sample: Sample, ranks: Ranks, shapes: JetShapes) -> TrueShapes:
    """Return the truth of the jets in `shapes`.

    Parameters
    ----------
    sample, ranks
        Those that `shapes` was made of; here the labels are used.
    shapes
        Of `jet_shapes`.
    """
    signal = sample.label > 0
    kinds = (sample.select(kind) for kind in (signal, ~signal))
    counts = [_counts(kind, shapes.mass_edges, shapes.tau21_edges) for kind in kinds]
    rows = most_anomalous(sample, ranks, len(shapes.mass[JETS[0]]))
    return TrueShapes(counts[0], counts[1], signal[rows])


@styled
def jet_shape_panels(shapes: JetShapes) -> Figure:
    """Return the most anomalous jets over the density of all, heavy and light."""
    figure = new_figure(6.6, 3.9)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, jet in zip(panels, JETS, strict=True):
        _density(axes, shapes, jet, shapes.everything[jet], "Greys")
        _points(axes, shapes, jet, slice(None), RED, "o", f"top {percent(shapes.top)}")
        axes.set_title(f"{jet} jet")
        axes.set_xlabel(f"{jet}-jet mass [GeV]")
    panels[0].set_ylabel(r"$\tau_{21}$")
    _key(figure, panels[0], [("0.55", "all events, darker is more")])
    return figure


@styled
def true_shape_panels(shapes: JetShapes, truth: TrueShapes) -> Figure:
    """Return the most anomalous jets marked by truth, beside the density of the true signal."""
    figure = new_figure(6.6, 6.4)
    panels = figure.subplots(2, 2, sharey=True)
    signal = truth.anomalous_is_signal
    for (left, right), jet in zip(panels, JETS, strict=True):
        _density(left, shapes, jet, shapes.everything[jet], "Greys")
        _points(left, shapes, jet, ~signal, BLUE, "s", f"top {percent(shapes.top)}, background")
        _points(left, shapes, jet, signal, RED, "o", f"top {percent(shapes.top)}, signal")
        left.set_title(f"{jet} jet: most anomalous {percent(shapes.top)}")
        _density(right, shapes, jet, truth.background[jet], "Greys")
        _contours(right, shapes, jet, truth.signal[jet])
        right.set_title(f"{jet} jet: all by truth")
        left.set_ylabel(r"$\tau_{21}$")
        for axes in (left, right):
            axes.set_xlabel(f"{jet}-jet mass [GeV]")
    contours = [(ORANGE, "68 % and 90 % of the signal")]
    _key(figure, panels[0, 0], [("0.55", "all events, or all background"), *contours])
    return figure


def _counts(
    sample: Sample, mass_edges: Mapping[str, Float64Array], tau21_edges: Float64Array
) -> dict[str, Float64Array]:
    return {
        jet: np.histogram2d(
            sample.columns[f"{jet}_mass"],
            sample.columns[f"{jet}_tau21"],
            bins=(mass_edges[jet], tau21_edges),
            weights=sample.weight,
        )[0]
        for jet in JETS
    }


def _density(axes: Axes, shapes: JetShapes, jet: str, counts: Float64Array, colours: str) -> None:
    # The root keeps the tails visible, and the darkest grey below the points' contrast.
    axes.pcolormesh(
        shapes.mass_edges[jet],
        shapes.tau21_edges,
        np.sqrt(counts).T,
        cmap=colours,
        vmin=0,
        vmax=1.6 * max(float(np.sqrt(counts.max())), 1.0),
        rasterized=True,
    )
    axes.set_xlim(0, shapes.mass_edges[jet][-1])
    axes.set_ylim(0, 1)


def _points(
    axes: Axes, shapes: JetShapes, jet: str, rows: Any, colour: str, marker: str, label: str
) -> None:
    axes.plot(
        shapes.mass[jet][rows],
        shapes.tau21[jet][rows],
        marker,
        ms=4,
        color=colour,
        mec="white",
        mew=0.5,
        label=label,
    )


def _contours(axes: Axes, shapes: JetShapes, jet: str, counts: Float64Array) -> None:
    """Draw the smallest areas with 68 % and 90 % of the counts, smoothed over bins."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(counts, SMOOTHING)
    ordered = np.sort(smooth.ravel())[::-1]
    held = np.cumsum(ordered) / max(ordered.sum(), 1e-12)
    levels = sorted({float(ordered[np.searchsorted(held, share)]) for share in (0.68, 0.9)})
    if levels[0] <= 0:
        return
    centres = [(e[1:] + e[:-1]) / 2 for e in (shapes.mass_edges[jet], shapes.tau21_edges)]
    axes.contour(*centres, smooth.T, levels=levels, colors=[ORANGE], linewidths=1.6)


def _key(figure: Figure, axes: Axes, colours: list[tuple[str, str]]) -> None:
    for colour, label in colours:
        axes.plot([], [], color=colour, lw=5 if colour.startswith("0") else 1.8, label=label)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
