"""CLs of a signal strength by the asymptotic formulae or by toys, in the numpy engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import toms748
from scipy.special import ndtr, ndtri

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Fits
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.results import BANDS

__all__ = ["AsymptoticCls", "Cls", "ToyCls", "crossing"]

Array = NDArray[np.float64]

_DOUBLINGS = 40
# q of toys and data that differ by no more than this are the same number.
_TIE = 1e-6
# Strengths at which toys are thrown.
_STRENGTHS = 16
# Tails above this are near the plateau q = 0 of signals smaller than the fitted one.
_LARGEST_TAIL = 0.4
# Tails within about this many standard deviations of the one wanted decide.
_NEAR = 0.7


@dataclass(frozen=True)
class Cls:
    """CLs at one strength: of the data, and of background at -2 ... 2 standard deviations."""

    observed: float
    expected: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class AsymptoticCls:
    """CLs of channels as a function of the signal strength.

    Every fixed-mu fit serves the data and their Asimov set (the background fitted at
    mu = 0) together.

    Attributes
    ----------
    channels
        Spectra, signals, backgrounds.

    Source
    ------
    q-tilde of Cowan, Cranmer, Gross, Vitells, arXiv:1007.1727, equations 16 and 64-66.
    """

    channels: Sequence[Channel]

    @cached_property
    def background(self) -> list[Array]:
        """Expectation of every channel in the background-only fit, shape (bins,)."""
        fit = engine.background_fit(self.channels)
        pairs = zip(self.channels, fit.phi, strict=True)
        return [channel.background.expected(phi) for channel, phi in pairs]

    @cached_property
    def counts(self) -> list[Array]:
        """Data and Asimov set of every channel, shape (2, bins)."""
        pairs = zip(self.channels, self.background, strict=True)
        return [np.stack([channel.observed, expected]) for channel, expected in pairs]

    @cached_property
    def best(self) -> Fits:
        """Fits of mu >= 0 to both."""
        return engine.discoveries(self.channels, self.counts).best

    @cached_property
    def sigma(self) -> float:
        """Uncertainty of mu for the Asimov set: the scale of the search."""
        return float(engine.signal_uncertainties(self.channels, self.counts, self.best)[1])

    def fits(self, mu: float) -> Fits:
        """Return the fits at one strength."""
        return engine.signal_fits(self.channels, self.counts, self.best, mu=mu)

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
    """CLs of channels from toys of both hypotheses on a grid of strengths.

    Attributes
    ----------
    strengths
        Where toys were thrown, rising, shape (strengths,).
    signal, null
        Share of toys with and without a signal that are no more like the signal than the
        data (first column) and than background at -2 ... 2 standard deviations, shape
        (strengths, 6).
    failed
        Toys with a fit that did not converge; they count as they stand.
    """

    strengths: Array
    signal: Array
    null: Array
    failed: int

    @classmethod
    def thrown(
        cls, start: AsymptoticCls, limits: Sequence[float], toys: int, random: np.random.Generator
    ) -> ToyCls:
        """Return CLs from toys around limits that the asymptotic formulae gave.

        Both hypotheses expect what the data's own conditional fits give, and every toy is
        fitted as the data are.

        Parameters
        ----------
        start
            The asymptotic CLs.
        limits
            Limits by it; toys reach from half the least to twice the largest.
        toys
            Toys of each hypothesis at each strength.
        random
            Generator.
        """
        strengths = np.geomspace(0.5 * min(limits), 2 * max(limits), _STRENGTHS)
        channels = start.channels
        data = [counts[:1] for counts in start.counts]
        seen = start.best.some(np.array([0]))
        nothing = engine.toy_counts(start.background, toys, random)
        free = engine.discoveries(channels, nothing)
        failed = ~free.converged
        failed_signal, tails = 0, []
        for mu in strengths:
            fit = engine.signal_fits(channels, data, seen, mu=float(mu))
            expected = [
                channel.background.expected(phi)[0] + mu * channel.moved_signal(fit.alpha)[0]
                for channel, phi in zip(channels, fit.phi, strict=True)
            ]
            something = engine.toy_counts(expected, toys, random)
            signal_free = engine.discoveries(channels, something)
            observed = _q_tilde(channels, data, seen, float(mu))[0][0]
            q_null, good_null = _q_tilde(channels, nothing, free.best, float(mu))
            q_signal, good_signal = _q_tilde(channels, something, signal_free.best, float(mu))
            failed = failed | ~good_null
            failed_signal += int(np.sum(~(good_signal & signal_free.converged)))
            tails.append(_tails(q_signal, q_null, observed))
        signal, null = np.moveaxis(np.array(tails), 1, 0)
        return cls(strengths, signal, null, int(failed.sum()) + failed_signal)

    def limits(self, alpha: float, toys: int) -> list[float]:
        """Return where CLs of the data and of every band falls below alpha.

        Tails of toys are noisy one by one, and the first of many values below alpha would
        be biased low. In standard deviations a tail falls linearly with the strength, and
        all at nearly the same pace: a line through each, near the tail that is wanted and
        with a slope in common, is compared with alpha. At -2 standard deviations this
        extrapolates: only 2 % of the toys lie there.

        Parameters
        ----------
        alpha
            1 - confidence level.
        toys
            How many of each hypothesis there were.

        Raises
        ------
        FitError
            Too few toys lie in a tail.
        """
        # Not 0 or 1: the next toy might have been the other way.
        sigmas = ndtri((self.signal * toys + 0.5) / (toys + 1))
        wanted = ndtri(alpha * self.null)
        spread = np.exp(-0.5 * sigmas**2) / np.sqrt(self.signal * (1 - self.signal) + 0.5 / toys)
        weights = np.square(spread * np.exp(-0.5 * ((sigmas - wanted) / _NEAR) ** 2))
        weights *= (self.signal > 0) & (self.signal < _LARGEST_TAIL)
        total = np.maximum(weights.sum(axis=0), np.finfo(float).tiny)
        mu = (weights * self.strengths[:, None]).sum(axis=0) / total
        depth = (weights * (sigmas - wanted)).sum(axis=0) / total
        apart = self.strengths[:, None] - mu
        slope = float((weights * apart * (sigmas - wanted)).sum() / (weights * apart**2).sum())
        limits = mu - depth / slope
        if not slope < 0 or np.any(weights.sum(axis=0) <= 0) or np.any(limits <= 0):
            msg = f"too few of {toys} toys lie in the tails that a limit asks for: throw more"
            raise FitError(msg)
        return [float(limit) for limit in limits]


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
    return float(ndtr(-(statistic + asimov)) / ndtr(-statistic))


def _q_tilde(
    channels: Sequence[Channel], counts: Sequence[Array], best: Fits, mu: float
) -> tuple[Array, NDArray[np.bool_]]:
    fits = engine.signal_fits(channels, counts, best, mu=mu)
    q = np.maximum(0.0, 2 * (fits.nll - best.nll))
    return np.where(best.mu > mu, 0.0, q), np.asarray(fits.converged & best.converged)


def _tails(signal: Array, null: Array, observed: float) -> tuple[list[float], list[float]]:
    # A band's toy is more (or less) like a signal than the median: its q is a quantile.
    levels = np.quantile(null, ndtr(-np.array(BANDS, dtype=float)), method="inverted_cdf")
    cuts = [observed - _TIE, *(levels - _TIE)]
    return [float(np.mean(signal >= q)) for q in cuts], [float(np.mean(null >= q)) for q in cuts]
