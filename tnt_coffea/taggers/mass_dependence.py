"""Scores at the event's mass: how far up among events of the same mass a score is.

A score that follows the mass shapes the spectrum of what it selects. Here the quantiles of a score
are curves in the mass, and scores are counted in steps between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TaggerError
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["MassDependence", "QuantileCurve"]

_LEVELS = (0.5, 0.9, 0.97, 0.99)
"""Quantiles that become curves: the median, and what a selection cuts at."""
_PIECES, _ABOVE = 12, 10
"""Most pieces with the same number of events, and the fewest events of a piece beyond its curve."""
_FEWEST = 10
"""Events beyond a curve below which there is none."""
_SWEEPS, _CONVERGED = 40, 1e-4
_LEAST_STEP = 0.05
"""Of the step between two curves over all masses: no step is smaller at any mass."""


@dataclass(frozen=True)
class QuantileCurve:
    """A quantile of a score as a continuous, piecewise linear function of the mass.

    Attributes
    ----------
    level
        Share of the events below.
    knots, values
        (knot,) masses [GeV], ascending, and the quantile there; constant beyond.
    """

    level: float
    knots: Float64Array
    values: Float64Array

    @classmethod
    def of(cls, score: Float64Array, mass: Float64Array, level: float) -> QuantileCurve | None:
        """Return the curve of (event,) scores and masses; None with too few events above it.

        At the minimum of the loss of a quantile regression the weighted quantile of what is left
        is zero around every knot, with the tent function of the knot as the weight: so one knot
        after the other is moved there, until none moves.

        Source: R. Koenker, G. Bassett, Econometrica 46 (1978) 33.

        Examples
        --------
        >>> mass = np.linspace(3000, 4000, 1001)
        >>> curve = QuantileCurve.of(mass / 1000 + np.sin(mass), mass, 0.5)
        >>> curve.at([3250, 3750]).round(1).tolist()
        [3.2, 3.7]
        """
        above = min(level, 1 - level) * len(score)
        if above < _FEWEST:
            return None
        knots = np.unique(np.quantile(mass, _shares(int(above / _ABOVE))))
        values = np.full(len(knots), _quantile(score, np.ones(len(score)), level))
        tents = []
        for i in range(len(knots)):
            tent = np.interp(mass, knots, np.eye(len(knots))[i])
            rows = np.flatnonzero(tent > 0)
            tents.append((rows, tent[rows]))
        left = score - values[0]
        size = np.median(np.abs(left)) or 1.0
        for _ in range(_SWEEPS):
            largest = 0.0
            for i, (rows, tent) in enumerate(tents):
                # A move of the knot moves an event by as much as its tent is high.
                step = _quantile(left[rows] / tent, tent, level)
                values[i] += step
                left[rows] -= step * tent
                largest = max(largest, abs(step))
            if largest < _CONVERGED * size:
                break
        return cls(level, knots, values)

    def at(self, mass: npt.ArrayLike) -> Float64Array:
        """Return the (event,) quantile at the masses of events."""
        return np.interp(np.asarray(mass, np.float64), self.knots, self.values)


@dataclass(frozen=True)
class MassDependence:
    """Quantiles of a score as functions of the mass, and scores in steps between them.

    Attributes
    ----------
    curves
        Two or more, of ascending levels.
    steps
        (curve - 1,) least step between two of them.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> mass = rng.uniform(3000, 5000, 4000)
    >>> score = mass / 100 + rng.normal(size=4000)
    >>> flat = MassDependence.of(score, mass).applied(score, mass)
    >>> kept = flat > np.quantile(flat, 0.9)
    >>> [round(float(kept[low < mass].mean()), 2) for low in (3000, 4000, 4800)]
    [0.1, 0.1, 0.09]
    """

    curves: tuple[QuantileCurve, ...]
    steps: tuple[float, ...]

    @classmethod
    def of(cls, score: npt.ArrayLike, mass: npt.ArrayLike) -> MassDependence:
        """Return that of (event,) scores and masses [GeV].

        Raises
        ------
        TaggerError
            There are too few events, or the score is the same for most of them.
        """
        s, m = np.asarray(score, np.float64), np.asarray(mass, np.float64)
        curves = [QuantileCurve.of(s, m, level) for level in _LEVELS] if len(s) else []
        found = [curve for curve in curves if curve is not None]
        if len(found) < 2:
            least = round(_FEWEST / (1 - _LEVELS[1]))
            msg = (
                f"decorrelate: {len(s)} events show how a score follows the mass, at least "
                f"{least} are needed: use more events, or leave decorrelate out"
            )
            raise TaggerError(msg)
        levels = np.quantile(s, [curve.level for curve in found])
        steps = _LEAST_STEP * np.diff(levels)
        if not (steps > 0).all():
            msg = "decorrelate: most events have the same score; leave decorrelate out"
            raise TaggerError(msg)
        return cls(tuple(found), tuple(steps.tolist()))

    def applied(self, score: npt.ArrayLike, mass: npt.ArrayLike) -> Float32Array:
        """Return the (event,) float32 scores of events at their masses, in steps from the median.

        The order of events of one mass stays.

        Parameters
        ----------
        score, mass
            (event,).
        """
        s = np.asarray(score, np.float64)
        lower = self.curves[0].at(mass)
        out = np.zeros(len(s))
        for number, (curve, least) in enumerate(zip(self.curves[1:], self.steps, strict=True)):
            step = np.maximum(curve.at(mass) - lower, least)
            place = (s - lower) / step
            first, last = number == 0, number == len(self.steps) - 1
            out += np.clip(place, -np.inf if first else 0.0, np.inf if last else 1.0)
            lower = lower + step
        return out.astype(np.float32)

    def to_list(self) -> list[Any]:
        """Return JSON values."""
        rows = [[c.level, c.knots.tolist(), c.values.tolist()] for c in self.curves]
        return [rows, list(self.steps)]

    @classmethod
    def from_list(cls, values: Sequence[Any]) -> MassDependence:
        """Return the inverse of `to_list`."""
        rows, steps = values
        curves = (QuantileCurve(level, np.array(k), np.array(v)) for level, k, v in rows)
        return cls(tuple(curves), tuple(steps))


def _shares(most: int) -> list[float]:
    """Return where knots lie, as shares of the events: up to `most` pieces of enough of them.

    The last piece is halved again and again, so that the falling tail has pieces as well.
    """
    pieces = min(max(most, 1), _PIECES)
    shares, rest = [i / pieces for i in range(pieces)], 1 / pieces
    while rest * most >= 2:
        rest /= 2
        shares.append(1 - rest)
    return [*shares, 1.0]


def _quantile(values: Float64Array, weight: Float64Array, level: float) -> float:
    """Return the weighted quantile: half-way between the values that close in from both sides."""
    order = np.argsort(values, kind="stable")
    up, last = np.cumsum(weight[order]), len(values) - 1
    lower = min(int(np.searchsorted(up, level * up[-1], side="left")), last)
    upper = min(int(np.searchsorted(up, level * up[-1], side="right")), last)
    return float((values[order[lower]] + values[order[upper]]) / 2)
