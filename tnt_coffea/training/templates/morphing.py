"""Morphing: sideband events moved to the masses in the window that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tnt_coffea import seeds
from tnt_coffea.training.templates.interface import Sampler, SidebandEvents, Template
from tnt_coffea.typing import BoolArray, Float32Array, Float64Array

__all__ = ["Morphing", "QuantileCurves", "QuantileMorphing"]

_ENDS = (0.0005, 0.001, 0.002, 0.005)
_LEVELS = np.array([*_ENDS, *np.arange(1, 100) / 100, *(1 - end for end in reversed(_ENDS))])
"""Levels of the quantiles that are followed; beyond the last ones events move as these do."""
_EVENTS_A_SLICE = 50
_MOST_SLICES = 10
_MASSES = 257
"""Masses at which quantiles are known: between two of them a cubic is all but straight."""
_REPEATED = 0.001
"""Share of the events with one and the same value above which it is no chance."""


class Morphing(Template):
    """Sideband events, each feature moved along the quantiles of its distribution at a mass.

    An event of mass m has in feature j a rank u, F_j(x_j | m) = u. At the mass m' in the window it
    gets x_j + Q_j(u | m') - Q_j(u | m), the quantile function Q_j being a line or a polynomial in
    ln m at every level u. So each feature gets the distribution that the sidebands foretell, what
    does not depend on the mass stays as it is, and correlations between features are those of the
    sideband events. In one feature this is optimal transport.

    Source: arXiv:2407.19818 (sideband events transported to the window); A. L. Read, Nucl. Instrum.
    Meth. A 425 (1999) 357 (shapes interpolated at equal quantiles).

    Examples
    --------
    >>> from tnt_coffea.config import MassRange
    >>> [band.name for band in Morphing().sidebands(MassRange(low=3300, high=3700))]
    ['2900-3300', '3700-4100']
    """

    by: Literal["morphing"] = "morphing"
    degree: int = Field(
        3,
        ge=1,
        le=4,
        description="of the polynomials in ln m, of features that no straight line describes",
    )

    def sampler(self, events: SidebandEvents, seed: int) -> Sampler:
        """Return what gives features for given masses of the window."""
        return QuantileMorphing.of(events, self.degree, seed)


@dataclass(frozen=True)
class QuantileCurves:
    """Quantiles of one feature as functions of the mass: straight between masses close together.

    Attributes
    ----------
    table
        (mass, level) quantiles, ascending in the levels at every mass, and so between masses.
    low, high
        Logarithms of the first and the last mass [GeV]; those between are equally far apart.
    degree
        Of the polynomials that the table follows.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(3000, 4000, 20_000)
    >>> x = m / 1000 + rng.normal(0, 0.1, 20_000)
    >>> curves = QuantileCurves.of(x, m, np.ones(20_000), [m < 3300, m > 3700], 2)
    >>> moved = curves.moved(np.array([3.0, 3.1]), np.array([3000.0, 3000.0]), np.full(2, 3500.0))
    >>> moved.round(1).tolist()  # the median, and one sigma above it
    [3.5, 3.6]
    """

    table: Float64Array
    low: float
    high: float
    degree: int

    @classmethod
    def of(
        cls,
        x: npt.NDArray[Any],
        mass: Float64Array,
        weight: Float64Array,
        bands: list[BoolArray],
        degree: int,
        window: tuple[float, float] | None = None,
    ) -> QuantileCurves:
        """Return polynomials in ln m that are fitted to slices of the sidebands in mass.

        Parameters
        ----------
        x, mass, weight
            (event,).
        bands
            (event,) bool, which lie in the lower and in the upper sideband.
        degree
            Of the polynomials where straight lines do not do; less where there are few slices.
        window
            Masses [GeV] that the curves reach beside those of the events.
        """
        reach = (float(mass.min()), float(mass.max()), *(window or ()))
        low, high = float(np.log(min(reach))), float(np.log(max(reach)))
        middle = (low + high) / 2
        at, quantiles, sizes = [], [], []
        for band in bands:
            rows = np.flatnonzero(band)
            rows = rows[np.argsort(mass[rows], kind="stable")]
            slices = min(_MOST_SLICES, max(1, len(rows) // _EVENTS_A_SLICE))
            for part in np.array_split(rows, slices):
                at.append(np.average(np.log(mass[part]) - middle, weights=weight[part]))
                quantiles.append(_quantiles(x[part].astype(np.float64), weight[part]))
                sizes.append(weight[part].sum())
        size = np.sqrt(np.array(sizes) / np.mean(sizes))[:, None]
        fitted = _polynomials(np.array(at), np.array(quantiles), size, degree)
        masses = np.linspace(low, high, _MASSES) - middle
        values = masses[:, None] ** np.arange(len(fitted)) @ fitted
        return cls(np.sort(values, axis=1), low, high, len(fitted) - 1)

    def moved(self, x: npt.NDArray[Any], mass: Float64Array, to: Float64Array) -> Float64Array:
        """Return (event,) values at the masses `to` of those at others, their ranks kept."""
        here, there = self._at(mass), self._at(to)
        level, above = np.zeros(len(x), np.intp), np.full(len(x), len(_LEVELS) - 1)
        for _ in range(len(_LEVELS).bit_length()):
            middle = (level + above) // 2
            larger = here(middle) < x
            level, above = np.where(larger, middle, level), np.where(larger, above, middle)
        low, high = here(level), here(level + 1)
        part = np.clip((x - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
        first, second = there(level) - low, there(level + 1) - high
        return np.asarray(x + first + part * (second - first), np.float64)

    def _at(self, mass: Float64Array) -> Callable[[npt.NDArray[np.intp]], Float64Array]:
        """Return what gives the (event,) quantiles at (event,) masses and places of levels."""
        steps = len(self.table) - 1
        place = (np.log(mass) - self.low) * (steps / (self.high - self.low))
        before = np.clip(place.astype(np.intp), 0, steps - 1)
        part = np.clip(place - before, 0.0, 1.0)
        start = before * self.table.shape[1]

        def quantiles(level: npt.NDArray[np.intp]) -> Float64Array:
            lower = self.table.take(start + level)
            upper = self.table.take(start + level + self.table.shape[1])
            return np.asarray(lower + part * (upper - lower), np.float64)

        return quantiles


@dataclass(frozen=True)
class QuantileMorphing:
    """Events beside a window that are moved to given masses in it.

    Attributes
    ----------
    events
        The events that are moved.
    curves
        Quantiles of every feature.
    kept
        (event, feature) bool, values that too many events share: they stay as they are.
    grids
        Values of a feature that has few, such as a count, ascending; None for the others.

    Examples
    --------
    >>> import numpy as np
    >>> from tnt_coffea.config import MassRange
    >>> window = MassRange(low=3300, high=3700)
    >>> bands = MassRange(low=2900, high=3300), MassRange(low=3700, high=4100)
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(2900, 4100, 20_000)
    >>> x = np.stack([m / 1000 + rng.normal(0, 0.1, 20_000), rng.random(20_000)], 1).astype("f4")
    >>> events = SidebandEvents.of(x, m, np.ones(20_000), window, bands, ("a", "b"))
    >>> QuantileMorphing.of(events, 3, seed=1)(np.full(10_000, 3500.0), seed=2).mean(0).round(1)
    array([3.5, 0.5], dtype=float32)
    """

    events: SidebandEvents
    curves: tuple[QuantileCurves, ...]
    kept: BoolArray
    grids: tuple[Float32Array | None, ...]

    @classmethod
    def of(cls, events: SidebandEvents, degree: int, seed: int) -> QuantileMorphing:
        """Return that of sideband events; the seed spreads features that have few values."""
        repeated = np.stack([_repeated(column) for column in events.x.T], axis=1)
        grids = tuple(
            np.unique(column) if shared.mean() > 0.5 else None
            for column, shared in zip(events.x.T, repeated.T, strict=True)
        )
        bands = [events.below, events.above]
        curves = []
        for j, grid in enumerate(grids):
            x = _spread(events.x[:, j], grid, seeds.generator(seed, "spread", j))
            curves.append(
                QuantileCurves.of(x, events.mass, events.weight, bands, degree, events.window.edges)
            )
        kept = repeated & np.array([grid is None for grid in grids])
        return cls(events, tuple(curves), kept, grids)

    def __call__(self, mass: Float64Array, seed: int) -> Float32Array:
        """Return (event, feature) of (event,) masses; every sideband event is used equally often.

        Which of them gets which mass is chance.
        """
        events, rng = self.events, seeds.generator(seed, "sources")
        # Systematic sampling: n steps of equal weight, from a random place on.
        below = np.cumsum(events.weight) / events.weight.sum()
        steps = (np.arange(len(mass)) + rng.random()) / max(1, len(mass))
        rows = np.minimum(np.searchsorted(below, steps, side="right"), len(events) - 1)
        rng.shuffle(rows)
        out = np.empty((len(mass), events.x.shape[1]), np.float32)
        for j, (curves, grid) in enumerate(zip(self.curves, self.grids, strict=True)):
            given = events.x[rows, j]
            x = _spread(given, grid, seeds.generator(seed, "spread", j))
            out[:, j] = curves.moved(x, events.mass[rows], mass)
            if grid is not None:
                out[:, j] = _nearest(out[:, j], grid)
            out[:, j] = np.where(self.kept[rows, j], given, out[:, j])
        # No value that the data beside the window do not reach.
        return np.clip(out, events.x.min(axis=0), events.x.max(axis=0))


def _polynomials(
    at: Float64Array, quantiles: Float64Array, size: Float64Array, degree: int
) -> Float64Array:
    """Return the (power, level) coefficients that fit (slice, level) quantiles.

    Straight lines, unless polynomials of the degree foretell a slice that is left out better: what
    a line describes has twice the error with a cubic.
    """
    highest = min(degree, len(at) // 2)
    fits = {}
    for power in {1, highest}:
        basis = at[:, None] ** np.arange(power + 1)
        inverse = np.linalg.pinv(basis * size)
        hat = basis * size @ inverse
        rest = quantiles * size - hat @ (quantiles * size)
        fits[power] = inverse @ (quantiles * size), rest, np.diag(hat)[:, None]
    if highest == 1:
        return np.asarray(fits[1][0], np.float64)
    noise = (fits[highest][1] ** 2).mean(axis=0)
    known = noise > 0
    # The residual of a slice from the fit without it, of all levels in units of their scatter.
    left_out = {
        power: float((((rest / (1 - hat)) ** 2)[:, known] / noise[known]).sum())
        for power, (_, rest, hat) in fits.items()
    }
    best = min(sorted(left_out), key=lambda power: left_out[power])
    return np.asarray(fits[best][0], np.float64)


def _quantiles(x: Float64Array, weight: Float64Array) -> Float64Array:
    order = np.argsort(x, kind="stable")
    w = weight[order]
    share = (np.cumsum(w) - w / 2) / w.sum()
    found: Float64Array = np.interp(_LEVELS, share, x[order])
    return found


def _repeated(column: Float32Array) -> BoolArray:
    """Return (event,) bool, values that more events share than is chance."""
    _, place, counts = np.unique(column, return_inverse=True, return_counts=True)
    shared: BoolArray = counts[place] > max(3, int(_REPEATED * len(column)))
    return shared


def _spread(
    column: Float32Array, grid: Float32Array | None, rng: np.random.Generator
) -> Float64Array:
    """Return the values, each of a grid anywhere in the half steps around it."""
    x = column.astype(np.float64)
    if grid is None:
        return x
    edges = _edges(grid)
    place = np.searchsorted(grid, column)
    low, high = edges[place], edges[place + 1]
    return np.asarray(low + (high - low) * rng.random(len(x)), np.float64)


def _nearest(values: Float32Array, grid: Float32Array) -> Float32Array:
    return grid[np.searchsorted(_edges(grid)[1:-1], values)]


def _edges(grid: Float32Array) -> Float64Array:
    """Return the middles between the values of a grid, and as far outside of its ends."""
    x = grid.astype(np.float64)
    inner = (x[1:] + x[:-1]) / 2
    return np.concatenate([[2 * x[0] - inner[0]], inner, [2 * x[-1] - inner[-1]]])
