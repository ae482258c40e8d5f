"""Whether a background function may be used: spurious signal, lower edge of the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.background import Background
from tnt_coffea.stats.envelope import Functions, profiled
from tnt_coffea.stats.families import FAMILIES
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.model import (
    SpectrumModel,
    chosen_function,
    goodness_of_fit,
    outside_signal,
)
from tnt_coffea.stats.results import EdgeTrial, SpuriousSignal
from tnt_coffea.stats.signals import SignalShape
from tnt_coffea.stats.spectrum import Spectrum, SpectrumFit, spectra
from tnt_coffea.stats.validity import LEAST_GOODNESS

__all__ = ["LOWEST_EDGE", "chosen_lower_edge", "spurious_signal", "spurious_signals"]

Array = NDArray[np.float64]

LOWEST_EDGE = 2600.0
"""Where the LHC Olympics' spectrum falls smoothly, above its trigger (pT > 1.2 TeV) [GeV]."""


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


def chosen_lower_edge(
    channels: Any,
    signal: SignalShape,
    candidates: Sequence[float],
    fit: SpectrumFit,
    *,
    lowest: float = LOWEST_EDGE,
    seed: int = 1,
) -> tuple[SpectrumFit, tuple[EdgeTrial, ...]]:
    """Return the fit from the lowest edge from which the background fits, and what was tried.

    Every channel is fitted outside mass +- 2 widths; the first edge, from below, with
    a goodness of fit of 5 % or more in all of them is taken.

    Parameters
    ----------
    channels
        As for `bump_hunt`.
    signal
        The signal, whose bins take no part.
    candidates
        Edges to try [GeV]; in steps that leave whole bins.
    fit
        The fit, whose upper edge stays.
    lowest
        No edge below this is accepted: the trigger shapes the spectrum there [GeV].
    seed
        Root seed of the toys for sparse bins.

    Raises
    ------
    FitError
        A candidate lies below the trigger or leaves no whole lower sideband, or none fits.
    """
    edges = sorted(float(edge) for edge in candidates)
    if not edges or edges[0] < lowest:
        msg = (
            f"lower edges {edges} GeV: at least one is needed, and none below {lowest:g} GeV, "
            "where the trigger shapes the spectrum"
        )
        raise FitError(msg)
    if edges[-1] > signal.mass - 3 * signal.width:
        msg = (
            f"a lower edge of {edges[-1]:g} GeV leaves no lower sideband for a signal at "
            f"{signal.mass:g} GeV of width {signal.width:g} GeV: stay below mass - 3 widths"
        )
        raise FitError(msg)
    tried = []
    for edge in edges:
        from_edge = replace(fit, range=(edge, fit.range[1]))
        data = spectra(channels, from_edge)
        least = min(_sideband_goodness(s, signal, from_edge, seed) for s in data)
        tried.append(EdgeTrial(edge, least))
        if least >= LEAST_GOODNESS:
            return from_edge, tuple(tried)
    listed = ", ".join(f"{t.edge:g} GeV (p = {t.goodness_of_fit:.2g})" for t in tried)
    msg = f"the background fits from none of the lower edges {listed}: try another family"
    raise FitError(msg)


def _interpolated(spectrum: Spectrum, signal: SignalShape, fit: SpectrumFit) -> Array:
    """Return the expectation from a fit outside the signal, shape (bins,)."""
    fitted = _outside_fit(spectrum, outside_signal(spectrum.edges, signal), fit)
    return np.asarray(fitted.expected(np.zeros(fitted.parameters)))


def _outside_fit(spectrum: Spectrum, outside: NDArray[np.bool_], fit: SpectrumFit) -> Background:
    built = chosen_function(spectrum, outside, fit)
    return engine.fitted_background(built, spectrum.counts, outside)[0]


def _sideband_goodness(
    spectrum: Spectrum, signal: SignalShape, fit: SpectrumFit, seed: int
) -> float:
    outside, counts = outside_signal(spectrum.edges, signal), spectrum.counts
    fitted = _outside_fit(spectrum, outside, fit)
    seen = fitted.restricted(outside)
    channel = Channel(spectrum.name, counts[outside], np.zeros(int(outside.sum())), seen)
    return goodness_of_fit(channel, seen.expected(np.zeros(seen.parameters)), seed)[0]
