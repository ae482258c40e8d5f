"""CLs of a signal strength by the asymptotic formulae or by toys, in the numpy engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from tnt_coffea.stats.limit_results import BANDS

__all__ = ["AsymptoticCls", "Cls", "ToyCls", "WeightedToys", "crossing"]

Array = NDArray[np.float64]

_DOUBLINGS = 40
# q of toys and data that differ by no more than this are the same number.
_TIE = 1e-6
# Toys are thrown at every second of the strengths at which the statistic is known.
_EVERY = 2
# Sets of toys drawn again: they know a spread to 11 %.
_BOOTSTRAPS = 40
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
        if not np.isfinite(q).all():
            msg = (
                f"the fit at {mu:.4g} signal events has no minimum: the background function does "
                "not describe the spectrum here"
            )
            raise FitError(msg)
        root, asimov = np.sqrt(q)
        # Above the Asimov value q-tilde is not a chi-square: equation 65.
        beyond = root > asimov > 0
        statistic = (q[0] - q[1]) / (2 * asimov) if beyond else root - asimov
        return Cls(_ratio(statistic, asimov), tuple(_ratio(-float(band), asimov) for band in BANDS))


@dataclass(frozen=True, eq=False)
class WeightedToys:
    """Toys thrown without a signal and at some strengths, and the test statistic at all strengths.

    Each toy stands for every other strength with the ratio of its probabilities, so that p-values
    change smoothly with the strength, and tails of a per mille are known from toys that are
    common elsewhere.

    Attributes
    ----------
    strengths
        Where the test statistic is known, rising, shape (strengths,).
    seen
        That of the data, shape (strengths,).
    statistics
        That of every toy, shape (toys, strengths).
    weights
        Of every toy without a signal, and at every strength, shape (1 + strengths, toys).
    sources
        Number of the expectation from which each toy was thrown, shape (toys,).
    failed
        Toys with a fit that did not converge; they count as they stand.

    Source
    ------
    Weights of a mixture: Owen, Zhou, J. Amer. Statist. Assoc. 95 (2000) 135.
    """

    strengths: Array
    seen: Array
    statistics: Array
    weights: Array
    sources: NDArray[np.intp]
    failed: int

    @classmethod
    def thrown(
        cls,
        start: AsymptoticCls,
        strengths: Array,
        toys: int,
        random: np.random.Generator,
        *,
        one_sided: bool = True,
    ) -> WeightedToys:
        """Return toys, thrown without a signal and at every second strength.

        All hypotheses expect what the data's own conditional fits give, and every toy is
        fitted as the data are.

        Parameters
        ----------
        start
            The asymptotic CLs.
        strengths
            Rising signal strengths, shape (strengths,).
        toys
            Toys without a signal, and at each strength at which they are thrown.
        random
            Generator.
        one_sided
            Whether the statistic is 0 where the fitted signal is larger than the strength.

        Raises
        ------
        FitError
            No toy stands for one of the strengths.
        """
        functions = start.functions
        data = [counts[:1] for counts in start.counts]
        best = start.best.some(np.array([0]))
        fits = [start.null, *(profiled(functions, data, best, mu=float(m)) for m in strengths)]
        means = [fit.expected(functions) for fit in fits]
        alphas = [fit.fit().alpha for fit in fits]
        thrown_at = [0, *range(1, len(means), _EVERY)]
        drawn = [engine.toy_counts(means[source], toys, random) for source in thrown_at]
        counts = [np.concatenate(same) for same in zip(*drawn, strict=True)]
        centres = np.concatenate(
            [engine.toy_centres(alphas[source], toys, random) for source in thrown_at]
        )
        ratios = np.array(
            [
                engine.log_ratios(counts, mean, means[0])
                + engine.centre_ratios(centres, alpha, alphas[0])
                for mean, alpha in zip(means, alphas, strict=True)
            ]
        )
        weights = np.exp(ratios - logsumexp(ratios[thrown_at], axis=0))
        # NaN, too.
        unknown = ~(weights[1:].sum(axis=1) > 0)
        if unknown.any():
            msg = (
                f"no toy resembles the fit with {strengths[unknown][0]:.3g} signal events, there "
                "is no limit from toys: the background function does not describe the spectrum; "
                "0 toys take the asymptotic formulae"
            )
            raise FitError(msg)
        free = enveloped(functions, counts, centres=centres)
        good, own, each = free.converged, [], []
        for mu in map(float, strengths):
            own.append(_statistic(functions, data, best, mu, one_sided=one_sided)[0][0])
            q, converged = _statistic(
                functions, counts, free.best, mu, centres, one_sided=one_sided
            )
            good = good & converged
            each.append(q)
        return cls(
            strengths,
            np.array(own),
            np.stack(each, axis=1),
            weights,
            np.repeat(thrown_at, toys),
            int(np.sum(~good)),
        )

    def __len__(self) -> int:
        return len(self.statistics)

    @cached_property
    def background_only(self) -> int:
        """How many toys were thrown without a signal."""
        return int(np.sum(self.sources == 0))

    def joined(self, more: WeightedToys) -> WeightedToys:
        """Return these toys and others of the same strengths, as many from each source."""
        return replace(
            self,
            statistics=np.concatenate([self.statistics, more.statistics]),
            weights=np.concatenate([self.weights, more.weights], axis=1),
            sources=np.concatenate([self.sources, more.sources]),
            failed=self.failed + more.failed,
        )

    def uncertainties(
        self, quantities: Callable[[Array], Sequence[float]], random: np.random.Generator
    ) -> Array:
        """Return the spread of quantities over toys drawn again from these (bootstrap).

        Parameters
        ----------
        quantities
            From weights of shape (1 + strengths, toys) to quantities.
        random
            Generator.

        Source
        ------
        Efron, Ann. Statist. 7 (1979) 1.
        """
        groups = [np.flatnonzero(self.sources == source) for source in np.unique(self.sources)]
        found = []
        for _ in range(_BOOTSTRAPS):
            times = np.empty(len(self))
            for group in groups:
                times[group] = random.multinomial(len(group), np.full(len(group), 1 / len(group)))
            found.append(quantities(self.weights * times))
        return np.asarray(np.std(found, axis=0, ddof=1))


@dataclass(frozen=True, eq=False)
class ToyCls:
    """CLs of a model from toys, and the limit that every toy would give.

    Attributes
    ----------
    toys
        The toys.
    alpha
        1 - confidence level.
    """

    toys: WeightedToys
    alpha: float

    @cached_property
    def limits(self) -> list[float]:
        """Limit of the data, and the quantiles of the toys' limits without a signal.

        The quantiles are those of the bands, -2 to 2 standard deviations: they rise.
        """
        return self._limits(self.toys.weights)

    def at(self, place: int) -> Cls:
        """Return CLs at one of the strengths, expected ones as quantiles of toys without a signal.

        As by the formulae the one at -2 standard deviations, where background alone excludes
        most, is the least.
        """
        orders, reached = self._ranks
        null, signal = self.toys.weights[0], self.toys.weights[1 + place]
        observed, *rest = _cls(orders[place], reached[place], signal, null)
        return Cls(float(observed), tuple(_quantiles(np.array(rest), null)))

    def uncertainties(self, random: np.random.Generator) -> Array:
        """Return the statistical uncertainties of `limits` from the number of toys."""
        return self.toys.uncertainties(self._limits, random)

    def _limits(self, weights: Array) -> list[float]:
        null, strengths = weights[0], self.toys.strengths
        cls = np.stack(
            [
                _cls(order, counted, signal, null)
                for order, counted, signal in zip(*self._ranks, weights[1:], strict=True)
            ],
            axis=1,
        )
        observed, *rest = _limits(strengths, cls, self.alpha)
        return [float(observed), *_quantiles(np.array(rest), null)]

    @cached_property
    def _ranks(self) -> tuple[list[NDArray[np.intp]], list[NDArray[np.intp]]]:
        """By strength: the toys from the largest q on, and how many of them reach each q seen.

        The first q seen is that of the data; those that differ by rounding are the same.
        """
        orders, reached = [], []
        for own, q in zip(self.toys.seen, self.toys.statistics.T, strict=True):
            order = np.argsort(-q)
            seen = np.concatenate([[own], q])
            orders.append(order)
            reached.append(np.searchsorted(-q[order], _TIE - seen, side="right"))
        return orders, reached


def crossing(function: Callable[[float], float], alpha: float, scale: float) -> float:
    """Return where a falling CLs crosses alpha, to 1e-4 of itself.

    Raises
    ------
    FitError
        It never does, or is below it everywhere.
    """
    # No data exclude a small part of one event.
    high = max(scale, 1.0)
    for _ in range(_DOUBLINGS):
        if function(high) < alpha:
            break
        high *= 2
    else:
        msg = f"CLs stays above {alpha:g} up to {high:.3g} signal events: there is no limit here"
        raise FitError(msg)
    low = high / 2
    for _ in range(_DOUBLINGS):
        if function(low) > alpha:
            break
        low /= 2
    else:
        msg = f"CLs stays below {alpha:g} down to {low:.3g} signal events: there is no limit here"
        raise FitError(msg)
    return float(toms748(lambda mu: function(mu) - alpha, low, high, rtol=1e-4, xtol=1e-10))


def _ratio(statistic: float, asimov: float) -> float:
    # As logarithms: far from the data both are smaller than any number.
    return float(np.exp(log_ndtr(-(statistic + asimov)) - log_ndtr(-statistic)))


def _statistic(
    functions: Functions,
    counts: Sequence[Array],
    best: Profile,
    mu: float,
    centres: Array | None = None,
    *,
    one_sided: bool = True,
) -> tuple[Array, NDArray[np.bool_]]:
    """Return q-tilde, or t-tilde, of many sets of counts, and whether their fits converged."""
    q, good = np.zeros(len(best.mu)), np.array(best.converged)
    rows = np.flatnonzero(best.mu <= mu) if one_sided else np.arange(len(q))
    if rows.size:
        own = None if centres is None else centres[rows]
        start = best.some(rows)
        fits = profiled(functions, [n[rows] for n in counts], start, mu=mu, centres=own)
        # A failed fit has no likelihood: it counts as one that excludes nothing.
        rise = 2 * (fits.nll - start.nll)
        q[rows] = np.where(rise > 0, rise, 0.0)
        good[rows] &= fits.converged & np.isfinite(rise)
    return q, good


def _cls(order: NDArray[np.intp], reached: NDArray[np.intp], signal: Array, null: Array) -> Array:
    """Return CLs at each value of q seen, from toys with weights of both hypotheses."""
    both = [np.concatenate([[0.0], np.cumsum(w[order])]) / w.sum() for w in (signal, null)]
    tails, backgrounds = (share[reached] for share in both)
    # Data beyond all toys: so is a background of its kind.
    return np.where(backgrounds > 0, tails / np.maximum(backgrounds, np.finfo(float).tiny), 0.0)


def _quantiles(values: Array, weights: Array) -> list[float]:
    """Return the weighted quantiles of toys at -2 ... 2 standard deviations; they rise."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    places = np.searchsorted(share, ndtr(np.array(BANDS, dtype=float)))
    return [float(value) for value in values[order][np.minimum(places, len(order) - 1)]]


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
