"""Uncertainties of the signal's norm where the signal stands in the likelihood by its events alone.

Counts expect b + mu S exp(kappa alpha), alpha with a unit normal constraint: factors of several
log-normal uncertainties have one of the product, kappa^2 the sum of squares. The fit at a fixed mu
is then one at each number of signal events, with the best alpha. q0 and p-values stay what they
are, for at mu = 0 alpha does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.signals import norm_factors

__all__ = ["log_normal", "profiled_norm"]

Array = NDArray[np.float64]

_STEPS = 60
# Distance to the minimum in ln L.
_GOAL = 1e-12
_LEAST_CURVATURE = 0.25
_FARTHEST = 10.0


def log_normal(systematics: Mapping[str, float | tuple[float, float]] | None) -> float:
    """Return kappa, the standard deviation of ln of the product of all factors.

    Where up and down are not each other's inverse the mean of both logarithms is taken.

    Parameters
    ----------
    systematics
        As of `signals.norm_factors`.

    Examples
    --------
    >>> round(log_normal({"luminosity": 0.03, "tagger": 0.04}), 4)
    0.0492
    """
    factors = norm_factors(systematics or {})
    return float(np.sqrt(sum((0.5 * np.log(high / low)) ** 2 for _, high, low in factors)))


def profiled_norm(
    fitted: Callable[[Array], tuple[Any, Array]],
    mu: float,
    kappa: float,
    centre: Array,
) -> tuple[Any, Array]:
    """Return fits at a strength with the best alpha, and that.

    Parameters
    ----------
    fitted
        From signal events, shape (experiments,), to fits with `nll`, and its slope in them.
    mu
        Signal strength.
    kappa
        As of `log_normal`.
    centre
        Auxiliary measurements of alpha, shape (experiments,).

    Returns
    -------
    The fits, without the constraint of alpha in `nll`; and alpha, shape (experiments,).
    """
    alpha = np.array(centre, dtype=float)
    curvature: Array | None = None
    last: tuple[Array, Array] | None = None
    for _ in range(_STEPS):
        events = mu * np.exp(kappa * alpha)
        fits, slope = fitted(events)
        gradient = kappa * events * slope + alpha - centre
        if curvature is None or last is None:
            curvature = 1 + 2 * kappa**2 * np.abs(events * slope)
        else:
            step = alpha - last[0]
            moved = np.abs(step) > 0
            secant = (gradient - last[1]) / np.where(moved, step, 1.0)
            curvature = np.where(moved & (secant > _LEAST_CURVATURE), secant, curvature)
        if np.all(gradient**2 <= _GOAL * curvature):
            break
        last = alpha, gradient
        alpha = np.clip(alpha - gradient / curvature, -_FARTHEST, _FARTHEST)
    return fits, alpha
