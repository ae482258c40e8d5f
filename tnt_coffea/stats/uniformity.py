"""Whether the p-values of searches without a signal are uniform."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tnt_coffea import seeds

__all__ = ["EMPTY", "Uniformity", "uniformity"]

Array = NDArray[np.float64]

EMPTY = 0.5
"""p-values from here on are of fits without an excess: q0 is 0, whatever its p-value is called."""
_DRAWS, _BATCH = 19_999, 1000


@dataclass(frozen=True)
class Uniformity:
    """How far the p-values of independent searches are from uniform ones below a half.

    Attributes
    ----------
    n
        How many there are.
    empty
        Those of a half or more.
    too_small
        Largest share of p-values at or below some p, beyond that p.
    too_large
        Largest p beyond the share of p-values below it.
    p_value
        Probability that the larger one of these is as large among uniform p-values.
    p_too_small
        Likewise of the first alone.

    Examples
    --------
    >>> found = uniformity([0.01, 0.02, 0.04, 1.0])
    >>> found.empty, round(found.too_small, 2), found.p_too_small < 0.01
    (1, 0.71, True)
    """

    n: int
    empty: int
    too_small: float
    too_large: float
    p_value: float
    p_too_small: float


def uniformity(p_values: Sequence[float]) -> Uniformity:
    """Test by the distance of Kolmogorov and Smirnov, taken below p = 1/2 alone.

    The p-value of a signal that cannot be negative has an atom: where the best fit has none, half
    of all cases, formulae say 1/2 and toys say 1 (arXiv:1007.1727, equation 49). Such
    p-values count as none below a half, which is all that a uniform one would say there.
    Probabilities are those of 19,999 draws of uniform numbers of the same size, cut likewise.

    Parameters
    ----------
    p_values
        Of independent searches, one at least.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> uniform = rng.uniform(0, 1, 200)
    >>> uniformity(np.where(uniform < 0.5, uniform, 0.5)).p_value > 0.05
    True
    >>> uniformity(np.minimum(uniform**1.5, 0.5)).p_value < 0.01
    True
    """
    p = np.sort(np.asarray(p_values, np.float64))[None]
    ((small, large),) = np.stack(_distances(p), axis=1)
    drawn = _drawn(p.size)
    return Uniformity(
        p.size,
        int((p >= EMPTY).sum()),
        float(small),
        float(large),
        float((1 + (drawn.max(axis=0) >= max(small, large)).sum()) / (1 + _DRAWS)),
        float((1 + (drawn[0] >= small).sum()) / (1 + _DRAWS)),
    )


def _distances(p: Array) -> tuple[Array, Array]:
    """Return both distances of (set, p-value) rising p-values."""
    n = p.shape[1]
    below = p < EMPTY
    share = np.arange(1, n + 1) / n
    small = np.where(below, share - p, 0).max(axis=1)
    large = np.where(below, p - share + 1 / n, 0).max(axis=1)
    return np.maximum(small, 0), np.maximum(large, EMPTY - below.sum(axis=1) / n)


@cache
def _drawn(n: int) -> Array:
    """Return (2, draw) distances of uniform p-values."""
    rng = seeds.generator(1, "uniformity", n)
    found = [
        np.stack(_distances(np.sort(rng.uniform(0, 1, (size, n)), axis=1)))
        for size in _sizes(_DRAWS)
    ]
    return np.concatenate(found, axis=1)


def _sizes(draws: int) -> list[int]:
    return [min(_BATCH, draws - i) for i in range(0, draws, _BATCH)]
