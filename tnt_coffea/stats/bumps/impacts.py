"""Pulls of the nuisance parameters of a bump hunt, and what each does to the signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.background import MAX_PARAMETERS
from tnt_coffea.stats.fitting.channels import signal_model
from tnt_coffea.stats.fitting.likelihood import Likelihood, nuisance_names
from tnt_coffea.stats.fitting.newton import solved
from tnt_coffea.stats.fitting.signals import SignalShape

__all__ = ["nuisance_impacts"]


def nuisance_impacts(
    channels: Any,
    *,
    mass: float,
    width: float,
    fit_range: tuple[float, float],
    bin_width: float | None = None,
    family: str = "dijet",
    min_parameters: int = 3,
    max_parameters: int = MAX_PARAMETERS,
    f_test: float = 0.05,
    shape: str = "gaussian",
    scale_uncertainty: float = 0.0,
    width_uncertainty: float = 0.0,
    shares: Mapping[str, float] | None = None,
) -> list[tuple[str, float, float, float, float]]:
    """Return every parameter's pull, its uncertainty, and its impacts on the signal events.

    The signal's parameters have unit constraints; the background's are whitened around a
    background-only fit, so that their pull is what the signal takes from the background.
    Impacts are from the curvature at the maximum: the covariance of mu and the parameter
    over the parameter's uncertainty, upwards and downwards.

    Parameters
    ----------
    channels, mass, width, fit_range, bin_width, family, min_parameters, max_parameters
        As for `bump_hunt`, like f_test, shape, both uncertainties and shares.

    Raises
    ------
    FitError
        There is no signal to have an impact on, or the histograms do not suit the fit.
    """
    signal = SignalShape(
        mass, width, shape, scale_uncertainty=scale_uncertainty, width_uncertainty=width_uncertainty
    )
    limits = (min_parameters, max_parameters)
    models = signal_model(
        channels, signal, fit_range, bin_width, family, limits, f_test, shares
    ).channels
    counts = [model.observed[None] for model in models]
    best = poisson.discoveries(models, counts).best
    if best.mu[0] <= 0:
        msg = "the fit finds no signal: nothing has an impact on it"
        raise FitError(msg)
    x = best.parameters()
    likelihood = Likelihood(models, counts, x, np.arange(x.shape[1]))
    _, hessian, _ = likelihood.all_derivatives(x, np.arange(1))
    size = x.shape[1]
    covariance, known = solved(np.repeat(hessian, size, axis=0), np.eye(size))
    if not known.all():
        msg = "the likelihood has no curvature in some direction: use fewer parameters"
        raise FitError(msg)
    names = list(nuisance_names(models))
    names += [f"phi_{m.name}_{k}" for m in models for k in range(m.background.parameters)]
    rows = []
    for i, name in enumerate(names, start=1):
        sigma = float(np.sqrt(covariance[i, i]))
        change = float(covariance[0, i]) / sigma
        rows.append((name, float(x[0, i]), sigma, change, -change))
    return rows
