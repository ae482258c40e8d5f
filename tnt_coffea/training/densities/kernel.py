"""Kernel density of one number, the mass: a table of ln p, interpolated linearly.

Gaussian kernels of one width, by Scott's rule: the standard deviation times n^(-1/5), n the
effective number of events. Beyond the events trained on ln p is that of the nearest of them, and
it is nowhere less than that of one event spread over their range.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training.densities.interface import checked_events
from tnt_coffea.training.graph import DoubleOps
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["KernelDensity"]

_POINTS = 512
_FEWEST = 20


@dataclass(frozen=True)
class KernelDensity:
    """A table of ln p at equal steps.

    Attributes
    ----------
    low, high
        First and last point of the table.
    table
        (point,) float32 ln p.

    Examples
    --------
    >>> import numpy as np
    >>> m = np.random.default_rng(1).normal(size=4000)
    >>> density = KernelDensity.of(m, np.ones(4000))
    >>> np.abs(np.exp(density.log_prob(np.zeros(1))) - 0.3989).max() < 0.02
    np.True_
    """

    low: float
    high: float
    table: Float32Array

    @classmethod
    def of(cls, m: npt.NDArray[Any], weight: npt.NDArray[Any]) -> KernelDensity:
        """Return the density of (event,) masses and weights.

        Raises
        ------
        TrainingError
            There are too few, a number is not finite, a weight is negative, or all masses are
            the same.
        """
        from scipy.stats import gaussian_kde

        m, weight = np.asarray(m, np.float64), np.asarray(weight, np.float64)
        checked_events(m[:, None], m, weight, _FEWEST, "kernel density of the mass")
        low, high = float(np.float32(m.min())), float(np.float32(m.max()))
        if not low < high:
            msg = "kernel density of the mass: it is the same for all events to train on"
            raise TrainingError(msg)
        kernel = gaussian_kde(m, weights=weight)
        points = np.linspace(low, high, _POINTS)
        p = np.concatenate([kernel(part) for part in np.array_split(points, 32)])
        least = 1 / (len(m) * (high - low))
        return cls(low, high, np.log(np.maximum(p, least)).astype(np.float32))

    def log_prob(self, m: npt.NDArray[Any]) -> Float64Array:
        """Return (event,) ln p of (event,) masses."""
        place, last = self._scale, len(self.table) - 1
        at = np.clip((np.asarray(m, np.float64) - self.low) * place, 0, last)
        at = np.where(np.isnan(at), 0.0, at)
        k = np.minimum(np.floor(at), last - 1).astype(np.int64)
        table = self.table.astype(np.float64)
        return np.asarray(table[k] + (at - k) * (table[k + 1] - table[k]))

    def add(self, graph: Any, m: str) -> str:
        """Return the name of ln p (n, 1) in double precision appended to a graph, of (n, 1)."""
        ops, last = DoubleOps(graph), len(self.table) - 1

        def found(table: Float32Array) -> str:
            values = graph.add("Gather", graph.constant(table), k)
            return str(graph.cast(values, "double"))

        at = ops.multiply(ops.subtract(graph.cast(m, "double"), self.low), self._scale)
        at = graph.add("Where", graph.add("IsNaN", at), ops.constant(0.0), at)
        at = graph.add("Clip", at, ops.constant(0.0), ops.constant(last))
        k = graph.add("Min", graph.add("Floor", at), ops.constant(last - 1))
        rest = ops.subtract(at, k)
        k = graph.cast(k, "int64")
        left, right = found(self.table[:-1]), found(self.table[1:])
        return ops.add(left, ops.multiply(rest, ops.subtract(right, left)))

    @property
    def _scale(self) -> float:
        return float(np.float32((len(self.table) - 1) / (self.high - self.low)))
