"""The ABCD likelihood at any signal strength, for many experiments at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from tnt_coffea.stats.newton import minimised

__all__ = ["AbcdFits", "AbcdModel"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

# ln B, ln C, ln D and the closure's parameter in the logarithm of the background of A.
_TIES = np.array([[1.0, 1.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
# A background below this is none, and an event there pulls no longer.
_TINY = 1e-150
_LOWEST = -300.0
_ROUNDING = 1e-13


@dataclass(frozen=True, eq=False)
class AbcdFits:
    """Fits of many experiments.

    Attributes
    ----------
    mu
        Signal events in A, shape (experiments,).
    background
        Expected background of A, B, C, D, shape (experiments, 4).
    closure
        Nuisance parameter of the closure, shape (experiments,).
    nll
        -ln L relative to the saturated model, shape (experiments,).
    converged
        Whether each fit found its minimum, shape (experiments,).
    """

    mu: Array
    background: Array
    closure: Array
    nll: Array
    converged: NDArray[np.bool_]


@dataclass(frozen=True)
class AbcdModel:
    """Expectations kappa e^(sigma alpha) b c / d, b, c, d, and a signal in all four regions.

    Attributes
    ----------
    closure_factor, sigma
        kappa and its logarithmic uncertainty; alpha has a unit normal constraint.
    leakage
        Signal in B, C and D per signal event in A.
    """

    closure_factor: float
    sigma: float
    leakage: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def signal(self) -> Array:
        """Signal in A, B, C and D per signal event in A."""
        return np.array([1.0, *self.leakage])

    def at(self, counts: Array, centre: Array, mu: float | Array) -> AbcdFits:
        """Return the fits at one strength.

        Parameters
        ----------
        counts
            A, B, C, D, shape (experiments, 4).
        centre
            Auxiliary measurement of the closure's parameter, shape (experiments,).
        mu
            Signal events in A, the same in all experiments or shape (experiments,).
        """
        return self._fitted(counts, centre, np.full(len(counts), mu, dtype=float), held=True)

    def best(self, counts: Array, centre: Array) -> AbcdFits:
        """Return the fits of mu >= 0.

        Where backgrounds that are tied to each other and a signal add up to the counts, L is
        that of the saturated model.
        """
        mu, exact = self._saturated(counts, centre)
        at_zero = self.at(counts, centre, 0.0)
        background = np.where(
            exact[:, None], np.maximum(counts - mu[:, None] * self.signal, 0.0), at_zero.background
        )
        found = AbcdFits(
            np.where(exact, mu, 0.0),
            background,
            np.where(exact, centre, at_zero.closure),
            np.where(exact, 0.0, at_zero.nll),
            exact | at_zero.converged,
        )
        # So much signal leaks into a region that all of it may be signal.
        rows = np.flatnonzero(~exact & (mu > 0))
        if rows.size:
            free = self._fitted(counts[rows], centre[rows], mu[rows], held=False)
            better = free.nll < found.nll[rows]
            for name in ("mu", "background", "closure", "nll", "converged"):
                getattr(found, name)[rows[better]] = getattr(free, name)[better]
        return found

    def _saturated(self, counts: Array, centre: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return the mu that explains the counts, and where there is one.

        It is the least root of (A - mu)(D - s_D mu) = kappa (B - s_B mu)(C - s_C mu). Where an
        excess has none, it is one from which a fit may start; without an excess 0.
        """
        a, b, c, d = counts.T
        _, in_b, in_c, in_d = self.signal
        kappa = self.closure_factor * np.exp(self.sigma * centre)
        excess = a * d - kappa * b * c
        slope = d + in_d * a - kappa * (in_b * c + in_c * b)
        bend = in_d - kappa * in_b * in_c
        root = slope**2 - 4 * bend * excess
        with np.errstate(divide="ignore", invalid="ignore"):
            # excess - slope mu + bend mu^2 = 0, without cancellation.
            mu = np.where(root >= 0, 2 * excess / (slope + np.sqrt(np.maximum(root, 0.0))), np.inf)
            most = np.min(counts / np.where(self.signal > 0, self.signal, np.nan), axis=1,
                          where=self.signal > 0, initial=np.inf)  # fmt: skip
        exact = (excess > 0) & (mu > 0) & (mu <= most)
        start = np.where(excess > 0, 0.9 * most, 0.0)
        return np.where(exact, mu, start), exact

    def _fitted(self, counts: Array, centre: Array, mu: Array, *, held: bool) -> AbcdFits:
        objective = _Objective(self, counts, centre, held)
        # Counts without their signal, tied to each other by the smaller A.
        start = np.maximum(counts - mu[:, None] * self.signal, 0.1 * counts + 0.1)[:, 1:]
        found = minimised(objective, np.column_stack([mu, np.log(start), centre]))
        return AbcdFits(
            found.x[:, 0],
            objective.background(found.x),
            found.x[:, 4],
            np.maximum(found.value, 0.0),
            found.converged,
        )


@dataclass(frozen=True, eq=False)
class _Objective:
    """-ln L of mu, ln b, ln c, ln d and alpha, as `newton.minimised` wants it."""

    model: AbcdModel
    counts: Array
    centre: Array
    held: bool

    @property
    def rounding(self) -> Array:
        return np.asarray(_ROUNDING * (1 + self.counts.sum(axis=1)))

    def projected(self, x: Array) -> Array:
        x = x.copy()
        x[:, 0] = np.maximum(x[:, 0], 0.0)
        x[:, 1:4] = np.maximum(x[:, 1:4], _LOWEST)
        return x

    def background(self, x: Array) -> Array:
        ln_b = x[:, 1:4] @ _TIES.T
        ln_b[:, 0] += np.log(self.model.closure_factor) + self.model.sigma * x[:, 4]
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(ln_b))

    def value(self, x: Array, rows: Rows) -> Array:
        seen = self.counts[rows]
        mean = np.maximum(self.background(x) + x[:, :1] * self.model.signal, _TINY)
        with np.errstate(over="ignore", invalid="ignore"):
            # n ln (n / mean) - (n - mean): large counts that agree cancel term by term.
            terms = mean - seen + xlogy(seen, np.where(seen > 0, seen, 1.0) / mean)
            value: Array = terms.sum(axis=1) + 0.5 * (x[:, 4] - self.centre[rows]) ** 2
        return np.asarray(np.where(np.isfinite(value), value, np.inf))

    def derivatives(self, x: Array, rows: Rows) -> tuple[Array, Array]:
        seen, background = self.counts[rows], self.background(x)
        mean = np.maximum(background + x[:, :1] * self.model.signal, _TINY)
        ties = np.column_stack([np.zeros(4), _TIES, [self.model.sigma, 0.0, 0.0, 0.0]])
        slopes = background[:, :, None] * ties
        slopes[:, :, 0] = self.model.signal
        with np.errstate(over="ignore"):
            pull = 1 - seen / mean
            weight = seen / mean**2
        gradient = np.einsum("rki,rk->ri", slopes, pull)
        hessian = np.einsum("rki,rk,rkj->rij", slopes, weight, slopes)
        hessian += np.einsum("ki,rk,kj->rij", ties, pull * background, ties)
        gradient[:, 4] += x[:, 4] - self.centre[rows]
        hessian[:, 4, 4] += 1
        fixed = np.full(len(x), True) if self.held else (x[:, 0] <= 0) & (gradient[:, 0] > 0)
        gradient[fixed, 0] = 0.0
        hessian[fixed, 0, :] = hessian[fixed, :, 0] = 0.0
        hessian[fixed, 0, 0] = 1.0
        return gradient, hessian
