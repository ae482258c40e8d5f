"""What an excess looks like, drawn and in tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.jets.dijets import JETS
from tnt_coffea.reporting.anomalous_jets import PRIME
from tnt_coffea.reporting.figures import BLUE, ORANGE, Plot, Section, new_figure, shades, styled
from tnt_coffea.reporting.wording import percent
from tnt_coffea.stats.excess import Peak
from tnt_coffea.typing import Float64Array
from tnt_coffea.working_points import Selection, selection_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


__all__ = [
    "Characterisation",
    "Hypothesis",
    "Sculpted",
    "characterisation_cautions",
    "characterisation_plots",
    "characterisation_tables",
]

_CLEAR = 3.0
"""Excess over its uncertainty below which a peak is called unclear."""
_MOST = 12
"""Inputs that the table of importance names."""


@dataclass(frozen=True)
class Sculpted:
    """A feature of a simulated signal in the window, before and after the selection.

    Attributes
    ----------
    before, selected
        Medians; None where none of its events is selected.
    """

    before: float
    selected: float | None


@dataclass(frozen=True)
class Hypothesis:
    """A simulated signal beside the excess.

    Attributes
    ----------
    efficiency, efficiency_uncertainty
        Share of all its events that are selected in the window, times the scale factor of the
        taggers.
    events, events_uncertainty
        Of this signal in the data before any selection, if it is the excess; None where none of
        its events is selected, so that it is not.
    features
        Medians by feature: what the taggers make of a signal that is known.
    """

    efficiency: float
    efficiency_uncertainty: float
    events: float | None
    events_uncertainty: float | None
    features: Mapping[str, Sculpted]


@dataclass(frozen=True)
class Characterisation:
    """Selected events of a bump beyond the background expected from those beside it.

    Attributes
    ----------
    tagger_set, selection
        Whose selection.
    window
        In mass [GeV].
    observed, expected, uncertainty
        Selected events in it, and what a fit beside it expects.
    features
        By feature, where the excess lies.
    left_out
        Why a feature has none.
    importance
        Share of the excess that goes when an input of the taggers is shuffled among the events.
    images
        Mean image of the excess by jet, (row, column); empty without images.
    half_width
        The images cover +- this in eta' and phi'.
    hypotheses
        Simulated signals by name.
    observed_uncertainty
        Of `observed`, for weighted events; None: its root.

    Examples
    --------
    >>> found = Characterisation("cwola", 0.01, (3300, 3700), 150, 50, 5, {}, {}, {})
    >>> found.events, round(found.events_uncertainty, 1)
    (100, 13.2)
    """

    tagger_set: str
    selection: Selection
    window: tuple[float, float]
    observed: float
    expected: float
    uncertainty: float
    features: Mapping[str, Peak]
    left_out: Mapping[str, str]
    importance: Mapping[str, float]
    images: Mapping[str, Float64Array] | None = None
    half_width: float = 0.0
    hypotheses: Mapping[str, Hypothesis] | None = None
    observed_uncertainty: float | None = None

    @property
    def events(self) -> float:
        """Events beyond those expected."""
        return self.observed - self.expected

    @property
    def events_uncertainty(self) -> float:
        """Of the events beyond: those of the count and of what is expected."""
        own = self.observed_uncertainty
        return float(np.hypot(np.sqrt(self.observed) if own is None else own, self.uncertainty))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, images apart."""
        values = asdict(replace(self, images=None))
        values.pop("images")
        return values | {"events": self.events, "events_uncertainty": self.events_uncertainty}


def characterisation_cautions(found: Characterisation) -> list[str]:
    """Return where the selection moves what it shows, by simulated signals; how to see it without.

    A signal's median counts as moved by more than the uncertainty of the excess there.

    Examples
    --------
    >>> found = Characterisation("cwola", 0.01, (3300, 3700), 150, 50, 5, {}, {}, {})
    >>> characterisation_cautions(found)[0][:42]
    'caution: the selection moves what it shows'
    """
    if not found.hypotheses:
        return [
            "caution: the selection moves what it shows, as a cut on a feature does; --signal with "
            "simulated signals of other masses says how far"
        ]
    cautions = []
    for label, signal in found.hypotheses.items():
        for name, medians in signal.features.items():
            if name not in found.features or medians.selected is None:
                continue
            if abs(medians.selected - medians.before) > found.features[name].uncertainty:
                cautions.append(
                    f"caution: the selection moves {name} of the signal {label} from "
                    f"{medians.before:.3g} to {medians.selected:.3g}, more than the excess is "
                    f"known to (+- {found.features[name].uncertainty:.2g})"
                )
    return cautions


def characterisation_plots(found: Characterisation) -> list[Plot]:
    """Return the features of the excess, and the mean image of its jets."""
    plots = []
    selected = f"{found.tagger_set} at {selection_name(found.selection)}"
    if found.features:
        plots.append(
            Plot(
                "excess-features",
                "Features of the excess",
                f"Selected events of {selected} in the window (points), and those beside it scaled "
                "to what a fit expects inside (filled). Shaded: the range that stands out most; "
                "line: median of the excess there.",
                _features(found.features),
                {name: _values(one) for name, one in found.features.items()},
                Section.JETS,
                "Histograms of jet masses and subjettinesses in the window and beside it.",
            )
        )
    if found.images:
        plots.append(
            Plot(
                "excess-images",
                "Mean image of the excess",
                f"Selected events of {selected} in the window less those beside it, per event of "
                "the excess; negative pixels are fluctuations.",
                _images(found.images, found.half_width),
                {jet: image.tolist() for jet, image in found.images.items()},
                Section.JETS,
                "Mean jet images of the excess, heavy and light jet.",
            )
        )
    return plots


def _values(one: Peak) -> dict[str, Any]:
    return {"edges": one.edges, "window": one.window, "beside": one.beside} | {
        key: getattr(one, key) for key in ("interval", "events", "value", "uncertainty")
    }


def characterisation_tables(found: Characterisation) -> list[Table]:
    """Return the tables of a terminal: features, inputs, simulated signals."""
    from rich import box
    from rich.table import Table

    low, high = found.window
    title = (
        f"{found.tagger_set} at {selection_name(found.selection)}, {low:g}-{high:g} GeV: "
        f"{found.observed:g} events, {found.expected:.1f} +- {found.uncertainty:.1f} expected"
    )
    features = Table(title=title, box=box.SIMPLE_HEAD)
    for name in ("feature", "excess lies at", "background at", "in the range", "events", ""):
        features.add_column(name)
    for name, one in found.features.items():
        features.add_row(
            name,
            f"{one.value:.3g} +- {one.uncertainty:.2g}",
            f"{one.background:.3g}",
            "{:.3g} to {:.3g}".format(*one.interval),
            f"{one.events:.0f} +- {one.events_uncertainty:.0f}",
            "" if one.z >= _CLEAR else "unclear",
        )
    for name, reason in found.left_out.items():
        features.add_row(name, reason)
    tables = [features]
    if found.importance:
        inputs = Table(title="Excess lost where an input is shuffled", box=box.SIMPLE_HEAD)
        inputs.add_column("input")
        inputs.add_column("lost", justify="right")
        for name, share in list(found.importance.items())[:_MOST]:
            inputs.add_row(name, percent(share))
        tables.append(inputs)
    if found.hypotheses:
        signals = Table(title="If the excess is one of these signals", box=box.SIMPLE_HEAD)
        for name in ("signal", "selected in the window", "events before any selection"):
            signals.add_column(name)
        names = list(found.features)
        for name in names:
            signals.add_column(f"{name}:\nall, selected")
        for label, signal in found.hypotheses.items():
            medians = (signal.features.get(name) for name in names)
            signals.add_row(
                label,
                f"{signal.efficiency:.3g} +- {signal.efficiency_uncertainty:.1g}",
                "none of its events is selected"
                if signal.events is None
                else f"{signal.events:.0f} +- {signal.events_uncertainty:.0f}",
                *("" if m is None else _medians(m) for m in medians),
            )
        tables.append(signals)
    return tables


def _medians(feature: Sculpted) -> str:
    selected = "none" if feature.selected is None else f"{feature.selected:.3g}"
    return f"{feature.before:.3g}, {selected}"


@styled
def _features(features: Mapping[str, Peak]) -> Figure:
    columns = 2
    rows = -(-len(features) // columns)
    figure = new_figure(6.4, 2.3 * rows, layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for panel, (name, one) in zip(panels, features.items(), strict=False):
        edges = np.asarray(one.edges)
        window = np.asarray(one.window)
        panel.stairs(one.beside, edges, fill=True, color=BLUE, alpha=0.4, label="beside, scaled")
        middle = (edges[1:] + edges[:-1]) / 2
        panel.errorbar(
            middle, window, one.window_errors, fmt="k.", markersize=3, linewidth=0.8, label="window"
        )
        panel.axvspan(*one.interval, color=ORANGE, alpha=0.15, linewidth=0)
        panel.axvline(one.value, color=ORANGE, linewidth=1)
        panel.set_xlabel(f"{name} [GeV]" if name.endswith("mass") else name)
        panel.set_xlim(edges[0], edges[-1])
        panel.set_ylim(0)
    for panel in panels[len(features) :]:
        panel.set_axis_off()
    panels[0].set_ylabel("events")
    panels[0].legend(fontsize="small")
    return figure


@styled
def _images(images: Mapping[str, Any], half: float) -> Figure:
    figure = new_figure(6.4, 3.2, layout="compressed")
    panels = figure.subplots(1, 2, sharey=True)
    highest = max(float(image.max()) for image in images.values()) or 1.0
    for panel, jet in zip(panels, JETS, strict=True):
        mesh = panel.imshow(
            np.sqrt(np.clip(images[jet], 0, None)),
            cmap=shades(),
            origin="lower",
            extent=(-half, half, -half, half),
            interpolation="nearest",
            vmin=0.0,
            vmax=np.sqrt(highest),
        )
        panel.set_title(f"{jet} jet")
        panel.set_xlabel(f"η{PRIME}")
    panels[0].set_ylabel(f"φ{PRIME} [rad]")
    figure.colorbar(mesh, ax=panels, label="root of the share of the jet's $p_T$", pad=0.02)
    return figure
