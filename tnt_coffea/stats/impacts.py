"""Pulls of the nuisance parameters of a bump hunt, and what each does to the signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.config.parameter_names import FUNCTION, background_parameter
from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.arguments import check_arguments
from tnt_coffea.stats.engine import Fits
from tnt_coffea.stats.envelope import Profile, enveloped, profiled
from tnt_coffea.stats.impact_results import NuisanceImpact
from tnt_coffea.stats.likelihood import Channel, Likelihood, nuisance_names
from tnt_coffea.stats.model import spectrum_model
from tnt_coffea.stats.newton import solved
from tnt_coffea.stats.spectrum_fit import SpectrumFit

__all__ = ["nuisance_impacts"]

Array = NDArray[np.float64]


def nuisance_impacts(
    channels: Any, *, mass: float, width: float, fit: SpectrumFit
) -> tuple[NuisanceImpact, ...]:
    """Return every nuisance parameter's pull and its impact on the signal events, by refits.

    The signal's parameters have unit constraints; the background's are whitened around a
    background-only fit, so that their pull is what the signal takes from the background.
    The signal may be negative here: where the fit with mu >= 0 finds none, a parameter
    still moves the best value of mu, and at the bound nothing would be seen of it.

    Parameters
    ----------
    channels, mass, width, fit
        As for `bump_hunt`.

    Raises
    ------
    FitError
        The histograms do not suit the fit, or there are too few events under the signal
        for one of the fits to have a minimum.

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> fit = stats.SpectrumFit((2600, 7000), bin_width=40, width_uncertainty=0.1)
    >>> spectrum = stats.toy_spectrum(5000, 100)
    >>> first, *_ = stats.nuisance_impacts(spectrum, mass=3500, width=120, fit=fit)
    >>> first.name, abs(first.pull) < 3
    ('signal_width', True)
    """
    check_arguments(mass=mass, width=width, fit=fit)
    model = spectrum_model(channels, fit.signal(mass, width), fit)
    functions, counts, unit = model.functions, model.counts, model.unit
    free = profiled(functions, counts, enveloped(functions, counts).best, signed=True)
    function = free.function()
    models, best = functions[function], _checked(free.fits[function], "the best fit")
    sigmas = _uncertainties(models, counts, best)
    constrained = nuisance_names(models)
    names = [*constrained]
    names += [
        background_parameter(m.name, k) for m in models for k in range(m.background.parameters)
    ]

    def change(position: int, shift: float) -> float:
        fits = _held(models, counts, best, position, shift)
        held = _checked(fits, f"a fit with {names[position - 1]} held")
        return unit * float(held.mu[0] - best.mu[0])

    values, impacts = best.parameters()[0], []
    for i, name in enumerate(names, start=1):
        sigma = float(sigmas[i])
        before = (change(i, 1.0), change(i, -1.0)) if name in constrained else (None, None)
        impacts.append(
            NuisanceImpact(
                name, float(values[i]), sigma, change(i, sigma), change(i, -sigma), *before
            )
        )
    if len(functions) > 1:
        impacts.append(_of_the_function(free, unit))
    return tuple(impacts)


def _of_the_function(free: Profile, unit: float) -> NuisanceImpact:
    """Return the impact of taking any function within one standard deviation of the best."""
    near = free.each[:, 0] - free.nll[0] < 0.5
    changes = unit * (np.array([fits.mu[0] for fits in free.fits.values()])[near] - free.mu[0])
    return NuisanceImpact(FUNCTION, 0.0, 1.0, float(changes.max()), float(changes.min()))


def _uncertainties(models: Sequence[Channel], counts: Sequence[Array], best: Fits) -> Array:
    """Return the uncertainties of all parameters from the curvature at the maximum."""
    x = best.parameters()
    size = x.shape[1]
    likelihood = Likelihood(models, counts, x, np.arange(size), least=-np.inf)
    _, hessian, _ = likelihood.all_derivatives(x, np.arange(1))
    covariance, known = solved(np.repeat(hessian, size, axis=0), np.eye(size))
    if not known.all():
        msg = "the likelihood has no curvature in some direction: use fewer parameters"
        raise FitError(msg)
    return np.sqrt(np.diag(covariance))


def _held(
    models: Sequence[Channel], counts: Sequence[Array], best: Fits, position: int, shift: float
) -> Fits:
    alpha, phi = best.alpha.copy(), [values.copy() for values in best.phi]
    # One row of parameters: mu, the nuisances of the signal, phi of every channel.
    place = position - 1
    for part in (alpha, *phi):
        if place < part.shape[1]:
            part[0, place] += shift
            break
        place -= part.shape[1]
    start = replace(best, alpha=alpha, phi=tuple(phi))
    return engine.signal_fits(models, counts, start, signed=True, held=[position])


def _checked(fits: Fits, what: str) -> Fits:
    if not fits.converged.all():
        msg = (
            f"{what} has no minimum, or only where a bin expects fewer events than none: there "
            "are too few events under the signal for impacts"
        )
        raise FitError(msg)
    return fits
