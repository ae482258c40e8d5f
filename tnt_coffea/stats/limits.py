"""CLs upper limits on a signal: in spectra, in one count, and with retrained taggers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.optimize import toms748
from scipy.special import gammaincc, ndtr
from scipy.stats import poisson as poisson_law

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import poisson
from tnt_coffea.stats.asymptotics import AsymptoticCls, ToyCls, crossing
from tnt_coffea.stats.background import MAX_PARAMETERS, MIN_PARAMETERS
from tnt_coffea.stats.channels import channel_models, signal_shares
from tnt_coffea.stats.histfactory import numpy_backend
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.limit_results import BANDS, LimitResult, RetrainedLimit
from tnt_coffea.stats.reported import pyhf_test
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectra import spectra

__all__ = ["counting_limit", "retrained_limit", "upper_limit"]

Array = NDArray[np.float64]

# With fewer background events under the signal the asymptotic limit is too low.
_LOW_BACKGROUND = 10.0
_DEFAULT_TOYS = 300
_UNDER = 2.0
# pyhf looks for the limit this far around the numpy engine's.
_BRACKET = 0.03
_AGREEMENT = 0.01
_GAUSS_POINTS = 60


def upper_limit(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit_range: tuple[float, float],
    bin_width: float | None = None,
    level: float = 0.95,
    efficiency: float | None = None,
    luminosity: float | None = None,
    family: str = "dijet",
    min_parameters: int = 3,
    max_parameters: int = MAX_PARAMETERS,
    f_test: float = 0.05,
    shape: str = "gaussian",
    scale_uncertainty: float = 0.0,
    width_uncertainty: float = 0.0,
    shares: Mapping[str, float] | None = None,
    toys: int | None = None,
    seed: int = 1,
) -> LimitResult:
    """Return the CLs upper limit on the signal events in one spectrum, or in several.

    Parameters
    ----------
    channels, mass, width, fit_range, bin_width, family, min_parameters, max_parameters
        As for `bump_hunt`, like f_test, shape, both uncertainties and shares.
    level
        Confidence level.
    efficiency
        Share of the produced signal events that is selected, for the cross section.
    luminosity
        Of the data [1/fb].
    toys
        Toys of each hypothesis at each strength; 0 takes the asymptotic formulae, None
        takes toys where fewer than 10 background events lie under the signal.
    seed
        Root seed of the toys.

    Returns
    -------
    The observed limit is pyhf's, found by TOMS 748 around that of the numpy engine,
    which gives the expected ones; with toys, all are the numpy engine's.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or there is no limit.

    Source
    ------
    CLs: Read, J. Phys. G 28 (2002) 2693; formulae: arXiv:1007.1727.

    Notes
    -----
    The limit holds for the taggers that selected these events. One on a model has to let
    its signal take part in the training: `retrained_limit`.
    """
    _check(level, efficiency, luminosity, (min_parameters, max_parameters), toys)
    signal = SignalShape(
        mass, width, shape, scale_uncertainty=scale_uncertainty, width_uncertainty=width_uncertainty
    )
    data = spectra(channels, fit_range, bin_width)
    if not fit_range[0] < mass < fit_range[1]:
        msg = f"mass {mass:g} GeV lies outside the fit range {fit_range[0]:g}-{fit_range[1]:g} GeV"
        raise FitError(msg)
    models = channel_models(
        data,
        signal,
        signal_shares(tuple(s.name for s in data), shares),
        family,
        (min_parameters, max_parameters),
        f_test,
    )
    cls = AsymptoticCls(models)
    if not np.isfinite(cls.sigma):
        msg = "the data say nothing about a signal here: use a range with more events around it"
        raise FitError(msg)
    alpha = 1 - level
    observed = crossing(lambda mu: cls.at(mu).observed, alpha, cls.sigma)
    expected = [
        crossing(lambda mu, i=i: cls.at(mu).expected[i], alpha, cls.sigma)  # type: ignore[misc]
        for i in range(len(BANDS))
    ]
    under = sum(
        float(b[np.abs(0.5 * (s.edges[1:] + s.edges[:-1]) - mass) <= _UNDER * width].sum())
        for b, s in zip(cls.background, data, strict=True)
    )
    notes: list[str] = []
    if toys is None:
        toys = _DEFAULT_TOYS if under < _LOW_BACKGROUND else 0
    converged, by_pyhf = bool(cls.best.converged.all() and cls.fits(observed).converged.all()), None
    if toys:
        random = seeds.generator(seed, "stats", "limit", "toys")
        thrown = ToyCls.thrown(cls, (observed, *expected), toys, random)
        observed, *expected = thrown.limits(alpha, toys)
        notes.append(
            f"CLs from {toys} toys of each hypothesis at {len(thrown.strengths)} strengths, "
            f"{thrown.failed} with a failed fit; about {0.023 * toys:.0f} of them lie beyond each "
            "band at 2 standard deviations"
        )
    else:
        if under < _LOW_BACKGROUND:
            notes.append(
                f"{under:.1f} background events under the signal: the asymptotic limit is too low, "
                "ask for toys"
            )
        observed, by_pyhf, trouble = _by_pyhf(models, observed, alpha)
        notes += trouble
        converged = converged and not trouble
    return _result(
        signal,
        level,
        observed,
        expected,
        float(cls.best.mu[0]),
        (efficiency, luminosity),
        cls=by_pyhf,
        calibration="toys" if toys else "asymptotic",
        toys=toys,
        converged=converged,
        family=family,
        notes=tuple(notes),
    )


def counting_limit(
    observed: float,
    background: float,
    uncertainty: float = 0.0,
    *,
    level: float = 0.95,
    efficiency: float | None = None,
    luminosity: float | None = None,
) -> LimitResult:
    """Return the exact CLs upper limit on the signal in one count.

    CLs = P(n <= observed | s + b) / P(n <= observed | b), both averaged over a normal
    uncertainty of b, cut at 0.

    Parameters
    ----------
    observed
        Events, a whole number.
    background, uncertainty
        Expected background and its uncertainty.
    level, efficiency, luminosity
        As for `upper_limit`.

    Raises
    ------
    FitError
        A number is negative, not finite, or the events are not whole.
    """
    _check(level, efficiency, luminosity, (MIN_PARAMETERS, MAX_PARAMETERS), 0)
    if not all(np.isfinite(x) and x >= 0 for x in (observed, background, uncertainty)):
        msg = f"counts must be 0 or more, got {observed}, {background} +- {uncertainty}"
        raise FitError(msg)
    if observed != round(observed):
        msg = f"exact limits need a whole number of observed events, got {observed:g}"
        raise FitError(msg)
    points, weights = hermegauss(_GAUSS_POINTS) if uncertainty else (np.zeros(1), np.ones(1))
    means = np.maximum(background + uncertainty * points, 0.0)
    weights = weights / weights.sum()

    def at_most(n: float, signal: float) -> float:
        mean = signal + means
        # gammaincc(n + 1, 0) is 1, as it must be.
        return float(weights @ gammaincc(n + 1, mean))

    def limit(n: float) -> float:
        null = at_most(n, 0.0)
        return crossing(lambda s: at_most(n, s) / null, 1 - level, 1.0)

    expected = [limit(float(n)) for n in _quantiles(means, weights)]
    return _result(
        None,
        level,
        limit(observed),
        expected,
        max(0.0, observed - background),
        (efficiency, luminosity),
        cls=None,
        calibration="exact",
        toys=0,
        converged=True,
        family="none",
        notes=(),
    )


def retrained_limit(
    injected: Sequence[float], limit_at: Callable[[float], LimitResult]
) -> RetrainedLimit:
    """Return the cross section that is excluded when the signal takes part in the training.

    A tagger that learns from the data finds a strong signal better than a weak one, so
    efficiency and limit depend on the strength. A strength is excluded if it lies above
    the limit of the taggers that were trained with it; the limit is where the two meet,
    by interpolation in logarithms.

    Parameters
    ----------
    injected
        Cross sections to inject [fb], rising.
    limit_at
        Adds that much signal to the data, trains, selects and returns the limit, its
        efficiency that of these taggers.

    Raises
    ------
    FitError
        The strengths do not rise, or a limit has no cross section.

    Source
    ------
    As the LHC's weakly supervised dijet searches set limits: arXiv:2005.02983, arXiv:2412.03747.
    """
    strengths = np.asarray(injected, dtype=float)
    if strengths.size == 0 or np.any(strengths <= 0) or np.any(np.diff(strengths) <= 0):
        msg = f"injected strengths must be positive and rise, got {list(injected)}"
        raise FitError(msg)
    limits = tuple(limit_at(float(strength)) for strength in strengths)
    observed, expected = [], []
    for limit in limits:
        if limit.observed_cross_section is None or limit.expected_cross_section is None:
            msg = "a limit with retraining needs efficiency and luminosity at every strength"
            raise FitError(msg)
        observed.append(limit.observed_cross_section)
        expected.append(limit.expected_cross_section[2])
    return RetrainedLimit(
        tuple(strengths.tolist()),
        limits,
        _own_limit(strengths, np.array(observed)),
        _own_limit(strengths, np.array(expected)),
    )


def _own_limit(strengths: Array, limits: Array) -> float | None:
    above = np.log(strengths / limits)
    excluded = np.flatnonzero(above >= 0)
    if not excluded.size:
        return None
    i = int(excluded[0])
    if i == 0:
        return float(strengths[0])
    share = above[i - 1] / (above[i - 1] - above[i])
    return float(strengths[i - 1] * (strengths[i] / strengths[i - 1]) ** share)


def _by_pyhf(
    models: Sequence[Channel], guess: float, alpha: float
) -> tuple[float, float | None, list[str]]:
    """Return the observed limit by pyhf, CLs there, and what went wrong."""
    import pyhf

    reported = pyhf_test(models, poisson.discovery(models))
    model, config = reported.model, reported.model.config
    counts = {channel.name: channel.observed for channel in models}
    data = [float(n) for name in config.channels for n in counts[name]] + list(config.auxdata)
    known: dict[float, float] = {}

    def excess(mu: float) -> float:
        if mu not in known:
            value = pyhf.infer.hypotest(mu / reported.scale, data, model, test_stat="qtilde")
            known[mu] = float(value)
        return known[mu] - alpha

    low, high = guess * (1 - _BRACKET), guess * (1 + _BRACKET)
    try:
        with numpy_backend():
            if not excess(low) > 0 > excess(high):
                return guess, None, [f"pyhf has no limit within 3 % of {guess:.4g} events"]
            found = float(toms748(excess, low, high, rtol=1e-4))
            excess(found)
    except pyhf.exceptions.FailedMinimization:
        return guess, None, ["pyhf failed to fit; the limit is the numpy engine's"]
    trouble = []
    if abs(found / guess - 1) > _AGREEMENT:
        trouble.append(f"two minimisers disagree: limits {found:.4g} and {guess:.4g} events")
    return found, known[found], trouble


def _quantiles(means: Array, weights: Array) -> list[int]:
    """Return the counts of background alone at -2 ... 2 standard deviations."""
    most = int(np.ceil(means.max() + 10 * np.sqrt(means.max()) + 10))
    below = weights @ poisson_law.cdf(np.arange(most + 1), means[:, None])
    return [int(np.searchsorted(below, ndtr(float(band)))) for band in BANDS]


def _result(
    signal: SignalShape | None,
    level: float,
    observed: float,
    expected: Sequence[float],
    mu_hat: float,
    scale: tuple[float | None, float | None],
    **rest: Any,
) -> LimitResult:
    efficiency, luminosity = scale
    produced = efficiency * luminosity if efficiency and luminosity else None
    return LimitResult(
        mass=signal.mass if signal else 0.0,
        width=signal.width if signal else 0.0,
        level=level,
        observed=float(observed),
        expected=tuple(map(float, expected)),
        mu_hat=mu_hat,
        efficiency=efficiency,
        luminosity=luminosity,
        observed_cross_section=float(observed) / produced if produced else None,
        expected_cross_section=tuple(e / produced for e in expected) if produced else None,
        **rest,
    )


def _check(
    level: float,
    efficiency: float | None,
    luminosity: float | None,
    limits: tuple[int, int],
    toys: int | None,
) -> None:
    if not 0.5 < level < 1:
        msg = f"the confidence level must lie in (0.5, 1), got {level:g}"
        raise FitError(msg)
    if (efficiency is None) != (luminosity is None):
        msg = "a cross section needs efficiency and luminosity: give both or none"
        raise FitError(msg)
    if efficiency is not None and luminosity is not None:
        good = 0 < efficiency <= 1 and np.isfinite(luminosity) and luminosity > 0
        if not good:
            msg = (
                "efficiency must lie in (0, 1] and luminosity be positive, got "
                f"{efficiency:g} and {luminosity:g}"
            )
            raise FitError(msg)
    if not MIN_PARAMETERS <= limits[0] <= limits[1] or (toys is not None and toys < 0):
        msg = f"parameters must rise from {MIN_PARAMETERS}, toys be 0 or more: {limits}, {toys}"
        raise FitError(msg)
