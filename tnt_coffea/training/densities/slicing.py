"""Conditional Gaussianizing iterative slicing: layers of one-dimensional maps along axes.

A layer turns the features by a rotation and maps each axis so that it becomes Gaussian for every
mass. The map of an axis is monotone: its knots are quantiles in bins of mass at fixed Gaussian
levels, linear in the mass between the bins' centres, joined by rational quadratics, with linear
tails. So ln p(x | m) is exact and continuous, needs no gradients, and numpy suffices.

Source: arXiv:2007.00674 (slicing); arXiv:2101.08320, section 3.5 (conditional on the mass);
J. Gregory, R. Delbourgo, IMA J. Numer. Anal. 2 (1982) 123 (rational quadratics).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import ndtr, ndtri
from scipy.stats import ortho_group

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.config.settings import Fraction
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import progress
from tnt_coffea.training.densities.interface import Average, checked_events
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["Layer", "Slicing", "SlicingDensity"]

_ROTATIONS, _COMPARED = 8, 5000
"""Random rotations of which one becomes a layer, and events that they are compared on."""
_STEEPEST = 50.0
"""Largest slope between two knots: values that many events share have no infinite density."""
_CHUNK = 4096
_LOG_UNIT = 0.5 * np.log(2 * np.pi)


class Slicing(Settings):
    """Density of Gaussianizing iterative slicing, averaged over rotations; needs no Keras.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(-1, 1, 2000)
    >>> x = m[:, None] + rng.exponential(1.0, (2000, 2))
    >>> density = Slicing(bins=5, knots=10, averaged=2).fit(x, m, np.ones(2000), seed=1)
    >>> density.log_prob(x[:3], m[:3]).shape
    (3,)
    """

    model: Literal["slicing"] = "slicing"
    bins: int = Field(12, ge=2, description="bins in mass, of equal numbers of events")
    knots: int = Field(20, ge=3, description="quantiles in every bin along every axis")
    averaged: int = Field(10, ge=1, description="densities with other rotations, averaged")
    layers: int = Field(20, ge=1, description="most layers")
    patience: int = Field(5, ge=1, description="layers without a better validation likelihood")
    validation: Fraction = Field(0.1, description="share of the events that choose the layers")

    @property
    def passes(self) -> int:
        """Densities averaged."""
        return self.averaged

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: numpy and scipy compute, onnx writes the graph."""
        return ("numpy", "scipy", "onnx")

    def fit(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any], weight: npt.NDArray[Any], seed: int
    ) -> Average:
        """Return the density of events.

        Parameters
        ----------
        x
            (event, feature) scaled features.
        m
            (event,) scaled masses.
        weight
            (event,), not negative.
        seed
            Of rotations and validation events.

        Raises
        ------
        TrainingError
            There are fewer events than quantiles, or their masses do not fill the bins.
        """
        held = max(1, round(self.validation * len(x)))
        least = round(self.bins * self.knots / (1 - self.validation)) + 1
        what = f"slicing with {self.bins} bins in mass and {self.knots} knots"
        checked_events(x, m, weight, least, what)
        x, m, weight = (np.asarray(each, np.float64) for each in (x, m, weight))
        members = []
        for number in range(self.averaged):
            order = seeds.generator(seed, "validation", number).permutation(len(x))
            rng = seeds.generator(seed, "rotations", number)
            density, losses = self._fitted(x, m, weight, order[held:], order[:held], rng)
            members.append(density)
            progress.report_epoch(number + 1, *losses)
        return Average(members)

    def _fitted(
        self,
        x: Float64Array,
        m: Float64Array,
        weight: Float64Array,
        train: IntArray,
        held: IntArray,
        rng: np.random.Generator,
    ) -> tuple[SlicingDensity, tuple[float, float]]:
        levels = ndtri((np.arange(self.knots) + 0.5) / self.knots).astype(np.float32)
        place, centres = _bins(m[train], weight[train], self.bins)
        empty = SlicingDensity(x.shape[1], (), levels, centres)
        share = empty.shares(m)
        y, log_slope = x.copy(), np.zeros(len(x))

        def losses() -> tuple[float, float]:
            log_prob = log_slope + _unit(y)
            return tuple(  # type: ignore[return-value]
                -float(np.average(log_prob[rows], weights=weight[rows])) for rows in (train, held)
            )

        best, kept, layers = losses(), 0, []
        while len(layers) < min(self.layers, kept + self.patience):
            turn = np.eye(x.shape[1]) if not layers else _rotation(y[train], weight[train], rng)
            layer = _layer(y[train], weight[train], turn, place, levels, self.bins)
            for rows in _chunks(len(y)):
                y[rows], added = layer.applied(y[rows], share[rows], levels)
                log_slope[rows] += added
            layers.append(layer)
            if (found := losses())[1] < best[1]:
                best, kept = found, len(layers)
        return SlicingDensity(x.shape[1], tuple(layers[:kept]), levels, centres), best


@dataclass(frozen=True)
class Layer:
    """One rotation and the monotone maps of its axes.

    Attributes
    ----------
    turn
        (feature, feature) float32, orthonormal: u = x turn.
    knots
        (bin, feature, knot) float32, where the axis takes the Gaussian levels.
    widths
        (bin, feature, knot) float32, du / dy there; positive.
    """

    turn: Float32Array
    knots: Float32Array
    widths: Float32Array

    def applied(
        self, x: npt.NDArray[Any], share: Float64Array, levels: Float32Array
    ) -> tuple[Float64Array, Float64Array]:
        """Return (event, feature) mapped values and (event,) ln of the volume's change."""
        u = x @ self.turn.astype(np.float64)
        knots, widths = (self._at(each, share) for each in (self.knots, self.widths))
        k = (u[..., None] > knots[..., 1:-1]).sum(axis=2)

        def taken(values: Float64Array, index: IntArray) -> Float64Array:
            return np.take_along_axis(values, index[..., None], axis=2)[..., 0]

        left, right = taken(knots, k), taken(knots, k + 1)
        low, high = 1 / taken(widths, k), 1 / taken(widths, k + 1)
        y = levels.astype(np.float64)
        width, height = right - left, y[k + 1] - y[k]
        place = (u - left) / width
        inside = np.clip(place, 0, 1)
        slope, both = height / width, inside * (1 - inside)
        below = slope + (low + high - 2 * slope) * both
        value = y[k] + height * (slope * inside**2 + low * both) / below
        steep = (
            (slope / below) ** 2
            * (high * inside**2 + 2 * slope * both + low * (1 - inside) ** 2)
        )
        mapped: Float64Array = value + (place - inside) * width * steep
        return mapped, np.log(steep).sum(axis=1)

    def add(self, graph: Any, x: str, share: str, levels: Float32Array) -> tuple[str, str]:
        """Return the names of the mapped values and of the slopes, (n, feature) both."""
        ops, (_, d, n) = graph.ops, self.knots.shape
        # Knots and widths side by side: one product and one gathering for both.
        table = np.concatenate([self.knots, self.widths], axis=2).reshape(len(self.knots), -1)
        base, steps = table[0], np.diff(table, axis=0)
        tables = graph.add("Gemm", share, graph.constant(steps), graph.constant(base))
        tables = graph.add("Reshape", tables, graph.constant([-1, d, 2 * n]))
        u = graph.add("MatMul", x, graph.constant(self.turn))
        u = graph.add("Reshape", u, graph.constant([-1, d, 1]))
        inner = graph.add(
            "Slice", tables, *(graph.constant([each]) for each in (1, n - 1, 2))
        )
        above = graph.add("Cast", graph.add("Greater", u, inner), to=1)
        k = graph.add("ReduceSum", above, graph.constant([2]), keepdims=1)
        k = graph.add("Cast", k, to=7)
        places = graph.add("Add", k, graph.constant([0, 1, n, n + 1]))
        found = graph.add("GatherElements", tables, places, axis=2)
        left, right, low, high = (
            graph.add("Gather", found, graph.constant(np.array([i])), axis=2) for i in range(4)
        )
        y = graph.add("Gather", graph.constant(levels), k)
        height = graph.add("Gather", graph.constant(np.diff(levels)), k)
        low, high = ops.divide(1.0, low), ops.divide(1.0, high)
        width = ops.subtract(right, left)
        place = ops.divide(ops.subtract(u, left), width)
        inside = graph.add("Clip", place, graph.constant(0.0), graph.constant(1.0))
        rest = ops.subtract(1.0, inside)
        slope, both = ops.divide(height, width), ops.multiply(inside, rest)
        twice = ops.multiply(2.0, slope)
        below = ops.add(slope, ops.multiply(ops.subtract(ops.add(low, high), twice), both))
        square = ops.multiply(inside, inside)
        above = ops.add(ops.multiply(slope, square), ops.multiply(low, both))
        value = ops.add(y, ops.divide(ops.multiply(height, above), below))
        ratio = ops.divide(slope, below)
        steep = ops.add(
            ops.add(ops.multiply(high, square), ops.multiply(twice, both)),
            ops.multiply(low, ops.multiply(rest, rest)),
        )
        steep = ops.multiply(ops.multiply(ratio, ratio), steep)
        tail = ops.multiply(ops.multiply(ops.subtract(place, inside), width), steep)
        flat = graph.constant([-1, d])
        return (
            graph.add("Reshape", ops.add(value, tail), flat),
            graph.add("Reshape", steep, flat),
        )

    @staticmethod
    def _at(table: Float32Array, share: Float64Array) -> Float64Array:
        wide = table.astype(np.float64)
        steps = np.diff(wide, axis=0).reshape(len(table) - 1, -1)
        out: Float64Array = wide[0] + (share @ steps).reshape(-1, *table.shape[1:])
        return out


@dataclass(frozen=True)
class SlicingDensity:
    """Layers, behind which the features are a unit Gaussian.

    Attributes
    ----------
    size
        Number of features.
    layers
        In order; without any it is the unit Gaussian itself.
    levels
        (knot,) float32, Gaussian levels of all knots.
    centres
        (bin,) float32, scaled masses of the bins, ascending.
    """

    size: int
    layers: tuple[Layer, ...]
    levels: Float32Array
    centres: Float32Array

    def shares(self, m: npt.NDArray[Any]) -> Float64Array:
        """Return (event, bin - 1), 0 to 1: how far a mass has gone from each centre to the next."""
        low, scale = self._steps
        return np.clip((np.asarray(m, np.float64)[:, None] - low) * scale, 0.0, 1.0)

    def mapped(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any]
    ) -> tuple[Float64Array, Float64Array]:
        """Return (event, feature) Gaussian values and (event,) ln of the volume's change."""
        y, share = np.array(x, np.float64), self.shares(m)
        log_slope = np.zeros(len(y))
        for rows in _chunks(len(y)):
            for layer in self.layers:
                y[rows], added = layer.applied(y[rows], share[rows], self.levels)
                log_slope[rows] += added
        return y, log_slope

    def log_prob(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> Float64Array:
        """Return (event,) ln p(x | m)."""
        y, log_slope = self.mapped(x, m)
        return log_slope + _unit(y)

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name of ln p (n,) appended to a graph."""
        ops, (low, scale) = graph.ops, self._steps
        share = ops.multiply(ops.subtract(m, low), scale)
        share = graph.add("Clip", share, graph.constant(0.0), graph.constant(1.0))
        value, logs = x, []
        for layer in self.layers:
            value, slope = layer.add(graph, value, share, self.levels)
            logs.append(ops.log(slope))
        terms = ops.multiply(ops.multiply(value, value), np.float32(-0.5))
        for each in logs:
            terms = ops.add(terms, each)
        # Over the first axis every event's sum has one order, wherever the event stands.
        across = graph.add("Transpose", terms, perm=[1, 0])
        summed = graph.add("ReduceSum", across, graph.constant([0]), keepdims=0)
        name: str = ops.subtract(summed, np.float32(self.size * _LOG_UNIT))
        return name

    @property
    def _steps(self) -> tuple[Float32Array, Float32Array]:
        return self.centres[:-1], (1 / np.diff(self.centres)).astype(np.float32)


def _unit(y: Float64Array) -> Float64Array:
    out: Float64Array = -0.5 * (y**2).sum(axis=1) - y.shape[1] * _LOG_UNIT
    return out


def _chunks(n: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, n, _CHUNK)]


def _bins(m: Float64Array, weight: Float64Array, bins: int) -> tuple[IntArray, Float32Array]:
    order = np.argsort(m, kind="stable")
    reached = np.cumsum(weight[order]) - weight[order] / 2
    place = np.empty(len(m), np.int64)
    place[order] = np.minimum((reached / weight.sum() * bins).astype(np.int64), bins - 1)
    total = np.bincount(place, weight, bins)
    with np.errstate(invalid="ignore"):
        centres = (np.bincount(place, weight * m, bins) / total).astype(np.float32)
    if not (np.diff(centres) > 0).all():
        msg = f"the masses of {len(m)} events do not fill {bins} bins; choose fewer (density.bins)"
        raise TrainingError(msg)
    return place, centres


def _reached(u: Float64Array, weight: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return sorted values and the share of the weight up to the middle of each."""
    order = np.argsort(u, kind="stable")
    w = weight[order]
    total = np.cumsum(w)
    return u[order], (total - w / 2) / total[-1]


def _rotation(y: Float64Array, weight: Float64Array, rng: np.random.Generator) -> Float64Array:
    """Return the random rotation along whose axes the values are least Gaussian."""
    rows = rng.choice(len(y), min(_COMPARED, len(y)), replace=False)
    d = y.shape[1]
    if d == 1:
        return np.eye(1)
    best, found = -np.inf, np.eye(d)
    for _ in range(_ROTATIONS):
        turn = ortho_group.rvs(d, random_state=rng)
        apart = 0.0
        for u in (y[rows] @ turn).T:
            values, reached = _reached(u, weight[rows])
            level = ndtri(np.clip(reached, 1e-9, 1 - 1e-9))
            apart += float(np.average(np.abs(values - level)))
        if apart > best:
            best, found = apart, turn
    return found


def _layer(
    y: Float64Array,
    weight: Float64Array,
    turn: Float64Array,
    place: IntArray,
    levels: Float32Array,
    bins: int,
) -> Layer:
    turn = turn.astype(np.float32)
    u, share = y @ turn.astype(np.float64), ndtr(levels)
    knots = np.empty((bins, u.shape[1], len(levels)))
    for b in range(bins):
        rows = np.flatnonzero(place == b)
        for i in range(u.shape[1]):
            values, reached = _reached(u[rows, i], weight[rows])
            knots[b, i] = np.interp(share, reached, values)
    steps = np.diff(levels.astype(np.float64))
    gaps = np.maximum(np.diff(knots, axis=2), steps / _STEEPEST)
    knots[..., 1:] = knots[..., :1] + np.cumsum(gaps, axis=2)
    secants = gaps / steps
    widths = np.empty_like(knots)
    widths[..., 0], widths[..., -1] = secants[..., 0], secants[..., -1]
    widths[..., 1:-1] = (gaps[..., 1:] + gaps[..., :-1]) / (steps[1:] + steps[:-1])
    return Layer(turn, knots.astype(np.float32), widths.astype(np.float32))
