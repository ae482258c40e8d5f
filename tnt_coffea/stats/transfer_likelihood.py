"""Events that pass and fail in bins of the mass, tied by a polynomial: many experiments at once.

Expected are phi_b u_b + mu s_b events that pass and phi_b v_b + mu r s_b that fail, with the rate
phi_b of every bin free. Of pass over fail, u is the polynomial and v is 1; of pass over all, u is
the polynomial and v is 1 - u. At given u, v and mu the best phi_b solves a quadratic equation,

    (u + v) u v phi^2 + [(u + v) (u d + v a) - (p + f) u v] phi + (u + v) a d - p u d - f v a = 0,

a = mu s, d = mu r s, so that only mu and the polynomial's coefficients are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tnt_coffea.stats.newton import minimised

__all__ = ["TransferFits", "TransferModel", "bernstein", "elevated"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

_ROUNDING = 1e-13
# Nothing is expected below it.
_TINY = 1e-150
_LEAST_START = 1e-3
# Coefficients this near to a bound, in units of their mean, and as many signal events.
_NEAR_BOUND = 1e-2


def bernstein(x: Array, order: int) -> Array:
    """Return Bernstein's polynomials of an order, which add up to 1: shape (points, order + 1).

    Parameters
    ----------
    x
        Points, 0 at the lower end of the range and 1 at the upper one, shape (points,).
    order
        0 or more.

    Examples
    --------
    >>> bernstein(np.array([0.0, 0.5, 1.0]), 1).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    k = np.arange(order + 1)
    binomials = np.array([comb(order, int(i)) for i in k], dtype=float)
    return np.asarray(binomials * x[:, None] ** k * (1 - x[:, None]) ** (order - k))


def elevated(coefficients: Array) -> Array:
    """Return the coefficients of the same polynomial in the basis of one order more.

    Parameters
    ----------
    coefficients
        Shape (..., order + 1).

    Source
    ------
    Farouki, Comput. Aided Geom. Design 29 (2012) 379, section 4.3.

    Examples
    --------
    >>> elevated(np.array([1.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """
    n = coefficients.shape[-1]
    share = np.arange(1, n) / n
    inner = share * coefficients[..., :-1] + (1 - share) * coefficients[..., 1:]
    return np.concatenate([coefficients[..., :1], inner, coefficients[..., -1:]], axis=-1)


@dataclass(frozen=True, eq=False)
class TransferFits:
    """Fits of many experiments.

    Attributes
    ----------
    mu
        Signal events that pass, shape (experiments,).
    coefficients
        Of the polynomial, shape (experiments, order + 1).
    background
        Expected background that passes, then that fails, shape (experiments, 2 bins).
    closure
        Zeros, shape (experiments,): no auxiliary measurement is in this likelihood.
    nll
        -ln L relative to the saturated model, shape (experiments,).
    edm
        Estimated distance to the minimum in ln L, shape (experiments,).
    converged
        Whether each fit found its minimum, shape (experiments,).
    """

    mu: Array
    coefficients: Array
    background: Array
    closure: Array
    nll: Array
    edm: Array
    converged: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TransferModel:
    """The likelihood of pass and fail in bins, and its fits.

    Attributes
    ----------
    basis
        Bernstein's polynomials at the bins, shape (bins, order + 1).
    shape
        Share of the signal in every bin, shape (bins,).
    in_fail
        Signal events that fail per one that passes.
    of_all
        Whether the polynomial is the ratio of pass to all, instead of to fail.
    scales
        Weights of effective events that pass and fail, shape (2, bins); None: all are 1.

    Examples
    --------
    >>> model = TransferModel(bernstein(np.linspace(0, 1, 4), 0), np.array([0.0, 0.5, 0.5, 0.0]))
    >>> best = model.best(np.array([[10.0, 15, 15, 10, 100, 100, 100, 100]]))
    >>> round(float(best.mu[0]), 6), best.coefficients.round(6).tolist()
    (10.0, [[0.1]])
    """

    basis: Array
    shape: Array
    in_fail: float = 0.0
    of_all: bool = False
    scales: Array | None = None

    sigma = 0.0

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.shape)

    @property
    def order(self) -> int:
        """Order of the polynomial."""
        return int(self.basis.shape[1]) - 1

    @cached_property
    def weights(self) -> Array:
        """Weights of effective events that pass and fail, shape (2, bins)."""
        return np.ones((2, self.bins)) if self.scales is None else self.scales

    @cached_property
    def signal(self) -> Array:
        """Effective events that pass, then that fail, per signal event that passes."""
        return np.concatenate([self.shape, self.in_fail * self.shape] / self.weights)

    def shares(self, coefficients: Array) -> tuple[Array, Array]:
        """Return u and v in effective events, shape (..., bins) each."""
        ratio = coefficients @ self.basis.T
        rest = np.maximum(1 - ratio, 0.0) if self.of_all else np.ones_like(ratio)
        return ratio / self.weights[0], rest / self.weights[1]

    def at_bound(self, fit: TransferFits) -> tuple[int, ...]:
        """Return which coefficients of the first experiment are at a bound."""
        values = fit.coefficients[0]
        return tuple(k for k, c in enumerate(values) if c <= 0 or (self.of_all and c >= 1))

    def transfer(self, coefficients: Array) -> tuple[Array, Array]:
        """Return pass over fail in sums of weights, and its slopes in the coefficients.

        Shapes (bins,) and (bins, order + 1).
        """
        ratio = self.basis @ coefficients
        if not self.of_all:
            return ratio, self.basis
        rest = np.maximum(1 - ratio, _TINY)
        return ratio / rest, self.basis / rest[:, None] ** 2

    def at(
        self,
        counts: Array,
        centre: Array | None = None,
        mu: float | Array = 0.0,
        start: Array | None = None,
    ) -> TransferFits:
        """Return the fits at one strength.

        Parameters
        ----------
        counts
            Effective events that pass, then that fail, shape (experiments, 2 bins).
        centre
            Nothing: other likelihoods have auxiliary measurements.
        mu
            Signal events that pass, the same in all experiments or shape (experiments,).
        start
            Coefficients to begin with, shape (order + 1,) or (experiments, order + 1).
        """
        return self._fitted(counts, np.full(len(counts), mu, dtype=float), start, held=True)

    def best(
        self,
        counts: Array,
        centre: Array | None = None,
        start: Array | None = None,
    ) -> TransferFits:
        """Return the fits of mu >= 0; the parameters are those of `at`.

        Where the slope of the likelihood at mu = 0 does not ask for a signal, mu is 0. Else there
        may be two maxima where events are few: fits begin at no signal, and where what passes
        beyond the background under the signal is all signal.
        """
        null = self.at(counts, start=start)
        found = replace(null, **{name: getattr(null, name).copy() for name in _PARTS})
        rows = np.flatnonzero(self._objective(counts, held=False).score(null) < 0)
        if not rows.size:
            return found
        near = self.shape > np.exp(-2) * self.shape.max()
        beyond = (counts - null.background)[rows, : self.bins][:, near] * self.weights[0, near]
        excess = np.maximum(beyond.sum(axis=1), 0.0) / self.shape[near].sum()
        found.converged[rows] = False
        for mu in (np.zeros(rows.size), excess):
            free = self._fitted(counts[rows], mu, null.coefficients[rows], held=False)
            # A fit that stops above that without a signal is none.
            better = (free.nll <= found.nll[rows]) & (free.converged | ~found.converged[rows])
            for name in _PARTS:
                getattr(found, name)[rows[better]] = getattr(free, name)[better]
        return found

    def covariance(self, counts: Array, fit: TransferFits, *, held: bool = False) -> Array:
        """Return the covariance of mu and the coefficients of one experiment.

        A coefficient at its bound, and mu where it is held, has none. Shape (order + 2, order + 2).
        """
        objective = self._objective(counts[None], held=held)
        x = np.concatenate([fit.mu, fit.coefficients[0]])[None]
        gradient, hessian = objective.slopes(x, np.zeros(1, dtype=np.intp))
        free = ~objective.at_bound(x, gradient)[0]
        free[0] = not held
        covariance = np.zeros_like(hessian[0])
        inside = np.ix_(free, free)
        covariance[inside] = np.linalg.pinv(hessian[0][inside], hermitian=True)
        return np.asarray(covariance)

    def _objective(self, counts: Array, *, held: bool) -> _Objective:
        return _Objective(self, counts, held)

    def _fitted(self, counts: Array, mu: Array, start: Array | None, *, held: bool) -> TransferFits:
        objective = self._objective(counts, held=held)
        flat = self._flat(counts, mu)
        # Newton's method is slow to leave a coefficient of nothing.
        first = flat if start is None else np.maximum(start, _LEAST_START * flat)
        found = minimised(objective, np.column_stack([mu, first]))
        rates = objective.rates(found.x, np.arange(len(counts)))
        u, v = self.shares(found.x[:, 1:])
        return TransferFits(
            found.x[:, 0],
            found.x[:, 1:],
            np.concatenate([rates * u, rates * v], axis=1),
            np.zeros(len(counts)),
            np.maximum(found.value, 0.0),
            found.edm,
            found.converged,
        )

    def _flat(self, counts: Array, mu: Array) -> Array:
        """Return coefficients of the mean ratio of what is no signal, shape (experiments, ...)."""
        seen = counts * self.weights.reshape(-1)
        left = np.maximum(seen - mu[:, None] * self.signal * self.weights.reshape(-1), 0.1 * seen)
        passed, failed = (part.sum(axis=1) for part in np.split(left, 2, axis=1))
        ratio = (passed + 0.1) / (failed + 0.1 + (passed if self.of_all else 0.0))
        return np.repeat(ratio[:, None], self.order + 1, axis=1)


_PARTS = ("mu", "coefficients", "background", "nll", "edm", "converged")


@dataclass(frozen=True, eq=False)
class _Objective:
    """-ln L of mu and the coefficients, each rate at its best, as `newton.minimised` wants it."""

    model: TransferModel
    counts: Array
    held: bool

    @property
    def rounding(self) -> Array:
        return np.asarray(_ROUNDING * (1 + self.counts.sum(axis=1)))

    def projected(self, x: Array) -> Array:
        x = x.copy()
        if not self.held:
            x[:, 0] = np.maximum(x[:, 0], 0.0)
        x[:, 1:] = np.clip(x[:, 1:], 0.0, 1.0 if self.model.of_all else None)
        return x

    def rates(self, x: Array, rows: Rows) -> Array:
        """Return the best phi, shape (rows, bins)."""
        p, f = np.split(self.counts[rows], 2, axis=1)
        u, v = self.model.shares(x[:, 1:])
        a, d = np.split(x[:, :1] * self.model.signal, 2, axis=1)
        both = u + v
        quadratic = both * u * v
        linear = both * (u * d + v * a) - (p + f) * u * v
        constant = both * a * d - p * u * d - f * v * a
        with np.errstate(divide="ignore", invalid="ignore"):
            root = np.sqrt(np.maximum(linear**2 - 4 * quadratic * constant, 0.0))
            # The larger root, without cancellation.
            found = np.where(
                linear > 0, -2 * constant / (linear + root), (root - linear) / (2 * quadratic)
            )
            found = np.where((a == 0) & (d == 0), (p + f) / both, found)
        return np.asarray(np.maximum(np.nan_to_num(found, nan=0.0, posinf=0.0), 0.0))

    def _means(self, x: Array, rows: Rows) -> tuple[Array, Array, Array, Array]:
        """Return rates, background per rate, what is expected and what is seen: pass, then fail.

        Shapes (rows, bins) and three of (rows, 2 bins).
        """
        rates = self.rates(x, rows)
        per_rate = np.concatenate(self.model.shares(x[:, 1:]), axis=1)
        mean = np.tile(rates, 2) * per_rate + x[:, :1] * self.model.signal
        return rates, per_rate, np.maximum(mean, _TINY), self.counts[rows]

    def value(self, x: Array, rows: Rows) -> Array:
        _, _, mean, seen = self._means(x, rows)
        with np.errstate(over="ignore", invalid="ignore"):
            terms = mean - seen + xlogy(seen, np.where(seen > 0, seen, 1.0) / mean)
            value = terms.sum(axis=1)
        return np.asarray(np.where(np.isfinite(value), value, np.inf))

    def score(self, fits: TransferFits) -> Array:
        """Return the slope of -ln L in mu, shape (experiments,)."""
        x = np.column_stack([fits.mu, fits.coefficients])
        return np.asarray(self.slopes(x, np.arange(len(x)))[0][:, 0])

    def at_bound(self, x: Array, gradient: Array) -> NDArray[np.bool_]:
        """Return which parameters are at a bound and would leave."""
        bound = np.zeros(x.shape, dtype=bool)
        bound[:, 0] = self.held or ((x[:, 0] <= 0) & (gradient[:, 0] > 0))
        bound[:, 1:] = (x[:, 1:] <= 0) & (gradient[:, 1:] > 0)
        if self.model.of_all:
            bound[:, 1:] |= (x[:, 1:] >= 1) & (gradient[:, 1:] < 0)
        return bound

    def slopes(self, x: Array, rows: Rows) -> tuple[Array, Array]:
        """Return gradients and Hessians, bounds aside."""
        rates, per_rate, mean, seen = self._means(x, rows)
        bins, model = self.model.bins, self.model
        with np.errstate(over="ignore"):
            pull, weight = 1 - seen / mean, seen / mean**2
        basis = [model.basis / model.weights[0][:, None]]
        basis.append((-1.0 if model.of_all else 0.0) * model.basis / model.weights[1][:, None])
        # Slopes of what passes and fails in mu and the coefficients: (rows, parameters, bins).
        slopes = [
            np.concatenate(
                [
                    np.broadcast_to(signal, (len(x), 1, bins)),
                    rates[:, None, :] * own.T,
                ],
                axis=1,
            )
            for signal, own in zip(np.split(model.signal, 2), basis, strict=True)
        ]
        halves = [slice(0, bins), slice(bins, 2 * bins)]
        gradient = sum(
            np.einsum("rib,rb->ri", slope, pull[:, half])
            for slope, half in zip(slopes, halves, strict=True)
        )
        hessian = np.zeros((len(x), x.shape[1], x.shape[1]))
        mixed = np.zeros_like(slopes[0])
        curvature = np.zeros_like(rates)
        for slope, own, half in zip(slopes, basis, halves, strict=True):
            scaled = slope * weight[:, None, half]
            hessian += scaled @ slope.transpose(0, 2, 1)
            mixed += scaled * per_rate[:, None, half]
            mixed[:, 1:] += pull[:, None, half] * own.T
            curvature += weight[:, half] * per_rate[:, half] ** 2
        # Where a rate is zero it stays so.
        inverse = np.where((rates > 0) & (curvature > 0), 1 / np.maximum(curvature, _TINY), 0.0)
        hessian -= (mixed * inverse[:, None]) @ mixed.transpose(0, 2, 1)
        return np.asarray(gradient), hessian

    def derivatives(self, x: Array, rows: Rows) -> tuple[Array, Array]:
        """As `newton.minimised` wants them; what is near its bound, and would leave, steps to it.

        Where such a parameter stays coupled, Newton's step cut at the bounds need not lead downhill
        (Bertsekas, SIAM J. Control Optim. 20 (1982) 221).
        """
        gradient, hessian = self.slopes(x, rows)
        gradient[self.at_bound(x, gradient)] = 0.0
        distance = np.where(gradient > 0, x, np.inf)
        if self.model.of_all:
            distance[:, 1:] = np.where(gradient[:, 1:] < 0, 1 - x[:, 1:], distance[:, 1:])
        near = np.full_like(x, _NEAR_BOUND)
        near[:, 1:] *= x[:, 1:].mean(axis=1, keepdims=True)
        single = (gradient == 0) | (distance <= near)
        hessian[single] = 0.0
        hessian.transpose(0, 2, 1)[single] = 0.0
        places = np.nonzero(single)
        # A step of `near`, cut at the bound: one of the distance could leave a rest ever smaller,
        # whose curvature hides that of the others.
        curvature = np.abs(gradient[places]) / np.maximum(near[places], _TINY)
        hessian[places[0], places[1], places[1]] = np.where(gradient[places] == 0, 1.0, curvature)
        return gradient, hessian
