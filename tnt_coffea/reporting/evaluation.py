"""Scores against the truth: ROC curves, sculpting of the mass, working points of tagger sets.

Labels are read here, in `comparison` and in the stages that call these two, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2 as chi2_law

from tnt_coffea.config import MassRange
from tnt_coffea.displays import Displayed
from tnt_coffea.errors import TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.figures_of_merit import (
    TIGHT,
    Improvement,
    improvement_uncertainty,
    max_sic,
    passing,
    sic_at,
    tie_rates,
)
from tnt_coffea.taggers import Ranks
from tnt_coffea.typing import BoolArray, Float64Array
from tnt_coffea.working_points import Selection, WorkingPoint, WorkingPoints

__all__ = [
    "Evaluation",
    "LabelledEvents",
    "Roc",
    "Sculpting",
    "SetEvaluation",
    "evaluate",
    "roc_curve",
    "sculpting",
]


MOST_POINTS = 500


@dataclass(frozen=True)
class Roc(Displayed):
    """A ROC curve, thinned for storage, and the area under all of it.

    Attributes
    ----------
    false_positive, true_positive
        Shares of background and of signal above a descending cut, from (0, 0) to (1, 1).
    auc
        Chance that a signal event is above a background event; equal scores count half.
    auc_uncertainty
        Its standard deviation (DeLong).
    n_signal, n_background
        Effective numbers of events, (sum w)^2 / sum w^2.
    """

    false_positive: tuple[float, ...]
    true_positive: tuple[float, ...]
    auc: float
    auc_uncertainty: float
    n_signal: float
    n_background: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)


def roc_curve(score: Float64Array, is_signal: BoolArray, weight: Float64Array) -> Roc:
    """Return the ROC curve of scores.

    Parameters
    ----------
    score
        (event,), higher = more signal-like.
    is_signal
        (event,) the truth; both kinds occur.
    weight
        (event,), positive.

    Source
    ------
    Uncertainty of the area: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988) 837,
    with event weights.
    """
    false_positive, true_positive = tie_rates(score, is_signal, weight)
    auc, uncertainty = _area(score, is_signal, weight)
    kept = _thinned(false_positive, true_positive)
    return Roc(
        false_positive=tuple(false_positive[kept].tolist()),
        true_positive=tuple(true_positive[kept].tolist()),
        auc=auc,
        auc_uncertainty=uncertainty,
        n_signal=_effective(weight[is_signal]),
        n_background=_effective(weight[~is_signal]),
    )


def _area(score: Float64Array, is_signal: BoolArray, weight: Float64Array) -> tuple[float, float]:
    signal, background = score[is_signal], score[~is_signal]
    w_signal, w_background = weight[is_signal], weight[~is_signal]
    above = _placements(signal, background, w_background)
    below = 1.0 - _placements(background, signal, w_signal)
    auc = float(np.average(above, weights=w_signal))
    variance = sum(
        float((w**2 * (placement - auc) ** 2).sum() / w.sum() ** 2)
        for w, placement in ((w_signal, above), (w_background, below))
    )
    return auc, float(np.sqrt(variance))


def _placements(score: Float64Array, others: Float64Array, weight: Float64Array) -> Float64Array:
    """Return, for every score, the weighted share of the others below it, ties half."""
    order = np.argsort(others, kind="stable")
    total = np.concatenate([[0.0], np.cumsum(weight[order])])
    left, right = (np.searchsorted(others[order], score, side=side) for side in ("left", "right"))
    return np.asarray((total[left] + total[right]) / (2 * total[-1]))


def _thinned(false_positive: Float64Array, true_positive: Float64Array) -> npt.NDArray[np.intp]:
    n = len(false_positive)
    if n <= MOST_POINTS:
        return np.arange(n)
    # Half of the points evenly in signal, half evenly in the logarithm of background,
    # so that both a linear and a logarithmic axis show a smooth curve.
    half = MOST_POINTS // 2 - 1
    lowest = false_positive[false_positive > 0][0]
    in_signal = np.searchsorted(true_positive, np.linspace(0, 1, half))
    in_background = np.searchsorted(false_positive, np.geomspace(lowest, 1, half))
    return np.unique(np.clip(np.concatenate([[0], in_signal, in_background, [n - 1]]), 0, n - 1))


def _effective(weight: Float64Array) -> float:
    return float(weight.sum() ** 2 / (weight**2).sum())


_SLICES = 10


@dataclass(frozen=True)
class Sculpting:
    """The effect of a selection on the background's spectrum in mass.

    Attributes
    ----------
    efficiency
        Share of the background in the fit range that is kept.
    edges
        Of slices in mass that hold equal shares of the background [GeV].
    ratio, uncertainty
        Share kept in every slice over the share kept in all, and its binomial uncertainty.
    chi2, dof, p_value
        Of a constant ratio.
    """

    efficiency: float
    edges: tuple[float, ...]
    ratio: tuple[float, ...]
    uncertainty: tuple[float, ...]
    chi2: float
    dof: int
    p_value: float


def sculpting(efficiency: float, score: Float64Array, mass: Float64Array) -> Sculpting:
    """Return the sculpting of the mass by the selection of the highest scores on background.

    Parameters
    ----------
    efficiency
        Share that is kept.
    score, mass
        (event,) of background events in the fit range; mass [GeV].
    """
    passed = passing(score, efficiency)(score)
    edges = np.unique(np.quantile(mass, np.linspace(0, 1, _SLICES + 1)))
    before = np.histogram(mass, edges)[0].astype(float)
    after = np.histogram(mass[passed], edges)[0].astype(float)
    share = after.sum() / before.sum()
    expected, variance = share * before, share * (1 - share) * before
    dof = max(len(before) - 1, 1)
    value = float(((after - expected) ** 2 / np.maximum(variance, 1e-12)).sum()) if share < 1 else 0
    return Sculpting(
        efficiency=efficiency,
        edges=tuple(edges.tolist()),
        ratio=tuple((after / expected).tolist()),
        uncertainty=tuple((np.sqrt(np.maximum(after, 1.0)) / expected).tolist()),
        chi2=float(value),
        dof=dof,
        p_value=float(chi2_law.sf(value, dof)),
    )


@dataclass(frozen=True, eq=False)
class LabelledEvents:
    """Dijets with labels, in the fit range and in the window.

    Attributes
    ----------
    sample
        Read with `truth=True`; labels are 0 for background and positive for signal.
    in_fit, in_window
        (event,) which of them lie there; the window is part of the fit range.
    """

    sample: Sample
    in_fit: BoolArray
    in_window: BoolArray

    @classmethod
    def of(cls, sample: Sample, window: MassRange, fit_range: MassRange) -> Self:
        """Return the events of a sample with where they lie; lower edges belong to a range."""
        in_fit = fit_range.contains(sample.mass)
        in_window = in_fit & window.contains(sample.mass)
        return cls(sample, in_fit, in_window)

    @property
    def signal(self) -> BoolArray:
        """(event,) which of them are signal."""
        return np.asarray(self.sample.label > 0)

    @property
    def all_known(self) -> bool:
        """Whether every event in the fit range has a label."""
        return not (self.sample.label[self.in_fit] < 0).any()

    @property
    def both_kinds(self) -> bool:
        """Whether the window holds signal and background."""
        inside = self.signal[self.in_window]
        return bool(inside.any() and not inside.all())

    def in_the_window(self, ranks: Ranks) -> tuple[Float64Array, BoolArray, Float64Array]:
        """Return the lower quantile of both jets, who is signal, and the weights in the window."""
        rows = self.in_window
        return ranks.both[rows], self.signal[rows], self.sample.weight[rows]

    def rocs(self, ranks: Ranks) -> dict[str, Roc]:
        """Return ROC curves of quantiles.

        `heavy`, `light` and `both` (the lower quantile of the two) in the fit range, and
        `both_in_window`.
        """
        choices = {
            "heavy": (ranks.heavy, self.in_fit),
            "light": (ranks.light, self.in_fit),
            "both": (ranks.both, self.in_fit),
            "both_in_window": (ranks.both, self.in_window),
        }
        signal, weight = self.signal, self.sample.weight
        return {
            name: roc_curve(score[rows], signal[rows], weight[rows])
            for name, (score, rows) in choices.items()
        }


@dataclass(frozen=True)
class SelectionEvaluation:
    """The effect of a selection on signal and background in the window.

    Attributes
    ----------
    selection
        Share of all events in the fit range that was asked for, or name of a pair of cuts.
    signal_before, background_before, signal_after, background_after
        Events in the window, weighted.
    signal_in_fit_range
        Selected signal events in the fit range, weighted: what a fit should find.
    eps_signal, eps_background
        Shares kept of either.
    improvement
        eps_signal / sqrt(eps_background), the factor on the significance; None where
        no background is left.
    improvement_uncertainty
        Its statistical uncertainty, of `improvement_uncertainty`.
    """

    selection: Selection
    signal_before: float
    background_before: float
    signal_after: float
    background_after: float
    signal_in_fit_range: float
    eps_signal: float
    eps_background: float
    improvement: float | None
    improvement_uncertainty: float | None

    @property
    def purity_before(self) -> float | None:
        """S / B in the window before the selection; None without background."""
        return _ratio(self.signal_before, self.background_before)

    @property
    def purity_after(self) -> float | None:
        """S / B in the window after the selection; None without background."""
        return _ratio(self.signal_after, self.background_after)


@dataclass(frozen=True)
class SetEvaluation(Displayed):
    """One tagger set against the truth.

    Attributes
    ----------
    rocs
        Of `LabelledEvents.rocs`.
    working_points
        One a selection: shares, the largest first, then pairs of cuts.
    max_sic
        Largest eps_S / sqrt(eps_B) in the window, both jets above one quantile, as long as eps_B is
        known to 20 %.
    sic_at_tight
        The same where 0.1 % of the background in the window is kept.
    """

    rocs: Mapping[str, Roc]
    working_points: tuple[SelectionEvaluation, ...]
    max_sic: Improvement
    sic_at_tight: Improvement


@dataclass(frozen=True)
class Evaluation(Displayed):
    """All tagger sets against the truth.

    Attributes
    ----------
    window, fit_range
        In mass [GeV].
    signal, background
        Weighted events in the fit range.
    sets
        By the tagger set's name.
    truth
        Sets that were trained with the truth: references, no search uses them.
    knowledge
        What the taggers of a set knew beside the data, by its name; `none` where it is left out.
    """

    window: tuple[float, float]
    fit_range: tuple[float, float]
    signal: float
    background: float
    sets: Mapping[str, SetEvaluation]
    truth: tuple[str, ...] = ()
    knowledge: Mapping[str, str] = field(default_factory=dict)

    def known(self, name: str) -> str:
        """Return what the taggers of a set knew beside the data: none, or simulation of a kind."""
        return self.knowledge.get(name, "none")

    def shown(self, name: str) -> str:
        """Return the name of a set for readers, with a mark on those that knew more than data."""
        marks = ["trained with the truth"] if name in self.truth else []
        marks += [self.known(name)] if self.known(name) != "none" else []
        return f"{name} ({', '.join(marks)})" if marks else name

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return asdict(self)

    def _facts(self) -> dict[str, str]:
        low, high = self.fit_range
        events = f"{self.signal:g} signal and {self.background:g} background events"
        facts = {f"{low:g}-{high:g} GeV": events}
        for name, one in self.sets.items():
            roc = one.rocs["both"]
            facts[self.shown(name)] = f"AUC {roc.auc:.3f} +- {roc.auc_uncertainty:.3f}"
            if one.max_sic.value is not None:
                facts[self.shown(name)] += f", max SIC {one.max_sic.value:.2f}"
        return facts


def evaluate(
    sample: Sample,
    ranks: Mapping[str, Ranks],
    points: Mapping[str, WorkingPoints],
    window: MassRange,
    fit_range: MassRange,
    truth: Collection[str] = (),
    knowledge: Mapping[str, str] | None = None,
) -> Evaluation | None:
    """Return how the tagger sets do against the truth, or None where it is not known.

    None says that an event in the fit range has no label (-1), or that all have the
    same, or that the window lacks signal or background: there is nothing to separate.

    Parameters
    ----------
    sample
        Read with `truth=True`; labels are 0 for background and positive for signal.
    ranks
        Out-of-fold quantiles of the sample's events by tagger set.
    points
        Working points by tagger set.
    window, fit_range
        Ranges in mass, lower edge included.
    truth
        Sets that were trained with the truth.
    knowledge
        What the taggers of a set knew beside the data, by its name; `none` for those not named.

    Raises
    ------
    TaggerError
        The ranks are not those of this sample, or a working point lacks a fold.
    """
    _check(sample, ranks, points)
    events = LabelledEvents.of(sample, window, fit_range)
    if not events.all_known or not events.both_kinds:
        return None
    signal = events.signal
    inside = events.in_window
    kinds = (signal & inside, ~signal & inside, signal & events.in_fit)
    return Evaluation(
        window=window.edges,
        fit_range=fit_range.edges,
        signal=float(sample.weight[events.in_fit & signal].sum()),
        background=float(sample.weight[events.in_fit & ~signal].sum()),
        truth=tuple(sorted(truth)),
        knowledge={name: (knowledge or {}).get(name, "none") for name in ranks},
        sets={
            name: SetEvaluation(
                events.rocs(set_ranks),
                tuple(_evaluated(point, set_ranks, sample.weight, kinds) for point in points[name]),
                max_sic(*events.in_the_window(set_ranks)),
                sic_at(TIGHT, *events.in_the_window(set_ranks)),
            )
            for name, set_ranks in ranks.items()
        },
    )


def _evaluated(
    point: WorkingPoint,
    ranks: Ranks,
    weight: Float64Array,
    kinds: tuple[BoolArray, BoolArray, BoolArray],
) -> SelectionEvaluation:
    kept = point.passes(ranks.fold, ranks.heavy, ranks.light)
    *kinds_in_window, signal_in_fit = kinds
    before = [float(weight[kind].sum()) for kind in kinds_in_window]
    after = [float(weight[kind & kept].sum()) for kind in kinds_in_window]
    effective = [
        n**2 / float((weight[kind] ** 2).sum())
        for n, kind in zip(before, kinds_in_window, strict=True)
    ]
    eps_signal, eps_background = (k / n for k, n in zip(after, before, strict=True))
    return SelectionEvaluation(
        selection=point.selection,
        signal_before=before[0],
        background_before=before[1],
        signal_after=after[0],
        background_after=after[1],
        signal_in_fit_range=float(weight[signal_in_fit & kept].sum()),
        eps_signal=eps_signal,
        eps_background=eps_background,
        improvement=_ratio(eps_signal, float(np.sqrt(eps_background))),
        improvement_uncertainty=improvement_uncertainty(eps_signal, eps_background, *effective),
    )


def _ratio(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def _check(
    sample: Sample,
    ranks: Mapping[str, Ranks],
    points: Mapping[str, WorkingPoints],
) -> None:
    for name, set_ranks in ranks.items():
        if len(set_ranks.fold) != len(sample):
            msg = (
                f"tagger set '{name}': ranks of {len(set_ranks.fold)} events for a sample of "
                f"{len(sample)}; rank the sample that is evaluated"
            )
            raise TaggerError(msg)
        if name not in points:
            msg = f"tagger set '{name}' has no working points, only {sorted(points)}"
            raise TaggerError(msg)
        for point in points[name]:
            for fold in np.unique(set_ranks.fold).tolist():
                point.cut(fold)  # says what is missing
