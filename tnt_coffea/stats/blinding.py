"""Blinded spectra: nothing depends on the events in a window.

The events there are taken out of the histograms before anything else. What smooth functions,
fitted to the sidebands, expect stands in their place: a background-only fit of all bins then is
the fit of the sidebands, and every test expects what it would without having looked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.errors import FitError
from tnt_coffea.stats import engine
from tnt_coffea.stats.envelope import Functions, Profile, observed_counts, profiled
from tnt_coffea.stats.likelihood import Channel, nuisance_names
from tnt_coffea.stats.lower_edge import LOWEST_EDGE, chosen_lower_edge
from tnt_coffea.stats.model import (
    SpectrumModel,
    chosen_function,
    goodness_of_fit,
    spectrum_models,
)
from tnt_coffea.stats.signals import Signal, SignalShape
from tnt_coffea.stats.spectrum import Spectrum, check_counts, spectra
from tnt_coffea.stats.spectrum_fit import SpectrumFit
from tnt_coffea.stats.spurious import with_spurious

__all__ = ["HIDDEN_WIDTHS", "Sidebands", "hidden_window", "prepared", "visible"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

HIDDEN_WIDTHS = 2.0
"""A window reaches so many widths from a mass where it is not given: 95 % of a Gaussian signal."""

# More hidden than seen, functions are no longer held on both sides.
_MOST_HIDDEN = 0.5
# The functions that compete are known once the window is filled, and fill it again.
_PASSES = 2


@dataclass(frozen=True, eq=False)
class Sidebands:
    """Models of spectra, and the background-only fit of the bins that were looked at.

    Attributes
    ----------
    fit
        How the spectra are fitted, from the lower edge that was chosen on.
    window
        The range that is hidden [GeV]; None: all bins were looked at.
    models
        One a signal; the counts in the window are those that the fit expects there.
    seen
        The bins of every channel outside the window, shape (bins,).
    function
        The function of the fit, 'family parameters'.
    background
        What it expects in every channel, shape (bins,).
    nuisances
        Nuisance parameters of the fit by name; a spurious signal has no part in it.
    channels
        The channels of that function on the bins outside the window.
    converged
        Whether the fit converged.
    """

    fit: SpectrumFit
    window: tuple[float, float] | None
    models: tuple[SpectrumModel, ...]
    seen: tuple[Mask, ...]
    function: str
    background: tuple[Array, ...]
    nuisances: Mapping[str, float]
    channels: tuple[Channel, ...]
    converged: bool

    @property
    def data(self) -> tuple[Spectrum, ...]:
        """The spectra, as the channels of a test."""
        return self.models[0].data

    def alpha(self, model: SpectrumModel) -> tuple[float, ...]:
        """Return the nuisance parameters of a model in the fit; those it lacks are 0."""
        names = nuisance_names(next(iter(model.functions.values())))
        return tuple(self.nuisances.get(name, 0.0) for name in names)

    def goodness(self, seed: int) -> list[tuple[float, str]]:
        """Return each channel's goodness of fit outside the window, and its calibration."""
        parts = zip(self.channels, self.background, self.seen, strict=True)
        return [goodness_of_fit(channel, b[seen], seed) for channel, b, seen in parts]


def hidden_window(signals: Sequence[Signal]) -> tuple[float, float]:
    """Return the masses of signals +- 2 widths, as one range [GeV]."""
    return (
        min(signal.mass - HIDDEN_WIDTHS * signal.width for signal in signals),
        max(signal.mass + HIDDEN_WIDTHS * signal.width for signal in signals),
    )


def prepared(
    channels: Any,
    signals: Sequence[Signal],
    fit: SpectrumFit,
    window: tuple[float, float] | None,
    *,
    lower_edges: Sequence[float] | Literal["auto"] = (),
    lowest_edge: float = LOWEST_EDGE,
    seed: int = 1,
) -> Sidebands:
    """Return the models of signals in spectra, and the background-only fit beside a window.

    Parameters
    ----------
    channels, lower_edges, lowest_edge
        As for `bump_hunt`.
    signals
        The signals.
    fit
        How the spectra are fitted.
    window
        Bins that overlap it are hidden [GeV]; None hides nothing.
    seed
        Root seed of the toys for sparse bins.

    Raises
    ------
    FitError
        The window leaves no sideband on a side, or the histograms do not suit the fit.
    """
    for signal in signals:
        fit.check_inside(signal.mass)
    looked = signals[0]
    if window is not None:
        channels, looked = visible(channels, window), _as_signal(window)
    if lower_edges:
        fit, _ = chosen_lower_edge(
            channels, looked, lower_edges, fit, lowest=lowest_edge, seed=seed
        )
    data = spectra(channels, fit)
    if window is None:
        models = spectrum_models(data, signals, fit)
        functions = with_spurious(models[0].functions, 0.0)
        null = profiled(functions, observed_counts(functions), mu=0.0)
        function = null.function()
        seen = tuple(np.ones(s.counts.size, dtype=bool) for s in data)
        return Sidebands(
            fit=fit,
            window=None,
            models=tuple(models),
            seen=seen,
            function=function,
            background=tuple(null.expected(functions)),
            nuisances=_nuisances(functions[function], null),
            channels=_beside(functions, seen)[function],
            converged=bool(null.converged[0]),
        )
    seen = tuple(_outside(spectrum.edges, window, fit) for spectrum in data)
    return _interpolated(data, seen, signals, fit, window)


def visible(channels: Any, window: tuple[float, float]) -> Any:
    """Return histograms, or a mapping of them, without the events of all bins in a window."""
    if isinstance(channels, Mapping):
        return {name: _without(str(name), one, window) for name, one in channels.items()}
    return _without("all", channels, window)


@dataclass(frozen=True, eq=False)
class _Emptied:
    """A histogram in which some bins are empty."""

    axes: Any
    kind: Any
    storage_type: Any
    metadata: Any
    contents: Array
    squares: Array | None

    def values(self) -> Array:
        """Return the contents."""
        return self.contents

    def variances(self) -> Array | None:
        """Return the sums of squared weights."""
        return self.squares


def _without(name: str, histogram: Any, window: tuple[float, float]) -> Any:
    check_counts(name, histogram)
    if len(histogram.axes) != 1:
        return histogram  # which is refused with its reason
    hidden = ~_beyond(np.asarray(histogram.axes[0].edges, dtype=float), window)
    values = np.where(hidden, 0.0, np.asarray(histogram.values(), dtype=float))
    squares = histogram.variances()
    return _Emptied(
        axes=histogram.axes,
        kind=getattr(histogram, "kind", "COUNT"),
        storage_type=getattr(histogram, "storage_type", None),
        metadata=getattr(histogram, "__dict__", {}).get("metadata"),
        contents=values,
        squares=None if squares is None else np.where(hidden, 0.0, np.asarray(squares, float)),
    )


def _beyond(edges: Array, window: tuple[float, float]) -> Mask:
    """Return the bins that do not overlap a window."""
    low, high = window
    return np.asarray((edges[1:] <= low) | (edges[:-1] >= high))


def _outside(edges: Array, window: tuple[float, float], fit: SpectrumFit) -> Mask:
    seen = _beyond(edges, window)
    if seen.all() or not (seen[0] and seen[-1]):
        msg = (
            f"the hidden window {window[0]:g}-{window[1]:g} GeV needs a sideband on either side "
            f"within the fit range {fit.range[0]:g}-{fit.range[1]:g} GeV: widen the range, or "
            "hide less"
        )
        raise FitError(msg)
    hidden = (window[1] - window[0]) / (fit.range[1] - fit.range[0])
    if hidden > _MOST_HIDDEN:
        msg = (
            f"the hidden window {window[0]:g}-{window[1]:g} GeV is {hidden:.0%} of the fit range "
            f"{fit.range[0]:g}-{fit.range[1]:g} GeV: at most half can be hidden, for what is left "
            "has to tell what it holds"
        )
        raise FitError(msg)
    return seen


def _as_signal(window: tuple[float, float]) -> SignalShape:
    """Return a signal whose mass +- 2 widths are the window."""
    low, high = window
    return SignalShape(0.5 * (low + high), 0.5 * (high - low) / HIDDEN_WIDTHS)


def _interpolated(
    data: Sequence[Spectrum],
    seen: tuple[Mask, ...],
    signals: Sequence[Signal],
    fit: SpectrumFit,
    window: tuple[float, float],
) -> Sidebands:
    first = [
        engine.fitted_background(chosen_function(s, m, fit), s.counts, m)[0]
        for s, m in zip(data, seen, strict=True)
    ]
    background = [b.expected(np.zeros(b.parameters)) for b in first]
    for _ in range(_PASSES):
        models = spectrum_models(_filled(data, seen, background), signals, fit)
        functions = models[0].functions
        beside = _beside(functions, seen)
        best = profiled(beside, observed_counts(beside), mu=0.0)
        function = best.function()
        plain = [replace(c, template=None, spurious=0.0) for c in functions[function]]
        background = [mean[0] for mean in engine.expectations(plain, best.fits[function])]
    filled = _filled(data, seen, background)
    return Sidebands(
        fit=fit,
        window=window,
        models=tuple(spectrum_models(filled, signals, fit)),
        seen=seen,
        function=function,
        background=tuple(background),
        nuisances=_nuisances(plain, best),
        channels=beside[function],
        converged=bool(best.converged[0]),
    )


def _nuisances(channels: Sequence[Channel], best: Profile) -> dict[str, float]:
    return dict(zip(nuisance_names(channels), best.fit().alpha, strict=True))


def _filled(
    data: Sequence[Spectrum], seen: Sequence[Mask], background: Sequence[Array]
) -> tuple[Spectrum, ...]:
    return tuple(
        replace(s, counts=np.where(m, s.counts, b))
        for s, m, b in zip(data, seen, background, strict=True)
    )


def _beside(functions: Functions, seen: Sequence[Mask]) -> dict[str, tuple[Channel, ...]]:
    """Return the channels of every function on the bins outside the window, without a signal."""
    return {
        name: tuple(
            replace(
                channel,
                observed=np.asarray(channel.observed)[bins],
                signal=np.zeros(int(bins.sum())),
                background=channel.background.restricted(bins),
                template=None,
                spurious=0.0,
                factors=None if channel.factors is None else channel.factors[bins],
            )
            for channel, bins in zip(channels, seen, strict=True)
        )
        for name, channels in functions.items()
    }
