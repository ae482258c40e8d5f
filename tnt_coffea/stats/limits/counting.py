"""Limits on the signal in one count, and with taggers retrained at every strength."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import gammaincc, ndtr
from scipy.stats import poisson as poisson_law

from tnt_coffea.errors import FitError
from tnt_coffea.stats.limits.asymptotics import crossing
from tnt_coffea.stats.limits.building import checked_limit, limit_result
from tnt_coffea.stats.limits.results import BANDS, LimitResult, RetrainedLimit

__all__ = ["counting_limit", "retrained_limit"]

Array = NDArray[np.float64]

_GAUSS_POINTS = 60


def counting_limit(
    observed: float,
    background: float,
    uncertainty: float = 0.0,
    *,
    level: float = 0.95,
    efficiency: float | None = None,
    luminosity: float | None = None,
) -> LimitResult:
    """Return the exact CLs upper limit on the signal in one count.

    CLs = P(n <= observed | s + b) / P(n <= observed | b), both averaged over a normal
    uncertainty of b, cut at 0.

    Parameters
    ----------
    observed
        Events, a whole number.
    background, uncertainty
        Expected background and its uncertainty.
    level, efficiency, luminosity
        As for `upper_limit`.

    Raises
    ------
    FitError
        A number is negative, not finite, or the events are not whole.
    """
    checked_limit(level, efficiency, luminosity)
    if not all(np.isfinite(x) and x >= 0 for x in (observed, background, uncertainty)):
        msg = f"counts must be 0 or more, got {observed}, {background} +- {uncertainty}"
        raise FitError(msg)
    if observed != round(observed):
        msg = f"exact limits need a whole number of observed events, got {observed:g}"
        raise FitError(msg)
    points, weights = hermegauss(_GAUSS_POINTS) if uncertainty else (np.zeros(1), np.ones(1))
    means = np.maximum(background + uncertainty * points, 0.0)
    weights = weights / weights.sum()

    def at_most(n: float, signal: float) -> float:
        mean = signal + means
        # gammaincc(n + 1, 0) is 1, as it must be.
        return float(weights @ gammaincc(n + 1, mean))

    def limit(n: float) -> float:
        null = at_most(n, 0.0)
        return crossing(lambda s: at_most(n, s) / null, 1 - level, 1.0)

    expected = [limit(float(n)) for n in _quantiles(means, weights)]
    return limit_result(
        None,
        level,
        limit(observed),
        expected,
        max(0.0, observed - background),
        (efficiency, luminosity),
        cls=None,
        calibration="exact",
        toys=0,
        converged=True,
        family="none",
        notes=(),
    )


def retrained_limit(
    injected: Sequence[float], limit_at: Callable[[float], LimitResult]
) -> RetrainedLimit:
    """Return the cross section that is excluded when the signal takes part in the training.

    A tagger that learns from the data finds a strong signal better than a weak one, so
    efficiency and limit depend on the strength. A strength is excluded if it lies above
    the limit of the taggers that were trained with it; the limit is where the two meet,
    by interpolation in logarithms.

    Parameters
    ----------
    injected
        Cross sections to inject [fb], rising.
    limit_at
        Adds that much signal to the data, trains, selects and returns the limit, its
        efficiency that of these taggers.

    Raises
    ------
    FitError
        The strengths do not rise, or a limit has no cross section.

    Source
    ------
    As the LHC's weakly supervised dijet searches set limits: arXiv:2005.02983, arXiv:2412.03747.
    """
    strengths = np.asarray(injected, dtype=float)
    if strengths.size == 0 or np.any(strengths <= 0) or np.any(np.diff(strengths) <= 0):
        msg = f"injected strengths must be positive and rise, got {list(injected)}"
        raise FitError(msg)
    limits = tuple(limit_at(float(strength)) for strength in strengths)
    observed, expected = [], []
    for limit in limits:
        if limit.observed_cross_section is None or limit.expected_cross_section is None:
            msg = "a limit with retraining needs efficiency and luminosity at every strength"
            raise FitError(msg)
        observed.append(limit.observed_cross_section)
        expected.append(limit.expected_cross_section[2])
    return RetrainedLimit(
        tuple(strengths.tolist()),
        limits,
        _own_limit(strengths, np.array(observed)),
        _own_limit(strengths, np.array(expected)),
    )


def _own_limit(strengths: Array, limits: Array) -> float | None:
    above = np.log(strengths / limits)
    excluded = np.flatnonzero(above >= 0)
    if not excluded.size:
        return None
    i = int(excluded[0])
    if i == 0:
        return float(strengths[0])
    share = above[i - 1] / (above[i - 1] - above[i])
    return float(strengths[i - 1] * (strengths[i] / strengths[i - 1]) ** share)


def _quantiles(means: Array, weights: Array) -> list[int]:
    """Return the counts of background alone at -2 ... 2 standard deviations."""
    most = int(np.ceil(means.max() + 10 * np.sqrt(means.max()) + 10))
    below = weights @ poisson_law.cdf(np.arange(most + 1), means[:, None])
    return [int(np.searchsorted(below, ndtr(float(band)))) for band in BANDS]
