"""CLs upper limit on the signal in the doubly tagged region."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_ndtr, logsumexp, ndtr, xlogy

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_likelihood import prepared_abcd
from tnt_coffea.stats.abcd_results import AbcdCounts, AbcdLimit
from tnt_coffea.stats.interpolation import factors
from tnt_coffea.stats.limit_results import BANDS, LimitRefusal
from tnt_coffea.stats.pyhf_model import numpy_backend
from tnt_coffea.stats.quantities import check_level, check_whole
from tnt_coffea.stats.signal_norm import NO_NORM, combined_norm, profiled_norm
from tnt_coffea.stats.signals import norm_factors
from tnt_coffea.stats.validity import LEAST_UNDER_LIMIT, LIMIT_AGREEMENT, MOST_TOYS

__all__ = ["AsymptoticAbcd", "abcd_limit", "limit_or_reason", "toy_limits"]

Array = NDArray[np.float64]

# Toys without a signal, and at each strength at which they are thrown; more until the limit is
# known to this share of it.
_TOYS = 1000
_PRECISION = 0.02
_ATTEMPTS = 4
_FAILED = 0.01
# Strengths at which CLs is known; at every third one toys are thrown.
_STRENGTHS = 16
_EVERY = 3
# Parts of the toys whose limits scatter as much as the whole one's error, times a root.
_PARTS = 10
# q that differ by less are the same number, and CLs below this is far enough from any level.
_TIE = 1e-6
_SMALLEST_CLS = 1e-6
_FARTHEST = 1e12


def abcd_limit(
    a: float,
    b: float,
    c: float,
    d: float,
    *,
    systematic: float = 0.03,
    closure_factor: float = 1.0,
    leakage: tuple[float, float, float] = (0.0, 0.0, 0.0),
    level: float = 0.95,
    toys: int | None = None,
    seed: int = 1,
    counts: AbcdCounts | None = None,
    systematics: Mapping[str, float | tuple[float, float]] | None = None,
) -> AbcdLimit:
    """Return the CLs upper limit on the signal events in A, observed and expected.

    Parameters
    ----------
    a, b, c, d, systematic, closure_factor, leakage, counts
        As for `abcd`.
    level
        Confidence level.
    toys
        Toys without a signal, and with one at each of six strengths; 0 takes the asymptotic
        formulae. None takes toys where fewer than 10 events are expected in A or seen in B, C or
        D: 1000, and more until the limit is known to 2 %.
    seed
        Root seed of the toys.
    systematics
        Uncertainties of the signal's norm, as `SpectrumFit.systematics`.

    Returns
    -------
    The limit in events of A, sums of weights where events are weighted; what the same signal
    leaks into B, C and D comes on top.

    Raises
    ------
    FitError
        As for `abcd`; or there is no limit.

    Source
    ------
    CLs: Read, J. Phys. G 28 (2002) 2693; the asymptotic formulae: arXiv:1007.1727, equations 16
    and 64 to 66. Toys have auxiliary measurements of their own, and the expected limits are where
    the quantiles of their CLs fall to 1 - level.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> limit = stats.abcd_limit(110, 1000, 1000, 10_000)
    >>> round(limit.observed), round(limit.expected[2])
    (31, 24)
    """
    check_level(level)
    if toys is not None:
        check_whole({"toys": toys}, MOST_TOYS)
    if toys and toys + 1 <= 1 / (1 - level):
        few = f"{toys} toys know no p-value as low as {1 - level:.3g}"
        msg = f"{few}: take {round(20 / (1 - level))}"
        raise FitError(msg)
    prepared = prepared_abcd((a, b, c, d), systematic, closure_factor, leakage, seed, counts)
    prepared = replace(prepared, norms=norm_factors(systematics or {}))
    alpha, unit = 1 - level, prepared.unit
    formula = AsymptoticAbcd(prepared, combined_norm(systematics))
    limits = formula.limits(alpha)
    fewest = min(prepared.expected / unit, *prepared.counts[1:])
    sparse = fewest < LEAST_UNDER_LIMIT
    notes: list[str] = []
    cls, uncertainty, thrown = None, None, 0
    if toys or (toys is None and sparse):
        random = seeds.generator(seed, "stats", "abcd", "limit")
        found = toy_limits(formula, limits, alpha, toys, random)
        limits, uncertainty, thrown, problems = found
        notes.append(
            f"CLs from {thrown} toys without a signal and as many at each of "
            f"{len(range(0, _STRENGTHS, _EVERY))} strengths, which vary counts and closure; they "
            f"know the observed limit to {100 * uncertainty / limits[0]:.1f} %"
        )
    else:
        cls, problems = _checked_by_pyhf(formula, prepared.pyhf, limits[0], alpha)
        if sparse:
            notes.append(
                f"{fewest:.1f} events expected in A or seen beside it: the asymptotic limit is too "
                "low, ask for toys"
            )
    observed, *expected = (unit * limit for limit in limits)
    if observed < expected[0]:
        notes.append("the observed limit lies below the expected one at -2 standard deviations")
    return AbcdLimit(
        level=float(level),
        observed=observed,
        expected=tuple(expected),
        uncertainty=None if uncertainty is None else unit * uncertainty,
        mu_hat=unit * float(formula.best.mu[0]),
        background=unit * float(prepared.fitted[0]),
        cls=cls,
        calibration="toys" if thrown else "asymptotic",
        toys=thrown,
        converged=not problems,
        notes=(*problems, *notes),
    )


def limit_or_reason(counts: AbcdCounts, **settings: Any) -> AbcdLimit | LimitRefusal:
    """Return the limit of the regions of a plane, or why there is none: the test stands without it.

    Parameters
    ----------
    counts
        The regions.
    settings
        Further arguments of `abcd_limit`.
    """
    try:
        return abcd_limit(*counts.regions, counts=counts, **settings)
    except FitError as error:
        return LimitRefusal(str(error))


class _CountsFits(Protocol):
    @property
    def mu(self) -> Array: ...
    @property
    def background(self) -> Array: ...
    @property
    def closure(self) -> Array: ...
    @property
    def nll(self) -> Array: ...
    @property
    def converged(self) -> NDArray[np.bool_]: ...


class _CountsModel(Protocol):
    @property
    def sigma(self) -> float: ...
    @property
    def signal(self) -> Array: ...
    def at(self, counts: Array, centre: Array, mu: Any) -> _CountsFits: ...
    def best(self, counts: Array, centre: Array) -> _CountsFits: ...


@dataclass(frozen=True, eq=False)
class _At:
    """Fits at one strength: their mu is signal events; alpha is that of the norm; nll with it."""

    fits: _CountsFits
    alpha: Array
    nll: Array


class _TiedCounts(Protocol):
    @property
    def model(self) -> _CountsModel: ...
    @property
    def counts(self) -> Any: ...
    @property
    def fitted(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class AsymptoticAbcd:
    """Asymptotic CLs of the data, and of background alone, over the signal in A.

    Other counts that are tied to each other have the same, such as those of a transfer factor.

    Attributes
    ----------
    prepared
        The counts and their model.
    norm
        Uncertainty of the signal's norm, of `combined_norm`.
    """

    prepared: _TiedCounts
    norm: tuple[float, float] = NO_NORM

    def at(self, counts: Array, centres: Array, norms: Array, mu: float) -> _At:
        """Return the fits at one strength.

        Parameters
        ----------
        counts, centres
            Experiments, and auxiliary measurements of their closure.
        norms
            Those of the signal's norm, shape (experiments,).
        mu
            Signal events in A.
        """
        if self.norm == NO_NORM:
            fits = self.model.at(counts, centres, mu)
            return _At(fits, np.zeros(len(counts)), fits.nll)

        def fitted(events: Array, rows: NDArray[np.intp]) -> tuple[Any, Array]:
            fits = self.model.at(counts[rows], centres[rows], events)
            mean = fits.background + events[:, None] * self.model.signal
            pulls = 1 - counts[rows] / np.maximum(mean, np.finfo(float).tiny)
            return fits, np.asarray(pulls @ self.model.signal)

        fits, alpha = profiled_norm(fitted, mu, self.norm, norms)
        return _At(fits, alpha, fits.nll + 0.5 * (alpha - norms) ** 2)

    @property
    def model(self) -> _CountsModel:
        """The model in numpy."""
        return self.prepared.model

    @cached_property
    def counts(self) -> Array:
        """The data, and the background that is fitted to them, shape (2, 4)."""
        return np.stack([np.array(self.prepared.counts), self.prepared.fitted])

    @cached_property
    def centres(self) -> Array:
        """Auxiliary measurement of both."""
        shift = self.model.sigma * (self.prepared.counts[0] - self.prepared.fitted[0])
        return np.array([0.0, shift])

    @cached_property
    def best(self) -> _CountsFits:
        """Fits of mu >= 0 to both."""
        return self.model.best(self.counts, self.centres)

    def ln_cls(self, mu: float) -> Array:
        """Return ln CLs of the data, and of background at -2 ... 2 standard deviations."""
        fits = self.at(self.counts, self.centres, np.zeros(2), mu)
        q = np.maximum(0.0, 2 * (fits.nll - self.best.nll))
        q[self.best.mu > mu] = 0.0
        root, asimov = np.sqrt(q)
        # Above the Asimov value q-tilde is not a chi-square: equation 65.
        beyond = root > asimov > 0
        seen = (q[0] - q[1]) / (2 * asimov) if beyond else root - asimov
        statistics = np.array([seen, *(-float(band) for band in BANDS)])
        return np.asarray(log_ndtr(-statistics - asimov) - log_ndtr(-statistics))

    def limits(self, alpha: float) -> list[float]:
        """Return the observed limit, and the expected ones."""
        return [
            _crossing(lambda mu, i=i: float(self.ln_cls(mu)[i]), alpha)  # type: ignore[misc]
            for i in range(1 + len(BANDS))
        ]


def _crossing(ln_cls: Callable[[float], float], alpha: float) -> float:
    high = 1.0
    while ln_cls(high) > np.log(alpha):
        high *= 2
        if high > _FARTHEST:
            msg = f"CLs stays above {alpha:g}: there is no limit here"
            raise FitError(msg)
    return float(brentq(lambda mu: ln_cls(mu) - np.log(alpha), 0.0, high, rtol=1e-6))


def _checked_by_pyhf(
    formula: AsymptoticAbcd, in_pyhf: tuple[Any, list[float]], limit: float, alpha: float
) -> tuple[float | None, list[str]]:
    """Return CLs by pyhf at a limit, and what is wrong with it."""
    import pyhf

    model, data = in_pyhf
    try:
        with numpy_backend():
            cls = float(pyhf.infer.hypotest(limit, data, model, test_stat="qtilde"))
    except pyhf.exceptions.FailedMinimization:
        return None, ["pyhf failed to fit; the limit is the numpy engine's"]
    slope = float(np.diff([formula.ln_cls(share * limit)[0] for share in (0.99, 1.01)])[0]) / 0.02
    if not abs(np.log(max(cls, _SMALLEST_CLS) / alpha)) <= LIMIT_AGREEMENT * abs(slope):
        return cls, [f"two minimisers disagree: CLs by pyhf is {cls:.4g} at {limit:.4g} events"]
    return cls, []


def toy_limits(
    formula: AsymptoticAbcd,
    around: list[float],
    alpha: float,
    toys: int | None,
    random: np.random.Generator,
) -> tuple[list[float], float, int, list[str]]:
    """Return the limits from toys, the error of the observed one, the toys, and problems.

    The strengths reach from half the least asymptotic limit to twice the largest, and further
    where that was not enough.

    Parameters
    ----------
    formula
        The data and their model.
    around
        Their asymptotic limits.
    alpha
        CLs of the limits.
    toys
        Toys of each hypothesis; None: until the observed limit is known to 2 %.
    random
        Where they come from.
    """
    low, high = 0.5 * min(around), 2 * max(around)
    size = toys or _TOYS
    for _ in range(_ATTEMPTS):
        thrown = _Toys.thrown(formula, np.geomspace(low, high, _STRENGTHS), size, random)
        limits = thrown.limits(alpha)
        error = thrown.error(alpha)
        below, above = min(limits) <= low, max(limits) >= high
        if below or above:
            low, high = low / (3 if below else 1), high * (3 if above else 1)
        elif toys is None and error > _PRECISION * limits[0]:
            # Strengths where the limits are, and more toys.
            low, high, size = 0.8 * min(limits), 1.25 * max(limits), 2 * size
        else:
            break
    problems = []
    if below or above:
        problems.append("a limit lies beyond the strengths at which toys were thrown")
    if thrown.failed > _FAILED * len(thrown.null):
        problems.append(f"{thrown.failed} of {len(thrown.null)} toys had a failed fit")
    return limits, error, size, problems


@dataclass(frozen=True, eq=False)
class _Toys:
    """Toys without a signal and at some strengths, each weighted for every other strength.

    Attributes
    ----------
    strengths
        Where CLs is known, rising.
    seen
        q-tilde of the data, shape (strengths,).
    q
        That of every toy, shape (strengths, toys).
    signal, null
        Weights of the toys at every strength, and without a signal: shapes (strengths, toys) and
        (toys,).
    failed
        Toys with a fit that did not converge.

    Source
    ------
    Weights of a mixture: Owen, Zhou, J. Amer. Statist. Assoc. 95 (2000) 135.
    """

    strengths: Array
    seen: Array
    q: Array
    signal: Array
    null: Array
    failed: int

    @classmethod
    def thrown(
        cls, formula: AsymptoticAbcd, strengths: Array, toys: int, random: np.random.Generator
    ) -> _Toys:
        """Throw toys of the expectations that the data's own fits give at each strength."""
        model, data = formula.model, (formula.counts[:1], formula.centres[:1])
        at = [formula.at(*data, np.zeros(1), float(mu)) for mu in (0.0, *strengths)]
        fits = [one.fits for one in at]
        means = np.stack([fit.background[0] + fit.mu[0] * model.signal for fit in fits])
        shifts = np.array([fit.closure[0] for fit in fits])
        moved = np.array([one.alpha[0] for one in at])
        sources = [0, *range(1, len(at), _EVERY)]
        counts = random.poisson(np.repeat(means[sources], toys, axis=0)).astype(float)
        centres = random.normal(np.repeat(shifts[sources], toys), 1.0)
        norms = np.repeat(moved[sources], toys)
        if formula.norm != NO_NORM:
            norms = random.normal(norms, 1.0)
        ln_l = np.stack(
            [
                (xlogy(counts, mean) - mean).sum(axis=1)
                - 0.5 * (centres - shift) ** 2
                - 0.5 * (norms - alpha) ** 2
                for mean, shift, alpha in zip(means, shifts, moved, strict=True)
            ]
        )
        weights = np.exp(ln_l - logsumexp(ln_l[sources], axis=0))
        best, good, q = model.best(counts, centres), np.ones(len(counts), dtype=bool), []
        # At the maximum the signal's events are those of the counts, whatever the norm.
        best_mu = best.mu / factors(*formula.norm, norms)[0]
        for mu in strengths:
            tested = formula.at(counts, centres, norms, float(mu))
            q.append(np.where(best_mu > mu, 0.0, np.maximum(2 * (tested.nll - best.nll), 0.0)))
            good &= tested.fits.converged
        own = formula.best
        seen = [
            2 * float(one.nll[0] - own.nll[0]) * (own.mu[0] <= mu)
            for one, mu in zip(at[1:], strengths, strict=True)
        ]
        failed = int(np.sum(~(good & best.converged)))
        return cls(strengths, np.maximum(seen, 0.0), np.stack(q), weights[1:], weights[0], failed)

    def limits(self, alpha: float) -> list[float]:
        """Return the limit of the data, and those at the quantiles of the toys' CLs."""
        curves = []
        shares = ndtr(np.array(BANDS, dtype=float))
        for seen, q, signal in zip(self.seen, self.q, self.signal, strict=True):
            values = _cls(q, signal, self.null, np.concatenate([[seen], q]))
            order = np.argsort(values[1:])
            share = np.cumsum(self.null[order]) / self.null.sum()
            places = np.minimum(np.searchsorted(share, shares), len(order) - 1)
            curves.append([values[0], *values[1:][order][places]])
        return [_fall(self.strengths, curve, alpha) for curve in np.transpose(curves)]

    def error(self, alpha: float) -> float:
        """Return the standard error of the observed limit."""
        limits = []
        for part in range(_PARTS):
            mine = slice(part, None, _PARTS)
            curve = [
                _cls(q[mine], signal[mine], self.null[mine], np.array([seen]))[0]
                for seen, q, signal in zip(self.seen, self.q, self.signal, strict=True)
            ]
            limits.append(_fall(self.strengths, np.array(curve), alpha))
        return float(np.std(limits, ddof=1) / np.sqrt(_PARTS))


def _cls(q: Array, signal: Array, null: Array, seen: Array) -> Array:
    """Return CLs at each value of q seen, from toys with weights of both hypotheses."""
    order = np.argsort(-q)
    reached = np.searchsorted(-q[order], _TIE - seen, side="right")
    tails, backgrounds = (
        np.concatenate([[0.0], np.cumsum(w[order])])[reached] / w.sum() for w in (signal, null)
    )
    # Data beyond all toys: so is a background of its kind.
    return np.where(backgrounds > 0, tails / np.maximum(backgrounds, np.finfo(float).tiny), 0.0)


def _fall(strengths: Array, cls: Array, alpha: float) -> float:
    """Return where CLs falls to alpha, its logarithm being taken as linear between strengths."""
    depth = np.log(np.maximum(np.minimum.accumulate(cls), _SMALLEST_CLS) / alpha)
    below = np.flatnonzero(depth < 0)
    if not below.size:
        return float(strengths[-1])
    last = below[0]
    if last == 0:
        return float(strengths[0])
    return float(np.interp(0.0, depth[[last, last - 1]], strengths[[last, last - 1]]))
