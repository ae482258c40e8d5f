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

__all__ = ["SignalModel", "channel_models", "signal_model", "signal_shares"]


@dataclass(frozen=True, eq=False)
class SignalModel:
    """A signal on smooth backgrounds in one spectrum, or in several."""

    signal: SignalShape
    data: tuple[Spectrum, ...]
    shares: Mapping[str, float]
    channels: tuple[Channel, ...]


def signal_model(
    histograms: Any,
    signal: SignalShape,
    fit_range: tuple[float, float],
    bin_width: float | None,
    family: str,
    limits: tuple[int, int],
    f_test: float,
    shares: Mapping[str, float] | None = None,
) -> SignalModel:
    """Return the model of a signal in histograms, each with the function that it asks for.

    Parameters
    ----------
    histograms, fit_range, bin_width
        As the channels of `bump_hunt`; range and width [GeV].
    signal
        The signal.
    family, limits, f_test, shares
        As for `channel_models`; without shares, equal ones.

    Raises
    ------
    FitError
        The histograms or the shares do not suit the fit.
    """
    data = tuple(spectra(histograms, fit_range, bin_width))
    fractions = signal_shares(tuple(spectrum.name for spectrum in data), shares)
    channels = tuple(channel_models(data, signal, fractions, family, limits, f_test))
    return SignalModel(signal, data, fractions, channels)


def channel_models(
    data: Sequence[Spectrum],
    signal: SignalShape,
    shares: Mapping[str, float],
    family: str,
    limits: tuple[int, int],
    f_test: float,
) -> list[Channel]:
    """Return the channels of a fit, each with the function that its spectrum asks for.

    Parameters
    ----------
    data
        The spectra.
    signal
        The signal.
    shares
        Share of the signal in every channel.
    family, limits, f_test
        Family, fewest and most parameters, p-value of the F-test.
    """
    models = []
    for spectrum in data:
        share = shares[spectrum.name]
        template = Template(signal, spectrum.edges, share) if signal.nuisances else None
        background = chosen_background(spectrum, signal.mass, signal.width, *limits, f_test, family)
        expected = share * signal.integrals(spectrum.edges)
        models.append(Channel(spectrum.name, spectrum.counts, expected, background, template))
    return models


def signal_shares(names: Sequence[str], shares: Mapping[str, float] | None) -> dict[str, float]:
    """Return the share of the signal in every channel, normalised to 1.

    Raises
    ------
    FitError
        The shares are not those of the channels, or negative, or all zero.
    """
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
