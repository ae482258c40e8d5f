"""Mean jet images: what the taggers find anomalous, beside everything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.anomaly import most_anomalous_share
from tnt_coffea.reporting.style import logarithmic, new_figure, shades, styled
from tnt_coffea.reporting.wording import percent
from tnt_coffea.taggers import Ranks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["JetImages", "mean_image_panels", "mean_images"]

Float64Array = npt.NDArray[np.float64]

BATCH = 2000
DECADES = 4
PRIME = "\N{PRIME}"


@dataclass(frozen=True, eq=False)
class JetImages:
    """Mean images of either jet.

    Attributes
    ----------
    everything, anomalous
        (row, column) by jet, `heavy` and `light`, channel 0: of all events, and of the
        most anomalous ones.
    events, anomalous_events
        How many events each mean is of.
    top
        Share of events called most anomalous.
    half_width
        The images cover +- this in eta' and phi'.
    """

    everything: Mapping[str, Float64Array]
    anomalous: Mapping[str, Float64Array]
    events: int
    anomalous_events: int
    top: float
    half_width: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "everything": {jet: image.tolist() for jet, image in self.everything.items()},
            "anomalous": {jet: image.tolist() for jet, image in self.anomalous.items()},
            "events": self.events,
            "anomalous_events": self.anomalous_events,
            "top": self.top,
            "half_width": self.half_width,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JetImages:
        """Return the inverse of `to_dict`."""
        images = {
            name: {jet: np.array(image) for jet, image in values[name].items()}
            for name in ("everything", "anomalous")
        }
        return cls(**{**values, **images})


def mean_images(sample: Sample, ranks: Ranks, top: float = 0.03) -> JetImages:
    """Return the mean images of all events and of those with the highest ranks.

    Parameters
    ----------
    sample, ranks, top
        As for `most_anomalous_share`.

    Raises
    ------
    InputError
        There is no event, or the skim holds no images.
    """
    chosen = most_anomalous_share(sample, ranks, top)
    return JetImages(
        everything={jet: _mean(sample, jet, np.arange(len(sample))) for jet in JETS},
        anomalous={jet: _mean(sample, jet, np.sort(chosen)) for jet in JETS},
        events=len(sample),
        anomalous_events=len(chosen),
        top=top,
        half_width=sample.image_settings.half_width,
    )


@styled
def mean_image_panels(images: JetImages) -> Figure:
    """Return the mean images of all and of the most anomalous events, heavy and light jets."""
    from matplotlib.colors import LogNorm

    figure = new_figure(6.4, 5.9, layout="compressed")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    highest = max(
        float(image.max())
        for group in (images.everything, images.anomalous)
        for image in group.values()
    )
    norm = LogNorm(highest / 10**DECADES, highest)
    half = images.half_width
    rows = (
        (images.everything, f"all ({images.events:,})"),
        (images.anomalous, f"top {percent(images.top)} ({images.anomalous_events:,})"),
    )
    for row, (group, events) in zip(panels, rows, strict=True):
        for panel, jet in zip(row, JETS, strict=True):
            mesh = panel.imshow(
                group[jet],
                norm=norm,
                cmap=shades(),
                origin="lower",
                extent=(-half, half, -half, half),
                interpolation="nearest",
            )
            panel.set_title(f"{jet} jet, {events}")
        row[0].set_ylabel(f"φ{PRIME} [rad]")
    for panel in panels[1]:
        panel.set_xlabel(f"η{PRIME} [1]")
    bar = figure.colorbar(
        mesh, ax=panels, label="mean share of the jet's $p_T$ [1 / pixel]", pad=0.02
    )
    logarithmic(bar.ax.yaxis)
    return figure


def _mean(sample: Sample, jet: str, rows: npt.NDArray[np.intp]) -> Float64Array:
    size = sample.image_settings.pixels
    total = np.zeros((size, size))
    # Dense images of all events would not fit into memory.
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        total += np.tensordot(sample.weight[batch], sample.images(jet, batch)[:, 0], axes=1)
    return np.asarray(total / sample.weight[rows].sum())
