"""Background of a selection from what it rejects, times a polynomial in the mass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import chdtrc, logsumexp, xlogy

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.abcd_limits import AsymptoticAbcd, toy_limits
from tnt_coffea.stats.limit_results import LimitRefusal
from tnt_coffea.stats.p_values import normal_p_value, significance, toys_p_value
from tnt_coffea.stats.quantities import check_kind, check_level, check_numbers, check_whole
from tnt_coffea.stats.search_histogram import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.signal_norm import combined_norm
from tnt_coffea.stats.signals import ALL, Signal
from tnt_coffea.stats.spectrum import Spectrum, SpectrumFit, sample_notes, spectra, variable_of
from tnt_coffea.stats.transfer_likelihood import (
    TransferFits,
    TransferModel,
    bernstein,
    elevated,
)
from tnt_coffea.stats.transfer_results import (
    OrderTest,
    TransferEstimate,
    TransferLimit,
    TransferRefusal,
    TransferSpectrum,
    TwoStepEstimate,
)
from tnt_coffea.stats.validity import (
    CLOSURE_AGREEMENT,
    GOODNESS_TOYS,
    LEAST_BACKGROUND,
    LEAST_IN_BIN,
    LEAST_RANGE_GOODNESS,
    LEAST_TRANSFERRED,
    LEAST_UNDER_LIMIT,
    MOST_TOYS,
    SIDEBAND_WIDTHS,
)
from tnt_coffea.working_points import WorkingPoint

__all__ = ["norm_in_range", "transfer_factor", "transfer_in_search"]

Array = NDArray[np.float64]

_MOST_ORDER = 8
# Bins this near to the mass, in widths, are counted beside the fit.
_COUNTED_WIDTHS = 2.0
# Toys without a signal; where fewer than so many reach the data, more are thrown between the fits
# without and with a signal, at these shares of the way.
_TOYS = 2000
_ENOUGH = 100
_WITH_SIGNAL = 3000
_BETWEEN = (1 / 3, 2 / 3, 1.0)
# Rounding of q0, and of an Asimov signal in units of its uncertainty.
_TIE = 1e-7
_INJECTED = 2.0
_ROUNDING = 1e-9
# Share of the least limit that a count can have, below which toys do not know it.
_LEAST_LIMIT = 0.8
# Toys that are fitted at once.
_BATCH = 10_000


def transfer_factor(
    passed: Any,
    failed: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    order: int | None = None,
    min_order: int = 3,
    max_order: int = 4,
    f_test: float = 0.05,
    denominator: Literal["fail", "all"] = "fail",
    signal_in_fail: float = 0.0,
    least_goodness: float = LEAST_RANGE_GOODNESS,
    toys: int | None = None,
    level: float | None = 0.95,
    limit_toys: int | None = None,
    seed: int = 1,
) -> TransferEstimate | TransferRefusal:
    """Test for a signal in what passes, its background what fails times a polynomial.

    One Poisson likelihood holds both spectra: the rate of every bin is free, and the polynomial
    in the mass, with coefficients of 0 or more in Bernstein's basis, ties pass to fail. Its order
    is chosen, and its goodness judged, by the bins further than 3 widths from the mass: the least
    order that no higher one is better than by a likelihood-ratio test.

    Parameters
    ----------
    passed, failed
        Histograms in the mass [GeV] of events that pass, and of those that do not.
    mass, width
        Of the signal [GeV].
    fit
        Range, bins and shape of the signal. Families and trigger are not read: the trigger's
        efficiency is the same for pass and fail, and signals are events behind it.
    order
        Of the polynomial; None chooses it, from `min_order` up to `max_order`. Starting from 0,
        the choice keeps a constant where the data cannot yet tell it from the truth: 7 to 19 % of
        background-only toys of a cubic ratio then pass a 5 % test; starting from 3, 2 to 6 %.
    f_test
        p-value of the test below which a higher order is taken.
    denominator
        Whether the polynomial is pass over `fail`, or over `all`.
    signal_in_fail
        Signal events that fail per one that passes. Without it (0) what fails is taken as
        background, and mu is too small by the factor 1 - signal_in_fail x pass / fail. It cannot
        be fitted: a signal among many events that fail looks like their rate.
    least_goodness
        p-value of the fit beside the signal below which the result is refused.
    toys
        Toys for the p-value; 0 takes the asymptotic formula, None takes toys where fewer than 25
        background events pass near the mass.
    level
        Confidence level of the upper limit; None: no limit.
    limit_toys
        As `toys` of `abcd_limit`, for fewer than 10 background events.
    seed
        Root seed of the toys.

    Returns
    -------
    The test; or why there is none: too few events, a polynomial that does not describe the bins
    beside the signal, so much signal in fail that an excess is no sign of it, or a fit that does
    not converge.

    Raises
    ------
    FitError
        The histograms are none of counts, lack the bins of the fit, or an argument is out of
        range.

    Source
    ------
    LHC Olympics 2020, arXiv:2101.08320: order 4 is the particle graph autoencoder's ratio
    (section 3.7) and, of `all`, GAN-AE's (3.4); order 0 is the template of latent Dirichlet
    allocation (3.6). They take it as exact: `two_step` of the result.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 5000), bin_width=100)
    >>> passed, failed = stats.toy_spectrum(1000, 50), stats.toy_spectrum(20_000, seed=2)
    >>> result = stats.transfer_factor(passed, failed, mass=3500, width=120, fit=fit)
    >>> result.order, round(result.observed), round(result.predicted)
    (3, 141, 91)
    """
    check_numbers({"mass": mass, "width": width}, 0, above=True)
    check_kind(SpectrumFit, {"fit": fit})
    check_numbers({"signal_in_fail": signal_in_fail, "least_goodness": least_goodness}, 0)
    check_numbers({"f_test": f_test}, 0, above=True)
    check_whole({"max_order": max_order} | ({} if order is None else {"order": order}), _MOST_ORDER)
    check_whole({"min_order": min_order}, max_order)
    given = {"toys": toys, "limit_toys": limit_toys}
    check_whole({name: value for name, value in given.items() if value is not None}, MOST_TOYS)
    check_whole({"seed": seed})
    if level is not None:
        check_level(level)
    if denominator not in ("fail", "all"):
        msg = f"denominator is {denominator!r}, expected 'fail' or 'all'"
        raise FitError(msg)
    signal = fit.signal(mass, width)
    norm = combined_norm(norm_in_range(fit, signal))
    fit.check_sidebands(signal)
    both = spectra({"pass": passed, "fail": failed}, replace(fit, trigger=None))
    if not np.array_equal(both[0].edges, both[1].edges):
        msg = "pass and fail have other bins: give the fit edges or a bin_width that both have"
        raise FitError(msg)
    problem = _Problem(both, signal, float(signal_in_fail), denominator == "all", seed)
    orders, beside, reason = problem.beside(order, (min_order, max_order), f_test)
    if beside is None:
        return TransferRefusal(reason, orders)
    goodness, calibration = beside.goodness(seed)
    if goodness < least_goodness:
        reason = (
            f"a polynomial of order {beside.model.order} does not describe pass / {denominator} "
            f"beside the signal (goodness of fit p = {goodness:.2g}, below "
            f"{least_goodness:g}): narrow the range or allow a higher order"
        )
        return TransferRefusal(reason, orders, goodness)
    fitted = _Fitted(problem.model(beside.model.order), problem.counts, beside, problem.whole)
    both_fits = (fitted.model, fitted.null), (fitted.model, fitted.best)
    if (lost := _unconverged("to all bins", *both_fits)) is not None:
        return TransferRefusal(lost, orders, goodness)
    if fitted.reversed:
        reason = (
            f"{signal_in_fail:g} signal events that fail per one that passes: a signal raises the "
            "prediction by as much as what passes, so that an excess is no sign of it"
        )
        return TransferRefusal(reason, orders, goodness)
    p_value, how, thrown, bound, p_notes = fitted.p_value(toys, seed)
    mu_uncertainty = float(np.sqrt(max(fitted.covariance[0, 0], 0.0)))
    problems = fitted.problems(mu_uncertainty)
    window, inside = problem.near(_COUNTED_WIDTHS)
    predicted, uncertainty = beside.predicted(problem, inside)
    return TransferEstimate(
        mass=float(mass),
        width=float(width),
        fit_range=(float(fit.range[0]), float(fit.range[1])),
        denominator=denominator,
        order=fitted.model.order,
        chosen=order is None,
        orders=orders,
        goodness_of_fit=goodness,
        goodness_calibration=calibration,
        domain=problem.domain,
        coefficients=_listed(fitted.best.coefficients[0]),
        signal_in_fail=float(signal_in_fail),
        window=window,
        observed=float(both[0].sums[inside].sum()),
        predicted=float(predicted.sum()),
        uncertainty=uncertainty,
        mu_hat=float(fitted.best.mu[0]),
        mu_uncertainty=mu_uncertainty,
        q0=fitted.q0,
        z=float(np.sqrt(fitted.q0)) if how == "asymptotic" else significance(p_value),
        p_value=p_value,
        calibration=how,
        toys=thrown,
        p_is_bound=bound,
        two_step=fitted.two_step(problem),
        converged=not problems,
        edm=float(max(fitted.null.edm[0], fitted.best.edm[0], beside.fits.edm[0])),
        notes=(
            *problems,
            *p_notes,
            *fitted.bound_notes(),
            *(
                ["what moves the signal in the mass is not part of this fit"]
                if signal.movements
                else []
            ),
            *sample_notes(both),
        ),
        spectrum=_spectrum(problem, beside, fitted, variable_of(passed)),
        limit=None if level is None else fitted.limit(level, limit_toys, seed, norm),
    )


def transfer_in_search(
    histogram: Any, point: WorkingPoint, *, mass: float, width: float, fit: SpectrumFit, **how: Any
) -> TransferEstimate | TransferRefusal:
    """Return the transfer factor of a search's selection: all events that it rejects fail.

    The folds are summed: each has the same share of events that pass, and the same masses up to
    its events.

    Parameters
    ----------
    histogram
        The search histogram.
    point
        The working point.
    mass, width, fit, how
        As for `transfer_factor`.

    Raises
    ------
    FitError
        As of `transfer_factor`; or the histogram lacks an axis or an edge.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> search, point = stats.toy_search(60_000, 60), stats.WorkingPoint.at({0: 0.9, 1: 0.9})
    >>> fit = stats.SpectrumFit((2600, 5000), bin_width=80)
    >>> result = stats.transfer_in_search(search, point, mass=3500, width=60, fit=fit)
    >>> result.order, result.observed, round(result.predicted)
    (3, 107.0, 49)
    """
    check_kind(WorkingPoint, {"point": point})
    passed = selected_spectrum(histogram, point, per_fold=False)["all"]
    failed = inclusive_spectrum(histogram)
    view, part = failed.view(), passed.view()
    # Sums of the same weights in another order differ by rounding.
    some = view.value - part.value > _ROUNDING * view.value
    view.value = np.where(some, view.value - part.value, 0.0)
    view.variance = np.where(some, view.variance - part.variance, 0.0)
    return transfer_factor(passed, failed, mass=mass, width=width, fit=fit, **how)


def norm_in_range(fit: SpectrumFit, signal: Signal) -> dict[str, tuple[float, float]]:
    """Return the uncertainties of the signal's events in the range of a fit.

    Parameters
    ----------
    fit
        Its range; uncertainties of the norm, and variations of a template, are the signal's.
    signal
        The signal.

    Returns
    -------
    By name, relative changes at -1 and +1 standard deviation, as `SpectrumFit.systematics`.
    """
    edges = np.array(fit.range)
    effects = signal.of(ALL, edges).effects(edges)
    return {one.name: (one.norm[1] - 1, one.norm[0] - 1) for one in effects if one.norm is not None}


@dataclass(frozen=True, eq=False)
class _Problem:
    """Two spectra and a signal, before an order is known."""

    data: tuple[Spectrum, ...]
    signal: Signal
    in_fail: float
    of_all: bool
    seed: int

    @cached_property
    def edges(self) -> Array:
        return self.data[0].edges

    @cached_property
    def counts(self) -> Array:
        """Effective events that pass, then that fail, shape (2 bins,)."""
        return np.concatenate([spectrum.counts for spectrum in self.data])

    @property
    def whole(self) -> bool:
        return not any(spectrum.weighted for spectrum in self.data)

    @cached_property
    def domain(self) -> tuple[float, float]:
        """Masses of the first and the last bin that hold events."""
        seen = np.flatnonzero(self.counts.reshape(2, -1).sum(axis=0))
        if seen.size < 2:
            return float(self.edges[0]), float(self.edges[-1])
        return float(self.edges[seen[0]]), float(self.edges[seen[-1] + 1])

    @cached_property
    def scales(self) -> Array | None:
        if self.whole:
            return None
        ones = np.ones(len(self.edges) - 1)
        return np.stack([spectrum.weights(ones) for spectrum in self.data])

    def model(self, order: int, bins: Any = slice(None)) -> TransferModel:
        low, high = self.domain
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])[bins]
        return TransferModel(
            bernstein(np.clip((centres - low) / (high - low), 0.0, 1.0), order),
            self.signal.of(ALL, self.edges).integrals(self.edges)[bins],
            self.in_fail,
            self.of_all,
            None if self.scales is None else self.scales[:, bins],
        )

    def near(self, widths: float) -> tuple[tuple[float, float], slice]:
        """Return the bins whose centres lie within some widths of the mass."""
        centres = 0.5 * (self.edges[1:] + self.edges[:-1])
        distance = np.abs(centres - self.signal.mass)
        inside = np.flatnonzero(distance <= max(widths * self.signal.width, distance.min()))
        first, last = int(inside[0]), int(inside[-1]) + 1
        return (float(self.edges[first]), float(self.edges[last])), slice(first, last)

    def beside(
        self, order: int | None, between: tuple[int, int], f_test: float
    ) -> tuple[tuple[OrderTest, ...], _Beside | None, str]:
        """Return the tests of the order, the fit of the one chosen, or why there is none."""
        _, near = self.near(SIDEBAND_WIDTHS)
        bins = np.delete(np.arange(len(self.edges) - 1), near)
        counts = self.counts.reshape(2, -1)[:, bins]
        passed, failed = counts.sum(axis=1)
        if min(passed, failed) < LEAST_TRANSFERRED:
            which = f"{passed:.4g} events pass and {failed:.4g} fail"
            return (), None, f"{which} beside the signal, fewer than {LEAST_TRANSFERRED:g}"
        # A polynomial of more parameters than bins with events has no maximum.
        most = int(np.count_nonzero(counts[0])) - 2
        if order is not None and order > most:
            reason = f"{most + 2} bins beside the signal hold events that pass: too few for order "
            return (), None, f"{reason}{order}"
        lowest, highest = (
            max(0, min(n, most)) for n in (between if order is None else [order] * 2)
        )
        fits: list[tuple[TransferModel, TransferFits]] = []
        start = None
        for n in range(highest + 1):
            model = self.model(n, bins)
            found = model.at(counts.reshape(1, -1), start=start)
            fits.append((model, found))
            start = elevated(found.coefficients)
        deviances = [2 * float(found.nll[0]) for _, found in fits]
        tests = [
            OrderTest(n, deviances[n], _least_p(deviances, n) if n < highest else None)
            for n in range(highest + 1)
        ]
        if (lost := _unconverged("beside the signal", *fits)) is not None:
            return tuple(tests), None, lost
        chosen = next(
            test.order for test in tests[lowest:] if test.p_value is None or test.p_value >= f_test
        )
        model, found = fits[chosen]
        return tuple(tests), _Beside(model, counts.reshape(-1), found, bins, self.whole), ""


def _unconverged(where: str, *fits: tuple[TransferModel, TransferFits]) -> str | None:
    """Return why there is no result, if one of these fits did not find its minimum."""
    for model, found in fits:
        if not found.converged[0]:
            return (
                f"the fit of order {model.order} {where} did not converge (distance to the "
                f"minimum {found.edm[0]:.2g} in ln L): take a lower order, wider bins or a "
                "narrower range"
            )
    return None


def _least_p(deviances: Sequence[float], order: int) -> float:
    """Return the least p-value of the tests of an order against the higher ones."""
    return min(
        float(chdtrc(higher - order, max(0.0, deviances[order] - deviances[higher])))
        for higher in range(order + 1, len(deviances))
    )


def _thrown(mean: Array, counts: Array, toys: int, whole: bool, random: Any) -> Array:
    """Return toys of what passes and fails, shape (toys, 2 bins).

    Of whole events, each bin keeps its number: that holds all that is known of its rate, and
    nothing of the ratio.
    """
    if not whole:
        return np.asarray(random.poisson(mean, size=(toys, len(mean))), dtype=float)
    total = counts.reshape(2, -1).sum(axis=0)
    passed = random.binomial(total.astype(np.int64), _share(mean), size=(toys, len(total)))
    return np.concatenate([passed, total - passed], axis=1).astype(float)


def _share(mean: Array) -> Array:
    """Return the probability to pass in every bin."""
    passed, failed = mean.reshape(2, -1)
    both = passed + failed
    return np.asarray(np.divide(passed, both, out=np.zeros_like(both), where=both > 0).clip(0, 1))


@dataclass(frozen=True, eq=False)
class _Beside:
    """The fit without a signal to the bins beside it."""

    model: TransferModel
    counts: Array
    fits: TransferFits
    bins: NDArray[np.intp]
    whole: bool

    def goodness(self, seed: int) -> tuple[float, str]:
        """Return the p-value of the fit, and how it was calibrated."""
        seen, mean = 2 * float(self.fits.nll[0]), self.fits.background[0]
        occupied = np.tile(self.counts.reshape(2, -1).sum(axis=0) > 0, 2)
        if mean[occupied].min() >= LEAST_IN_BIN:
            freedom = np.count_nonzero(occupied) // 2 - self.model.order - 1
            return float(chdtrc(max(freedom, 1), seen)), "asymptotic"
        random = seeds.generator(seed, "stats", "transfer", "goodness")
        toys = _thrown(mean, self.counts, GOODNESS_TOYS, self.whole, random)
        refitted = self.model.at(toys, start=self.fits.coefficients)
        return toys_p_value(int(np.sum(2 * refitted.nll >= seen - _TIE)), GOODNESS_TOYS), "toys"

    @cached_property
    def covariance(self) -> Array:
        """Of the coefficients."""
        return self.model.covariance(self.counts, self.fits, held=True)[1:, 1:]

    def transfer(self, problem: _Problem) -> tuple[Array, Array]:
        """Return pass over fail in all bins, and its slopes in the coefficients."""
        return problem.model(self.model.order).transfer(self.fits.coefficients[0])

    def predicted(self, problem: _Problem, inside: slice) -> tuple[Array, float]:
        """Return what fails in some bins times the polynomial, and the uncertainty of the sum."""
        ratio, slopes = (values[inside] for values in self.transfer(problem))
        failed, variances = problem.data[1].sums[inside], _variances(problem.data[1])[inside]
        slope = failed @ slopes
        variance = ratio**2 @ variances + slope @ self.covariance @ slope
        return ratio * failed, float(np.sqrt(max(float(variance), 0.0)))


def _variances(spectrum: Spectrum) -> Array:
    """Return sums of squared weights."""
    return spectrum.sums * spectrum.weights(np.ones_like(spectrum.counts))


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The fits without and with a signal to all bins."""

    model: TransferModel
    observed: Array
    side: _Beside
    whole: bool

    @property
    def counts(self) -> Any:
        """The data, as limits want them."""
        return self.observed

    @cached_property
    def null(self) -> TransferFits:
        return self.model.at(self.observed[None], start=self.side.fits.coefficients)

    @cached_property
    def best(self) -> TransferFits:
        return self.model.best(self.observed[None], start=self.side.fits.coefficients)

    @cached_property
    def fitted(self) -> Array:
        """Background alone, as limits want it."""
        return np.asarray(self.null.background[0])

    @cached_property
    def covariance(self) -> Array:
        return self.model.covariance(self.observed, self.best)

    @property
    def q0(self) -> float:
        return max(0.0, 2 * float(self.null.nll[0] - self.best.nll[0]))

    @property
    def near(self) -> float:
        """Background events that pass within 2 widths of the mass."""
        close = self.model.shape > np.exp(-2) * self.model.shape.max()
        return float(self.fitted[: self.model.bins][close].sum())

    @property
    def _expected_near(self) -> str:
        # Not `predicted`, which is of the bins beside the signal.
        return (
            f"the fit without a signal to all bins has {self.near:.1f} background events within 2 "
            f"widths of the mass, fewer than {LEAST_BACKGROUND:g}"
        )

    @property
    def reversed(self) -> bool:
        """Whether a signal raises what fails, times the polynomial, as much as what passes."""
        passing, failing = self.model.signal.reshape(2, -1)
        u, v = self.model.shares(self.null.coefficients[0])
        return bool(np.sum(failing * u / np.maximum(v, 1e-300)) >= np.sum(passing))

    def p_value(self, toys: int | None, seed: int) -> tuple[float, str, int, bool, list[str]]:
        """Return p-value, its kind, the toys, whether it is a bound, and notes."""
        few = self.near < LEAST_BACKGROUND
        if toys == 0 or (toys is None and not few):
            notes = [f"{self._expected_near}: ask for toys"] if few else []
            return normal_p_value(float(np.sqrt(self.q0))), "asymptotic", 0, False, notes
        notes = []
        if few:
            notes.append(f"{self._expected_near}: the p-value is from toys")
        size = _TOYS if toys is None else toys
        random, reached = seeds.generator(seed, "stats", "transfer", "toys"), 0
        for first in range(0, size, _BATCH):
            batch = min(_BATCH, size - first)
            thrown = _thrown(self.fitted, self.observed, batch, self.whole, random)
            reached += int(np.sum(self._q0(thrown) >= self.q0 - _TIE))
        if toys is not None or reached >= _ENOUGH:
            return toys_p_value(reached, size), "toys", size, not reached, notes
        p_value = self._weighted_p(thrown, random)
        return p_value, "toys", size + _WITH_SIGNAL, False, notes

    def _q0(self, counts: Array) -> Array:
        start = self.null.coefficients[0]
        null, best = (f(counts, start=start) for f in (self.model.at, self.model.best))
        return np.asarray(2 * (null.nll - best.nll))

    def _weighted_p(self, thrown: Array, random: np.random.Generator) -> float:
        """Return the p-value with toys of a signal, too, weighted by their probabilities.

        Source
        ------
        Cranmer, arXiv:1004.2910, section on importance sampling.
        """
        full = self.best.background[0] + self.best.mu[0] * self.model.signal
        means = [self.fitted, *(self.fitted + x * (full - self.fitted) for x in _BETWEEN)]
        size = _WITH_SIGNAL // len(_BETWEEN)
        more = [_thrown(mean, self.observed, size, self.whole, random) for mean in means[1:]]
        # The data are the last experiment.
        counts = np.concatenate([thrown, *more, self.observed[None]])
        ln_l = np.stack([self._ln_l(counts, mean) for mean in means])
        shares = np.array([len(thrown), *[size] * len(_BETWEEN)], dtype=float)
        weights = np.exp(ln_l[0] - logsumexp(ln_l, b=(shares / shares.sum())[:, None], axis=0))
        reached = self._q0(counts[:-1]) >= self.q0 - _TIE
        return float(min(1.0, (weights[-1] + weights[:-1][reached].sum()) / len(weights)))

    def _ln_l(self, counts: Array, mean: Array) -> Array:
        if not self.whole:
            return np.asarray((xlogy(counts, mean) - mean).sum(axis=1))
        share = _share(mean)
        probabilities = np.concatenate([share, 1 - share])
        return np.asarray(xlogy(counts, probabilities).sum(axis=1))

    def problems(self, mu_uncertainty: float) -> list[str]:
        problems = []
        injected = _INJECTED * mu_uncertainty
        if np.isfinite(injected) and injected > 0:
            asimov = self.fitted + injected * self.model.signal
            found = float(self.model.best(asimov[None], start=self.null.coefficients).mu[0])
            if abs(found / injected - 1) > CLOSURE_AGREEMENT:
                problems.append(f"{injected:.4g} signal events in Asimov data give {found:.4g}")
        else:
            problems.append("the signal's uncertainty is not known")
        return problems

    def bound_notes(self) -> list[str]:
        """Return which coefficients are at their bound."""
        fits = {"beside the signal": self.side.fits, "to all bins": self.best}
        return [
            f"coefficients of the polynomial at their bound in the fit {where}: "
            f"{', '.join(map(str, at))}; its uncertainties take them as exact and are too small"
            for where, fit in fits.items()
            if (at := self.model.at_bound(fit))
        ]

    def two_step(self, problem: _Problem) -> TwoStepEstimate:
        """Return the test with the polynomial of all bins, and what fails, as exact."""
        bins = self.model.bins
        ratio, _ = self.model.transfer(self.null.coefficients[0])
        background = ratio * problem.data[1].sums / self.model.weights[0]
        used = background > 0
        b, n, s = background[used], self.observed[:bins][used], self.model.signal[:bins][used]

        def slope(mu: float) -> float:
            return float(np.sum(s * (1 - n / (b + mu * s))))

        def nll(mu: float) -> float:
            return float(np.sum(mu * s - xlogy(n, b + mu * s)))

        mu = 0.0
        if slope(0.0) < 0:
            high = 1.0
            while slope(high) < 0:
                high *= 2
            mu = float(brentq(slope, 0.0, high))
        curvature = float(np.sum(np.maximum(n, b) * (s / (b + mu * s)) ** 2))
        return TwoStepEstimate(
            mu,
            float(1 / np.sqrt(curvature)) if curvature > 0 else 0.0,
            float(np.sqrt(max(0.0, 2 * (nll(0.0) - nll(mu))))),
        )

    def limit(
        self, level: float, toys: int | None, seed: int, norm: tuple[float, float]
    ) -> TransferLimit | LimitRefusal:
        if toys and toys + 1 <= 1 / (1 - level):
            return LimitRefusal(f"{toys} toys know no p-value as low as {1 - level:.3g}")
        formula, alpha = AsymptoticAbcd(self, norm), 1 - level
        few, thrown, uncertainty = self.near < LEAST_UNDER_LIMIT, 0, None
        notes: list[str] = []
        problems: list[str] = []
        try:
            limits = formula.limits(alpha)
            if toys or (toys is None and few):
                random = seeds.generator(seed, "stats", "transfer", "limit")
                limits, uncertainty, thrown, problems = toy_limits(
                    formula, limits, alpha, toys, random
                )
                notes.append(f"CLs is from {thrown} toys without a signal, and as many with it")
            elif few:
                notes.append("few events expected: the asymptotic limit is too low, ask for toys")
        except FitError as error:
            # The p-value stands without it.
            return LimitRefusal(str(error))
        observed, *expected = map(float, limits)
        if observed < expected[0]:
            notes.append("the observed limit lies below the expected one at -2 standard deviations")
        if thrown and observed < _LEAST_LIMIT * -np.log(alpha) / (1 + self.model.in_fail):
            # CLs of no event at all is exp(-mu).
            problems.append("the data lie beyond nearly all toys: the limit is not known")
        return TransferLimit(
            float(level),
            observed,
            tuple(expected),
            "toys" if thrown else "asymptotic",
            thrown,
            uncertainty,
            not problems,
            (*problems, *notes),
        )


def _spectrum(
    problem: _Problem, beside: _Beside, fitted: _Fitted, variable: str
) -> TransferSpectrum:
    passed, failed = problem.data
    ratio, slopes = beside.transfer(problem)
    spread = np.sqrt(np.maximum(np.einsum("bi,ij,bj->b", slopes, beside.covariance, slopes), 0.0))
    bins = fitted.model.bins
    weight = fitted.model.weights[0]
    background = fitted.best.background[0, :bins] * weight
    signal = fitted.best.mu[0] * fitted.model.signal[:bins] * weight
    variances = _variances(failed)
    return TransferSpectrum(
        edges=_listed(problem.edges),
        passed=_listed(passed.sums),
        passed_variances=_listed(_variances(passed)),
        failed=_listed(failed.sums),
        failed_variances=_listed(variances),
        transfer=_listed(ratio),
        transfer_uncertainty=_listed(spread),
        predicted=_listed(ratio * failed.sums),
        predicted_uncertainty=_listed(np.sqrt(ratio**2 * variances + (spread * failed.sums) ** 2)),
        background=_listed(background),
        expected=_listed(background + signal),
        signal=_listed(fitted.model.shape),
        at_bound=beside.model.at_bound(beside.fits),
        scales=() if problem.scales is None else tuple(map(_listed, problem.scales)),
        variable=variable,
    )


def _listed(values: Array) -> tuple[float, ...]:
    return tuple(map(float, values))
