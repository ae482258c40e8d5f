"""Windows in m_jj that a search scans, each with tagger sets of its own."""

from __future__ import annotations

import numpy as np

from tnt_coffea.config import MassRange, SearchConfig, WindowScan
from tnt_coffea.errors import ConfigError

__all__ = ["cwola_windows", "olympics_windows", "windows_of"]

_LOW, _HIGH, _STEP = 3000.0, 5000.0, 500.0
"""GeV; arXiv:2101.08320, section 4.3.1."""
_BINS, _FIRST, _LAST = 16, 2632.0, 6000.0
"""Logarithmic bins and their range [GeV]; arXiv:2101.08320, section 4.1.1."""


def olympics_windows(*, staggered: bool = False) -> tuple[MassRange, ...]:
    """Return the windows of 500 GeV from 3 to 5 TeV, ascending.

    Parameters
    ----------
    staggered
        With a second set half a step further, so no signal sits on the edge of all of them.

    Source: arXiv:2101.08320, section 4.3.1; two staggered sets as in arXiv:2412.03747.
    """
    lows = np.arange(_LOW, _HIGH - _STEP / 2, _STEP / 2 if staggered else _STEP)
    return tuple(
        MassRange(low=float(low), high=float(low + _STEP)) for low in lows if low + _STEP <= _HIGH
    )


def cwola_windows() -> tuple[MassRange, ...]:
    """Return the ten overlapping signal regions of three logarithmic bins each.

    Source: arXiv:2101.08320, section 4.1.1.
    """
    edges = np.geomspace(_FIRST, _LAST, _BINS + 1)
    # Centred on the fourth to the thirteenth bin: two bins are left on either side.
    return tuple(
        MassRange(low=round(float(edges[i - 1]), 1), high=round(float(edges[i + 2]), 1))
        for i in range(3, 13)
    )


def windows_of(config: SearchConfig) -> tuple[MassRange, ...]:
    """Return the windows of a search.

    Parameters
    ----------
    config
        `search.window`, `search.fit_range`, `train.windows` and `train.cwola` are read.

    Raises
    ------
    ConfigError
        A sideband of a scanned window leaves the fit range.
    """
    scan, fit_range = config.train.windows, config.search.fit_range
    if scan is WindowScan.SINGLE:
        return (config.search.window,)
    if scan is WindowScan.CWOLA:
        windows = cwola_windows()
    else:
        windows = olympics_windows(staggered=scan is WindowScan.STAGGERED)
    for window in windows:
        lower, upper = config.train.cwola.sidebands(window)
        # Half a GeV: logarithmic edges are written to one decimal.
        if lower.low < fit_range.low - 0.5 or upper.high > fit_range.high + 0.5:
            msg = (
                f"the sidebands of window {window.name}, {lower.name} and {upper.name}, leave "
                f"search.fit_range {fit_range.name}; widen it or choose other train.windows"
            )
            raise ConfigError(msg)
    return windows
