"""CLs upper limits on a signal in spectra."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import check_arguments, listed_masses
from tnt_coffea.stats.bumps import data_notes, negative_notes, template_notes
from tnt_coffea.stats.cls import AsymptoticCls, ToyCls, WeightedToys, crossing
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.limit_results import BANDS, LimitResult
from tnt_coffea.stats.lower_edge import turn_on_notes
from tnt_coffea.stats.model import SpectrumModel, range_notes, spectrum_model, spurious_notes
from tnt_coffea.stats.pyhf_fit import pyhf_test
from tnt_coffea.stats.pyhf_model import joined_data, numpy_backend
from tnt_coffea.stats.signals import Signal, TemplateShape
from tnt_coffea.stats.spectrum import spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.validity import LEAST_UNDER_LIMIT, LIMIT_AGREEMENT

__all__ = ["limit_band", "prepared", "upper_limit"]

Array = NDArray[np.float64]


_UNDER = 2.0
# Toys without a signal, and at each strength, that find the strengths; and those of each round
# until the observed limit is known to the target, at most so many rounds.
_PILOT = 60
_ROUND = 300
_MOST_ROUNDS = 4
_LARGEST_ERROR = 0.2
_TARGET = 0.03
# Strengths at which CLs is known: from below the least of the pilot's limits to above the largest.
_STRENGTHS = 11
_MARGIN = 1.3
# Toys are thrown again so often where a limit lies beyond their strengths.
_WIDENINGS = 3
# Share of failed toys with which a limit is not called converged.
_FAILED = 0.01
_NO_FORMULA = "the asymptotic limit is too low, ask for toys"
# pyhf looks for the limit this far around the numpy engine's.
_BRACKET = 0.03
# It has found it at this relative distance, or after so many steps.
_PRECISION = 1e-4
_MOST_STEPS = 8


def upper_limit(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit: SpectrumFit,
    level: float = 0.95,
    efficiency: float | None = None,
    luminosity: float | None = None,
    toys: int | None = None,
    seed: int = 1,
    cross_check: bool = True,
) -> LimitResult:
    """Return the CLs upper limit on the signal events in one spectrum, or in several.

    Parameters
    ----------
    channels, mass, width, fit
        As for `bump_hunt`.
    level
        Confidence level.
    efficiency
        Share of the produced signal events that is selected, for the cross section.
    luminosity
        Of the data [1/fb].
    toys
        Toys without a signal, and with one at each of six strengths; 0 takes the asymptotic
        formulae. None takes toys where fewer than 10 background events lie under the signal: 300,
        and 300 more until the observed limit is known to 3 %, 1200 at most.
    seed
        Root seed of the toys.
    cross_check
        Whether pyhf finds the observed limit, and the fit's goodness is looked at.

    Returns
    -------
    The observed limit is pyhf's, found by Newton's method from that of the numpy engine,
    which gives the expected ones. With toys, and where several functions compete, all are the
    numpy engine's; pyhf checks one function's then.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or there is no limit.

    Source
    ------
    CLs: Read, J. Phys. G 28 (2002) 2693; formulae: arXiv:1007.1727.

    Notes
    -----
    The limit holds for the taggers that selected these events. One on a model has to let its
    signal take part in the training: train at every strength, and exclude those above their limit.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> result = stats.upper_limit(stats.toy_spectrum(5000), mass=3500, width=120, fit=fit)
    >>> round(result.cls, 3), result.calibration
    (0.05, 'asymptotic')
    """
    check_arguments(mass=mass, width=width, fit=fit, seed=seed)
    _check(level, efficiency, luminosity, toys)
    signal = fit.signal(mass, width)
    model, cls, under = prepared(channels, signal, fit)
    unit = model.unit
    alpha = 1 - level
    observed, expected = _formula_limits(cls, alpha)
    notes = [*data_notes(model.data, width, (mass, mass)), *spurious_notes(model)]
    if cross_check:
        notes += [*range_notes(model, seed), *turn_on_notes(model.data, signal, fit)]
    by_pyhf = None
    minimised = bool(cls.best.converged.all() and cls.fits(observed).converged.all())
    converged = minimised
    if not minimised:
        notes.append("not converged: a fit of the data stopped before its minimum")
    thrown, uncertainties = None, [0.0]
    if toys or (toys is None and under < LEAST_UNDER_LIMIT):
        random = seeds.generator(seed, "stats", "limit", "toys")
        found = _from_toys(cls, (observed, *expected), alpha, toys, random)
        (observed, *expected), uncertainties = found.limits, found.uncertainties
        thrown = found.toys
        notes += _toy_notes(found)
        converged = converged and not found.problems
    else:
        if under < LEAST_UNDER_LIMIT:
            notes.append(f"{under:.1f} background events under the signal: {_NO_FORMULA}")
        if cross_check:
            by_minuit, by_pyhf, problems = _cross_checked(cls, observed, alpha)
            observed = by_minuit if len(model.functions) == 1 else observed
            notes += problems
            converged = converged and not problems
    # An excess is none where the fit itself failed; a deficit may be why.
    if minimised or observed < expected[0]:
        notes += _band_notes(observed, expected)
    observed, expected = unit * observed, [unit * limit for limit in expected]
    produced = efficiency * luminosity if efficiency and luminosity else None
    at_unit, reference = None, None
    if isinstance(signal, TemplateShape) and fit.templates is not None:
        at_unit, reference = signal.total, fit.templates.cross_section
        if produced is None and reference is not None:
            produced = at_unit / reference
        notes += [*template_notes(signal), *negative_notes(signal, model.data)]
    return LimitResult(
        mass=signal.mass,
        width=signal.width,
        level=level,
        observed=float(observed),
        expected=tuple(map(float, expected)),
        mu_hat=unit * float(cls.best.mu[0]),
        efficiency=efficiency,
        luminosity=luminosity,
        observed_cross_section=float(observed) / produced if produced else None,
        expected_cross_section=tuple(e / produced for e in expected) if produced else None,
        cls=by_pyhf,
        calibration="asymptotic" if thrown is None else "toys",
        toys=0 if thrown is None else thrown.background_only,
        converged=converged,
        family=model.family,
        notes=tuple(notes),
        observed_uncertainty=unit * uncertainties[0],
        expected_uncertainties=tuple(unit * u for u in uncertainties[1:]),
        spurious_uncertainty=unit * model.spurious_events,
        events_at_unit_strength=at_unit,
        reference_cross_section=reference,
    )


def limit_band(
    channels: Any,
    *,
    masses: Iterable[float],
    width: float,
    fit: SpectrumFit,
    level: float = 0.95,
    efficiency: float | None = None,
    luminosity: float | None = None,
) -> tuple[LimitResult, ...]:
    """Return the asymptotic limits over masses by the numpy engine, for a figure.

    Masses at which the formulae do not hold, or have no limit, are left out: there
    `upper_limit` takes toys, a quarter of a minute each.

    Parameters
    ----------
    masses
        Masses to limit [GeV].
    channels, width, fit, level, efficiency, luminosity
        As for `upper_limit`.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40)
    >>> band = stats.limit_band(stats.toy_spectrum(5000), masses=[3300, 3500], width=120, fit=fit)
    >>> [limit.mass for limit in band]
    [3300, 3500]
    """
    masses = listed_masses(masses)
    check_arguments(width=width, fit=fit)
    _check(level, efficiency, luminosity)
    # What is no histogram, or no signal, has no limit at any mass.
    spectra(channels, fit)
    for mass in masses:
        fit.signal(mass, width)
    limits = []
    for mass in masses:
        try:
            limit = upper_limit(
                channels,
                mass=mass,
                width=width,
                fit=fit,
                level=level,
                efficiency=efficiency,
                luminosity=luminosity,
                toys=0,
                cross_check=False,
            )
        except FitError:
            continue
        if not any(note.endswith(_NO_FORMULA) for note in limit.notes):
            limits.append(limit)
    return tuple(limits)


def prepared(
    channels: Any, signal: Signal, fit: SpectrumFit
) -> tuple[SpectrumModel, AsymptoticCls, float]:
    """Return the model, its CLs and the background events under the signal."""
    mass = signal.mass
    model = spectrum_model(channels, signal, fit)
    cls = AsymptoticCls(model.functions)
    engine.check_informative(cls.sigma)
    under = sum(
        float(b[np.abs(0.5 * (s.edges[1:] + s.edges[:-1]) - mass) <= _UNDER * signal.width].sum())
        for b, s in zip(cls.background, model.data, strict=True)
    )
    return model, cls, under


def _formula_limits(cls: AsymptoticCls, alpha: float) -> tuple[float, list[float]]:
    """Return the observed limit and the expected ones by the asymptotic formulae."""
    observed = crossing(lambda mu: cls.at(mu).observed, alpha, cls.sigma)
    expected = [
        crossing(lambda mu, i=i: cls.at(mu).expected[i], alpha, cls.sigma)  # type: ignore[misc]
        for i in range(len(BANDS))
    ]
    return observed, expected


@dataclass(frozen=True, eq=False)
class _FromToys:
    """Limits from toys, observed and expected: their uncertainties, and what went wrong."""

    limits: list[float]
    uncertainties: list[float]
    toys: WeightedToys
    problems: list[str]


def _from_toys(
    cls: AsymptoticCls,
    around: Sequence[float],
    alpha: float,
    toys: int | None,
    random: np.random.Generator,
) -> _FromToys:
    """Return the limits from toys: a stated number of them, or as many as the data's limit needs.

    Raises
    ------
    FitError
        CLs crosses the level at no strength.

    Notes
    -----
    Few toys first find the strengths, from half the least asymptotic limit to twice the largest,
    and further where that was not enough. Those of the limits themselves stand close to them.
    """
    low, high = 0.5 * min(around), 2 * max(around)
    pilot = min(toys or _PILOT, _PILOT)
    for _ in range(_WIDENINGS):
        found = ToyCls(
            WeightedToys.thrown(cls, np.geomspace(low, high, _STRENGTHS), pilot, random), alpha
        )
        least, most = min(found.limits), max(found.limits)
        if low <= least and most <= high:
            break
        low, high = low / (3 if least < low else 1), high * (3 if most > high else 1)
    else:
        msg = (
            f"toys with {low:.3g} to {high:.3g} signal events know no limit: the data differ from "
            "the fitted background by more than any of them; 0 toys take the asymptotic formulae"
        )
        raise FitError(msg)
    margin = _MARGIN
    for _ in range(_WIDENINGS):
        strengths = np.geomspace(least / margin, most * margin, _STRENGTHS)
        found = ToyCls(WeightedToys.thrown(cls, strengths, toys or _ROUND, random), alpha)
        inside = strengths[0] <= min(found.limits) and max(found.limits) <= strengths[-1]
        if inside:
            break
        margin *= _MARGIN
    uncertainties = found.uncertainties(random)
    while (
        toys is None
        and uncertainties[0] > _TARGET * found.limits[0]
        and found.toys.background_only < _MOST_ROUNDS * _ROUND
    ):
        more = WeightedToys.thrown(cls, strengths, _ROUND, random)
        found = ToyCls(found.toys.joined(more), alpha)
        uncertainties = found.uncertainties(random)
    failed = found.toys.failed
    problems = []
    if not inside:
        problems.append("a limit lies beyond the strengths at which toys were thrown")
    if failed > _FAILED * len(found.toys):
        problems.append(f"{failed} of {len(found.toys)} toys had a failed fit")
    if uncertainties[0] > _LARGEST_ERROR * found.limits[0]:
        problems.append("toys know the observed limit to no better than 20 %")
    return _FromToys(found.limits, uncertainties.tolist(), found.toys, problems)


def _toy_notes(found: _FromToys) -> list[str]:
    toys, known = found.toys, found.uncertainties[0] / found.limits[0]
    notes = [
        f"CLs at {len(toys.strengths)} strengths from {len(toys)} toys, {toys.background_only} of "
        f"them without a signal, {toys.failed} with a failed fit; expected limits are quantiles of "
        f"the toys' own limits; the observed limit is known to {100 * known:.1f} %"
    ]
    if known > _TARGET:
        notes[0] += f", more than {100 * _TARGET:g} %: ask for more toys"
    return notes + [f"not converged: {problem}" for problem in found.problems]


def _band_notes(observed: float, expected: Sequence[float]) -> list[str]:
    """Return what an observed limit outside the expected ones means."""
    if observed < expected[0]:
        return [
            "the observed limit is below what 97.7 % of background alone would give: the data hold "
            "fewer events than the fitted background, or the function does not describe them"
        ]
    if observed > expected[-1]:
        return [
            "the observed limit is above what 97.7 % of background alone would give: the data hold "
            "more events than the fitted background"
        ]
    return []


def _cross_checked(
    cls: AsymptoticCls, limit: float, alpha: float
) -> tuple[float, float | None, list[str]]:
    """Return the limit by pyhf, CLs there, and what went wrong.

    pyhf knows one function: where several compete it is that of the best fit at the limit, and
    its limit alone is compared.
    """
    if len(cls.functions) > 1:
        name = cls.fits(limit).function()
        cls = AsymptoticCls({name: cls.functions[name]})
        limit = crossing(lambda mu: cls.at(mu).observed, alpha, cls.sigma)
    near = [cls.at(share * limit).observed for share in (0.99, 1.01)]
    slope = (near[1] - near[0]) / (0.02 * limit)
    return _by_pyhf(next(iter(cls.functions.values())), limit, slope, alpha)


def _by_pyhf(
    models: Sequence[Channel], guess: float, slope: float, alpha: float
) -> tuple[float, float | None, list[str]]:
    """Return the observed limit by pyhf, CLs there, and what went wrong.

    A CLs by pyhf takes five fits with Minuit. Newton's method with the numpy engine's
    slope needs one or two, where a search between bounds needs six.
    """
    import pyhf

    reported = pyhf_test(models, engine.discovery(models))
    model = reported.model
    data = joined_data(model, {channel.name: channel.observed for channel in models})
    start = None if reported.start is None else reported.start.tolist()
    mu = guess
    try:
        with numpy_backend():
            for _ in range(_MOST_STEPS):
                scaled = mu / reported.scale
                cls = float(pyhf.infer.hypotest(scaled, data, model, start, test_stat="qtilde"))
                if abs(cls - alpha) <= _PRECISION * abs(slope) * mu:
                    break
                mu -= (cls - alpha) / slope
                if not abs(mu / guess - 1) < _BRACKET:
                    return guess, None, [f"pyhf has no limit within 3 % of {guess:.4g} events"]
            else:
                return guess, None, [f"pyhf does not settle on a limit near {guess:.4g} events"]
    except pyhf.exceptions.FailedMinimization:
        return guess, None, ["pyhf failed to fit; the limit is the numpy engine's"]
    problems = []
    if abs(mu / guess - 1) > LIMIT_AGREEMENT:
        problems.append(f"two minimisers disagree: limits {mu:.4g} and {guess:.4g} events")
    return mu, cls, problems


def _check(
    level: float,
    efficiency: float | None,
    luminosity: float | None,
    toys: int | None = None,
) -> None:
    """Refuse settings that no limit has.

    Raises
    ------
    FitError
        A setting is out of range, or half of a cross section is given.
    """
    check_arguments(level=level, efficiency=efficiency, luminosity=luminosity, toys=toys)
    if (efficiency is None) != (luminosity is None):
        msg = "a cross section needs efficiency and luminosity: give both or none"
        raise FitError(msg)
    if efficiency is not None and efficiency > 1:
        msg = f"efficiency must lie in (0, 1], got {efficiency:g}"
        raise FitError(msg)
    # A p-value from N toys is never below 1 / (N + 1): with fewer no CLs falls to its level.
    if toys and toys + 1 <= 1 / (1 - level):
        msg = (
            f"{toys} toys know no p-value as low as {1 - level:.3g}: take {round(20 / (1 - level))}"
        )
        raise FitError(msg)
