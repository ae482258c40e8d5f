"""Background-rich jets made to follow the signal-rich ones in one variable."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["ratio_weights"]

_BINS = 10

Float64Array = npt.NDArray[np.float64]


def ratio_weights(
    values: npt.ArrayLike,
    weight: Float64Array,
    wanted: npt.NDArray[np.bool_],
    given: npt.NDArray[np.bool_],
) -> Float64Array:
    """Return (event,) weights with which the given events follow the wanted ones.

    Parameters
    ----------
    values
        (event,) the variable: pT of the jet that is trained on, or m_jj [GeV].
    weight
        (event,) weights before.
    wanted, given
        (event,) signal-rich and background-rich.

    Notes
    -----
    Ratios in ten bins that hold as many given events each; the sum of the given weights is
    kept. A bin without wanted events loses its given ones.

    Source: arXiv:2002.12376, section 4.2.
    """
    x = np.asarray(values, dtype=np.float64)
    out = weight.copy()
    if not (wanted.any() and given.any()):
        return out
    inner = np.unique(np.quantile(x[given], np.arange(1, _BINS) / _BINS))
    place = np.searchsorted(inner, x, side="right")
    n = len(inner) + 1
    target = np.bincount(place[wanted], weight[wanted], minlength=n)
    found = np.bincount(place[given], weight[given], minlength=n)
    ratio = np.divide(target, found, out=np.zeros(n), where=found > 0)
    changed = weight[given] * ratio[place[given]]
    if changed.sum() > 0:
        out[given] = changed * (weight[given].sum() / changed.sum())
    return out
