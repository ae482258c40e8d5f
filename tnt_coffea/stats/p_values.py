"""p-values and significances of plain numbers: what needs no fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import gammainc, ndtr, ndtri, xlogy

from tnt_coffea.errors import FitError

__all__ = [
    "normal_p_value",
    "paper_significance",
    "poisson_p_value",
    "significance",
    "theta_q0",
    "toys_p_value",
]

Array = NDArray[np.float64]

_GAUSS_POINTS = 80


def normal_p_value(z: float) -> float:
    """Return the probability that a standard normal variable exceeds z."""
    return float(ndtr(-z))


def significance(p: float, least: float = 0.0) -> float:
    """Return a p-value in standard deviations, by default 0 where it is a half or more.

    Parameters
    ----------
    p
        The p-value; 0 is taken for the smallest positive number.
    least
        Smallest value that is returned.
    """
    return max(least, float(-ndtri(max(p, np.finfo(float).tiny))))


def toys_p_value(reached: int, toys: int) -> float:
    """Return (k + 1) / (N + 1): the data are one more experiment of the null hypothesis.

    Parameters
    ----------
    reached, toys
        Toys k that are at least as extreme as the data, and all of them, N.
    """
    return (reached + 1) / (toys + 1)


def theta_q0(n: Any, b: Any, sigma: Any) -> Array:
    """Return q0 of Poisson(n | b + theta + mu) exp(-theta^2 / 2 sigma^2).

    At mu = 0 the best theta solves a quadratic equation; at the best mu = n - b it
    is 0. Where n <= b, q0 is 0.

    Parameters
    ----------
    n, b, sigma
        Observed events; expected ones, above 0; their uncertainty. They broadcast.

    Raises
    ------
    FitError
        A number is not finite or out of range.

    Source
    ------
    Benkendorfer, Le Pottier, Nachman, arXiv:2009.02205, equations 2.5 and 2.6.
    """
    n, b, sigma = (np.asarray(value, dtype=float) for value in (n, b, sigma))
    if not np.all(np.isfinite(n) & np.isfinite(b) & np.isfinite(sigma)):
        msg = f"observed, expected and uncertainty must be numbers, got {n}, {b}, {sigma}"
        raise FitError(msg)
    if np.any(n < 0) or np.any(b <= 0) or np.any(sigma < 0):
        msg = f"expected n >= 0, b > 0 and sigma >= 0, got {n}, {b}, {sigma}"
        raise FitError(msg)
    # mean^2 + (sigma^2 - b) mean - n sigma^2 = 0 for mean = b + theta, without cancellation.
    half = 0.5 * (b - sigma**2)
    root = np.sqrt(half**2 + n * sigma**2)
    mean = np.where(half > 0, half + root, n * sigma**2 / np.maximum(root - half, 1e-300))
    theta = mean - b
    pull = np.divide(theta, sigma, out=np.zeros_like(mean), where=sigma > 0)
    q0 = 2 * (mean - n + xlogy(n, n / np.maximum(mean, 1e-300))) + pull**2
    return np.asarray(np.where(n > b, np.maximum(q0, 0.0), 0.0))


def poisson_p_value(n: float, b: float, sigma: float) -> float:
    """Return the probability of n events or more where b +- sigma are expected.

    The uncertainty is integrated over as a normal distribution cut off at 0.

    Source
    ------
    Collins, Howe, Nachman, arXiv:1805.02664 and arXiv:1902.02634.
    """
    if n <= 0:
        return 1.0
    nodes, weights = hermegauss(_GAUSS_POINTS)
    means = b + sigma * nodes
    inside = means > 0
    above = np.where(inside, gammainc(n, np.where(inside, means, 1.0)), 0.0)
    return float(np.sum(weights * above) / np.sum(weights[inside]))


def paper_significance(
    observed: float, predicted: float, statistical: float, systematic: float = 0.03
) -> float:
    """Return the paper's significance (N_obs - N_pred) / sqrt(N_obs + sigma_b^2).

    It is no likelihood ratio: with the observed count in its variance it lies below
    one for small excesses, and above one for large excesses on few control events.

    Parameters
    ----------
    observed, predicted
        Events seen and background estimated.
    statistical
        Statistical uncertainty of the estimate [events].
    systematic
        Relative systematic uncertainty of the estimate.

    Raises
    ------
    FitError
        A number is not finite, or the count negative.

    Source
    ------
    arXiv:2002.12376, equation 4.1.

    Examples
    --------
    >>> round(paper_significance(130, 100, 5), 2)
    2.34
    """
    if not np.isfinite([observed, predicted, statistical, systematic]).all() or observed < 0:
        msg = (
            f"the paper's significance needs counts and their uncertainty, got {observed} "
            f"observed, {predicted} +- {statistical} predicted, systematic {systematic}"
        )
        raise FitError(msg)
    variance = observed + statistical**2 + (systematic * predicted) ** 2
    return (observed - predicted) / float(np.sqrt(variance)) if variance > 0 else 0.0
