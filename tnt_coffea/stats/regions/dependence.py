"""How far two binned scores are from independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["distance_correlation", "pearson", "spearman"]

Array = NDArray[np.float64]


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


def spearman(table: Array) -> float:
    """Return the rank correlation of a table; events in a bin have its mean rank."""
    return pearson(table, _ranks(table.sum(axis=1)), _ranks(table.sum(axis=0)))


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
    first, second = _centred(heavy, rows), _centred(light, columns)
    covariance = float(np.sum((share.T @ first @ share) * second))
    variances = float(rows @ first**2 @ rows) * float(columns @ second**2 @ columns)
    return float(np.sqrt(max(covariance, 0.0) / np.sqrt(variances))) if variances > 0 else 0.0


def _centred(values: Array, weights: Array) -> Array:
    """Return pairwise distances less their means over rows and columns."""
    distances = np.abs(values[:, None] - values)
    means = distances @ weights
    return np.asarray(distances - means[:, None] - means + weights @ means)


def _ranks(counts: Array) -> Array:
    """Return the mean rank of each bin of a marginal distribution."""
    return np.asarray(np.cumsum(counts) - 0.5 * counts)
