"""Windows in mass that a search scans, each with tagger sets of its own."""

from __future__ import annotations

import numpy as np

from tnt_coffea.config import MassRange, SearchConfig, WindowScan

__all__ = [
    "cwola_windows",
    "olympics_windows",
    "overlapping_windows",
    "tossed_windows",
    "windows_of",
]

_LOW, _HIGH, _STEP = 3000.0, 5000.0, 500.0
"""GeV; arXiv:2101.08320, section 4.3.1."""
_LOWEST = 2500.0
"""GeV, of the overlapping windows."""
_BINS, _FIRST, _LAST = 16, 2632.0, 6000.0
"""Logarithmic bins and their range [GeV]; arXiv:2101.08320, section 4.1.1."""
_OF_ALL_JETS = 2800.0, 7000.0
"""Range of as many bins in the mass of all jets [GeV]; arXiv:2101.08320, section 4.1.3."""


def olympics_windows(*, staggered: bool = False) -> tuple[MassRange, ...]:
    """Return the windows of 500 GeV from 3 to 5 TeV, ascending.

    Parameters
    ----------
    staggered
        With a second set half a step further, so no signal sits on the edge of all of them.

    Source: arXiv:2101.08320, section 4.3.1; two staggered sets as in arXiv:2412.03747.

    Examples
    --------
    >>> [window.name for window in olympics_windows()]
    ['3000-3500', '3500-4000', '4000-4500', '4500-5000']
    """
    lows = np.arange(_LOW, _HIGH - _STEP / 2, _STEP / 2 if staggered else _STEP)
    return tuple(
        MassRange(low=float(low), high=float(low + _STEP)) for low in lows if low + _STEP <= _HIGH
    )


def cwola_windows() -> tuple[MassRange, ...]:
    """Return the ten overlapping signal regions of three logarithmic bins each.

    Source: arXiv:2101.08320, section 4.1.1.

    Examples
    --------
    >>> windows = cwola_windows()
    >>> len(windows), windows[0].edges
    (10, (2917.6, 3405.0))
    """
    return _of_three_bins(_FIRST, _LAST)


def tossed_windows() -> tuple[MassRange, ...]:
    """Return the ten signal regions in the mass of all jets, of three logarithmic bins each.

    Source: arXiv:2101.08320, section 4.1.3.

    Examples
    --------
    >>> windows = tossed_windows()
    >>> len(windows), windows[0].edges
    (10, (3139.8, 3728.3))
    """
    return _of_three_bins(*_OF_ALL_JETS)


def _of_three_bins(first: float, last: float) -> tuple[MassRange, ...]:
    edges = np.geomspace(first, last, _BINS + 1)
    # Centred on the fourth to the thirteenth bin: two bins are left on either side.
    return tuple(
        MassRange(low=round(float(edges[i - 1]), 1), high=round(float(edges[i + 2]), 1))
        for i in range(3, 13)
    )


def overlapping_windows() -> tuple[MassRange, ...]:
    """Return the six windows of 1 TeV, one every 500 GeV from 2.5 TeV on.

    Source: arXiv:2101.08320, section 3.6, where 2.5-3.5 TeV is the one that is named.

    Examples
    --------
    >>> [window.name for window in overlapping_windows()]
    ['2500-3500', '3000-4000', '3500-4500', '4000-5000', '4500-5500', '5000-6000']
    """
    lows = np.arange(_LOWEST, _HIGH + _STEP / 2, _STEP)
    return tuple(MassRange(low=float(low), high=float(low + 2 * _STEP)) for low in lows)


def windows_of(config: SearchConfig) -> tuple[MassRange, ...]:
    """Return the windows of a search.

    Parameters
    ----------
    config
        `search.window` and `train.windows` are read.

    Examples
    --------
    >>> from tnt_coffea import SearchConfig
    >>> [window.name for window in windows_of(SearchConfig())]
    ['3300-3700']
    """
    scan = config.train.windows
    if scan is WindowScan.SINGLE:
        return (config.search.window,)
    if scan is WindowScan.CWOLA:
        return cwola_windows()
    if scan is WindowScan.TOSSED:
        return tossed_windows()
    if scan is WindowScan.OVERLAPPING:
        return overlapping_windows()
    return olympics_windows(staggered=scan is WindowScan.STAGGERED)
