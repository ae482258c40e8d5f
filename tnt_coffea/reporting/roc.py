"""ROC curves: how well scores part signal from background, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Roc", "roc_curve"]

Float64Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MOST_POINTS = 500


@dataclass(frozen=True)
class Roc:
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
        return {
            "false_positive": list(self.false_positive),
            "true_positive": list(self.true_positive),
            "auc": self.auc,
            "auc_uncertainty": self.auc_uncertainty,
            "n_signal": self.n_signal,
            "n_background": self.n_background,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Roc:
        """Return the inverse of `to_dict`."""
        curves = {name: tuple(values[name]) for name in ("false_positive", "true_positive")}
        return cls(**{**values, **curves})


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
    false_positive, true_positive = _rates(score, is_signal, weight)
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


def _rates(
    score: Float64Array, is_signal: BoolArray, weight: Float64Array
) -> tuple[Float64Array, Float64Array]:
    order = np.argsort(-score, kind="stable")
    # A cut cannot part equal scores, so a point stands behind the last of each.
    last = np.append(np.diff(score[order]) != 0, True)

    def rate(kind: BoolArray) -> Float64Array:
        passed = np.cumsum(np.where(kind, weight, 0.0)[order])[last]
        return np.concatenate([[0.0], passed / passed[-1]])

    return rate(~is_signal), rate(is_signal)


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
