"""Orientation: rules, free of truth, by which a latent number becomes a score.

A latent number has no side of its own: the same network with all its signs turned is as good.

| rule | a higher score is |
|---|---|
| `Orientation.by_skewness` | further along the longer tail |
| `Orientation.by_distance` | further from the median, on either side |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.typing import Float64Array

__all__ = ["Orientation", "median", "skewness"]


@dataclass(frozen=True)
class Orientation:
    """From a latent number to a score, by constants of the events trained on.

    The score is exactly the same where the latent number has the other sign throughout.

    Attributes
    ----------
    middle
        Median of the latent number.
    sign
        1 or -1, the side that is anomalous; None for both.

    Examples
    --------
    >>> import numpy as np
    >>> z = np.array([1.0, 2.0, 3.0, -50.0])  # a tail of negative numbers
    >>> rule = Orientation.by_skewness(z)
    >>> rule, rule.applied(z).tolist()
    (Orientation(middle=1.5, sign=-1.0), [0.5, -0.5, -1.5, 51.5])
    """

    middle: float
    sign: float | None = None

    @classmethod
    def by_skewness(cls, z: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Orientation:
        """Return sign(skewness) x (z - median): what is rare makes the longer tail.

        Parameters
        ----------
        z
            (event,) latent number.
        weight
            (event,), its modulus counts; 1 if not given.
        """
        return cls(median(z, weight), -1.0 if skewness(z, weight) < 0 else 1.0)

    @classmethod
    def by_distance(cls, z: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> Orientation:
        """Return abs(z - median): what is rare is far away, on any side.

        Parameters
        ----------
        z, weight
            As in `by_skewness`.
        """
        return cls(median(z, weight))

    def applied(self, z: Any) -> Any:
        """Return the score of a latent number, numpy or a Keras tensor of any shape."""
        away = z - self.middle
        return abs(away) if self.sign is None else self.sign * away


def skewness(values: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the third central moment over the 3/2 power of the second; 0 of equal values.

    Parameters
    ----------
    values
        (event,).
    weight
        (event,), its modulus counts; 1 if not given.

    Examples
    --------
    >>> skewness([0, 0, 0, 1]) > 0, skewness([1, 2, 3]), skewness([0, 1], [3, 1]) > 0
    (True, 0.0, True)
    """
    x, share = _shares(values, weight)
    away = x - (share * x).sum()
    variance = float((share * away**2).sum())
    if not variance > 0:
        return 0.0
    return float((share * away**3).sum() / variance**1.5)


def median(values: npt.ArrayLike, weight: npt.ArrayLike | None = None) -> float:
    """Return the weighted median: half-way between the values that close the gap from both sides.

    The median of the negative values is its negative, to the last bit.

    Parameters
    ----------
    values
        (event,), one at least.
    weight
        (event,), its modulus counts; 1 if not given.

    Examples
    --------
    >>> median([3, 1, 2, 4]), median([1, 2, 3], [1, 1, 3])
    (2.5, 3.0)
    """
    x, weights = _shares(values, weight)
    # Equal values first become one: the order of their weights would change the last digits.
    unique, place = np.unique(x, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    up, down = np.cumsum(mass), np.cumsum(mass[::-1])
    last = len(unique) - 1
    lower = unique[min(int(np.searchsorted(up, up[-1] / 2)), last)]
    upper = unique[::-1][min(int(np.searchsorted(down, down[-1] / 2)), last)]
    return float((lower + upper) / 2)


def _shares(
    values: npt.ArrayLike, weight: npt.ArrayLike | None
) -> tuple[Float64Array, Float64Array]:
    x = np.asarray(values, np.float64)
    w = np.ones(len(x)) if weight is None else np.abs(np.asarray(weight, np.float64))
    return x, w / w.sum()
