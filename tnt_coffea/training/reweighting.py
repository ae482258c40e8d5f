"""Background-rich jets made to follow the signal-rich ones in one variable."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ratio_weights"]

_BINS = 20
_EVENTS_A_BIN = 10

Float64Array = npt.NDArray[np.float64]


def ratio_weights(
    values: npt.ArrayLike,
    weight: Float64Array,
    wanted: npt.NDArray[np.bool_],
    given: npt.NDArray[np.bool_],
    measured: npt.NDArray[np.bool_] | None = None,
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
    Ratios in twenty bins that hold equal shares of both kinds together, each kind counting a
    half; in fewer where there are not ten events of either kind for each to be measured with.
    The sum of the given weights is kept. A bin without wanted events loses its given ones.

    Source: arXiv:2002.12376, section 4.2.
    """
    x = np.asarray(values, dtype=np.float64)
    out = weight.copy()
    from_wanted, from_given = (
        part if measured is None else part & measured for part in (wanted, given)
    )
    rarer = min(int(from_wanted.sum()), int(from_given.sum()))
    bins = min(_BINS, rarer // _EVENTS_A_BIN)
    if bins <= 1:
        return out
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


def _edges(
    values: Float64Array, wanted: npt.NDArray[np.bool_], given: npt.NDArray[np.bool_], bins: int
) -> Float64Array:
    share = wanted / wanted.sum() + given / given.sum()
    order = np.argsort(values, kind="stable")
    below = np.cumsum(share[order])
    return np.unique(values[order][np.searchsorted(below, 2 * np.arange(1, bins) / bins)])
