"""Uncertainties of the signal's norm where the signal stands in the likelihood by its events alone.

Counts expect b + mu S f(alpha), alpha with a unit normal constraint: of all products of log-normal
factors with the same value the likeliest has them in proportion, so that several uncertainties are
one, their logarithms added in quadrature. The fit at a fixed mu is then one at each number of
signal events, with the best alpha. q0 and p-values stay what they are, for at mu = 0 alpha does
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.interpolation import factors
from tnt_coffea.stats.signals import norm_factors

__all__ = ["NO_NORM", "combined_norm", "profiled_norm"]

Array = NDArray[np.float64]

NO_NORM = (1.0, 1.0)
"""Factors of a norm that is known."""
_STEPS = 60
# Distance to the minimum in ln L.
_GOAL = 1e-12
_LEAST_CURVATURE = 0.25
_FARTHEST = 10.0


def combined_norm(
    systematics: Mapping[str, float | tuple[float, float]] | None,
) -> tuple[float, float]:
    """Return the factors at +1 and -1 standard deviation of all uncertainties together.

    Their logarithms are added in quadrature, on each side.

    Parameters
    ----------
    systematics
        As of `signals.norm_factors`.

    Examples
    --------
    >>> high, low = combined_norm({"luminosity": 0.03, "tagger": 0.04})
    >>> round(high, 4), round(high * low, 9)
    (1.0503, 1.0)
    """
    logs = [np.log([high, low]) for _, high, low in norm_factors(systematics or {})]
    up = np.sqrt(sum(max(0.0, *own) ** 2 for own in logs))
    down = np.sqrt(sum(max(0.0, *(-own)) ** 2 for own in logs))
    return float(np.exp(up)), float(np.exp(-down))


def profiled_norm(
    fitted: Callable[[Array], tuple[Any, Array]],
    mu: float,
    norm: tuple[float, float],
    centre: Array,
) -> tuple[Any, Array]:
    """Return fits at a strength with the best alpha, and that.

    Parameters
    ----------
    fitted
        From signal events, shape (experiments,), to fits with `nll`, and its slope in them.
    mu
        Signal strength.
    norm
        Of `combined_norm`.
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
        factor, rise, _ = factors(*norm, alpha)
        events = mu * factor
        fits, slope = fitted(events)
        gradient = mu * rise * slope + alpha - centre
        if curvature is None or last is None:
            curvature = 1 + 2 * (rise / factor) ** 2 * np.abs(events * slope)
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
