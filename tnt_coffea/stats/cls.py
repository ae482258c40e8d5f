"""CLs of a signal strength by the asymptotic formulae or by toys, in the numpy engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import toms748
from scipy.special import log_ndtr, logsumexp, ndtr

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.envelope import (
    Functions,
    Profile,
    enveloped,
    observed_counts,
    profiled,
)
from tnt_coffea.stats.results import BANDS

__all__ = ["AsymptoticCls", "Cls", "ToyCls", "crossing"]

Array = NDArray[np.float64]

_DOUBLINGS = 40
# q of toys and data that differ by no more than this are the same number.
_TIE = 1e-6
# Strengths at which CLs is known; at every second one toys are thrown.
_STRENGTHS = 11
_EVERY = 2
# CLs below this is far enough from any level.
_SMALLEST_CLS = 1e-6


@dataclass(frozen=True)
class Cls:
    """CLs at one strength: of the data, and of background at -2 ... 2 standard deviations."""

    observed: float
    expected: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class AsymptoticCls:
    """CLs of a model as a function of the signal strength.

    Every fixed-mu fit serves the data and their Asimov set (the background fitted at
    mu = 0) together.

    Attributes
    ----------
    functions
        Channels by the function of their backgrounds.

    Source
    ------
    q-tilde of Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equations 16 and 64-66.
    """

    functions: Functions

    @cached_property
    def null(self) -> Profile:
        """Background-only fit of the data."""
        return enveloped(self.functions, observed_counts(self.functions)).background

    @cached_property
    def background(self) -> list[Array]:
        """Expectation of every channel in the background-only fit, shape (bins,)."""
        return self.null.expected(self.functions)

    @cached_property
    def counts(self) -> list[Array]:
        """Data and Asimov set of every channel, shape (2, bins)."""
        pairs = zip(observed_counts(self.functions), self.background, strict=True)
        return [np.concatenate([observed, expected[None]]) for observed, expected in pairs]

    @cached_property
    def centres(self) -> Array:
        """Auxiliary measurements of both, shape (2, nuisances)."""
        alpha = np.array(self.null.fit().alpha)
        return np.stack([np.zeros_like(alpha), alpha])

    @cached_property
    def best(self) -> Profile:
        """Fits of mu >= 0 to both."""
        return enveloped(self.functions, self.counts, centres=self.centres).best

    @cached_property
    def sigma(self) -> float:
        """Uncertainty of mu for the Asimov set: the scale of the search."""
        name = self.best.function(1)
        fits = self.best.fits[name]
        return float(engine.signal_uncertainties(self.functions[name], self.counts, fits)[1])

    def fits(self, mu: float) -> Profile:
        """Return the fits at one strength."""
        return profiled(self.functions, self.counts, self.best, mu=mu, centres=self.centres)

    def at(self, mu: float) -> Cls:
        """Return CLs at one strength."""
        fits = self.fits(mu)
        q = np.maximum(0.0, 2 * (fits.nll - self.best.nll))
        q[self.best.mu > mu] = 0.0
        root, asimov = np.sqrt(q)
        # Above the Asimov value q-tilde is not a chi-square: equation 65.
        beyond = root > asimov > 0
        statistic = (q[0] - q[1]) / (2 * asimov) if beyond else root - asimov
        return Cls(_ratio(statistic, asimov), tuple(_ratio(-float(band), asimov) for band in BANDS))


@dataclass(frozen=True, eq=False)
class ToyCls:
    """CLs of a model from toys, and the limit that every toy would give.

    Toys are thrown without a signal and at some strengths. Each stands for every other strength
    with the ratio of its probabilities, so that CLs changes smoothly with the strength, and
    tails of a per mille are known from toys that are common elsewhere.

    Attributes
    ----------
    strengths
        Where CLs is known, rising, shape (strengths,).
    observed
        CLs of the data, shape (strengths,).
    toys
        CLs of every toy, shape (toys, strengths).
    null
        Weight of every toy without a signal, shape (toys,).
    failed
        Toys with a fit that did not converge; they count as they stand.

    Source
    ------
    Weights of a mixture: Owen, Zhou, J. Amer. Statist. Assoc. 95 (2000) 135.
    """

    strengths: Array
    observed: Array
    toys: Array
    null: Array
    failed: int

    @classmethod
    def thrown(
        cls, start: AsymptoticCls, low: float, high: float, toys: int, random: np.random.Generator
    ) -> ToyCls:
        """Return CLs from toys between two strengths.

        Both hypotheses expect what the data's own conditional fits give, and every toy is
        fitted as the data are.

        Parameters
        ----------
        start
            The asymptotic CLs.
        low, high
            Least and largest strength.
        toys
            Toys without a signal, and at each strength at which they are thrown.
        random
            Generator.
        """
        functions = start.functions
        strengths = np.geomspace(low, high, _STRENGTHS)
        data = [counts[:1] for counts in start.counts]
        seen = start.best.some(np.array([0]))
        fits = [start.null, *(profiled(functions, data, seen, mu=float(m)) for m in strengths)]
        means = [fit.expected(functions) for fit in fits]
        alphas = [fit.fit().alpha for fit in fits]
        sources = [0, *range(1, len(means), _EVERY)]
        drawn = [engine.toy_counts(means[source], toys, random) for source in sources]
        counts = [np.concatenate(same) for same in zip(*drawn, strict=True)]
        centres = np.concatenate(
            [engine.toy_centres(alphas[source], toys, random) for source in sources]
        )
        ratios = np.array(
            [
                engine.log_ratios(counts, mean, means[0])
                + engine.centre_ratios(centres, alpha, alphas[0])
                for mean, alpha in zip(means, alphas, strict=True)
            ]
        )
        weights = np.exp(ratios - logsumexp(ratios[sources], axis=0))
        free = enveloped(functions, counts, centres=centres)
        good, observed, each = free.converged, [], []
        for mu, weight in zip(strengths, weights[1:], strict=True):
            own = _q_tilde(functions, data, seen, float(mu))[0]
            q, converged = _q_tilde(functions, counts, free.best, float(mu), centres)
            good = good & converged
            values = _cls(q, weight, weights[0], np.concatenate([own, q]))
            observed.append(values[0])
            each.append(values[1:])
        return cls(
            strengths,
            np.array(observed),
            np.stack(each, axis=1),
            weights[0],
            int(np.sum(~good)),
        )

    def limits(self, alpha: float) -> list[float]:
        """Return the limit of the data, and the quantiles of the toys' limits without a signal.

        The quantiles are those of the bands, -2 to 2 standard deviations: they rise.

        Parameters
        ----------
        alpha
            1 - confidence level.
        """
        observed = _limits(self.strengths, self.observed[None], alpha)[0]
        limits = _limits(self.strengths, self.toys, alpha)
        order = np.argsort(limits)
        share = np.cumsum(self.null[order]) / self.null.sum()
        places = np.searchsorted(share, ndtr(np.array(BANDS, dtype=float)))
        return [float(observed), *map(float, limits[order][np.minimum(places, len(order) - 1)])]


def crossing(function: Callable[[float], float], alpha: float, scale: float) -> float:
    """Return where a falling CLs crosses alpha, to 1e-4 of itself.

    Raises
    ------
    FitError
        It never does.
    """
    high = scale
    for _ in range(_DOUBLINGS):
        if function(high) < alpha:
            break
        high *= 2
    else:
        msg = f"CLs stays above {alpha:g} up to {high:.3g} signal events: there is no limit here"
        raise FitError(msg)
    low = high / 2
    while function(low) <= alpha:
        low /= 2
    return float(toms748(lambda mu: function(mu) - alpha, low, high, rtol=1e-4, xtol=1e-10))


def _ratio(statistic: float, asimov: float) -> float:
    # As logarithms: far from the data both are smaller than any number.
    return float(np.exp(log_ndtr(-(statistic + asimov)) - log_ndtr(-statistic)))


def _q_tilde(
    functions: Functions,
    counts: Sequence[Array],
    best: Profile,
    mu: float,
    centres: Array | None = None,
) -> tuple[Array, NDArray[np.bool_]]:
    fits = profiled(functions, counts, best, mu=mu, centres=centres)
    q = np.maximum(0.0, 2 * (fits.nll - best.nll))
    return np.where(best.mu > mu, 0.0, q), np.asarray(fits.converged & best.converged)


def _cls(q: Array, signal: Array, null: Array, seen: Array) -> Array:
    """Return CLs at each value of q seen, from toys with weights of both hypotheses."""
    order = np.argsort(-q)
    # Values that differ by rounding are the same.
    reached = np.searchsorted(-q[order], _TIE - seen, side="right")
    both = [np.concatenate([[0.0], np.cumsum(w[order])]) / w.sum() for w in (signal, null)]
    tails, backgrounds = (share[reached] for share in both)
    # Data beyond all toys: so is a background of its kind.
    return np.where(backgrounds > 0, tails / np.maximum(backgrounds, np.finfo(float).tiny), 0.0)


def _limits(strengths: Array, cls: Array, alpha: float) -> Array:
    """Return where CLs of shape (rows, strengths) fall below alpha, shape (rows,).

    Beyond the strengths the nearest two are extended; limits there are not to be quoted.
    """
    down = np.minimum.accumulate(cls, axis=1)
    up = np.maximum.accumulate(cls[:, ::-1], axis=1)[:, ::-1]
    depth = np.log(np.maximum(0.5 * (down + up), _SMALLEST_CLS) / alpha)
    below = depth < 0
    high = np.where(below.any(axis=1), below.argmax(axis=1), len(strengths) - 1)
    high = np.maximum(high, 1)
    rows = np.arange(len(cls))
    first, second = depth[rows, high - 1], depth[rows, high]
    slope = np.minimum(second - first, -1e-3)
    step = strengths[high] - strengths[high - 1]
    return np.asarray(strengths[high - 1] - first / slope * step)
