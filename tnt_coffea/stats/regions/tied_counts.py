"""The likelihood of four tied counts, solved for many experiments at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

__all__ = ["tied_counts_q0"]

Array = NDArray[np.float64]

_BISECTIONS = 80


def tied_counts_q0(
    counts: Array, closure_factor: float, sigma: float, centre: Array
) -> tuple[Array, Array]:
    """Return q0 and the background-only fit of many ABCD experiments at once.

    At mu = 0 the model is log-linear, and its fit keeps the sums A + B + C + D,
    B + D and C + D: the fitted counts are A - t, B + t, C + t, D - t, and the
    nuisance parameter moves by sigma t. What remains is one monotonic equation
    for t, (A - t)(D - t) = kappa exp(sigma (centre + sigma t)) (B + t)(C + t). With
    a signal allowed the model is saturated.

    Parameters
    ----------
    counts
        A, B, C, D, shape (experiments, 4).
    closure_factor
        kappa.
    sigma
        Logarithmic closure uncertainty, ln(1 + systematic).
    centre
        Auxiliary measurement of the nuisance parameter, shape (experiments,).

    Returns
    -------
    q0, shape (experiments,), and fitted expectations, shape (experiments, 4).
    """
    a, b, c, d = np.asarray(counts, dtype=float).T
    low, high = -np.minimum(b, c), np.minimum(a, d)
    kappa = closure_factor * np.exp(sigma * centre)
    for _ in range(_BISECTIONS):
        t = 0.5 * (low + high)
        below = (a - t) * (d - t) > kappa * np.exp(sigma**2 * t) * (b + t) * (c + t)
        low, high = np.where(below, t, low), np.where(below, high, t)
    t = 0.5 * (low + high)
    fitted = np.stack([a - t, b + t, c + t, d - t], axis=1)
    seen = np.stack([a, b, c, d], axis=1)
    ratio = seen / np.maximum(fitted, np.finfo(float).tiny)
    q0 = 2 * xlogy(seen, np.where(seen > 0, ratio, 1.0)).sum(axis=1) + (sigma * t) ** 2
    return np.where(t > 0, np.maximum(q0, 0.0), 0.0), fitted
