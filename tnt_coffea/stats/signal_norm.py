"""Uncertainties of the signal's norm where the signal stands in the likelihood by its events alone.

Counts expect b + mu S f(alpha), alpha with a unit normal constraint: of all products of log-normal
factors with the same value the likeliest has them in proportion, so that several uncertainties are
one, their logarithms added in quadrature. The fit at a fixed mu is then one at each number of
signal events, with the best alpha. q0 and p-values stay what they are, for at mu = 0 alpha does
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.interpolation import factors
from tnt_coffea.stats.signals import norm_factors

__all__ = ["NO_NORM", "combined_norm", "profiled_norm"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

NO_NORM = (1.0, 1.0)
"""Factors of a norm that is known."""
_STEPS = 200
# Distance to the minimum, in ln L and in alpha.
_GOAL = 1e-12
_CLOSE = 1e-10
# A fit further off has a CLs of e^-50.
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
    fitted: Callable[[Array, Rows], tuple[Any, Array]],
    mu: float,
    norm: tuple[float, float],
    centre: Array,
) -> tuple[Any, Array]:
    """Return fits at a strength with the best alpha, and that.

    Parameters
    ----------
    fitted
        From signal events in some experiments, and the numbers of these, shape (rows,) both, to
        fits with `nll`, and its slope in the events.
    mu
        Signal strength.
    norm
        Of `combined_norm`.
    centre
        Auxiliary measurements of alpha, shape (experiments,).

    Returns
    -------
    The fits, without the constraint of alpha in `nll`, converged where alpha is found as well; and
    alpha, shape (experiments,). It is the first minimum downhill of the auxiliary measurement, and
    at most ten standard deviations off. A norm that is uncertain to one side does nothing on the
    other: of such a one the search begins on both sides as well, and the deepest minimum counts.

    Notes
    -----
    The minimum is bracketed: there -ln L falls no longer, or the signal is what the data ask for.
    Newton's steps, secants and every fifth time halves find it, for any size of the uncertainty.
    """
    at = _Norm(fitted, mu, norm, centre)
    everything = np.arange(len(centre))
    fits, alpha, done = _downhill(at, centre)
    if (norm[0] - 1) * (1 - norm[1]) <= 0 and norm != NO_NORM:
        side = 1.0 if abs(norm[0] - 1) > abs(norm[1] - 1) else -1.0
        for start in (side, -0.5 * side):  # code 4 is no straight line between -1 and 1
            others, beta, too = _downhill(at, np.full(centre.shape, start))
            deeper = _whole(others, beta, centre) < _whole(fits, alpha, centre)
            alpha, done = np.where(deeper, beta, alpha), np.where(deeper, too, done)
            fits, _, _ = at.fitted_at(alpha, everything)
    return replace(fits, converged=fits.converged & done), alpha


def _whole(fits: Any, alpha: Array, centre: Array) -> Array:
    """Return -ln L with the constraint."""
    found: Array = fits.nll + 0.5 * (alpha - centre) ** 2
    return found


def _downhill(at: _Norm, start: Array) -> tuple[Any, Array, NDArray[np.bool_]]:
    """Return the fits at the first minimum downhill of each start, where it is, and if it was."""
    everything = np.arange(len(start))
    near = np.clip(start, -_FARTHEST, _FARTHEST).astype(float)
    _, near_slope, curvature = at.fitted_at(near, everything)
    sign, last = np.sign(near_slope), np.zeros(near.shape)
    far, far_slope = -sign * _FARTHEST, np.full(near.shape, np.nan)
    alpha, done = near.copy(), near_slope**2 <= _GOAL * curvature
    for turn in range(_STEPS):
        rows = np.flatnonzero(~done)
        if not rows.size:
            break
        ends = (near[rows], near_slope[rows]), (far[rows], far_slope[rows])
        alpha[rows] = trial = _trial(*ends, curvature[rows], halve=turn % 5 == 4)
        _, slope, curvature[rows] = at.fitted_at(trial, rows)
        before = slope * sign[rows] > 0
        found = (slope**2 <= _GOAL * curvature[rows]) | (before & (trial == far[rows]))
        # Where an end stays a second time, its slope counts half (Illinois).
        far_slope[rows] *= np.where(before & (last[rows] > 0), 0.5, 1.0)
        near_slope[rows] *= np.where(~before & (last[rows] < 0), 0.5, 1.0)
        last[rows] = np.where(before, 1.0, -1.0)
        for here, end, its_slope in ((before, near, near_slope), (~before, far, far_slope)):
            end[rows[here]], its_slope[rows[here]] = trial[here], slope[here]
        done[rows] = found | (np.abs(far - near)[rows] <= _CLOSE)
    fits, _, _ = at.fitted_at(alpha, everything)
    return fits, alpha, done


@dataclass(frozen=True, eq=False)
class _Norm:
    """-ln L over alpha."""

    fitted: Callable[[Array, Rows], tuple[Any, Array]]
    mu: float
    norm: tuple[float, float]
    centre: Array

    def fitted_at(self, alpha: Array, rows: Rows) -> tuple[Any, Array, Array]:
        """Return the fits, the slope of -ln L in alpha, and about its curvature."""
        factor, rise, _ = factors(*self.norm, alpha)
        fits, slope = self.fitted(self.mu * factor, rows)
        gradient = self.mu * rise * slope + alpha - self.centre[rows]
        return fits, gradient, 1 + self.mu * rise**2 / factor * np.abs(slope)


def _trial(
    near: tuple[Array, Array], far: tuple[Array, Array], curvature: Array, *, halve: bool
) -> Array:
    """Return where to look for the minimum between two alphas with their slopes.

    The slope of the far one is nan where it is the end of what is allowed, and not known.
    """
    known = np.isfinite(far[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        secant = near[0] - near[1] * (far[0] - near[0]) / (far[1] - near[1])
    newton = near[0] - near[1] / curvature
    reached = np.where(np.abs(newton - near[0]) < np.abs(far[0] - near[0]), newton, far[0])
    inside = (secant - near[0]) * (secant - far[0]) < 0
    between = np.where(inside & (not halve), secant, 0.5 * (near[0] + far[0]))
    return np.where(known, between, reached)
