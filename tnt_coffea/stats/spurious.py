"""Whether a background function may be used: the spurious signal that it makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.envelope import Functions, profiled
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.model import SpectrumModel, chosen_function, outside_signal
from tnt_coffea.stats.results import SpuriousSignal
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import Spectrum, SpectrumFit

__all__ = ["spurious_signal", "spurious_signals"]

Array = NDArray[np.float64]


def spurious_signal(
    functions: Functions, truth: Sequence[Array], name: str, sigma: float, unit: float = 1.0
) -> SpuriousSignal:
    """Return the signal that a fit finds in an expectation without any.

    Parameters
    ----------
    functions
        Channels by function, as fitted to the data.
    truth
        Expected events of every channel, shape (bins,).
    name
        What the truth is called.
    sigma
        Uncertainty of mu in the data.
    unit
        Events at mu = 1.
    """
    fixed = {
        function: tuple(replace(channel, template=None) for channel in channels)
        for function, channels in functions.items()
    }
    counts = [np.asarray(b, dtype=float)[None] for b in truth]
    events = float(profiled(fixed, counts, signed=True).mu[0])
    return SpuriousSignal(name, unit * events, events / sigma)


def spurious_signals(
    model: SpectrumModel, fit: SpectrumFit, sigma: float
) -> tuple[SpuriousSignal, ...]:
    """Return the spurious signals on every other family's function.

    The other families are fitted to the data outside mass +- 2 widths, each in the
    order that its own F-test asks for: how far they differ under the signal is how
    well the data know the background there.
    """
    signals = []
    for other in FAMILIES.values():
        if other.name in fit.families or other.reproduction_only:
            continue
        own = fit.with_family(other.name)
        try:
            truth = [_interpolated(s, model.signal, own) for s in model.data]
        except FitError:
            continue  # too few events for that family: it has nothing to say
        signals.append(spurious_signal(model.functions, truth, other.name, sigma, model.unit))
    return tuple(signals)


def _interpolated(spectrum: Spectrum, signal: SignalShape, fit: SpectrumFit) -> Array:
    """Return the expectation from a fit outside the signal, shape (bins,)."""
    fitted = _outside_fit(spectrum, outside_signal(spectrum.edges, signal), fit)
    return np.asarray(fitted.expected(np.zeros(fitted.parameters)))


def _outside_fit(spectrum: Spectrum, outside: NDArray[np.bool_], fit: SpectrumFit) -> Background:
    built = chosen_function(spectrum, outside, fit)
    return engine.fitted_background(built, spectrum.counts, outside)[0]
