"""How nuisance parameters move a signal, bin by bin: HistFactory's codes 4 and 4p.

Source
------
CERN-OPEN-2012-016 and pyhf, JOSS 6 (2021) 2823.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["added", "factors"]

Array = NDArray[np.float64]


def added(nominal: Array, up: Array, down: Array, alpha: Array) -> tuple[Array, Array, Array]:
    """Return what a nuisance parameter adds to every bin, and its two derivatives.

    Parameters
    ----------
    nominal, up, down
        Histograms at 0, +1 and -1 standard deviations, shape (bins,).
    alpha
        Nuisance parameter, shape (points,).

    Returns
    -------
    Three arrays of shape (points, bins): linear beyond one standard deviation, a polynomial of
    sixth order between, with continuous second derivatives.

    Source
    ------
    HistFactory's code 4p, which is also the vertical morphing of CMS Combine.

    Examples
    --------
    >>> import numpy as np
    >>> nominal, up, down = np.array([2.0]), np.array([3.0]), np.array([1.5])
    >>> added(nominal, up, down, np.array([-1.0, 0.0, 1.0, 2.0]))[0].ravel().tolist()
    [-0.5, 0.0, 1.0, 2.0]
    """
    a = alpha[:, None]
    odd, even = 0.5 * (up - down), 0.0625 * (up + down - 2 * nominal)
    inside = np.abs(a) < 1
    slope = np.where(a > 0, up - nominal, nominal - down)
    return (
        np.where(inside, odd * a + even * (15 * a**2 - 10 * a**4 + 3 * a**6), slope * a),
        np.where(inside, odd + even * (30 * a - 40 * a**3 + 18 * a**5), slope),
        np.where(inside, even * (30 - 120 * a**2 + 90 * a**4), 0.0),
    )


def factors(high: float, low: float, alpha: Array) -> tuple[Array, Array, Array]:
    """Return what a nuisance parameter multiplies a sum by, and its two derivatives.

    Parameters
    ----------
    high, low
        Factors at +1 and -1 standard deviations, above 0.
    alpha
        Nuisance parameter, shape (points,).

    Returns
    -------
    Three arrays of shape (points,): exponential beyond one standard deviation, a polynomial of
    sixth order between, with continuous second derivatives. Where low = 1 / high it is high **
    alpha, a log-normal distribution, to a part in 10^8 for a tenth.

    Source
    ------
    HistFactory's code 4.

    Examples
    --------
    >>> import numpy as np
    >>> value, slope, _ = factors(1.1, 1 / 1.1, np.array([0.5, 2.0]))
    >>> bool(np.allclose(value, [1.1**0.5, 1.21]))
    True
    """
    logs = float(np.log(high)), float(np.log(low))
    inside = np.abs(alpha) < 1
    polynomial, first, second = _polynomial(float(high), float(low))
    a = np.where(inside, alpha, 0.0)
    rate = np.where(alpha > 0, logs[0], -logs[1])
    outside = np.exp(rate * np.where(inside, 0.0, alpha))
    return (
        np.where(inside, polynomial(a), outside),
        np.where(inside, first(a), rate * outside),
        np.where(inside, second(a), rate**2 * outside),
    )


@lru_cache(maxsize=256)
def _polynomial(high: float, low: float) -> tuple[Any, Any, Any]:
    """Return code 4 between -1 and 1, and its derivatives: it joins the exponentials smoothly."""
    logs = np.log(high), np.log(low)
    power, signs = np.arange(1, 7), (-1.0) ** np.arange(1, 7)
    twice = power * (power - 1)
    conditions = np.array([np.ones(6), signs, power, -power * signs, twice, twice * signs])
    rises = [high * logs[0], -low * logs[1], high * logs[0] ** 2, low * logs[1] ** 2]
    inner = np.linalg.solve(conditions, [high - 1, low - 1, *rises])
    polynomial = np.polynomial.Polynomial([1.0, *inner])
    return polynomial, polynomial.deriv(), polynomial.deriv(2)
