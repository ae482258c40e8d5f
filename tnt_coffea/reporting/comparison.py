"""Methods against each other on the same events, over seeds; uses the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import rankdata

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.events.expressions import Expression
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.evaluation import (
    LabelledEvents,
    Roc,
    Sculpting,
    improvement_uncertainty,
    passing,
    sculpting,
)
from tnt_coffea.stats.correlations import binned_spearman, distance_correlation, pearson
from tnt_coffea.taggers import Ranks
from tnt_coffea.typing import BoolArray, Float64Array

__all__ = [
    "BASELINES",
    "EFFICIENCIES",
    "Band",
    "Comparison",
    "Dependence",
    "Improvement",
    "MethodFigures",
    "band",
    "baselines",
    "compare",
    "dependence",
    "feature_ranks",
    "method_figures",
]


EFFICIENCIES = (1.0, 0.1, 0.05, 0.03, 0.01, 0.001)
"""Background efficiencies at which methods are compared."""
BASELINES = {
    "{mass}": "{mass}",
    "heavy mass": "heavy_mass",
    "low tau21": "-(heavy_tau21 + light_tau21)",
}
"""Single features that every method is shown beside: the mass of the search, and others that it
has to beat; tau21 is summed over both jets."""
_GRID = 60
"""Bins a quantile in the plane that correlations are computed from."""
_FLATNESS = 0.01
"""Least background efficiency at which the spectrum's shape is compared."""
_FEWEST = 10
"""Background events below which an improvement is not quoted."""
_LOOSE = 0.2


@dataclass(frozen=True)
class Improvement:
    """The significance improvement of a selection by its share of background in the window.

    Attributes
    ----------
    efficiency
        Share of the background in the window that is kept.
    value, uncertainty
        eps_S / sqrt(eps_B) and its statistical uncertainty; None with fewer than 10
        background events left. Where no signal is left, 0, and what one event would give.
    """

    efficiency: float
    value: float | None
    uncertainty: float | None


@dataclass(frozen=True)
class Dependence:
    """How far the quantiles of the two jets depend on each other on background.

    Attributes
    ----------
    pearson, binned_spearman, distance
        Coefficients; the last is 0 only for independent scores, and about n^-1/2 for n events.
    tail
        Events with both quantiles in their top 10 % over what independence gives: 1 without
        correlation.
    tail_uncertainty
        Its Poisson uncertainty.
    """

    pearson: float
    spearman: float
    distance: float
    tail: float
    tail_uncertainty: float


@dataclass(frozen=True)
class MethodFigures:
    """One training run of a method on the test events.

    Attributes
    ----------
    rocs
        Of `LabelledEvents.rocs`.
    signal_kept
        Share of the signal where 20 % of the background is kept, by jet.
    improvements, sculpting
        One an efficiency.
    dependence
        None for a method with one score an event.
    """

    rocs: Mapping[str, Roc]
    signal_kept: Mapping[str, float]
    improvements: tuple[Improvement, ...]
    sculpting: tuple[Sculpting, ...]
    dependence: Dependence | None

    def numbers(self) -> dict[str, float | None]:
        """Return the figures that tables show and bands are made of, by name."""
        numbers: dict[str, float | None] = {
            f"auc_{name}": roc.auc for name, roc in self.rocs.items()
        }
        numbers |= {f"signal_kept_{name}": share for name, share in self.signal_kept.items()}
        numbers |= {f"improvement_{i.efficiency:g}": i.value for i in self.improvements}
        numbers |= {f"sculpting_p_{s.efficiency:g}": s.p_value for s in self.sculpting}
        if self.dependence is not None:
            numbers |= asdict(self.dependence)
        return numbers

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Band:
    """A figure over seeds: median and the central 68 %, linear between order statistics."""

    median: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Comparison:
    """Methods on the same events.

    Attributes
    ----------
    window, fit_range
        In mass [GeV].
    signal, background
        Events in the fit range.
    methods
        One or more training runs by method; each has a name, as its seed.
    truth
        Methods that were trained with the truth.
    variable
        Column that the mass is.
    knowledge
        What the taggers of a method knew beside the data, where that was anything.
    baselines
        Figures of single features, learned from nothing, by their names.
    """

    window: tuple[float, float]
    fit_range: tuple[float, float]
    signal: int
    background: int
    methods: Mapping[str, Mapping[str, MethodFigures]]
    truth: tuple[str, ...] = ()
    variable: str = "m_jj"
    knowledge: Mapping[str, str] = field(default_factory=dict)
    baselines: Mapping[str, MethodFigures] = field(default_factory=dict)

    def no_better(self) -> tuple[str, ...]:
        """Return the methods that do not beat the best single feature in the window.

        At the smallest background efficiency at which the method and a feature are quoted, the
        method's eps_S / sqrt(eps_B), the median over its training runs, is above the largest of
        the features by no more than the uncertainty of the difference.
        """
        return tuple(name for name in self.methods if self._no_better(name))

    def _no_better(self, method: str) -> bool:
        runs = list(self.methods[method].values())
        for place in reversed(range(len(EFFICIENCIES))):
            own = [run.improvements[place] for run in runs]
            others = [each.improvements[place] for each in self.baselines.values()]
            known = [(x.value, x.uncertainty or 0.0) for x in others if x.value is not None]
            values = [x.value for x in own if x.value is not None]
            if not known or len(values) < len(own):
                continue
            best, uncertainty = max(known)
            error = np.hypot(uncertainty, np.median([x.uncertainty or 0.0 for x in own]))
            return bool(np.median(values) - best <= error)
        return False

    def bands(self, method: str) -> dict[str, Band]:
        """Return every figure of a method over its training runs, if all of them have it."""
        rows = [figures.numbers() for figures in self.methods[method].values()]
        names = [name for name in rows[0] if all(row.get(name) is not None for row in rows)]
        return {name: band([float(row[name] or 0.0) for row in rows]) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, bands included."""
        return {
            "window": list(self.window),
            "fit_range": list(self.fit_range),
            "signal": self.signal,
            "background": self.background,
            "truth": list(self.truth),
            "knowledge": {name: self.knowledge.get(name, "none") for name in self.methods},
            "baselines": {name: found.to_dict() for name, found in self.baselines.items()},
            "no_better_than_a_feature": list(self.no_better()),
            "methods": {
                name: {
                    "training_runs": {seed: run.to_dict() for seed, run in runs.items()},
                    "bands": {figure: asdict(b) for figure, b in self.bands(name).items()},
                }
                for name, runs in self.methods.items()
            },
        }


def band(values: Sequence[float]) -> Band:
    """Return the median of values and their central 68 %."""
    low, median, high = np.quantile(np.asarray(values, dtype=float), (0.16, 0.5, 0.84))
    return Band(float(median), float(low), float(high), len(values))


def compare(
    sample: Sample,
    ranks: Mapping[str, Mapping[str, Ranks]],
    window: MassRange,
    fit_range: MassRange,
    truth: Sequence[str] = (),
    knowledge: Mapping[str, str] | None = None,
) -> Comparison:
    """Return every training run of every method on the same events.

    Parameters
    ----------
    sample
        Read with `truth=True`; every event in the fit range has a label.
    ranks
        Out-of-fold quantiles of the sample's events, by method and training run.
    window, fit_range
        Ranges in mass, lower edge included.
    truth
        Methods that were trained with the truth.
    knowledge
        What a method knew beside the data, by name; `none` for those not named.

    Returns
    -------
    Comparison
        With the features of `BASELINES` beside the methods.

    Raises
    ------
    TaggerError
        A label is missing, the window lacks signal or background, or ranks are of another sample.
    """
    events = LabelledEvents.of(sample, window, fit_range)
    if not events.all_known:
        msg = "methods are compared on events whose truth is known; these have no labels"
        raise TaggerError(msg)
    if not events.both_kinds:
        msg = f"the window {window.name} GeV lacks signal or background: nothing to compare"
        raise TaggerError(msg)
    for method, runs in ranks.items():
        for run, run_ranks in runs.items():
            if len(run_ranks.fold) != len(sample) or np.isnan(run_ranks.both[events.in_fit]).any():
                msg = f"{method}, {run}: the ranks are not those of all events compared"
                raise TaggerError(msg)
    return Comparison(
        window=window.edges,
        fit_range=fit_range.edges,
        signal=int((events.in_fit & events.signal).sum()),
        background=int((events.in_fit & ~events.signal).sum()),
        methods={
            method: {run: method_figures(events, run_ranks) for run, run_ranks in runs.items()}
            for method, runs in ranks.items()
        },
        truth=tuple(truth),
        variable=sample.variable,
        knowledge=knowledge or {},
        baselines={
            name: method_figures(events, found) for name, found in baselines(sample).items()
        },
    )


def baselines(sample: Sample) -> dict[str, Ranks]:
    """Return the ranks of a sample's events by single features, those that it has columns for.

    Parameters
    ----------
    sample
        Any events of a skim.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> list(baselines(testing.make_sample(10)))
    ['m_jj', 'heavy mass', 'low tau21']
    """
    found = {}
    for name, text in BASELINES.items():
        ranks = feature_ranks(sample, text.format(mass=sample.variable))
        if ranks is not None:
            found[name.format(mass=sample.variable)] = ranks
    return found


def feature_ranks(sample: Sample, text: str) -> Ranks | None:
    """Return the ranks of a sample's events by one feature; None where a column is not there.

    Parameters
    ----------
    sample
        Any events of a skim.
    text
        An expression of columns, higher more anomalous.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> float(feature_ranks(testing.make_sample(4), "heavy_mass - light_mass").both.max())
    0.875
    """
    feature = Expression(text)
    if not set(feature.columns) <= set(sample.columns):
        return None
    values = np.broadcast_to(feature(sample.columns, np), len(sample))
    # A feature that is not a number, as of a jet of one constituent, is the least anomalous.
    values = np.where(np.isnan(values), -np.inf, values)
    quantile = (rankdata(values) - 0.5) / len(values)
    return Ranks(np.zeros(len(values), np.int64), quantile, quantile)


def method_figures(events: LabelledEvents, ranks: Ranks) -> MethodFigures:
    """Return the figures of one training run by its quantiles of these events."""
    signal, in_fit, in_window = events.signal, events.in_fit, events.in_window
    mass, rocs = events.sample.mass, events.rocs(ranks)
    background = in_fit & ~signal
    jet_dependence = None
    if not np.array_equal(ranks.heavy[in_fit], ranks.light[in_fit]):
        jet_dependence = dependence(ranks.heavy[background], ranks.light[background])
    return MethodFigures(
        rocs=rocs,
        signal_kept={name: _kept(roc, _LOOSE) for name, roc in rocs.items()},
        improvements=tuple(
            _improvement(efficiency, ranks.both[in_window], signal[in_window])
            for efficiency in EFFICIENCIES
        ),
        sculpting=tuple(
            sculpting(efficiency, ranks.both[background], mass[background])
            for efficiency in EFFICIENCIES
            if _FLATNESS <= efficiency < 1
        ),
        dependence=jet_dependence,
    )


def _kept(roc: Roc, false_positive: float) -> float:
    return float(np.interp(false_positive, roc.false_positive, roc.true_positive))


def _improvement(efficiency: float, score: Float64Array, signal: BoolArray) -> Improvement:
    passed = passing(score[~signal], efficiency)(score)
    counts = [(int((passed & kind).sum()), int(kind.sum())) for kind in (signal, ~signal)]
    eps_signal, eps_background = (kept / n for kept, n in counts)
    if counts[1][0] < _FEWEST:
        return Improvement(efficiency, None, None)
    if not eps_signal:
        # As uncertain as if one event were left.
        return Improvement(efficiency, 0.0, 1 / counts[0][1] / float(np.sqrt(eps_background)))
    uncertainty = improvement_uncertainty(eps_signal, eps_background, counts[0][1], counts[1][1])
    return Improvement(efficiency, eps_signal / float(np.sqrt(eps_background)), uncertainty)


def dependence(heavy: Float64Array, light: Float64Array) -> Dependence:
    """Return how far two jets' quantiles depend on each other.

    Parameters
    ----------
    heavy, light
        (event,) quantiles of background events.
    """
    bins = np.linspace(0, 1, _GRID + 1)
    ranked = [np.argsort(np.argsort(q, kind="stable"), kind="stable") for q in (heavy, light)]
    table = np.histogram2d(heavy, light, (bins, bins))[0]
    middle = 0.5 * (bins[1:] + bins[:-1])
    top = [rank >= 0.9 * len(rank) for rank in ranked]
    both_high, expected = int((top[0] & top[1]).sum()), top[0].sum() * top[1].mean()
    return Dependence(
        pearson=pearson(table, middle, middle),
        spearman=binned_spearman(table),
        distance=distance_correlation(table, middle, middle),
        tail=float(both_high / expected),
        tail_uncertainty=float(np.sqrt(max(both_high, 1)) / expected),
    )
