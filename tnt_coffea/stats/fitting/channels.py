"""From spectra to the channels of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.fitting.likelihood import Channel
from tnt_coffea.stats.fitting.orders import chosen_background
from tnt_coffea.stats.fitting.signals import SignalShape, Template
from tnt_coffea.stats.fitting.spectra import Spectrum, spectra
from tnt_coffea.stats.fitting.spectrum_fit import SpectrumFit

__all__ = ["SignalModel", "channel_models", "signal_model", "signal_shares"]


@dataclass(frozen=True, eq=False)
class SignalModel:
    """A signal on smooth backgrounds in one spectrum, or in several."""

    signal: SignalShape
    data: tuple[Spectrum, ...]
    shares: Mapping[str, float]
    channels: tuple[Channel, ...]


def signal_model(histograms: Any, signal: SignalShape, fit: SpectrumFit) -> SignalModel:
    """Return the model of a signal in histograms, each with the function that it asks for.

    Parameters
    ----------
    histograms
        As the channels of `bump_hunt`.
    signal, fit
        The signal, and how it is fitted.

    Raises
    ------
    FitError
        The signal lies outside the range, or the histograms or the shares do not suit the fit.
    """
    fit.check_inside(signal.mass)
    data = tuple(spectra(histograms, fit))
    shares = signal_shares(data, fit)
    return SignalModel(signal, data, shares, tuple(channel_models(data, signal, shares, fit)))


def channel_models(
    data: Sequence[Spectrum], signal: SignalShape, shares: Mapping[str, float], fit: SpectrumFit
) -> list[Channel]:
    """Return the channels of a fit, each with the function that its spectrum asks for.

    Parameters
    ----------
    data
        The spectra.
    signal
        The signal.
    shares
        Share of the signal in every channel, of `signal_shares`.
    fit
        Family, fewest and most parameters, p-value of the F-test.
    """
    models = []
    for spectrum in data:
        share = shares[spectrum.name]
        template = Template(signal, spectrum.edges, share) if signal.nuisances else None
        background = chosen_background(spectrum, signal, fit)
        expected = share * signal.integrals(spectrum.edges)
        models.append(Channel(spectrum.name, spectrum.counts, expected, background, template))
    return models


def signal_shares(data: Sequence[Spectrum], fit: SpectrumFit) -> dict[str, float]:
    """Return the share of the signal in every channel, normalised to 1.

    Raises
    ------
    FitError
        The shares are not those of the channels, or negative, or all zero.
    """
    names, shares = [spectrum.name for spectrum in data], fit.shares
    if shares is None:
        return dict.fromkeys(names, 1 / len(names))
    total = sum(shares.values())
    values = np.array([*shares.values(), total], dtype=float)
    if set(shares) != set(names) or not np.isfinite(values).all() or values.min() < 0 or total <= 0:
        msg = (
            f"shares must give every channel a part of the signal: channels {sorted(names)}, "
            f"shares {dict(shares)}"
        )
        raise FitError(msg)
    return {name: shares[name] / total for name in names}
