"""Which background function a spectrum asks for, and how well it fits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from tnt_coffea import seeds
from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting import poisson
from tnt_coffea.stats.fitting.background import Background
from tnt_coffea.stats.fitting.families import family_named
from tnt_coffea.stats.fitting.poisson import Channel
from tnt_coffea.stats.fitting.signals import SignalShape
from tnt_coffea.stats.fitting.spectra import Spectrum
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

__all__ = [
    "chosen_background",
    "chosen_function",
    "chosen_orders",
    "goodness_of_fit",
    "outside_signal",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# The order of the function is chosen outside mass +- this many widths.
_BLIND_WIDTHS = 2.0
# Below this many expected events in any bin the chi-square distribution is off.
_SPARSE_BIN = 5.0
_GOODNESS_TOYS = 300


def outside_signal(edges: Array, signal: SignalShape) -> Mask:
    """Return the bins that lie wholly outside mass +- 2 widths."""
    reach = _BLIND_WIDTHS * signal.width
    return np.asarray((edges[1:] <= signal.mass - reach) | (edges[:-1] >= signal.mass + reach))


def chosen_background(spectrum: Spectrum, signal: SignalShape, fit: SpectrumFit) -> Background:
    """Return the function that a spectrum asks for, whitened.

    Only bins outside mass +- 2 widths decide, so that a signal there does not choose its
    own background.

    Raises
    ------
    FitError
        Too few bins outside the signal hold events, or the family has no such order.
    """
    built = chosen_function(spectrum, outside_signal(spectrum.edges, signal), fit)
    return poisson.fitted_background(built, spectrum.counts)[0]


def chosen_function(spectrum: Spectrum, seen: Mask, fit: SpectrumFit) -> Background:
    """Return the function that the bins in `seen` ask for, as its family builds it."""
    order = chosen_orders(spectrum.name, spectrum.edges, spectrum.counts[None], seen, fit)[0]
    return family_named(fit.family).build(spectrum.edges, int(order), spectrum.counts, seen)


def chosen_orders(
    name: str, edges: Array, counts: Array, seen: Mask, fit: SpectrumFit
) -> NDArray[np.intp]:
    """Return the number of parameters that each of many spectra asks for, shape (spectra,).

    A parameter is added while twice the gain in ln L, as chi-square with one
    degree of freedom, has a p-value below `f_test`.

    Parameters
    ----------
    name
        The channel, for messages.
    edges
        Edges of the bins [GeV].
    counts
        Events per bin, shape (spectra, bins).
    seen
        The bins that decide.
    fit
        Family, fewest and most parameters, p-value of the test.
    """
    family, fewest = family_named(fit.family), fit.min_parameters
    orders = [order for order in family.orders if fewest <= order <= fit.max_parameters]
    orders = orders or [order for order in family.orders if order > fit.max_parameters][:1]
    observed = counts[:, seen]
    occupied = np.count_nonzero(observed, axis=1)
    if not orders or occupied.min() < orders[0] or observed.shape[1] <= orders[0]:
        fewest = orders[0] if orders else fewest
        msg = (
            f"{name}: {occupied.min()} of {observed.shape[1]} bins outside the signal hold events, "
            f"too few for a function of {fewest} parameters: widen the fit range, use "
            "narrower bins or a looser selection"
        )
        raise FitError(msg)
    chosen = np.full(len(counts), orders[0], dtype=np.intp)
    growing = np.arange(len(counts))
    best = np.full(len(counts), np.inf)
    for order in orders:
        growing = growing[occupied[growing] >= order]
        if not growing.size or observed.shape[1] <= order:
            break
        built = family.build(edges, order, counts[growing].mean(axis=0), seen).restricted(seen)
        whitened, _ = poisson.fitted_background(built, observed[growing].mean(axis=0))
        channel = Channel(name, observed[0], np.zeros(observed.shape[1]), whitened)
        nll = poisson.background_fits([channel], [observed[growing]]).nll
        better = np.ones(len(growing), dtype=bool)
        if order > orders[0]:
            better = chdtrc(1, np.maximum(0.0, 2 * (best[growing] - nll))) < fit.f_test
        growing = growing[better]
        chosen[growing], best[growing] = order, nll[better]
    return chosen


def goodness_of_fit(channel: Channel, expected: Array, seed: int) -> tuple[float, str]:
    """Return the p-value of the background-only fit and how it was calibrated.

    The statistic is the likelihood ratio to the saturated model: chi-square where
    every bin expects 5 events or more, else compared with refitted toys.
    """
    seen = float(poisson.deviance(channel.observed, expected))
    if expected.min() >= _SPARSE_BIN:
        freedom = expected.size - channel.background.parameters
        return float(chdtrc(freedom, seen)), "asymptotic"
    random = seeds.generator(seed, "stats", "goodness", channel.name)
    observed = poisson.toy_counts([expected], _GOODNESS_TOYS, random)
    fits = poisson.background_fits([channel], observed)
    found = poisson.deviance(observed[0], channel.background.expected(fits.phi[0]))
    return (int(np.sum(found >= seen)) + 1) / (_GOODNESS_TOYS + 1), "toys"
