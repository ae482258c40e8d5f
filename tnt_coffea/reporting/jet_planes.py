"""Both jets of the events in the signal region: masses, tau21 and tau32 of one over the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.config import MassRange
from tnt_coffea.errors import InputError
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.anomalous_jets import most_anomalous_share
from tnt_coffea.reporting.figures import RED, new_figure, styled
from tnt_coffea.reporting.wording import percent
from tnt_coffea.taggers import Ranks
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PLANES", "JetPlanes", "jet_plane_panels", "jet_planes"]

PLANES = {"mass": "jet mass [GeV]", "tau21": r"$\tau_{21}$", "tau32": r"$\tau_{32}$"}
"""Columns, each a plane of both jets, and what stands at their axes."""
_BINS = 40
_ABOVE_ALL = 0.995
"""The mass axes end at this quantile of all jets, or behind the last anomalous one."""


@dataclass(frozen=True, eq=False)
class JetPlanes:
    """Columns of both jets of the events in the signal region, one jet over the other.

    Attributes
    ----------
    edges
        By column, edges of the counts, of both jets alike.
    everything
        By column, (heavy, light) weighted events of the signal region.
    anomalous
        By column, (event, 2) of heavy and light jet of its anomalous events, the most anomalous
        one first.
    top
        Share of all events called anomalous.
    window
        The signal region [GeV].
    """

    edges: Mapping[str, Float64Array]
    everything: Mapping[str, Float64Array]
    anomalous: Mapping[str, Float64Array]
    top: float
    window: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        parts = {
            name: {column: values.tolist() for column, values in getattr(self, name).items()}
            for name in ("edges", "everything", "anomalous")
        }
        return {**parts, "top": self.top, "window": list(self.window)}


def jet_planes(sample: Sample, ranks: Ranks, window: MassRange, top: float = 0.005) -> JetPlanes:
    """Return both jets of the events in the signal region, all and anomalous ones.

    Parameters
    ----------
    sample
        Dijets of the fit range; labels are not used.
    ranks, top
        As for `most_anomalous_share`; of the anomalous events those in the window are shown.
    window
        The signal region.

    Raises
    ------
    InputError
        There is no event, or the skim lacks a column.

    Source: arXiv:2101.08320, figure 36.
    """
    missing = [name for name in PLANES if f"{JETS[0]}_{name}" not in sample.columns]
    if missing:
        msg = (
            f"the skim holds no {' and no '.join(missing)} of jets; name them in "
            "skim.observables and make the skim again"
        )
        raise InputError(msg)
    inside = window.contains(sample.mass)
    rows = most_anomalous_share(sample, ranks, top)
    rows = rows[inside[rows]]
    edges, everything, anomalous = {}, {}, {}
    for name in PLANES:
        values = np.stack([sample.columns[f"{jet}_{name}"] for jet in JETS], axis=1).astype(float)
        highest = 1.0
        if name == "mass":
            seen = values[inside] if inside.any() else values
            highest = max(
                float(np.quantile(seen, _ABOVE_ALL)), 1.05 * float(values[rows].max(initial=0.0))
            )
        edges[name] = np.linspace(0, highest or 1.0, _BINS + 1)
        everything[name] = np.histogram2d(
            *values[inside].T, bins=(edges[name], edges[name]), weights=sample.weight[inside]
        )[0]
        anomalous[name] = values[rows]
    return JetPlanes(edges, everything, anomalous, top, window.edges)


@styled
def jet_plane_panels(planes: JetPlanes) -> Figure:
    """Return a panel a column: anomalous events over the density of the signal region."""
    figure = new_figure(6.6, 2.9)
    panels = figure.subplots(1, len(PLANES))
    for axes, (name, label) in zip(panels, PLANES.items(), strict=True):
        edges, counts = planes.edges[name], planes.everything[name]
        # The root keeps the tails visible.
        axes.pcolormesh(
            edges, edges, np.sqrt(counts).T, cmap="Greys", vmin=0,
            vmax=1.6 * max(float(np.sqrt(counts.max())), 1.0), rasterized=True,
        )  # fmt: skip
        axes.plot(
            *planes.anomalous[name].T, "o", ms=3, color=RED, mec="white", mew=0.4,
            label=f"top {percent(planes.top)}",
        )  # fmt: skip
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(edges[0], edges[-1])
        axes.set_aspect("equal")
        axes.set_title(label)
        axes.set_xlabel(f"{JETS[0]} jet")
        axes.tick_params(labelsize=9)
    panels[0].set_ylabel(f"{JETS[1]} jet")
    panels[0].plot([], [], color="0.55", lw=5, label="signal region, darker is more")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
