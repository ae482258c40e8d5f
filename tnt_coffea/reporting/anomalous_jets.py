"""The events that taggers rank highest: mean images of their jets, and each one alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import InputError, TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.figures import logarithmic, new_figure, shades, styled
from tnt_coffea.reporting.wording import percent
from tnt_coffea.taggers import Ranks
from tnt_coffea.typing import Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "AnomalousEvent",
    "AnomalousJet",
    "JetImages",
    "anomalous_event_panels",
    "anomalous_events",
    "mean_image_panels",
    "mean_images",
    "most_anomalous",
    "most_anomalous_share",
]

Rows = npt.NDArray[np.intp]


def most_anomalous(sample: Sample, ranks: Ranks, count: int) -> Rows:
    """Return the rows of the most anomalous events, the most anomalous one first.

    Parameters
    ----------
    sample
        Dijets; labels are not used.
    ranks
        Their quantiles; events go by the lower one of the two jets, equal ones by id.
    count
        How many; fewer if there are fewer events.

    Raises
    ------
    InputError
        There is no event.
    TaggerError
        The ranks are not those of this sample.
    """
    if not len(sample):
        msg = "no event to show in the report: does the skim hold any in the fit range?"
        raise InputError(msg)
    if len(ranks.fold) != len(sample):
        msg = (
            f"ranks of {len(ranks.fold)} events for a sample of {len(sample)}; rank the sample "
            "that is reported"
        )
        raise TaggerError(msg)
    return np.argsort(-ranks.both, kind="stable")[:count]


def most_anomalous_share(sample: Sample, ranks: Ranks, top: float) -> Rows:
    """Return the rows of the most anomalous events, the most anomalous one first.

    Parameters
    ----------
    sample, ranks
        As for `most_anomalous`.
    top
        Share of events called most anomalous; at least one event is.
    """
    return most_anomalous(sample, ranks, max(1, round(top * len(sample))))


BATCH = 2000
DECADES = 4
EVENTS_IN_A_ROW = 2
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
        panel.set_xlabel(f"η{PRIME}")
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


@dataclass(frozen=True)
class AnomalousJet:
    """One jet of an anomalous event.

    Attributes
    ----------
    quantile
        Share of its fold's events whose same jet is less anomalous.
    observables
        The skim's, by name; GeV where they have a unit.
    image
        (row, column), channel 0; None in a skim without images.
    """

    quantile: float
    observables: Mapping[str, float]
    image: tuple[tuple[float, ...], ...] | None


@dataclass(frozen=True)
class AnomalousEvent:
    """An event that taggers rank high; the truth is not in it.

    Attributes
    ----------
    event_id
        Sixteen hexadecimal digits.
    fold
        Which fold it is in; taggers of other folds scored it.
    m_jj
        GeV.
    jets
        `heavy` and `light`.
    numbers
        Run, luminosityBlock and event, those that the sources have.
    """

    event_id: str
    fold: int
    m_jj: float
    jets: Mapping[str, AnomalousJet]
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def rank(self) -> float:
        """The lower one of the two quantiles, by which events are ordered."""
        return min(jet.quantile for jet in self.jets.values())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def anomalous_events(sample: Sample, ranks: Ranks, count: int = 8) -> tuple[AnomalousEvent, ...]:
    """Return the events with the highest ranks, the highest first.

    Parameters
    ----------
    sample, ranks, count
        As for `most_anomalous`.

    Raises
    ------
    InputError
        There is no event.
    """
    rows = most_anomalous(sample, ranks, count)
    images = {}
    if sample.settings.images is not None:
        images = {jet: sample.images(jet, rows)[:, 0].tolist() for jet in JETS}

    def anomalous_jet(jet: str, i: int, row: np.intp) -> AnomalousJet:
        return AnomalousJet(
            quantile=float(getattr(ranks, jet)[row]),
            observables={
                name: float(sample.columns[f"{jet}_{name}"][row]) for name in sample.settings.of_jet
            },
            image=tuple(map(tuple, images[jet][i])) if images else None,
        )

    return tuple(
        AnomalousEvent(
            event_id=f"{int(sample.event_id[row]):016x}",
            fold=int(ranks.fold[row]),
            m_jj=float(sample.m_jj[row]),
            jets={jet: anomalous_jet(jet, i, row) for jet in JETS},
            numbers={name: int(column[row]) for name, column in sample.numbers.items()},
        )
        for i, row in enumerate(rows)
    )


@styled
def anomalous_event_panels(events: tuple[AnomalousEvent, ...], means: JetImages) -> Figure:
    """Return the images of both jets of every event, below the mean images of all events.

    Parameters
    ----------
    events
        At least one.
    means
        Mean images; those of all events and of the most anomalous ones are the first row.

    Raises
    ------
    InputError
        There is no event, or they have no images.
    """
    if not events or any(jet.image is None for jet in events[0].jets.values()):
        msg = "no image to draw: give at least one of `anomalous_events`, of a skim with images"
        raise InputError(msg)
    columns = EVENTS_IN_A_ROW * len(JETS)
    rows = 1 + -(-len(events) // EVENTS_IN_A_ROW)
    # The places are fixed by hand: finding a layout for so many panels takes seconds.
    width, top, bottom, panel = 6.6, 0.42, 0.85, 1.36
    height = top + bottom + rows * (panel + 0.36)
    figure = new_figure(width, height, layout=None)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True)
    figure.subplots_adjust(
        left=0.1, right=0.985, bottom=bottom / height, top=1 - top / height, wspace=0.09, hspace=0.3
    )
    half = means.half_width
    for block, (group, words) in enumerate(
        ((means.everything, "mean of all"), (means.anomalous, "mean of top"))
    ):
        for k, jet in enumerate(JETS):
            mesh = _draw(panels[0, 2 * block + k], np.asarray(group[jet]), half)
            panels[0, 2 * block + k].set_title(f"{words}, {jet}", fontsize=9.5)
    for i, event in enumerate(events):
        row, block = 1 + i // EVENTS_IN_A_ROW, i % EVENTS_IN_A_ROW
        for k, jet in enumerate(JETS):
            axes = panels[row, 2 * block + k]
            _draw(axes, np.array(event.jets[jet].image), half)
            axes.set_title(_words(event, i + 1) if k == 0 else _masses(event), fontsize=9.5)
    for axes in panels.ravel()[columns + 2 * len(events) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel(f"φ{PRIME} [rad]", fontsize=9.5)
    for axes in panels[-1]:
        axes.set_xlabel(f"η{PRIME}", fontsize=9.5)
    bar = figure.colorbar(
        mesh,
        cax=figure.add_axes((0.1, 0.3 / height, 0.885, 0.1 / height)),
        orientation="horizontal",
    )
    logarithmic(bar.ax.xaxis)
    bar.ax.tick_params(labelsize=9, pad=2)
    bar.set_label("share of the jet's $p_T$ [1 / pixel]", fontsize=9.5, labelpad=1)
    return figure


def _words(event: AnomalousEvent, number: int) -> str:
    return f"{number}: $m_{{jj}}$ {event.m_jj:.0f} GeV"


def _masses(event: AnomalousEvent) -> str:
    masses = [jet.observables.get("mass") for jet in event.jets.values()]
    return "" if None in masses else f"{masses[0]:.0f} + {masses[1]:.0f} GeV"


def _draw(axes: Axes, image: Float64Array, half: float) -> Any:
    from matplotlib.colors import LogNorm

    axes.set_xticks([-0.5, 0, 0.5] if half > 0.5 else [-half, 0, half])
    axes.set_yticks(axes.get_xticks())
    axes.tick_params(which="both", labelsize=8.5, length=3, colors="black")
    axes.minorticks_off()
    return axes.imshow(
        image,
        norm=LogNorm(10.0**-DECADES, 1),
        cmap=shades(),
        origin="lower",
        extent=(-half, half, -half, half),
        interpolation="nearest",
        aspect="auto",
    )
