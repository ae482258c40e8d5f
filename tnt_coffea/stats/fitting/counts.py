"""Poisson counts: toys, and how far counts lie from their expectation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

__all__ = ["deviance", "pulls", "toy_counts"]

Array = NDArray[np.float64]


def deviance(observed: Array, expected: Array) -> Array:
    """Return the likelihood ratio to the saturated model, 2 sum(n ln(n / b) - n + b).

    The sum is over the last axis, the bins.
    """
    return np.asarray(np.sum(_deviances(observed, expected), axis=-1))


def pulls(observed: Array, expected: Array) -> Array:
    """Return each bin's signed root of its deviance: a pull that holds at low counts too."""
    terms = np.maximum(_deviances(observed, expected), 0.0)
    return np.asarray(np.sign(observed - expected) * np.sqrt(terms))


def toy_counts(expected: Sequence[Array], toys: int, random: np.random.Generator) -> list[Array]:
    """Return Poisson counts around the expectations of every channel, shape (toys, bins)."""
    return [random.poisson(mean, (toys, len(mean))).astype(float) for mean in expected]


def _deviances(observed: Array, expected: Array) -> Array:
    expected = np.maximum(expected, np.finfo(float).tiny)
    return np.asarray(2 * (xlogy(observed, observed / expected) - observed + expected))
