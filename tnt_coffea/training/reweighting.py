"""Weights with which background-rich jets follow the signal-rich ones in one variable."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tnt_coffea.typing import BoolArray, Float64Array

__all__ = ["FEWEST_MEASURED", "ratio_bins", "ratio_weights"]

_BINS = 20
_EVENTS_A_BIN = 10
FEWEST_MEASURED = 2 * _EVENTS_A_BIN
"""Events of either kind below which there are no ratios to weight with."""


def ratio_bins(wanted: BoolArray, given: BoolArray, measured: BoolArray | None = None) -> int:
    """Return the number of bins in which ratios of wanted to given events can be measured.

    Parameters
    ----------
    wanted, given, measured
        As in `ratio_weights`.

    Returns
    -------
    int
        At most twenty, with ten events of the rarer kind for each; 0 where two would have fewer.
    """
    kinds = (part if measured is None else part & measured for part in (wanted, given))
    bins = min(_BINS, min(int(kind.sum()) for kind in kinds) // _EVENTS_A_BIN)
    return bins if bins > 1 else 0


def ratio_weights(
    values: npt.ArrayLike,
    weight: Float64Array,
    wanted: BoolArray,
    given: BoolArray,
    measured: BoolArray | None = None,
) -> Float64Array:
    """Return (event,) weights with which the given events follow the wanted ones.

    Parameters
    ----------
    values
        (event,) the variable: pT or mass of the jet that is trained on, or m_jj [GeV].
    weight
        (event,) weights before.
    wanted, given
        (event,) signal-rich and background-rich.
    measured
        (event,) the events that ratios are computed from; all without it.

    Notes
    -----
    Ratios in `ratio_bins` bins that hold equal shares of both kinds together, each kind counting
    a half; without bins the weights stay as they are. The sum of the given weights is kept. A bin
    without wanted events loses its given ones.

    Source: arXiv:2002.12376, section 4.2.
    """
    x = np.asarray(values, dtype=np.float64)
    out = weight.copy()
    bins = ratio_bins(wanted, given, measured)
    if not bins:
        return out
    from_wanted, from_given = (
        part if measured is None else part & measured for part in (wanted, given)
    )
    inner = _edges(x, wanted, given, bins)
    place = np.searchsorted(inner, x, side="right")
    n = len(inner) + 1
    target = np.bincount(place[from_wanted], weight[from_wanted], minlength=n)
    found = np.bincount(place[from_given], weight[from_given], minlength=n)
    ratio = np.divide(target, found, out=np.zeros(n), where=found > 0)
    changed = weight[given] * ratio[place[given]]
    if changed.sum() > 0:
        out[given] = changed * (weight[given].sum() / changed.sum())
    return out


def _edges(values: Float64Array, wanted: BoolArray, given: BoolArray, bins: int) -> Float64Array:
    share = wanted / wanted.sum() + given / given.sum()
    order = np.argsort(values, kind="stable")
    below = np.cumsum(share[order])
    return np.unique(values[order][np.searchsorted(below, 2 * np.arange(1, bins) / bins)])
