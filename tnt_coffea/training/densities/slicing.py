"""Conditional Gaussianizing iterative slicing: layers of one-dimensional maps along axes.

A layer turns the features by a rotation and maps each axis so that it becomes Gaussian for every
mass. The map of an axis is monotone: its knots are quantiles in bins of mass at fixed Gaussian
levels, linear in the mass between the bins' centres, joined by rational quadratics, with linear
tails. So ln p(x | m) is exact and continuous, needs no gradients, and numpy suffices.

Source: arXiv:2007.00674 (slicing); arXiv:2101.08320, section 3.5 (conditional on the mass);
J. Gregory, R. Delbourgo, IMA J. Numer. Anal. 2 (1982) 123 (rational quadratics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import logsumexp, ndtr, ndtri
from scipy.stats import ortho_group

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.config.settings import Fraction
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import progress
from tnt_coffea.training.densities.interface import checked_events, log_mean, sum_of_features
from tnt_coffea.training.quantile_knots import shares_below
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["Layer", "Slicing", "SlicingDensity"]

_ROTATIONS, _COMPARED = 8, 5000
"""Random rotations of which one becomes a layer, and events that they are compared on."""
_STEEPEST = 20.0
"""Largest slope between two knots: values that many events share have no infinite density."""
_CHUNK = 2048
_FAR = 1e6
"""Further below all scaled masses than these differ."""
_LOG_UNIT = 0.5 * np.log(2 * np.pi)


class Slicing(Settings):
    """Density of Gaussianizing iterative slicing, averaged over rotations; needs no Keras.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> m = rng.uniform(-1, 1, 2000)
    >>> x = m[:, None] + rng.exponential(1.0, (2000, 2))
    >>> density = Slicing(bins=5, knots=10, members=2).fit(x, m, np.ones(2000), seed=1)
    >>> density.log_prob(x[:3], m[:3]).shape
    (3,)
    """

    model: Literal["slicing"] = "slicing"
    bins: int = Field(12, ge=2, description="bins in mass, of equal numbers of events")
    knots: int = Field(20, ge=3, description="quantiles in every bin along every axis")
    members: int = Field(10, ge=1, description="densities with other rotations and edges, averaged")
    layers: int = Field(20, ge=1, description="most layers")
    patience: int = Field(5, ge=1, description="layers without a better validation likelihood")
    validation: Fraction = Field(0.1, description="share of the events that choose the layers")

    @property
    def passes(self) -> int:
        """Densities averaged."""
        return self.members

    @property
    def libraries(self) -> tuple[str, ...]:
        """Packages: numpy and scipy compute, onnx writes the graph."""
        return ("numpy", "scipy", "onnx")

    def fit(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any], weight: npt.NDArray[Any], seed: int
    ) -> SlicingDensity:
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
        for number in range(self.members):
            order = seeds.generator(seed, "validation", number).permutation(len(x))
            rng = seeds.generator(seed, "rotations", number)
            shift = (number + 0.5) / self.members - 0.5
            density, losses = self._fitted(x, m, weight, order[held:], order[:held], rng, shift)
            members.append(density)
            progress.report_epoch(number + 1, *losses)
        return SlicingDensity.mean(members)

    def _fitted(
        self,
        x: Float64Array,
        m: Float64Array,
        weight: Float64Array,
        train: IntArray,
        held: IntArray,
        rng: np.random.Generator,
        shift: float,
    ) -> tuple[SlicingDensity, tuple[float, float]]:
        levels = ndtri((np.arange(self.knots) + 0.5) / self.knots).astype(np.float32)
        place, centres = _bins(m[train], weight[train], self.bins, shift)
        start = SlicingDensity(x.shape[1], (), levels, centres[None])
        share = start.shares(m)
        y, log_slope = x.copy(), np.zeros(len(x))

        def losses() -> tuple[float, float]:
            log_prob = log_slope - (y**2).sum(axis=1) / 2 - x.shape[1] * _LOG_UNIT
            of = [-np.average(log_prob[rows], weights=weight[rows]) for rows in (train, held)]
            return float(of[0]), float(of[1])

        best, kept = losses(), 0
        layers: list[Layer] = []
        while len(layers) < min(self.layers, kept + self.patience):
            turn = np.eye(x.shape[1]) if not layers else _rotation(y[train], weight[train], rng)
            layer = _layer(y[train], weight[train], turn, place, levels, self.bins)
            for begin in range(0, len(y), _CHUNK):
                rows = slice(begin, begin + _CHUNK)
                mapped, slopes = layer.applied(y[None, rows], share[:, rows], levels)
                y[rows], log_slope[rows] = mapped[0], log_slope[rows] + slopes[0].sum(axis=1)
            layers.append(layer)
            if (found := losses())[1] < best[1]:
                best, kept = found, len(layers)
        return replace(start, layers=tuple(layers[:kept])), best


@dataclass(frozen=True)
class Layer:
    """One rotation and the monotone maps of its axes, of every density averaged.

    Attributes
    ----------
    turn
        (density, feature, feature) float32, orthonormal: u = x turn.
    knots
        (density, bin, feature, knot) float32, where the axis takes the Gaussian levels.
    widths
        (density, bin, feature, knot) float32, du / dy there; positive.
    """

    turn: Float32Array
    knots: Float32Array
    widths: Float32Array

    @classmethod
    def joined(cls, layers: Sequence[Layer]) -> Layer:
        """Return one layer of several densities."""
        names = ("turn", "knots", "widths")
        return cls(*(np.concatenate([getattr(each, name) for each in layers]) for name in names))

    @property
    def tables(self) -> Float32Array:
        """(density, bin, 2 x feature x knot): knots and widths, first bin and steps to the next."""
        n, bins = self.knots.shape[:2]
        table = np.concatenate([self.knots, self.widths], axis=3).reshape(n, bins, -1)
        return np.concatenate([table[:, :1], np.diff(table, axis=1)], axis=1)

    def applied(
        self, x: npt.NDArray[Any], share: npt.NDArray[Any], levels: Float32Array
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return mapped values and ln of their slopes, both (density, event, feature).

        They have the precision of x.

        Parameters
        ----------
        x
            (density, event, feature).
        share
            (density, event, bin), how much of each step is gone.
        levels
            (knot,) Gaussian levels.
        """
        kind, knots = x.dtype, len(levels)
        u = x @ self.turn.astype(kind)
        tables = (share @ self.tables.astype(kind)).reshape(*u.shape, 2 * knots)
        k = (u[..., None] > tables[..., 1 : knots - 1]).sum(axis=-1)
        places = k[..., None] + np.array([0, 1, knots, knots + 1])
        left, right, low, high = np.moveaxis(np.take_along_axis(tables, places, axis=-1), -1, 0)
        y, heights = levels.astype(kind), np.diff(levels).astype(kind)
        low, high, width = 1 / low, 1 / high, right - left
        place = (u - left) / width
        inside = np.clip(place, 0, 1)
        rest, slope = 1 - inside, heights[k] / width
        both, square = inside * rest, inside * inside
        below = slope + (low + high - 2 * slope) * both
        value = y[k] + heights[k] * (slope * square + low * both) / below
        steep = high * square + 2 * slope * both + low * (rest * rest)
        steep = (slope / below) * (slope / below) * steep
        return value + (place - inside) * width * steep, np.log(steep)

    def add(self, graph: Any, x: str, share: str, levels: Float32Array) -> tuple[str, str]:
        """Return the names of what `applied` gives, appended to a graph."""
        ops, d, n = graph.ops, self.turn.shape[-1], len(levels)
        flat = graph.constant([0, -1, d])

        def split(values: str, i: int) -> str:
            one = graph.add("Gather", values, graph.constant(np.array([i])), axis=3)
            return str(graph.add("Reshape", one, flat))

        u = graph.add("MatMul", x, graph.constant(self.turn))
        tables = graph.add("MatMul", share, graph.constant(self.tables))
        tables = graph.add("Reshape", tables, graph.constant([0, -1, d, 2 * n]))
        inner = graph.add("Slice", tables, *(graph.constant([each]) for each in (1, n - 1, 3)))
        above = graph.add("Greater", graph.add("Unsqueeze", u, graph.constant([3])), inner)
        above = graph.cast(above, "float")
        k = graph.add("ReduceSum", above, graph.constant([3]), keepdims=1)
        k = graph.cast(k, "int64")
        places = graph.add("Add", k, graph.constant([0, 1, n, n + 1]))
        found = graph.add("GatherElements", tables, places, axis=3)
        left, right, low, high = (split(found, i) for i in range(4))
        k = graph.add("Reshape", k, flat)
        y = graph.add("Gather", graph.constant(levels), k)
        height = graph.add("Gather", graph.constant(np.diff(levels)), k)
        low, high = ops.divide(1.0, low), ops.divide(1.0, high)
        width = ops.subtract(right, left)
        place = ops.divide(ops.subtract(u, left), width)
        inside = graph.add("Clip", place, graph.constant(0.0), graph.constant(1.0))
        rest, slope = ops.subtract(1.0, inside), ops.divide(height, width)
        both, square = ops.multiply(inside, rest), ops.multiply(inside, inside)
        twice = ops.multiply(2.0, slope)
        below = ops.add(slope, ops.multiply(ops.subtract(ops.add(low, high), twice), both))
        above = ops.add(ops.multiply(slope, square), ops.multiply(low, both))
        value = ops.add(y, ops.divide(ops.multiply(height, above), below))
        steep = ops.add(
            ops.add(ops.multiply(high, square), ops.multiply(twice, both)),
            ops.multiply(low, ops.multiply(rest, rest)),
        )
        ratio = ops.divide(slope, below)
        steep = ops.multiply(ops.multiply(ratio, ratio), steep)
        tail = ops.multiply(ops.multiply(ops.subtract(place, inside), width), steep)
        return ops.add(value, tail), ops.log(steep)


@dataclass(frozen=True)
class SlicingDensity:
    """Mean of densities of layers, behind which the features are a unit Gaussian.

    Attributes
    ----------
    size
        Number of features.
    layers
        In order; without any it is the unit Gaussian itself.
    levels
        (knot,) float32, Gaussian levels of all knots.
    centres
        (density, bin) float32, scaled masses of the bins, ascending.
    """

    size: int
    layers: tuple[Layer, ...]
    levels: Float32Array
    centres: Float32Array

    @classmethod
    def mean(cls, densities: Sequence[SlicingDensity]) -> SlicingDensity:
        """Return the mean of densities of as many bins and knots; those with less layers keep y."""
        first, layers = densities[0], []
        bins, d = first.centres.shape[1], first.size
        straight = np.broadcast_to(first.levels, (1, bins, d, len(first.levels)))
        nothing = Layer(np.eye(d, dtype=np.float32)[None], straight, np.ones_like(straight))
        for number in range(max(len(each.layers) for each in densities)):
            own = [[*each.layers[number : number + 1], nothing][0] for each in densities]
            layers.append(Layer.joined(own))
        centres = np.concatenate([each.centres for each in densities])
        return cls(d, tuple(layers), first.levels, centres)

    def shares(self, m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (density, event, bin), 0 to 1: how far a mass is from each centre to the next.

        The first is 1 for all, so that a product with `Layer.tables` gives those of the mass.
        """
        low, scale = self._steps
        return np.asarray(np.clip((np.asarray(m)[:, None] - low) * scale, 0, 1))

    def mapped(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return Gaussian values (density, event, feature) and ln of the slopes, summed."""
        y = np.repeat(np.asarray(x)[None], len(self.centres), axis=0)
        share, log_slope = self.shares(m).astype(y.dtype), np.zeros_like(y)
        for layer in self.layers:
            y, added = layer.applied(y, share, self.levels)
            log_slope += added
        return y, log_slope

    def log_prob(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (event,) ln p(x | m), in the precision of x."""
        out = np.empty(len(x), x.dtype)
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            y, log_slope = self.mapped(x[rows], m[rows])
            each = (log_slope - y * y / 2).sum(axis=2)
            out[rows] = logsumexp(each, axis=0) - np.log(len(each)) - self.size * _LOG_UNIT
        return out

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name of ln p (n,) appended to a graph: all densities at once."""
        ops, (low, scale) = graph.ops, self._steps
        share = ops.multiply(ops.subtract(m, low), scale)
        share = graph.add("Clip", share, graph.constant(0.0), graph.constant(1.0))
        y = graph.add("Unsqueeze", x, graph.constant([0]))
        y = graph.add("Expand", y, graph.constant([len(low), 1, 1]))
        logs = []
        for layer in self.layers:
            y, added = layer.add(graph, y, share, self.levels)
            logs.append(added)
        terms = ops.multiply(ops.multiply(y, y), np.float32(-0.5))
        for each in logs:
            terms = ops.add(terms, each)
        terms = sum_of_features(graph, terms, self.size)
        name: str = ops.subtract(
            log_mean(graph, terms, len(low)), np.float32(self.size * _LOG_UNIT)
        )
        return name

    @property
    def _steps(self) -> tuple[Float32Array, Float32Array]:
        """Return (density, 1, bin) where each step begins, and one over its length."""
        n, bins = self.centres.shape
        low, scale = np.full((n, 1, bins), -_FAR), np.ones((n, 1, bins))
        low[:, 0, 1:], scale[:, 0, 1:] = self.centres[:, :-1], 1 / np.diff(self.centres)
        return low.astype(np.float32), scale.astype(np.float32)


def _bins(
    m: Float64Array, weight: Float64Array, bins: int, shift: float
) -> tuple[IntArray, Float32Array]:
    """Return (event,) bins of equal numbers of events, and their (bin,) centres.

    Edges are shifted by a share of a bin, from -1/2 to 1/2: with the same edges in all densities
    that are averaged, their noise would rise and fall with the distance to the centres.
    """
    order = np.argsort(m, kind="stable")
    reached = np.cumsum(weight[order]) - weight[order] / 2
    place = np.empty(len(m), np.int64)
    reached *= bins / weight.sum()
    place[order] = np.clip(np.floor(reached + shift).astype(np.int64), 0, bins - 1)
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
    return u[order], shares_below(weight[order])


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
    axes = turn.astype(np.float32)
    u, share = y @ axes.astype(np.float64), ndtr(levels)
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
    return Layer(axes[None], knots[None].astype(np.float32), widths[None].astype(np.float32))
