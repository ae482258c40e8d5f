"""Where the large-sample formulae of arXiv:1007.1727 hold for a signal on smooth backgrounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tnt_coffea.stats.fitting.likelihood import Channel
from tnt_coffea.stats.fitting.signals import SignalShape

__all__ = ["LEAST_BACKGROUND", "background_in_reach", "why_not_asymptotic"]

Array = NDArray[np.float64]

LEAST_BACKGROUND = 25.0
"""Background events within the signal's reach from which on q0 follows its asymptotic law."""


def background_in_reach(channels: Sequence[Channel], null: Sequence[Array]) -> float:
    """Return the background events within mass +- 2 widths, over all channels.

    Parameters
    ----------
    channels
        Spectra and signals: the template tells which bins lie near the mass.
    null
        Expected background of every channel, shape (bins,).
    """
    return sum(
        float(np.sum(b[c.signal > np.exp(-2) * c.signal.max()]))
        for b, c in zip(null, channels, strict=True)
    )


def why_not_asymptotic(
    channels: Sequence[Channel], null: Sequence[Array], signal: SignalShape
) -> tuple[str, ...]:
    """Return every reason why a p-value has to come from toys; none where the formulae hold.

    Parameters
    ----------
    channels, null
        As for `background_in_reach`.
    signal
        The signal.
    """
    reasons = []
    near = background_in_reach(channels, null)
    if near < LEAST_BACKGROUND:
        reasons.append(
            f"{near:.1f} background events within mass +- 2 widths ({signal.mass:g} +- "
            f"{2 * signal.width:g} GeV), fewer than {LEAST_BACKGROUND:g}"
        )
    if signal.nuisances:
        reasons.append("the signal may move within its uncertainties")
    return tuple(reasons)
