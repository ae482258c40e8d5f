"""Which background function a spectrum asks for, and how well it fits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats import poisson
from tnt_coffea.stats.background import LogLinear, dijet_function
from tnt_coffea.stats.poisson import Channel
from tnt_coffea.stats.spectra import Spectrum

__all__ = ["chosen_background", "goodness_of_fit"]

Array = NDArray[np.float64]

# The order of the function is chosen outside mass +- this many widths.
_BLIND_WIDTHS = 2.0
# Below this many expected events in any bin the chi-square distribution is off.
_SPARSE_BIN = 5.0
_GOODNESS_TOYS = 300


def chosen_background(
    spectrum: Spectrum,
    mass: float,
    width: float,
    min_parameters: int,
    max_parameters: int,
    f_test: float,
) -> LogLinear:
    """Return the dijet function of the order that the spectrum asks for, whitened.

    A parameter is added while twice the gain in ln L, as chi-square with one
    degree of freedom, has a p-value below `f_test`. Only bins outside mass +- 2
    width decide, so that a signal there does not choose its own background.
    """
    outside = (spectrum.edges[1:] <= mass - _BLIND_WIDTHS * width) | (
        spectrum.edges[:-1] >= mass + _BLIND_WIDTHS * width
    )
    observed = spectrum.counts[outside]
    occupied = int(np.count_nonzero(observed))
    if occupied < min_parameters or observed.size <= min_parameters:
        msg = (
            f"{spectrum.name}: {occupied} of {observed.size} bins outside the signal hold events, "
            f"too few for a function of {min_parameters} parameters: widen the fit range, use "
            "narrower bins or a looser selection"
        )
        raise FitError(msg)
    chosen, best = min_parameters, np.inf
    for order in range(min_parameters, min(max_parameters, occupied, observed.size - 1) + 1):
        family = dijet_function(spectrum.edges, order).restricted(outside)
        nll = poisson.fitted_background(family, observed)[1].nll
        if order > min_parameters and chdtrc(1, max(0.0, 2 * (best - nll))) >= f_test:
            break
        chosen, best = order, nll
    return poisson.fitted_background(dijet_function(spectrum.edges, chosen), spectrum.counts)[0]


def goodness_of_fit(channel: Channel, expected: Array, seed: int) -> tuple[float, str]:
    """Return the p-value of the background-only fit and how it was calibrated.

    The statistic is the likelihood ratio to the saturated model: chi-square where
    every bin expects 5 events or more, else compared with refitted toys.
    """
    seen = poisson.deviance(channel.observed, expected)
    if expected.min() >= _SPARSE_BIN:
        freedom = expected.size - channel.background.parameters
        return float(chdtrc(freedom, seen)), "asymptotic"
    random = seeds.generator(seed, "stats", "goodness", channel.name)
    above = 0
    for _ in range(_GOODNESS_TOYS):
        observed = random.poisson(expected).astype(float)
        fit = poisson.background_fit([replace(channel, observed=observed)])
        above += poisson.deviance(observed, channel.background.expected(fit.phi[0])) >= seen
    return (above + 1) / (_GOODNESS_TOYS + 1), "toys"
