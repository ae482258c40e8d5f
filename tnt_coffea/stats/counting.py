"""One count whose background is known to a statistical and a relative uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, xlogy

from tnt_coffea.errors import FitError
from tnt_coffea.stats.limit_results import BANDS
from tnt_coffea.stats.newton import minimised
from tnt_coffea.stats.signal_norm import NO_NORM, profiled_norm

__all__ = ["AsymptoticCount", "CountFits", "CountModel"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_ROUNDING = 1e-13
_TINY = 1e-150
_LOWEST = -300.0
_FARTHEST = 1e12


@dataclass(frozen=True, eq=False)
class CountFits:
    """Fits of many experiments.

    Attributes
    ----------
    mu
        Signal events, shape (experiments,).
    auxiliary
        Expected events of the auxiliary measurement, shape (experiments,).
    background
        Expected background, shape (experiments,).
    shift
        Nuisance parameter of the relative uncertainty, shape (experiments,).
    nll
        -ln L relative to the saturated model, shape (experiments,).
    converged
        Whether each fit found its minimum, shape (experiments,).
    """

    mu: Array
    auxiliary: Array
    background: Array
    shift: Array
    nll: Array
    converged: NDArray[np.bool_]


@dataclass(frozen=True)
class CountModel:
    """Poisson count of mu + b gamma e^(sigma alpha): HistFactory's with shapesys and normsys.

    An auxiliary Poisson measurement of tau events expects tau gamma, alpha has a unit normal
    constraint. tau is 1 over the square of the relative statistical uncertainty.

    Attributes
    ----------
    expected
        Background b.
    statistical
        Its statistical uncertainty [events].
    relative
        Its other relative uncertainty; sigma is ln(1 + relative).

    Examples
    --------
    >>> model = CountModel(100.0, 5.0, 0.03)
    >>> round(float(model.q0([130.0])[0]) ** 0.5, 2)
    2.45
    """

    expected: float
    statistical: float = 0.0
    relative: float = 0.0

    @property
    def sigma(self) -> float:
        """Uncertainty of the logarithm of the background."""
        return float(np.log1p(self.relative))

    @property
    def tau(self) -> float:
        """Events of the auxiliary measurement; 1 where there is none."""
        return (self.expected / self.statistical) ** 2 if self.statistical > 0 else 1.0

    def data(self, counts: Array | list[float]) -> tuple[Array, Array, Array]:
        """Return counts with the auxiliary measurements that were made."""
        n = np.asarray(counts, dtype=float)
        return n, np.full(len(n), self.tau), np.zeros(len(n))

    def at(self, data: tuple[Array, Array, Array], mu: float | Array) -> CountFits:
        """Return the fits at one strength.

        Parameters
        ----------
        data
            Counts, events of the auxiliary measurement, and that of alpha: (experiments,) each.
        mu
            Signal events, the same in all experiments or shape (experiments,).
        """
        counts, auxiliary, centre = data
        events = np.full(len(counts), mu, dtype=float)
        start = np.column_stack([np.zeros(len(counts)), centre])
        found = minimised(_Objective(self, counts, auxiliary, centre, events), start)
        g, alpha = found.x.T
        return CountFits(
            events,
            self.tau * np.exp(g),
            self.expected * np.exp(g + self.sigma * alpha),
            alpha,
            np.maximum(found.value, 0.0),
            found.converged,
        )

    def best(self, data: tuple[Array, Array, Array]) -> CountFits:
        """Return the fits of mu >= 0: an excess is all signal, L that of the saturated model."""
        counts, auxiliary, centre = data
        background = self.expected * auxiliary / self.tau * np.exp(self.sigma * centre)
        null, excess = self.at(data, 0.0), counts > background
        return CountFits(
            np.where(excess, counts - background, 0.0),
            np.where(excess, auxiliary, null.auxiliary),
            np.where(excess, background, null.background),
            np.where(excess, centre, null.shift),
            np.where(excess, 0.0, null.nll),
            excess | null.converged,
        )

    def q0(self, counts: Array | list[float]) -> Array:
        """Return q0 of counts with the auxiliary measurements that were made."""
        data = self.data(counts)
        return np.asarray(2 * (self.at(data, 0.0).nll - self.best(data).nll))


@dataclass(frozen=True, eq=False)
class AsymptoticCount:
    """Asymptotic CLs of one count, and of background alone, over the signal.

    Attributes
    ----------
    model
        The model.
    data
        Count, events of the auxiliary measurement, and that of alpha, of shape (1,).
    norm
        Uncertainty of the signal's norm, of `combined_norm`.

    Source
    ------
    arXiv:1007.1727, equations 16 and 64 to 66.

    Examples
    --------
    >>> model = CountModel(100.0, 5.0, 0.03)
    >>> observed, *expected = AsymptoticCount(model, model.data([110.0])).limits(0.05)
    >>> round(observed, 1), round(expected[2], 1)
    (31.8, 23.9)
    """

    model: CountModel
    data: tuple[Array, Array, Array]
    norm: tuple[float, float] = NO_NORM

    @cached_property
    def both(self) -> tuple[Array, Array, Array]:
        """The data, and what the background-only fit to them expects."""
        null = self.model.at(self.data, 0.0)
        found = (null.background, null.auxiliary, null.shift)
        n, auxiliary, shift = (np.concatenate(pair) for pair in zip(self.data, found, strict=True))
        return n, auxiliary, shift

    @cached_property
    def best(self) -> CountFits:
        """Fits of mu >= 0 to both."""
        return self.model.best(self.both)

    def ln_cls(self, mu: float) -> Array:
        """Return ln CLs of the data, and of background at -2 ... 2 standard deviations."""
        q = np.maximum(0.0, 2 * (self._nll(mu) - self.best.nll))
        q[self.best.mu > mu] = 0.0
        root, asimov = np.sqrt(q)
        # Above the Asimov value q-tilde is not a chi-square: equation 65.
        seen = (q[0] - q[1]) / (2 * asimov) if root > asimov > 0 else root - asimov
        statistics = np.array([seen, *(-float(band) for band in BANDS)])
        return np.asarray(log_ndtr(-statistics - asimov) - log_ndtr(-statistics))

    def _nll(self, mu: float) -> Array:
        if self.norm == NO_NORM:
            return self.model.at(self.both, mu).nll

        def fitted(events: Array, rows: Rows) -> tuple[CountFits, Array]:
            n, auxiliary, shift = (values[rows] for values in self.both)
            fits = self.model.at((n, auxiliary, shift), events)
            return fits, 1 - n / np.maximum(fits.background + events, _TINY)

        fits, alpha = profiled_norm(fitted, mu, self.norm, np.zeros(2))
        return np.asarray(fits.nll + 0.5 * alpha**2)

    def limits(self, alpha: float) -> list[float]:
        """Return the observed limit at CLs = alpha, and the expected ones.

        Raises
        ------
        FitError
            There is none.
        """

        def curve(place: int) -> Callable[[float], float]:
            return lambda mu: float(self.ln_cls(mu)[place]) - float(np.log(alpha))

        return [_crossing(curve(place)) for place in range(1 + len(BANDS))]


def _crossing(falling: Callable[[float], float]) -> float:
    high = 1.0
    while falling(high) > 0:
        high *= 2
        if high > _FARTHEST:
            msg = f"CLs does not fall up to {high:.3g} signal events: there is no limit here"
            raise FitError(msg)
    return float(brentq(falling, 0.0, high, rtol=1e-6))


@dataclass(frozen=True, eq=False)
class _Objective:
    """-ln L of ln gamma and alpha, as `newton.minimised` wants it."""

    model: CountModel
    counts: Array
    auxiliary: Array
    centre: Array
    mu: Array

    @property
    def rounding(self) -> Array:
        return np.asarray(_ROUNDING * (1 + self.counts + self.auxiliary))

    def projected(self, x: Array) -> Array:
        return np.maximum(x, _LOWEST)

    def _means(self, x: Array) -> tuple[Array, Array]:
        with np.errstate(over="ignore"):
            background = self.model.expected * np.exp(x[:, 0] + self.model.sigma * x[:, 1])
            return background, self.model.tau * np.exp(x[:, 0])

    def value(self, x: Array, rows: Rows) -> Array:
        background, tau_gamma = self._means(x)
        centre = self.centre[rows]
        with np.errstate(over="ignore", invalid="ignore"):
            value = _deviance(self.counts[rows], background + self.mu[rows])
            if self.model.statistical > 0:
                value += _deviance(self.auxiliary[rows], tau_gamma)
            value += 0.5 * (x[:, 1] - centre) ** 2
        return np.asarray(np.where(np.isfinite(value), value, np.inf))

    def derivatives(self, x: Array, rows: Rows) -> tuple[Array, Array]:
        background, tau_gamma = self._means(x)
        mean = np.maximum(background + self.mu[rows], _TINY)
        seen = self.counts[rows]
        slopes = np.array([1.0, self.model.sigma])
        pull = (1 - seen / mean) * background
        bend = pull + seen * (background / mean) ** 2
        gradient = pull[:, None] * slopes
        hessian = bend[:, None, None] * np.outer(slopes, slopes)
        gradient[:, 1] += x[:, 1] - self.centre[rows]
        hessian[:, 1, 1] += 1
        if self.model.statistical > 0:
            gradient[:, 0] += tau_gamma - self.auxiliary[rows]
            hessian[:, 0, 0] += tau_gamma
        else:
            gradient[:, 0] = 0.0
            hessian[:, 0, :] = hessian[:, :, 0] = 0.0
            hessian[:, 0, 0] = 1.0
        return gradient, hessian


def _deviance(seen: Array, mean: Array) -> Array:
    """Return half the Poisson deviance: large counts that agree cancel."""
    mean = np.maximum(mean, _TINY)
    terms = mean - seen + xlogy(seen, np.where(seen > 0, seen, 1.0) / mean)
    return np.asarray(terms)
