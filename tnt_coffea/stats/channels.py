"""From spectra to the channels of a fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tnt_coffea.errors import FitError
from tnt_coffea.stats.likelihood import Channel
from tnt_coffea.stats.orders import chosen_background
from tnt_coffea.stats.signals import SignalShape, Template
from tnt_coffea.stats.spectra import Spectrum

__all__ = ["channel_models", "signal_shares"]


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
