"""Taggers against the truth: the one place where labels are looked at."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TaggerError
from tnt_coffea.events.sample import Sample
from tnt_coffea.reporting.labelled import LabelledEvents
from tnt_coffea.reporting.roc import Roc
from tnt_coffea.reporting.wording import set_name
from tnt_coffea.taggers import Ranks

__all__ = ["Evaluation", "SetEvaluation", "WorkingPoint", "evaluate", "improvement_uncertainty"]

BoolArray = npt.NDArray[np.bool_]
Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class WorkingPoint:
    """What a selection does to signal and background in the window.

    Attributes
    ----------
    efficiency
        Share of all events in the fit range that was asked for.
    signal_before, background_before, signal_after, background_after
        Events in the window, weighted.
    eps_signal, eps_background
        Shares kept of either.
    improvement
        eps_signal / sqrt(eps_background), the factor on the significance; None where
        no background is left.
    improvement_uncertainty
        Its statistical uncertainty, of `improvement_uncertainty`.
    """

    efficiency: float
    signal_before: float
    background_before: float
    signal_after: float
    background_after: float
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
class SetEvaluation:
    """One tagger set against the truth.

    Attributes
    ----------
    rocs
        Of `LabelledEvents.rocs`.
    working_points
        One an efficiency, the loosest first.
    """

    rocs: Mapping[str, Roc]
    working_points: tuple[WorkingPoint, ...]


@dataclass(frozen=True)
class Evaluation:
    """All tagger sets against the truth.

    Attributes
    ----------
    window, fit_range
        In m_jj [GeV].
    signal, background
        Weighted events in the fit range.
    sets
        By the tagger set's name.
    truth
        Sets that were trained with the truth: references, no search uses them.
    """

    window: tuple[float, float]
    fit_range: tuple[float, float]
    signal: float
    background: float
    sets: Mapping[str, SetEvaluation]
    truth: tuple[str, ...] = ()

    def shown(self, name: str) -> str:
        """Return what readers call a set, with a mark on those that were told the truth."""
        return set_name(name) + (" (trained with the truth)" if name in self.truth else "")

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "window": list(self.window),
            "fit_range": list(self.fit_range),
            "signal": self.signal,
            "background": self.background,
            "truth": list(self.truth),
            "sets": {
                name: {
                    "rocs": {jet: roc.to_dict() for jet, roc in found.rocs.items()},
                    "working_points": [asdict(point) for point in found.working_points],
                }
                for name, found in self.sets.items()
            },
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Evaluation:
        """Return the inverse of `to_dict`."""
        return cls(
            window=(values["window"][0], values["window"][1]),
            fit_range=(values["fit_range"][0], values["fit_range"][1]),
            signal=values["signal"],
            background=values["background"],
            truth=tuple(values.get("truth", ())),
            sets={
                name: SetEvaluation(
                    {jet: Roc.from_dict(roc) for jet, roc in found["rocs"].items()},
                    tuple(WorkingPoint(**point) for point in found["working_points"]),
                )
                for name, found in values["sets"].items()
            },
        )


def evaluate(
    sample: Sample,
    ranks: Mapping[str, Ranks],
    thresholds: Mapping[str, Mapping[float, Mapping[int, float]]],
    window: MassRange,
    fit_range: MassRange,
    truth: Collection[str] = (),
) -> Evaluation | None:
    """Return how the tagger sets do against the truth, or None where it is not known.

    None says that an event in the fit range has no label (-1), or that all have the
    same, or that the window lacks signal or background: there is nothing to tell apart.

    Parameters
    ----------
    sample
        Read with `truth=True`; labels are 0 for background and positive for signal.
    ranks
        Out-of-fold quantiles of the sample's events by tagger set.
    thresholds
        X by tagger set, efficiency and fold; an event is kept if both its quantiles lie
        above the X of its fold.
    window, fit_range
        Ranges in m_jj, lower edge included.
    truth
        Sets that were trained with the truth.

    Raises
    ------
    TaggerError
        The ranks are not those of this sample, or a fold has no threshold.
    """
    _check(sample, ranks, thresholds)
    events = LabelledEvents.of(sample, window, fit_range)
    if not events.all_known or not events.both_kinds:
        return None
    signal = events.signal
    kinds = (signal & events.in_window, ~signal & events.in_window)
    return Evaluation(
        window=window.edges,
        fit_range=fit_range.edges,
        signal=float(sample.weight[events.in_fit & signal].sum()),
        background=float(sample.weight[events.in_fit & ~signal].sum()),
        truth=tuple(sorted(truth)),
        sets={
            name: SetEvaluation(
                events.rocs(found),
                tuple(
                    _working_point(efficiency, found, points, sample.weight, kinds)
                    for efficiency, points in sorted(thresholds[name].items(), reverse=True)
                ),
            )
            for name, found in ranks.items()
        },
    )


def improvement_uncertainty(
    eps_signal: float, eps_background: float, n_signal: float, n_background: float
) -> float | None:
    r"""Return the statistical uncertainty of eps_S / sqrt(eps_B); None if either is 0.

    With binomial counts, k of n events kept, to first order:

    (sigma / improvement)^2 = (1 - eps_S) / (n_S eps_S) + (1 - eps_B) / (4 n_B eps_B)

    Parameters
    ----------
    eps_signal, eps_background
        Shares kept.
    n_signal, n_background
        Effective numbers of events before the selection.
    """
    if min(eps_signal, eps_background) <= 0:
        return None
    relative = (1 - eps_signal) / (n_signal * eps_signal)
    relative += (1 - eps_background) / (4 * n_background * eps_background)
    return float(eps_signal / np.sqrt(eps_background) * np.sqrt(relative))


def _working_point(
    efficiency: float,
    ranks: Ranks,
    thresholds: Mapping[int, float],
    weight: Float64Array,
    kinds: tuple[BoolArray, BoolArray],
) -> WorkingPoint:
    x = np.zeros(max(thresholds) + 1)
    x[list(thresholds)] = list(thresholds.values())
    kept = ranks.both > x[ranks.fold]
    before = [float(weight[kind].sum()) for kind in kinds]
    after = [float(weight[kind & kept].sum()) for kind in kinds]
    effective = [n**2 / float((weight[k] ** 2).sum()) for n, k in zip(before, kinds, strict=True)]
    eps_signal, eps_background = (k / n for k, n in zip(after, before, strict=True))
    return WorkingPoint(
        efficiency=float(efficiency),
        signal_before=before[0],
        background_before=before[1],
        signal_after=after[0],
        background_after=after[1],
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
    thresholds: Mapping[str, Mapping[float, Mapping[int, float]]],
) -> None:
    for name, found in ranks.items():
        if len(found.fold) != len(sample):
            msg = (
                f"tagger set '{name}': ranks of {len(found.fold)} events for a sample of "
                f"{len(sample)}; rank the sample that is evaluated"
            )
            raise TaggerError(msg)
        if name not in thresholds:
            msg = f"tagger set '{name}' has no thresholds, only {sorted(thresholds)}"
            raise TaggerError(msg)
        for efficiency, points in thresholds[name].items():
            missing = sorted(set(np.unique(found.fold).tolist()) - set(points))
            if missing:
                msg = (
                    f"tagger set '{name}', efficiency {efficiency:g}: no threshold for folds "
                    f"{missing}; take them from the quantile map of the same set"
                )
                raise TaggerError(msg)
