"""Parameters of unit uncertainty: the directions in which a background is fitted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mask", "chosen_bins", "unit_directions"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A direction that changes the bins by less than this share of what another does has no unit.
_SMALLEST_DIRECTION = 1e-8
# One that changes them by less than this share is kept apart from the others.
_MINOR_DIRECTION = 1e-3


def chosen_bins(seen: Mask | None) -> Mask | slice:
    """Return the bins to look at; by default all."""
    return slice(None) if seen is None else seen


def unit_directions(
    jacobian: Array, expected: Array, seen: Mask | None = None, smallest: float = 0.0
) -> Array:
    """Return W such that J W / sqrt(b) has orthonormal columns: the new directions.

    A direction that changes next to nothing is kept apart from the others: toys move it by
    many times its unit, and would move with it all that hold a part of it.

    Parameters
    ----------
    jacobian
        J, d expected / d phi, shape (bins, parameters).
    expected
        b, shape (bins,).
    seen
        The bins that count; by default all.
    smallest
        Directions whose size, in uncertainties per unit of phi, is below this keep their unit.
    """
    root = np.sqrt(np.maximum(expected, np.finfo(float).tiny))
    triangle = np.linalg.qr((jacobian / root[:, None])[chosen_bins(seen)], mode="r")
    _, sizes, vectors = np.linalg.svd(triangle)
    smallest = max(smallest, _SMALLEST_DIRECTION * float(sizes[0]), 1e-300)
    if sizes[-1] > max(smallest, _MINOR_DIRECTION * float(sizes[0])):
        return np.asarray(np.linalg.inv(triangle))
    return np.asarray(vectors.T / np.where(sizes > smallest, sizes, 1.0))
