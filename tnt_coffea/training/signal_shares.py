"""Shares of signals in a mixed sample, and the parameters of the signal that describes it best.

A classifier of a mixed sample, which has a share mu of signal, against background has the odds
1 + mu (r - 1), r the density ratio of signal and background. Where r is known, mu and what r
depends on are all that is left to fit.

Source: arXiv:2405.08889.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from tnt_coffea.typing import BoolArray, Float64Array

__all__ = ["SignalFit", "fitted_shares", "fitted_signal"]

_UNIT = 1e-3
"""Shares are fitted in this unit."""
_MOST = 0.5
"""Largest sum of the shares."""
_STEP = 0.5
"""First steps of a search from a start, in steps of the grid."""
_TRIES = 50

LogRatios = Callable[[Float64Array], npt.NDArray[np.floating]]
"""Function from parameters (parameter,) to (kind, event) ln of the density ratios."""


@dataclass(frozen=True)
class SignalFit:
    """The signal that describes a mixed sample best.

    Attributes
    ----------
    parameters
        (parameter,) of the density ratio.
    shares
        (kind,) shares in the mixed sample; all zero where no signal makes the fit better.
    composition
        (kind,) shares in the signal, which sum to 1.
    gain
        By how much the cross-entropy, summed over the events, is less than without signal.
    tried
        For every start, the parameters that were found and their gain.
    """

    parameters: Float64Array
    shares: Float64Array
    composition: Float64Array
    gain: float
    tried: tuple[tuple[tuple[float, ...], float], ...]

    @property
    def share(self) -> float:
        """Share of all signal in the mixed sample."""
        return float(self.shares.sum())


def fitted_shares(
    log_ratios: npt.NDArray[np.floating], mixed: BoolArray, weight: Float64Array
) -> tuple[Float64Array, float]:
    """Return the (kind,) shares of signals of least cross-entropy, and the gain over none.

    Parameters
    ----------
    log_ratios
        (kind, event) ln of the density ratios.
    mixed
        (event,) whether it is of the mixed sample; the others are background.
    weight
        (event,) weights, of one sum in either class.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = np.concatenate([rng.normal(size=20_000), rng.normal(3, 1, 400)])
    >>> x = np.concatenate([x, rng.normal(size=20_400)])
    >>> mixed = np.arange(len(x)) < 20_400
    >>> shares, gain = fitted_shares((3 * x - 4.5)[None], mixed, np.ones(len(x)))
    >>> bool(abs(shares[0] - 400 / 20_400) < 0.005), gain > 10
    (True, True)
    """
    over = np.expm1(np.minimum(log_ratios, 30.0).astype(np.float64))
    kinds = len(over)

    def loss(units: Float64Array) -> tuple[float, Float64Array]:
        odds = 1 + _UNIT * (units @ over)
        losses = np.log1p(np.where(mixed, 1 / odds, odds))
        slope = weight * np.where(mixed, -1 / odds, 1.0) / (1 + odds)
        return float(weight @ losses), _UNIT * (over @ slope)

    found = minimize(
        loss,
        np.full(kinds, 1.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, _MOST / kinds / _UNIT)] * kinds,
    )
    gain = float(np.log(2) * weight.sum() - found.fun)
    # Without any share the gain is zero up to rounding, which may be above zero.
    if not (gain > 0 and found.x.any()):
        return np.zeros(kinds), 0.0
    return np.asarray(found.x * _UNIT), gain


def fitted_signal(
    log_ratios: LogRatios,
    mixed: BoolArray,
    weight: Float64Array,
    *,
    low: Float64Array,
    high: Float64Array,
    steps: int,
    starts: int,
    allowed: Callable[[Float64Array], Float64Array] = lambda parameters: parameters,
) -> SignalFit:
    """Return the parameters and shares of least cross-entropy.

    All points of a grid are tried, and the best that are no neighbours are where searches start
    (Nelder and Mead), each with its shares fitted at every step. Where no signal makes the fit
    better the parameters are those of the largest excess in units of its error, and the shares
    are zero.

    Parameters
    ----------
    log_ratios
        Function from parameters to (kind, event) ln of density ratios.
    mixed, weight
        As for `fitted_shares`.
    low, high
        (parameter,) range of the parameters.
    steps
        Points of the grid along each of them.
    starts
        Searches.
    allowed
        Function to the nearest parameters that are possible.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> signal = rng.normal(3, 0.3, 200)
    >>> x = np.concatenate([rng.normal(size=10_000), signal, rng.normal(size=10_200)])
    >>> def ratios(at):
    ...     return (-(((x - at[0]) / 0.3) ** 2) / 2 + x**2 / 2 - np.log(0.3))[None]
    >>> fit = fitted_signal(
    ...     ratios,
    ...     np.arange(len(x)) < 10_200,
    ...     np.ones(len(x)),
    ...     low=np.array([-4.0]),
    ...     high=np.array([4.0]),
    ...     steps=9,
    ...     starts=2,
    ... )
    >>> bool(abs(fit.parameters[0] - 3) < 0.1), bool(abs(fit.share - 200 / 10_200) < 0.005)
    (True, True)
    """
    axes = [np.linspace(a, b, steps if b > a else 1) for a, b in zip(low, high, strict=True)]
    grid = np.unique([allowed(np.array(point)) for point in product(*axes)], axis=0)
    best = [fitted_shares(log_ratios(point), mixed, weight) for point in grid]
    gains = np.array([gain for _, gain in best])
    if not (gains > 0).any():
        return _largest_excess(log_ratios, mixed, weight, grid)
    free = high > low
    tried: list[tuple[Float64Array, Float64Array, float]] = []
    spacing = np.where(free, (high - low) / max(1, steps - 1), 1.0)
    for place in _apart(grid / spacing, gains)[:starts]:
        start, (shares, gain) = grid[place], best[place]
        if free.any() and gain > 0:
            start = _searched(log_ratios, mixed, weight, start, (low, high), steps, allowed)
            shares, gain = fitted_shares(log_ratios(start), mixed, weight)
        tried.append((start, shares, gain))
    parameters, shares, gain = max(tried, key=lambda item: item[2])
    return SignalFit(
        parameters,
        shares,
        shares / shares.sum(),
        gain,
        tuple((tuple(at.tolist()), own) for at, _, own in tried),
    )


def _apart(places: Float64Array, gains: Float64Array) -> list[int]:
    """Return points in the order of their gains, but none beside one that is there already."""
    chosen: list[int] = []
    for number in np.argsort(-gains, kind="stable").tolist():
        if all(np.abs(places[number] - places[other]).max() > 1.5 for other in chosen):
            chosen.append(number)
    return chosen


def _searched(
    log_ratios: LogRatios,
    mixed: BoolArray,
    weight: Float64Array,
    start: Float64Array,
    limits: tuple[Float64Array, Float64Array],
    steps: int,
    allowed: Callable[[Float64Array], Float64Array],
) -> Float64Array:
    low, high = limits
    free = high > low

    def whole(part: Float64Array) -> Float64Array:
        at = start.copy()
        at[free] = part
        return allowed(np.clip(at, low, high))

    def loss(part: Float64Array) -> float:
        return -fitted_shares(log_ratios(whole(part)), mixed, weight)[1]

    step = _STEP * (high - low)[free] / max(1, steps - 1)
    # Towards the middle of the range, so that a start at its edge can move.
    step = np.where(start[free] > (low + high)[free] / 2, -step, step)
    simplex = start[free] + np.vstack([np.zeros(free.sum()), np.diag(step)])
    found = minimize(
        loss,
        start[free],
        method="Nelder-Mead",
        options={"initial_simplex": simplex, "maxfev": _TRIES, "xatol": 1e-3, "fatol": 1e-3},
    )
    return whole(found.x)


def _largest_excess(
    log_ratios: LogRatios, mixed: BoolArray, weight: Float64Array, grid: Float64Array
) -> SignalFit:
    found: list[tuple[float, int, Float64Array]] = []
    sign = np.where(mixed, weight, -weight)
    for point in grid:
        ratios = np.exp(np.minimum(log_ratios(point), 30.0).astype(np.float64))
        found += [
            (float(r @ sign / np.sqrt(r**2 @ sign**2)), k, point) for k, r in enumerate(ratios)
        ]
    _, kind, point = max(found, key=lambda item: item[0])
    kinds = len(found) // len(grid)
    return SignalFit(point, np.zeros(kinds), np.eye(kinds)[kind], 0.0, ())
