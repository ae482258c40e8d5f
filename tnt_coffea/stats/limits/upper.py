"""CLs upper limits on a signal in spectra."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.bumps.reported import pyhf_test
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.channels import signal_model
from tnt_coffea.stats.fitting.histfactory import numpy_backend
from tnt_coffea.stats.fitting.likelihood import Channel
from tnt_coffea.stats.fitting.signals import SignalShape
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit
from tnt_coffea.stats.limits.asymptotics import AsymptoticCls, ToyCls, crossing
from tnt_coffea.stats.limits.building import checked_limit, limit_result
from tnt_coffea.stats.limits.results import BANDS, LimitResult

__all__ = ["limit_band", "upper_limit"]

Array = NDArray[np.float64]

# With fewer background events under the signal the asymptotic limit is too low.
_LOW_BACKGROUND = 10.0
_DEFAULT_TOYS = 300
_UNDER = 2.0
# pyhf looks for the limit this far around the numpy engine's.
_BRACKET = 0.03
_AGREEMENT = 0.01
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
        Toys of each hypothesis at each strength; 0 takes the asymptotic formulae, None
        takes toys where fewer than 10 background events lie under the signal.
    seed
        Root seed of the toys.
    cross_check
        Whether pyhf finds the observed limit; else it is the numpy engine's, too.

    Returns
    -------
    The observed limit is pyhf's, found by Newton's method from that of the numpy engine,
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
    checked_limit(level, efficiency, luminosity, toys)
    signal = fit.signal(mass, width)
    models, cls, under = _prepared(channels, signal, fit)
    alpha = 1 - level
    observed, expected = _formula_limits(cls, alpha)
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
        if cross_check:
            near = [cls.at(share * observed).observed for share in (0.99, 1.01)]
            slope = (near[1] - near[0]) / (0.02 * observed)
            observed, by_pyhf, trouble = _by_pyhf(models, observed, slope, alpha)
            notes += trouble
            converged = converged and not trouble
    return limit_result(
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
        family=fit.family,
        notes=tuple(notes),
    )


def limit_band(
    channels: Any,
    *,
    masses: Sequence[float],
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
    """
    found = []
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
        # All that a note may say here is that the formulae do not hold.
        if not limit.notes:
            found.append(limit)
    return tuple(found)


def _prepared(
    channels: Any, signal: SignalShape, fit: SpectrumFit
) -> tuple[Sequence[Channel], AsymptoticCls, float]:
    """Return the channels, their CLs and the background events under the signal."""
    mass = signal.mass
    model = signal_model(channels, signal, fit)
    cls = AsymptoticCls(model.channels)
    if not np.isfinite(cls.sigma):
        msg = "the data say nothing about a signal here: use a range with more events around it"
        raise FitError(msg)
    under = sum(
        float(b[np.abs(0.5 * (s.edges[1:] + s.edges[:-1]) - mass) <= _UNDER * signal.width].sum())
        for b, s in zip(cls.background, model.data, strict=True)
    )
    return model.channels, cls, under


def _formula_limits(cls: AsymptoticCls, alpha: float) -> tuple[float, list[float]]:
    """Return the observed limit and the expected ones by the asymptotic formulae."""
    observed = crossing(lambda mu: cls.at(mu).observed, alpha, cls.sigma)
    expected = [
        crossing(lambda mu, i=i: cls.at(mu).expected[i], alpha, cls.sigma)  # type: ignore[misc]
        for i in range(len(BANDS))
    ]
    return observed, expected


def _by_pyhf(
    models: Sequence[Channel], guess: float, slope: float, alpha: float
) -> tuple[float, float | None, list[str]]:
    """Return the observed limit by pyhf, CLs there, and what went wrong.

    A CLs by pyhf takes five fits with Minuit. Newton's method with the numpy engine's
    slope needs one or two, where a search between bounds needs six.
    """
    import pyhf

    reported = pyhf_test(models, poisson.discovery(models))
    model, config = reported.model, reported.model.config
    counts = {channel.name: channel.observed for channel in models}
    data = [float(n) for name in config.channels for n in counts[name]] + list(config.auxdata)
    mu = guess
    try:
        with numpy_backend():
            for _ in range(_MOST_STEPS):
                scaled = mu / reported.scale
                found = float(pyhf.infer.hypotest(scaled, data, model, test_stat="qtilde"))
                if abs(found - alpha) <= _PRECISION * abs(slope) * mu:
                    break
                mu -= (found - alpha) / slope
                if not abs(mu / guess - 1) < _BRACKET:
                    return guess, None, [f"pyhf has no limit within 3 % of {guess:.4g} events"]
            else:
                return guess, None, [f"pyhf does not settle on a limit near {guess:.4g} events"]
    except pyhf.exceptions.FailedMinimization:
        return guess, None, ["pyhf failed to fit; the limit is the numpy engine's"]
    trouble = []
    if abs(mu / guess - 1) > _AGREEMENT:
        trouble.append(f"two minimisers disagree: limits {mu:.4g} and {guess:.4g} events")
    return mu, found, trouble
