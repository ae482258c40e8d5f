"""How far two scores are from independent: correlations of events and of binned planes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["binned_spearman", "distance_correlation", "pearson", "spearman"]

Array = NDArray[np.float64]

_FEWEST_EVENTS = 4


def pearson(table: Array, heavy: Array, light: Array) -> float:
    """Return the linear correlation of two values given to the rows and columns of a table.

    Parameters
    ----------
    table
        Events, shape (rows, columns).
    heavy, light
        Values of rows and columns.
    """
    total = table.sum()
    heavy = heavy - (table.sum(axis=1) @ heavy) / total
    light = light - (table.sum(axis=0) @ light) / total
    variances = (table.sum(axis=1) @ heavy**2) * (table.sum(axis=0) @ light**2)
    return float(heavy @ table @ light / np.sqrt(variances))


def spearman(
    x: Array, y: Array, weight: Array | None = None
) -> tuple[float, float] | tuple[None, None]:
    """Return Spearman's rank correlation of two columns and its standard deviation.

    With U and V the mid-ranks in (0, 1), rho is their linear correlation. To first order each
    event i moves it by

    psi_i = [(u_i - 1/2)(v_i - 1/2) + E_j 1(u_j >= u_i)(v_j - 1/2)
             + E_j 1(v_j >= v_i)(u_j - 1/2)] / (sigma_U sigma_V) - its mean,

    the last two terms because an event also shifts the ranks of those above it (equal ones
    count half); the variance is that of the mean of psi. It holds under dependence, and is
    1 / n without it.

    Parameters
    ----------
    x, y
        (event,), any increasing scale.
    weight
        (event,), positive; 1 if not given.

    Returns
    -------
    Coefficient and uncertainty; two None below four events, or where a column is constant.

    Source
    ------
    C. B. Borkowf, Comput. Stat. Data Anal. 39 (2002) 271 (variance under dependence).

    Examples
    --------
    >>> from tnt_coffea import stats
    >>> import numpy as np
    >>> x = np.arange(100.0)
    >>> value, error = stats.spearman(x, x**3)
    >>> round(value, 3)
    1.0
    """
    if len(x) < _FEWEST_EVENTS:
        return None, None
    w = np.ones(len(x)) if weight is None else weight
    u, v, share, spread = _ranked(x, y, w)
    if spread == 0:
        return None, None
    rho = float((share * u * v).sum()) / spread
    psi = (u * v + _above(u, share * v) + _above(v, share * u)) / spread
    psi -= (share * psi).sum()
    return rho, float(np.sqrt((share**2 * psi**2).sum()))


def binned_spearman(table: Array) -> float:
    """Return the rank correlation of a table; events in a bin have its mean rank.

    Parameters
    ----------
    table
        Events, shape (rows, columns), in two rows and two columns at least.
    """
    rows, columns = np.indices(table.shape).reshape(2, -1).astype(float)
    u, v, share, spread = _ranked(rows, columns, np.asarray(table, dtype=float).ravel())
    return float((share * u * v).sum()) / spread


def distance_correlation(table: Array, heavy: Array, light: Array) -> float:
    """Return the distance correlation of two values given to rows and columns.

    It is 0 only for independent values, and sees dependence in tails or bands that has
    no linear part. For n independent events it is about n^-1/2, never 0.

    Parameters
    ----------
    table, heavy, light
        As for `pearson`.

    Source
    ------
    Szekely, Rizzo, Bakirov, Annals of Statistics 35 (2007) 2769.
    """
    share = table / table.sum()
    rows, columns = share.sum(axis=1), share.sum(axis=0)
    first, second = _distances(heavy, rows), _distances(light, columns)
    covariance = float(np.sum((share.T @ first @ share) * second))
    variances = float(rows @ first**2 @ rows) * float(columns @ second**2 @ columns)
    return float(np.sqrt(max(covariance, 0.0) / np.sqrt(variances))) if variances > 0 else 0.0


def _distances(values: Array, weights: Array) -> Array:
    """Return pairwise distances less their means over rows and columns."""
    distances = np.abs(values[:, None] - values)
    means = distances @ weights
    return np.asarray(distances - means[:, None] - means + weights @ means)


def _ranked(x: Array, y: Array, weight: Array) -> tuple[Array, Array, Array, float]:
    """Return both columns' mid-ranks less 1/2, the shares of weight, and sigma_U sigma_V."""
    u, v = (_mid_ranks(column, weight) - 0.5 for column in (x, y))
    share = weight / weight.sum()
    return u, v, share, float(np.sqrt((share * u**2).sum() * (share * v**2).sum()))


def _mid_ranks(column: Array, weight: Array) -> Array:
    """Return the weighted share below each value, half of the equal ones included."""
    _, where = np.unique(column, return_inverse=True)
    mass = np.bincount(where, weights=weight)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    return np.asarray(middle[where])


def _above(level: Array, terms: Array) -> Array:
    """Return, for every event, the sum of the terms of events above its level, equal ones half."""
    order = np.argsort(level, kind="stable")
    from_top = np.append(np.cumsum(terms[order][::-1])[::-1], 0.0)
    left, right = (np.searchsorted(level[order], level, side=side) for side in ("left", "right"))
    return np.asarray((from_top[left] + from_top[right]) / 2)
