"""Bounded features on the whole line: clipped to their range, logit, standardised.

    t = ln((x - low) / (high - x)),    u = (t - mean) / width

Constants are those of the events trained on. The bounds lie 0.1 % of the range outside of its
extremes, to which x is clipped: so every number has a finite place, one that is no number that of
the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.features import Standardisation, check_features
from tnt_coffea.training.graph import DoubleOps
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = ["Scaling", "point_masses"]

_MARGIN = 1e-3
_MOST_REPEATED = 0.001
"""Share of the events with one and the same value above which it is no chance."""
_MOST_MASKED = 0.1


@dataclass(frozen=True)
class Scaling:
    """Range, logit, mean and width of every feature; each (feature,) float32.

    Attributes
    ----------
    least, largest
        Extremes of the events trained on, to which values are clipped.
    low, high
        Bounds of the logit, a little outside.
    mean, scale
        Mean of the logits and one over their width.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.random.default_rng(1).exponential(100.0, (1000, 1)).astype("f4")
    >>> scaling = Scaling.of(x, names=("heavy_mass",))
    >>> u = scaling.applied(x)
    >>> bool(abs(u.mean()) < 1e-5), bool(abs(u.std() - 1) < 1e-5)
    (True, True)
    >>> bool(np.isfinite(scaling.applied(np.array([[-1.0], [1e9], [np.nan]], "f4"))).all())
    True
    """

    least: Float32Array
    largest: Float32Array
    low: Float32Array
    high: Float32Array
    mean: Float32Array
    scale: Float32Array

    @classmethod
    def of(
        cls,
        values: Float32Array,
        weights: npt.ArrayLike | None = None,
        *,
        names: Sequence[str],
    ) -> Scaling:
        """Return that of (event, feature) values.

        Parameters
        ----------
        values
            (event, feature).
        weights
            (event,), for mean and width.
        names
            Of the features, for messages.

        Raises
        ------
        TrainingError
            A feature is constant, or not finite for some events.
        """
        check_features(values, names)
        least, largest = values.min(axis=0), values.max(axis=0)
        margin = _MARGIN * (largest.astype(np.float64) - least)
        low, high = (least - margin).astype(np.float32), (largest + margin).astype(np.float32)
        if not ((low < least).all() and (high > largest).all()):
            worst = names[int(np.argmin((largest - least) / np.maximum(abs(largest), 1e-30)))]
            msg = f"feature {worst} hardly varies to the precision of its numbers; leave it out"
            raise TrainingError(msg)
        one = np.ones(len(least), np.float32)
        unscaled = cls(least, largest, low, high, 0 * one, one)
        unit = Standardisation.of(unscaled.applied(values).astype(np.float32), weights)
        return cls(least, largest, low, high, unit.mean, unit.scale)

    def applied(self, values: npt.NDArray[Any]) -> Float64Array:
        """Return (event, feature) scaled values."""
        x = self._clipped(values)
        t = np.log((x - self.low) / (self.high - x))
        return np.asarray((t - self.mean) * self.scale, np.float64)

    def log_det(self, values: npt.NDArray[Any]) -> Float64Array:
        """Return (event,) ln of du / dx, summed, of (event, feature) values inside the range."""
        x = self._clipped(values)
        slope = 1 / (x - self.low) + 1 / (self.high - x)
        return np.asarray(np.log(slope * self.scale).sum(axis=1), np.float64)

    def inverse(self, scaled: npt.NDArray[Any]) -> Float64Array:
        """Return (event, feature) values of scaled ones."""
        t = np.asarray(scaled, np.float64) / self.scale + self.mean
        low, high = (each.astype(np.float64) for each in (self.low, self.high))
        return np.asarray(low + (high - low) / (1 + np.exp(-t)), np.float64)

    def add(self, graph: Any, values: str) -> str:
        """Return the name of the scaled values (n, feature) appended to a `Graph`."""
        ops = DoubleOps(graph)
        nothing = graph.add("IsNaN", values)
        x = graph.add("Where", nothing, graph.constant(self._middle), values)
        x = graph.add("Max", x, graph.constant(self.least))
        x = graph.add("Min", x, graph.constant(self.largest))
        # In double precision: a steep density would multiply the error of the last digit.
        x = graph.cast(x, "double")
        t = ops.divide(ops.subtract(x, self.low), ops.subtract(self.high, x))
        t = ops.subtract(ops.log(t), self.mean)
        name: str = graph.cast(ops.multiply(t, self.scale), "float")
        return name

    @property
    def _middle(self) -> Float32Array:
        return ((self.least + self.largest) / 2).astype(np.float32)

    def _clipped(self, values: npt.NDArray[Any]) -> Float64Array:
        known = np.where(np.isnan(values), self._middle, values)
        return np.asarray(np.clip(known, self.least, self.largest), np.float64)


def point_masses(values: Float32Array, names: Sequence[str]) -> BoolArray:
    """Return (event,) bool, events with a value that too many others have exactly as well.

    A density is infinite there: tau21 of jets of one constituent, for example. Such events take no
    part in a training, and are scored where their values lie.

    Parameters
    ----------
    values
        (event, feature).
    names
        Of the features, for messages.

    Raises
    ------
    TrainingError
        More than a tenth of the events have such a value of a feature: it is no continuous one.

    Examples
    --------
    >>> import numpy as np
    >>> tau21 = np.random.default_rng(1).random((1000, 1)).astype("f4")
    >>> tau21[:20] = 0.0
    >>> int(point_masses(tau21, ("tau21",)).sum())
    20
    """
    out = np.zeros(len(values), dtype=np.bool_)
    most = max(3, int(_MOST_REPEATED * len(values)))
    for name, column in zip(names, values.T, strict=True):
        _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
        repeated = counts[place] > most
        if repeated.mean() > _MOST_MASKED:
            shared = int((counts > most).sum())
            what = f"one of {shared} values" if shared > 1 else "the same value"
            msg = (
                f"feature {name} has {what} for "
                f"{repeated.mean():.0%} of the events: a density needs a continuous feature"
            )
            raise TrainingError(msg)
        out |= repeated
    return out
