"""Spectrum of the mass in two sidebands, interpolated into the window between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.config import MassRange
from tnt_coffea.errors import TrainingError
from tnt_coffea.typing import Float64Array

__all__ = ["Spectrum"]

_POINTS = 513
_ITERATIONS = 100


@dataclass(frozen=True)
class Spectrum:
    """A spectrum dN/dm ~ m ** -(a + b ln m), fitted to the masses of two sidebands.

    That is the dijet function without its first factor, (1 - m / sqrt(s)) ** p, which hardly
    varies over a window and its sidebands. The fit is unbinned, with the likelihood of the shape
    in the sidebands; the number of events is theirs.

    Attributes
    ----------
    mass
        (point,) masses over the window [GeV].
    share
        (point,) share of the window's spectrum below them, 0 to 1.
    expected
        Weight in the window, of events like those fitted to.

    Examples
    --------
    >>> import numpy as np
    >>> mass = 2500 * (1 - np.random.default_rng(1).random(50_000)) ** (-1 / 6)  # m ** -7
    >>> window = MassRange(low=3300, high=3700)
    >>> bands = MassRange(low=2700, high=3300), MassRange(low=3700, high=4300)
    >>> spectrum = Spectrum.of(mass, np.ones(len(mass)), window, bands)
    >>> abs(spectrum.expected / window.contains(mass).sum() - 1) < 0.05  # 50,000 events
    np.True_
    """

    mass: Float64Array
    share: Float64Array
    expected: float

    @classmethod
    def of(
        cls,
        mass: npt.NDArray[Any],
        weight: npt.NDArray[Any],
        window: MassRange,
        bands: tuple[MassRange, MassRange],
    ) -> Spectrum:
        """Return that of (event,) masses [GeV] and weights; those outside of the bands are left.

        Raises
        ------
        TrainingError
            No such spectrum fits, for example because a sideband is empty.
        """
        rows = bands[0].contains(mass) | bands[1].contains(mass)
        m, w = np.asarray(mass, np.float64)[rows], np.asarray(weight, np.float64)[rows]
        middle = np.log((window.low + window.high) / 2)
        half = (np.log(bands[1].high) - np.log(bands[0].low)) / 2

        def powers(values: Float64Array) -> Float64Array:
            z = (np.log(values) - middle) / half
            return np.stack([z, z**2])

        total = w.sum()
        at, steps = (np.concatenate(each) for each in zip(*map(_nodes, bands), strict=True))
        basis = powers(at)
        mean = powers(m) @ w / total if total > 0 else np.zeros(2)
        theta = np.zeros(2)
        for _ in range(_ITERATIONS):
            # Newton's method on a concave likelihood: its slope is the mean of the data less
            # that of the model, its curvature the model's covariance.
            density = steps * np.exp(theta @ basis - (theta @ basis).max())
            density /= density.sum()
            expectation = basis @ density
            centred = basis - expectation[:, None]
            step = np.linalg.solve((centred * density) @ centred.T, mean - expectation)
            theta = theta + step / max(1.0, float(np.abs(step).max()))
            if np.abs(step).max() < 1e-10:
                break
        else:
            msg = f"no smooth spectrum fits the masses beside window {window.name}"
            raise TrainingError(msg)
        points = np.linspace(window.low, window.high, _POINTS)
        shape = np.exp(theta @ powers(points) - (theta @ basis).max())
        below = np.concatenate([[0.0], np.cumsum((shape[1:] + shape[:-1]) / 2)])
        beside = (steps * np.exp(theta @ basis - (theta @ basis).max())).sum()
        inside = below[-1] * (points[1] - points[0])
        return cls(points, below / below[-1], float(total * inside / beside))

    def sample(self, n: int, seed: int) -> Float64Array:
        """Return n masses [GeV] in the window."""
        u = np.random.default_rng(seed).random(n)
        m: Float64Array = np.interp(u, self.share, self.mass)
        return np.asarray(np.minimum(m, np.nextafter(self.mass[-1], 0)), np.float64)


def _nodes(band: MassRange) -> tuple[Float64Array, Float64Array]:
    """Return masses in a sideband and their weights in an integral over it."""
    x, w = np.polynomial.legendre.leggauss(64)
    half = (band.high - band.low) / 2
    return band.low + half * (1 + x), half * w
