"""Quantile knots: features as the share of a sample below them, from 0 to 1.

The share at x is the weight below x and half of that at x. It is exact at up to 1000 numbers of
the sample, its knots, and linear in between: a continuous function that never falls, constant
beyond the last knots. A number that many events share has one place.

Source: arXiv:2101.08320, section 6.1 (features of principal components, 1000 quantiles).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.features import check_features
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["QuantileKnots", "shares_below"]

_DIGITS = 14
"""Binary digits by which knots differ at least: a steeper map would multiply rounding errors."""
_SMALLEST, _LARGEST = 2.0**-100, 2.0**100
"""Of knots that are not zero."""
_LEVEL = 2.0**-24
"""Levels are multiples: so sums and differences of them are exact, and the map never falls."""


@dataclass(frozen=True)
class QuantileKnots:
    """Monotone, piecewise linear maps of features to uniform numbers.

    One arithmetic serves arrays, tensors and graphs, in single precision and event by event: their
    results have the same bits wherever an event stands. What is not a number counts as the median.

    Attributes
    ----------
    values
        (feature, knot) float32, ascending; infinite behind a feature's last one.
    levels
        (feature, knot) float32, the share of the sample below each.

    Examples
    --------
    >>> import numpy as np
    >>> masses = np.array([[100.0], [100.0], [200.0], [400.0]], np.float32)
    >>> knots = QuantileKnots.of(masses, names=("heavy_mass",))
    >>> knots.applied(np.array([[100.0], [300.0], [np.inf]], np.float32)).tolist()
    [[0.25], [0.75], [0.875]]
    """

    values: Float32Array
    levels: Float32Array

    @classmethod
    def of(
        cls,
        values: npt.NDArray[Any],
        weights: npt.ArrayLike | None = None,
        *,
        names: Sequence[str],
        knots: int = 1000,
    ) -> QuantileKnots:
        """Return the maps of a sample.

        Parameters
        ----------
        values
            (event, feature).
        weights
            (event,), whose modulus counts; 1 if not given.
        names
            Of the features, for messages.
        knots
            Most knots of a feature, at least 2; without more different values all are knots.

        Raises
        ------
        TrainingError
            A feature is constant, or not finite for some events.
        """
        given = np.ones(len(values)) if weights is None else np.abs(np.asarray(weights, np.float64))
        values, weight = values[given > 0], given[given > 0]
        check_features(values, names)
        pairs = [_knots(column, weight, knots) for column in values.T]
        for name, (found, _) in zip(names, pairs, strict=True):
            if len(found) < 2:
                msg = f"feature {name} hardly varies to the precision of its numbers; leave it out"
                raise TrainingError(msg)
        size = 2 ** int(max(len(found) for found, _ in pairs) - 1).bit_length()
        table = np.full((len(pairs), size), np.inf, np.float32)
        levels = np.ones((len(pairs), size), np.float32)
        for row, (found, level) in enumerate(pairs):
            table[row, : len(found)] = found
            levels[row, : len(found)], levels[row, len(found) :] = level, level[-1]
        return cls(table, levels)

    def applied(self, values: npt.NDArray[Any]) -> Float32Array:
        """Return the (event, feature) levels of values."""
        out: Float32Array = self._levels_of(np.asarray(values, np.float32), np)
        return out

    def tensor(self, features: Any) -> Any:
        """Return the (n, feature) Keras tensor of one of values."""
        from keras import ops

        return self._levels_of(features, ops)

    def add(self, graph: Any, values: str) -> str:
        """Return the name of the levels (n, feature) of values, appended to a `Graph`."""
        name: str = self._levels_of(values, graph.ops)
        return name

    def _levels_of(self, x: Any, ops: Any) -> Any:
        rows, size = self.values.shape
        last = np.isfinite(self.values).sum(axis=1) - 1
        every = np.arange(rows)
        middle = self.values[every, np.abs(self.levels - 0.5).argmin(axis=1)]
        edges, levels = self.values.ravel(), self.levels.ravel()
        gaps, rises = np.ones_like(self.values), np.zeros_like(self.levels)
        with np.errstate(invalid="ignore"):
            steps = np.diff(self.values, axis=1)
        gaps[:, :-1] = np.where(np.isfinite(steps), steps, 1)
        rises[:, :-1] = np.diff(self.levels, axis=1)

        x = ops.where(ops.isnan(x), middle, x)
        x = ops.minimum(ops.maximum(x, self.values[:, 0]), self.values[every, last])
        # The last knot that is not above x, by halving: constants first, for Keras' converter.
        begin, half = every * size, every * size + size // 2
        place = ops.where(ops.greater_equal(x, edges[half]), half, begin)
        for step in (2**bit for bit in reversed(range(size.bit_length() - 2))):
            further = ops.add(place, step)
            place = ops.where(ops.greater_equal(x, ops.take(edges, further)), further, place)
        gone = ops.subtract(x, ops.take(edges, place))
        part = ops.divide(gone, ops.take(gaps.ravel(), place))
        rise = ops.multiply(part, ops.take(rises.ravel(), place))
        return ops.add(ops.take(levels, place), rise)


def shares_below(weight: npt.NDArray[Any]) -> Float64Array:
    """Return the share of the weight up to the middle of each of (event,) weights in order.

    Examples
    --------
    >>> import numpy as np
    >>> shares_below(np.array([1.0, 2.0, 1.0])).tolist()
    [0.125, 0.5, 0.875]
    """
    total = np.cumsum(weight)
    return np.asarray((total - weight / 2) / total[-1], np.float64)


def _knots(
    column: npt.NDArray[Any], weight: Float64Array, most: int
) -> tuple[Float32Array, Float64Array]:
    """Return (knot,) values and their levels."""
    mantissa, exponent = np.frexp(np.asarray(column, np.float64))
    rounded = np.ldexp(np.rint(mantissa * 2**_DIGITS), exponent - _DIGITS)
    rounded = np.where(np.abs(rounded) < _SMALLEST, 0.0, np.clip(rounded, -_LARGEST, _LARGEST))
    values, place = np.unique(rounded, return_inverse=True)
    level = shares_below(np.bincount(place, weight))
    if len(values) > most:
        kept = np.unique(np.searchsorted(level, np.linspace(level[0], level[-1], most)))
        values, level = values[kept], level[kept]
    return values.astype(np.float32), np.rint(level / _LEVEL) * _LEVEL
