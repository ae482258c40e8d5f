"""Background of a selection from what it rejects, times a polynomial in the mass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats.p_values import significance
from tnt_coffea.stats.quantities import check_kind, check_level, check_numbers, check_whole
from tnt_coffea.stats.search_histogram import inclusive_spectrum, selected_spectrum
from tnt_coffea.stats.signal_norm import combined_norm
from tnt_coffea.stats.signals import ALL, Signal
from tnt_coffea.stats.spectrum import sample_notes, spectra, variable_of
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.transfer_fit import (
    BesideFit,
    SignalFit,
    TransferProblem,
    squared_weights,
    unconverged,
)
from tnt_coffea.stats.transfer_results import (
    TransferEstimate,
    TransferRefusal,
    TransferSpectrum,
)
from tnt_coffea.stats.validity import (
    LEAST_RANGE_GOODNESS,
    MOST_TOYS,
)
from tnt_coffea.working_points import WorkingPoint

__all__ = ["norm_in_range", "transfer_factor", "transfer_in_search"]

Array = NDArray[np.float64]

_MOST_ORDER = 8
# Bins this near to the mass, in widths, are counted beside the fit.
_COUNTED_WIDTHS = 2.0
# Share of a sum that is rounding.
_ROUNDING = 1e-9


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
    problem = TransferProblem(both, signal, float(signal_in_fail), denominator == "all", seed)
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
    fitted = SignalFit(problem.model(beside.model.order), problem.counts, beside, problem.whole)
    both_fits = (fitted.model, fitted.null), (fitted.model, fitted.best)
    if (lost := unconverged("to all bins", *both_fits)) is not None:
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


def _spectrum(
    problem: TransferProblem, beside: BesideFit, fitted: SignalFit, variable: str
) -> TransferSpectrum:
    passed, failed = problem.data
    ratio, slopes = beside.transfer(problem)
    spread = np.sqrt(np.maximum(np.einsum("bi,ij,bj->b", slopes, beside.covariance, slopes), 0.0))
    bins = fitted.model.bins
    weight = fitted.model.weights[0]
    background = fitted.best.background[0, :bins] * weight
    signal = fitted.best.mu[0] * fitted.model.signal[:bins] * weight
    variances = squared_weights(failed)
    return TransferSpectrum(
        edges=_listed(problem.edges),
        passed=_listed(passed.sums),
        passed_variances=_listed(squared_weights(passed)),
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
