"""Simulated signals of a search with their variations, and the templates that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config import (
    NOMINAL,
    SystematicsSettings,
    WeightVariationSettings,
)
from tnt_coffea.errors import FitError
from tnt_coffea.stats.search_histogram import passing_bins, score_plane
from tnt_coffea.stats.signal_sums import SignalSums
from tnt_coffea.stats.signal_templates import SignalTemplate
from tnt_coffea.stats.spectrum import edge_index
from tnt_coffea.working_points import WorkingPoint

__all__ = ["SignalHistogram", "joined"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Spectra:
    """Edges of bins [GeV], and by fold what they hold and its variance."""

    edges: Array
    counts: dict[int, Array]
    variances: dict[int, Array]


@dataclass(frozen=True, eq=False)
class SignalHistogram:
    """Simulated signals that a tagger set scored, with their variations.

    Attributes
    ----------
    histogram
        (dataset, variation, fold, mass, q_heavy, q_light), sums of weights; `dataset` is the name
        of the signal, NAME of the role signal:NAME; `variation` is `nominal`, `NAME_up`,
        `NAME_down`, and `NAME_0`, `NAME_1`, ... for the members of a set of weights.
    masses
        Of the resonance by signal [GeV].
    generated
        By signal: sum of weights of all generated events, `nominal`, and of every variation of
        the weights.
    weights
        Settings of the variations of the weights: what becomes of members.

    Examples
    --------
    >>> import hist
    >>> axes = [
    ...     hist.axis.StrCategory(["m3500"], name="dataset"),
    ...     hist.axis.StrCategory(["nominal", "pileup_up"], name="variation"),
    ...     hist.axis.IntCategory([0], name="fold"),
    ...     hist.axis.Regular(2, 3000, 4000, name="m_jj"),
    ...     hist.axis.Variable([0, 0.9, 1], name="q_heavy", flow=False),
    ...     hist.axis.Variable([0, 0.9, 1], name="q_light", flow=False),
    ... ]
    >>> filled = hist.Hist(*axes, storage=hist.storage.Weight())
    >>> _ = filled.fill("m3500", "nominal", 0, [3400, 3600, 3600], 0.95, 0.95)
    >>> _ = filled.fill("m3500", "pileup_up", 0, [3400, 3600, 3600], 0.95, 0.95, weight=1.5)
    >>> signals = SignalHistogram(filled, {"m3500": 3500.0}, {"m3500": {"nominal": 10.0}})
    >>> template = signals.templates("m3500", WorkingPoint.at({0: 0.9}))[0]
    >>> template.nominal.tolist(), template.variations["pileup"][0].tolist()
    ([0.1, 0.2], [0.15, 0.3])
    >>> template.variations["pileup"][1].round(3).tolist()
    [0.05, 0.1]
    """

    histogram: Any
    masses: Mapping[str, float]
    generated: Mapping[str, Mapping[str, float]]
    weights: Mapping[str, WeightVariationSettings] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return all but the histogram as JSON values."""
        return {
            "masses": dict(self.masses),
            "generated": {name: dict(own) for name, own in self.generated.items()},
            "weights": {name: own.model_dump(mode="json") for name, own in self.weights.items()},
        }

    @classmethod
    def from_dict(cls, values: Any, histogram: Any) -> SignalHistogram:
        """Return the inverse of `to_dict`, with the histogram."""
        return cls(
            histogram,
            {str(name): float(mass) for name, mass in values["masses"].items()},
            {
                str(name): {str(key): float(value) for key, value in own.items()}
                for name, own in values["generated"].items()
            },
            SystematicsSettings(weights=values["weights"]).weights,
        )

    @property
    def variations(self) -> tuple[str, ...]:
        """Names of what varies, which are those of the nuisance parameters."""
        names: dict[str, None] = {}
        for each in map(str, self.histogram.axes["variation"]):
            stem = each.rpartition("_")[0]
            if each.endswith(("_up", "_down")) or stem in self.weights:
                names[stem] = None
        return tuple(names)

    def templates(
        self, name: str, point: WorkingPoint | None = None, edges: Any = None
    ) -> dict[int, SignalTemplate]:
        """Return the templates of a signal in a selection, by fold.

        Parameters
        ----------
        name
            Of the signal.
        point
            The selection, X of either jet an edge of its axis; None for all dijets.
        edges
            Of the bins [GeV], edges of the histogram; all of them by default.

        Returns
        -------
        dict
            Templates whose bins hold the sum of weights of the selected events over that of all
            generated ones, efficiency times acceptance: times cross section and luminosity they
            are events. Variations have the same denominator, but for those of weights with
            `acceptance`, which have their own. A direction that is not there is the mirror image
            of the other one. What weights of either sign leave below zero in a bin is set to 0,
            and the other bins are scaled to the sum before. `SignalTemplate.rebinned` does this,
            and combines members, in its new bins.

        Raises
        ------
        FitError
            There is no such signal, none of its events is selected, or an edge is none of the
            histogram.
        """
        if name not in self.masses:
            msg = f"no signal '{name}' was searched; there are {', '.join(self.masses) or 'none'}"
            raise FitError(msg)
        spectra = {
            each: self._selected(name, each, point, edges)
            for each in map(str, self.histogram.axes["variation"])
        }
        nominal = spectra[NOMINAL]
        return {
            fold: SignalTemplate.of_sums(
                nominal.edges,
                self._sums(
                    {each: own.counts[fold] for each, own in spectra.items()},
                    nominal.variances[fold],
                ),
            )
            for fold in nominal.counts
        }

    def _selected(
        self, name: str, variation: str, point: WorkingPoint | None, edges: Any
    ) -> _Spectra:
        plane = score_plane(self.histogram[{"dataset": name, "variation": variation}])
        stem = variation.rpartition("_")[0]
        own_sum = stem in self.weights and self.weights[stem].acceptance
        total = self.generated[name][variation if own_sum else NOMINAL]
        bins = np.asarray(plane.mass if edges is None else edges, float)
        cuts = [edge_index(plane.mass, float(edge), "bins of the template") for edge in bins]
        found = _Spectra(bins, {}, {})
        for index, fold in enumerate(plane.folds):
            heavy, light = (0, 0) if point is None else passing_bins(plane, point, fold)
            which = (index, slice(0, cuts[-1]), slice(heavy, None), slice(light, None))
            # Sums of whole units are exact: divided once, in the end.
            counts, variances = (
                np.add.reduceat(each[which].sum(axis=(1, 2)), cuts[:-1])
                for each in (plane.counts, plane.variances)
            )
            found.counts[fold], found.variances[fold] = counts / total, variances / total**2
        return found

    def _sums(self, values: Mapping[str, Array], squares: Array) -> SignalSums:
        nominal, variations, members = values[NOMINAL], {}, {}
        for name in self.variations:
            rule = self.weights[name].rule if name in self.weights else None
            if rule is not None:
                own = [each for key, each in values.items() if key.rpartition("_")[0] == name]
                members[name] = (rule, np.stack(own))
            else:
                up = values[f"{name}_up"]
                variations[name] = (up, values.get(f"{name}_down", 2.0 * nominal - up))
        return SignalSums(nominal, squares, variations, members)


def joined(signals: Mapping[str, Any]) -> Any:
    """Return the histograms of several signals as one, signals in the order of their names.

    Parameters
    ----------
    signals
        (variation, ...) by name of the signal, the other axes the same for all.
    """
    import hist

    names = sorted(signals)
    every = sorted({str(each) for name in names for each in signals[name].axes["variation"]})
    axes = (
        hist.axis.StrCategory(names, growth=True, name="dataset"),
        hist.axis.StrCategory(every, growth=True, name="variation"),
        *list(signals[names[0]].axes)[1:],
    )
    made = hist.Hist(*axes, storage=hist.storage.Weight())
    view = made.view(flow=True)
    for place, name in enumerate(names):
        own = signals[name]
        rows = [every.index(str(each)) for each in own.axes["variation"]]
        view[place, rows] = own.view(flow=True)
    return made
