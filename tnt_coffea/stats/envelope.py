"""Functions that compete for the background: at every signal strength the best one counts.

A function is a family with a number of parameters, the same in all channels. Each is fitted, and
at every signal strength the one of least -ln L + parameters / 2 is taken: a discrete nuisance
parameter, profiled like any other.

Source
------
Dauncey, Kenzie, Wardle, Davies, arXiv:1408.6865; the penalty is their choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc

from tnt_coffea.stats import engine
from tnt_coffea.stats.engine import Discoveries, Fit, Fits
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.results import FunctionFit
from tnt_coffea.stats.validity import LEAST_BACKGROUND

__all__ = [
    "COMPETING_FROM",
    "Envelope",
    "Functions",
    "Profile",
    "asked_orders",
    "competing",
    "enveloped",
    "family_of",
    "mu_interval",
    "observed_counts",
    "order_of",
    "profiled",
]

Array = NDArray[np.float64]

Functions = Mapping[str, tuple[Channel, ...]]
"""The channels of a model by the function of their backgrounds: 'family parameters'."""

COMPETING_FROM = 1500.0
"""Events in all channels from which on functions compete.

What a function that the F-test keeps may miss grows with the events, relative to the uncertainty
of a signal. With fewer, or where next to none lie near the signal (`validity.LEAST_BACKGROUND`),
a richer function only follows what the signal would be (docs/statistics.md).
"""

# From there on, functions with so many parameters more than the data ask for take part.
_MORE = 2
_DOUBLINGS = 30


def order_of(name: str) -> int:
    """Return the number of parameters of a function."""
    return int(name.rpartition(" ")[2])


def family_of(name: str) -> str:
    """Return the family of a function."""
    return name.rpartition(" ")[0]


def _penalties(functions: Functions) -> Array:
    return np.array([0.5 * sum(c.background.parameters for c in f) for f in functions.values()])


@dataclass(frozen=True, eq=False)
class Profile:
    """Fits with every function, for one or many sets of counts.

    Attributes
    ----------
    fits
        By function.
    penalties
        parameters / 2 of every function, shape (functions,).
    """

    fits: Mapping[str, Fits]
    penalties: Array

    @cached_property
    def each(self) -> Array:
        """Penalised -ln L of every function, shape (functions, toys)."""
        found = np.array([fits.nll for fits in self.fits.values()]) + self.penalties[:, None]
        return np.where(np.isnan(found), np.inf, found)

    @cached_property
    def best(self) -> NDArray[np.intp]:
        """Position of the best function, shape (toys,)."""
        return np.asarray(self.each.argmin(axis=0))

    @cached_property
    def nll(self) -> Array:
        """Penalised -ln L of the best function, shape (toys,)."""
        return np.asarray(self.each.min(axis=0))

    @cached_property
    def mu(self) -> Array:
        """Signal strength of the best function, shape (toys,)."""
        return self._of_the_best([fits.mu for fits in self.fits.values()])

    @cached_property
    def converged(self) -> NDArray[np.bool_]:
        """Whether the fit of the best function converged, shape (toys,)."""
        return self._of_the_best([fits.converged for fits in self.fits.values()])

    def function(self, toy: int = 0) -> str:
        """Return the best function."""
        return list(self.fits)[int(self.best[toy])]

    def fit(self, toy: int = 0) -> Fit:
        """Return the fit of the best function."""
        return self.fits[self.function(toy)].one(toy)

    def expected(self, functions: Functions, toy: int = 0) -> list[Array]:
        """Return all that the best function expects in every channel, shape (bins,)."""
        name, one = self.function(toy), np.array([toy])
        means = engine.expectations(functions[name], self.fits[name].some(one))
        return [mean[0] for mean in means]

    def some(self, toys: NDArray[np.intp]) -> Profile:
        """Return the fits of some of the toys."""
        return Profile({name: fits.some(toys) for name, fits in self.fits.items()}, self.penalties)

    def of(self, names: Sequence[str]) -> Profile:
        """Return the fits with some of the functions."""
        places = [list(self.fits).index(name) for name in names]
        return Profile({name: self.fits[name] for name in names}, self.penalties[places])

    def _of_the_best(self, values: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.asarray(np.take_along_axis(np.array(values), self.best[None], axis=0)[0])


@dataclass(frozen=True, eq=False)
class Envelope:
    """Tests of mu = 0 with every function, for one or many sets of counts.

    Attributes
    ----------
    tests
        By function.
    penalties
        parameters / 2 of every function, shape (functions,).
    """

    tests: Mapping[str, Discoveries]
    penalties: Array

    @classmethod
    def of(cls, functions: Functions, tests: Mapping[str, Discoveries]) -> Envelope:
        """Return the tests with functions that compete, given those with each alone."""
        return cls(tests, _penalties(functions))

    @cached_property
    def background(self) -> Profile:
        """The fits at mu = 0."""
        return Profile({name: t.background for name, t in self.tests.items()}, self.penalties)

    @cached_property
    def best(self) -> Profile:
        """The fits of mu >= 0."""
        return Profile({name: t.best for name, t in self.tests.items()}, self.penalties)

    @property
    def q0(self) -> Array:
        """Test statistic, shape (toys,)."""
        return np.asarray(np.maximum(0.0, 2 * (self.background.nll - self.best.nll)))

    @property
    def z(self) -> Array:
        """sqrt(q0), shape (toys,)."""
        return np.sqrt(self.q0)

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Whether the fits of the best functions converged, shape (toys,)."""
        return np.asarray(self.background.converged & self.best.converged)

    def with_q0_of(self, function: str, q0: float, toy: int = 0) -> float:
        """Return the test statistic with q0 of one function, the best with a signal, given.

        A function that is better at mu = 0 lowers it by as much; the same numbers, to the
        precision of the minimisers, stand on both sides.
        """
        null = self.background
        own = null.each[list(null.fits).index(function), toy]
        return max(0.0, q0 + 2 * float(null.nll[toy] - own))

    def functions(self, unit: float = 1.0, toy: int = 0) -> tuple[FunctionFit, ...]:
        """Return every function's part in one of the tests, signals times a unit."""
        return tuple(
            FunctionFit(
                family_of(name),
                order_of(name),
                float(self.background.each[i, toy]),
                float(self.best.each[i, toy]),
                unit * float(test.best.mu[toy]),
                float(test.z[toy]),
            )
            for i, (name, test) in enumerate(self.tests.items())
        )


def enveloped(
    functions: Functions,
    observed: Sequence[Array],
    nulls: Mapping[str, Fits] | None = None,
    *,
    centres: Array | None = None,
) -> Envelope:
    """Test mu = 0 with every function.

    Parameters
    ----------
    functions
        Channels by function.
    observed
        Counts of every channel, shape (toys, bins).
    nulls
        Background fits of the same toys by function, if they are known.
    centres
        Auxiliary measurements of the nuisance parameters, shape (toys, nuisances); by default 0.
    """
    tests = {
        name: engine.discoveries(
            channels, observed, nulls[name] if nulls else None, centres=centres
        )
        for name, channels in functions.items()
    }
    return Envelope.of(functions, tests)


def profiled(
    functions: Functions,
    observed: Sequence[Array],
    start: Profile | None = None,
    *,
    mu: float | None = None,
    signed: bool = False,
    centres: Array | None = None,
) -> Profile:
    """Fit every function at one signal strength, or mu with it, as `engine.signal_fits` does.

    Parameters
    ----------
    functions, observed
        As for `enveloped`.
    start
        Where to begin; by default at the fits without a signal.
    mu
        Keep mu at this value.
    signed
        Let mu be negative.
    centres
        As for `enveloped`.
    """
    fits = {}
    for name, channels in functions.items():
        begin = (
            engine.background_fits(channels, observed, centres=centres)
            if start is None
            else start.fits[name]
        )
        fits[name] = engine.signal_fits(
            channels, observed, begin, mu=mu, signed=signed, centres=centres
        )
    return Profile(fits, _penalties(functions))


def observed_counts(functions: Functions) -> list[Array]:
    """Return the observations of every channel, shape (1, bins)."""
    first = next(iter(functions.values()))
    return [np.asarray(channel.observed, dtype=float)[None] for channel in first]


def asked_orders(best: Profile, f_test: float) -> dict[str, NDArray[np.intp]]:
    """Return by family how many parameters the data ask for, in each channel, shape (toys,).

    A parameter is added while twice the gain in ln L, as chi-square with a degree of freedom a
    channel, has a p-value below `f_test`.

    Parameters
    ----------
    best
        Fits of every function of every family, from the fewest parameters on, with the signal:
        without it the choice would follow the signal.
    f_test
        p-value below which a parameter is added.
    """
    asked: dict[str, NDArray[np.intp]] = {}
    last: dict[str, tuple[Array, NDArray[np.bool_]]] = {}
    for name, fits in best.fits.items():
        family, order = family_of(name), order_of(name)
        if family not in asked:
            asked[family] = np.full(len(fits), order, dtype=np.intp)
            last[family] = fits.nll, np.ones(len(fits), dtype=bool)
            continue
        nll, growing = last[family]
        gain = np.maximum(0.0, 2 * (nll - fits.nll))
        growing = growing & (chdtrc(len(fits.phi), gain) < f_test)
        asked[family][growing] = order
        last[family] = fits.nll, growing
    return asked


def competing(
    names: Iterable[str], asked: Mapping[str, int], events: float, near: float
) -> list[str]:
    """Return the functions that compete where the data ask for some orders.

    Those of at most two parameters more; where events are few that of each family alone for
    which its F-test asks.

    Parameters
    ----------
    names
        All functions.
    asked
        Of `asked_orders`, of one toy.
    events, near
        In all channels, and those of the background near the signal.
    """
    if events < COMPETING_FROM or near < LEAST_BACKGROUND:
        return [name for name in names if order_of(name) == asked[family_of(name)]]
    return [name for name in names if order_of(name) <= asked[family_of(name)] + _MORE]


def mu_interval(functions: Functions, best: Profile, sigma: float) -> tuple[float, float | None]:
    """Return where the penalised ln L falls by one half on both sides of the best mu >= 0.

    Parameters
    ----------
    functions
        Channels by function.
    best
        The fits of mu to their own observations.
    sigma
        Its uncertainty, the first step of the search.

    Returns
    -------
    Lower end, 0 where ln L falls by less; upper end, None where ln L never falls so far.

    Raises
    ------
    FitError
        The fits say nothing about mu.
    """
    counts = observed_counts(functions)
    engine.check_informative(sigma)
    mu, least = float(best.mu[0]), float(best.nll[0])

    def rise(at: float) -> float:
        return float(profiled(functions, counts, best, mu=at).nll[0]) - least - 0.5

    def crossing(outer: float) -> float:
        return float(brentq(rise, *sorted((mu, outer)), xtol=1e-4 * sigma))

    low = 0.0 if mu == 0 or rise(0.0) <= 0 else crossing(0.0)
    step = sigma
    for _ in range(_DOUBLINGS):
        if rise(mu + step) > 0:
            return low, crossing(mu + step)
        step *= 2
    return low, None
