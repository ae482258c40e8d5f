"""Invertible flow of affine coupling layers: coordinates on a manifold that events lie near.

A layer turns the features by a fixed random rotation and divides them into two halves; the second
one, b, becomes (b - t(a)) exp(-s(a)), s and t functions of the first. Either way takes one pass.
The first coordinates behind the last layer, u, are those on the manifold; with all others zero,
g(u) = f(u, 0) is the reconstruction. Keras fits the weights to its error; numpy and graphs have
both ways and the volume of the manifold, sqrt(det(J^T J)) of J = dg / du, by forward mode.

Source: arXiv:1605.08803 (layers), arXiv:2003.13913 (flows on a manifold).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.stats import ortho_group

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend
from tnt_coffea.training.densities.interface import checked_events
from tnt_coffea.training.fitting import Batches, History, OptimizerSettings, fit, model_output
from tnt_coffea.training.graph import DoubleOps
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["Coupling", "CouplingFlow", "CouplingLayer", "log_volume"]

_FEWEST = 100
_MOST_SCALE = 2.0
"""Largest |s| of a layer."""
_SMALL = 0.01
"""Width of the last layers' initial weights: a flow begins as a rotation."""
_LEAST_PIVOT = 1e-30
_CHUNK = 1024


class Coupling(Settings):
    """Affine coupling layers, fitted to the error of the reconstruction.

    Examples
    --------
    >>> Coupling(layers=4, epochs=20).passes
    20
    """

    layers: int = Field(6, ge=2, description="layers, each behind a rotation of its own")
    hidden: int = Field(64, ge=1, description="nodes of both hidden layers of a layer's network")
    epochs: int = Field(50, ge=1, description="most epochs")
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(learning_rate=3e-3, beta1=0.9, beta2=0.999, batch=256, patience=10),
        description="Adam, and which epoch is kept",
    )

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    def fit(
        self, x: npt.NDArray[Any], weight: npt.NDArray[Any], manifold: int, seed: int
    ) -> tuple[CouplingFlow, History]:
        """Return the flow whose first coordinates reconstruct events best, and its losses.

        Parameters
        ----------
        x
            (event, feature) scaled features.
        weight
            (event,), not negative.
        manifold
            Number of coordinates on the manifold, below that of the features.
        seed
            Of rotations, weights, batches and validation events.

        Raises
        ------
        TrainingError
            There are too few events, or the loss is not finite.
        """
        checked_events(x, x[:, 0], weight, _FEWEST, "coupling flow")
        d = x.shape[1]
        if not 0 < manifold < d:
            msg = f"a manifold of {manifold} coordinates among {d} features: nothing to reconstruct"
            raise TrainingError(msg)
        shown = np.asarray(x, np.float32)
        order = seeds.generator(seed, "validation").permutation(len(x))
        held = max(1, round(self.optimizer.validation * len(x)))
        scale = weight.mean()

        def batches(rows: npt.NDArray[np.int64]) -> Batches:
            zero = np.zeros(len(rows), np.float32)
            weights = (weight[rows] / scale).astype(np.float32)
            readers = {"x": shown.__getitem__}
            return Batches([readers], zero.astype(np.int64), rows, zero, weights)

        turns = _turns(d, self.layers, seed)
        model, layers = _network(turns, manifold, self.hidden, seed)
        history = fit(
            model,
            model_output,
            batches(np.sort(order[held:])),
            batches(np.sort(order[:held])),
            optimizer=self.optimizer,
            epochs=self.epochs,
            seed=seed,
        )
        weights = [layer.get_weights() for layer in layers]
        return CouplingFlow.of(manifold, turns, weights), history


@dataclass(frozen=True)
class CouplingLayer:
    """One rotation and the network of one layer.

    Attributes
    ----------
    turn
        (feature, feature), orthonormal: the halves are those of x turn.
    weights, biases
        Of the network's three dense layers, float32, tanh behind the first two: from the first
        half to s and t, side by side.
    """

    turn: Float64Array
    weights: tuple[Float32Array, ...]
    biases: tuple[Float32Array, ...]

    @property
    def first(self) -> int:
        """Number of features in the first half."""
        return len(self.weights[0])

    def network(self, a: npt.NDArray[Any]) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Yield each dense layer's weights and outputs, (event, node), of a first half."""
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            a = a @ weight.astype(a.dtype) + bias
            a = a if i == last else np.tanh(a)
            yield weight.astype(a.dtype), a

    def shifts(self, a: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return s and t (event, feature) of a first half."""
        *_, (_, out) = self.network(a)
        s, t = np.split(out, 2, axis=1)
        return _MOST_SCALE * np.tanh(s / _MOST_SCALE), t

    def towards(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the (event, feature) coordinates behind the layer."""
        a, b = np.split(x @ self.turn, [self.first], axis=1)
        s, t = self.shifts(a)
        return np.concatenate([a, (b - t) * np.exp(-s)], axis=1)

    def back(
        self, z: npt.NDArray[Any], tangents: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return (event, feature) of coordinates behind the layer, and their tangents.

        Tangents are (event, direction, feature), of any number of directions.
        """
        a, b = np.split(z, [self.first], axis=1)
        along_a, along_b = np.split(tangents, [self.first], axis=2)
        *hidden, (last, out) = self.network(a)
        along = along_a
        for weight, value in hidden:
            along = along @ weight * (1 - value * value)[:, None]
        along = along @ last
        s, t = np.split(out, 2, axis=1)
        along_s, along_t = np.split(along, 2, axis=2)
        bent = np.tanh(s / _MOST_SCALE)
        factor = np.exp(_MOST_SCALE * bent)
        along_s = along_s * (1 - bent * bent)[:, None]
        along_b = (along_b + b[:, None] * along_s) * factor[:, None] + along_t
        values = np.concatenate([a, b * factor + t], axis=1) @ self.turn.T
        return values, np.concatenate([along_a, along_b], axis=2) @ self.turn.T

    def add_network(self, graph: Any, ops: DoubleOps, a: str) -> list[tuple[str, str]]:
        """Return the names of what `network` yields, appended to a graph."""
        found, last = [], len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            factor = ops.constant(weight)
            a = ops.add(graph.add("MatMul", a, factor), bias)
            a = a if i == last else graph.add("Tanh", a)
            found.append((factor, a))
        return found

    def add_towards(self, graph: Any, ops: DoubleOps, x: str) -> str:
        """Return the name of what `towards` gives, appended to a graph."""
        x = graph.add("MatMul", x, ops.constant(self.turn))
        a, b = _halves(graph, x, self.first, axis=1)
        s, t = _halves(graph, self.add_network(graph, ops, a)[-1][1], self._second, axis=1)
        s = ops.multiply(_MOST_SCALE, graph.add("Tanh", ops.divide(s, _MOST_SCALE)))
        b = ops.multiply(ops.subtract(b, t), ops.exp(ops.negative(s)))
        return str(graph.add("Concat", a, b, axis=1))

    def add_back(self, graph: Any, ops: DoubleOps, z: str, tangents: str) -> tuple[str, str]:
        """Return the names of what `back` gives, appended to a graph."""

        def each(value: str) -> str:
            return str(graph.add("Unsqueeze", value, graph.constant([1])))

        a, b = _halves(graph, z, self.first, axis=1)
        along_a, along_b = _halves(graph, tangents, self.first, axis=2)
        *hidden, (last, out) = self.add_network(graph, ops, a)
        along = along_a
        for weight, value in hidden:
            slope = ops.subtract(1.0, ops.multiply(value, value))
            along = ops.multiply(graph.add("MatMul", along, weight), each(slope))
        along = graph.add("MatMul", along, last)
        s, t = _halves(graph, out, self._second, axis=1)
        along_s, along_t = _halves(graph, along, self._second, axis=2)
        bent = graph.add("Tanh", ops.divide(s, _MOST_SCALE))
        factor = ops.exp(ops.multiply(_MOST_SCALE, bent))
        along_s = ops.multiply(along_s, each(ops.subtract(1.0, ops.multiply(bent, bent))))
        along_b = ops.add(along_b, ops.multiply(each(b), along_s))
        along_b = ops.add(ops.multiply(along_b, each(factor)), along_t)
        b = ops.add(ops.multiply(b, factor), t)
        turned = ops.constant(self.turn.T)
        values = graph.add("MatMul", graph.add("Concat", a, b, axis=1), turned)
        along = graph.add("MatMul", graph.add("Concat", along_a, along_b, axis=2), turned)
        return str(values), str(along)

    @property
    def _second(self) -> int:
        return len(self.turn) - self.first


@dataclass(frozen=True)
class CouplingFlow:
    """Coupling layers, and how many of the coordinates behind them lie on the manifold.

    Attributes
    ----------
    manifold
        Number of coordinates on the manifold.
    layers
        In order from features to coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> shapes = [(2, 4), (4,), (4, 4), (4,), (4, 2), (2,)]  # two features to s and t of a third
    >>> weights = [[rng.normal(size=shape).astype("f4") for shape in shapes]]
    >>> flow = CouplingFlow.of(2, [np.eye(3)], weights)
    >>> x = rng.normal(size=(5, 3))
    >>> u = flow.coordinates(x)[:, :2]
    >>> reconstruction, log_volume = flow.reconstruction(u)
    >>> np.abs(reconstruction - x).max(axis=0).round(9)[:2].tolist(), log_volume.shape
    ([0.0, 0.0], (5,))
    """

    manifold: int
    layers: tuple[CouplingLayer, ...]

    @classmethod
    def of(
        cls,
        manifold: int,
        turns: Sequence[Float64Array],
        weights: Sequence[Sequence[Float32Array]],
    ) -> CouplingFlow:
        """Return that of rotations and, layer by layer, weights and biases in turn."""
        layers = (
            CouplingLayer(turn, tuple(each[::2]), tuple(each[1::2]))
            for turn, each in zip(turns, weights, strict=True)
        )
        return cls(manifold, tuple(layers))

    def coordinates(self, x: npt.NDArray[Any]) -> Float64Array:
        """Return f^-1(x), (event, feature); the first `manifold` are u."""
        z = np.asarray(x, np.float64)
        for layer in self.layers:
            z = layer.towards(z)
        return z

    def features(self, z: npt.NDArray[Any]) -> Float64Array:
        """Return f(z), (event, feature), of coordinates."""
        z = np.asarray(z, np.float64)
        none = np.zeros((len(z), 0, z.shape[1]))
        for layer in reversed(self.layers):
            z, none = layer.back(z, none)
        return z

    def reconstruction(self, u: npt.NDArray[Any]) -> tuple[Float64Array, Float64Array]:
        """Return g(u) (event, feature), and (event,) ln of the volume of du on the manifold.

        Parameters
        ----------
        u
            (event, coordinate) on the manifold.
        """
        size = len(self.layers[0].turn)
        values, volume = np.empty((len(u), size)), np.empty(len(u))
        for start in range(0, len(u), _CHUNK):
            rows = slice(start, start + _CHUNK)
            z = np.pad(np.asarray(u[rows], np.float64), ((0, 0), (0, size - self.manifold)))
            tangents = np.broadcast_to(np.eye(self.manifold, size), (len(z), self.manifold, size))
            for layer in reversed(self.layers):
                z, tangents = layer.back(z, tangents)
            values[rows], volume[rows] = z, log_volume(tangents)
        return values, volume

    def add_coordinates(self, graph: Any, x: str) -> str:
        """Return the name of u (n, coordinate), in double precision, of doubles (n, feature)."""
        ops = DoubleOps(graph)
        for layer in self.layers:
            x = layer.add_towards(graph, ops, x)
        return _halves(graph, x, self.manifold, axis=1)[0]

    def add_reconstruction(self, graph: Any, u: str) -> tuple[str, str]:
        """Return the names of what `reconstruction` gives, as doubles (n, feature) and (n, 1)."""
        ops, size = DoubleOps(graph), len(self.layers[0].turn)
        z = graph.add("MatMul", u, ops.constant(np.eye(self.manifold, size)))
        nothing = ops.multiply(graph.add("Unsqueeze", z, graph.constant([1])), 0.0)
        tangents = ops.add(nothing, np.eye(self.manifold, size)[None])
        for layer in reversed(self.layers):
            z, tangents = layer.add_back(graph, ops, z, tangents)
        return z, _add_log_volume(graph, ops, tangents, self.manifold)


def log_volume(tangents: npt.NDArray[Any]) -> Float64Array:
    """Return (event,) ln sqrt(det(T T^T)) of tangents T (event, direction, feature).

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]]])  # of area 6, in space
    >>> np.exp(log_volume(square)).round(9).tolist()
    [6.0]
    """
    square = tangents @ np.swapaxes(tangents, 1, 2)
    total = np.zeros(len(square))
    while square.shape[1]:
        # Gaussian elimination, as the graph has it: a determinant would leave the range.
        pivot = np.maximum(square[:, :1, :1], _LEAST_PIVOT)
        total += 0.5 * np.log(pivot[:, 0, 0])
        square = square[:, 1:, 1:] - square[:, 1:, :1] * square[:, :1, 1:] / pivot
    return total


def _add_log_volume(graph: Any, ops: DoubleOps, tangents: str, directions: int) -> str:
    turned = graph.add("Transpose", tangents, perm=[0, 2, 1])
    square = graph.add("MatMul", tangents, turned)
    logs = []
    for left in range(directions, 0, -1):
        row, rest = _halves(graph, square, 1, axis=1)
        pivot, row = _halves(graph, row, 1, axis=2) if left > 1 else (row, "")
        pivot = graph.add("Max", pivot, ops.constant(_LEAST_PIVOT))
        logs.append(ops.log(pivot))
        if left > 1:
            column, rest = _halves(graph, rest, 1, axis=2)
            square = ops.subtract(rest, ops.divide(ops.multiply(column, row), pivot))
    return str(graph.add("Reshape", ops.multiply(0.5, ops.total(logs)), graph.constant([-1, 1])))


def _halves(graph: Any, value: str, first: int, axis: int) -> tuple[str, str]:
    """Return the names of the first elements along an axis, and of all others."""
    at, far = graph.constant([first]), graph.constant([2**31])
    along = graph.constant([axis])
    low = graph.add("Slice", value, graph.constant([0]), at, along)
    return low, graph.add("Slice", value, at, far, along)


def _turns(d: int, layers: int, seed: int) -> list[Float64Array]:
    rng = seeds.generator(seed, "turns")
    return [ortho_group.rvs(d, random_state=rng) for _ in range(layers)]


def _network(
    turns: Sequence[Float64Array], manifold: int, hidden: int, seed: int
) -> tuple[Any, list[Any]]:
    """Return the Keras model from `x` to the squared error (n,), and its layers."""
    keras = backend.keras()
    ops, initial = keras.ops, backend.initialisers(seed)
    d = len(turns[0])
    first = d - d // 2
    sizes = (first, hidden, hidden, 2 * (d - first))

    class Affine(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """A coupling layer."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.turn = turns[number].astype(np.float32)
            small = keras.initializers.RandomNormal(
                stddev=_SMALL, seed=seeds.integer(seed, "last", number)
            )
            self.dense = []
            for i, shape in enumerate(pairwise(sizes)):
                start = small if i == len(sizes) - 2 else initial()
                weight = self.add_weight(shape=shape, initializer=start)
                self.dense.append((weight, self.add_weight(shape=shape[1:], initializer="zeros")))

        def _shifts(self, a: Any) -> tuple[Any, Any]:
            for i, (weight, bias) in enumerate(self.dense):
                a = ops.matmul(a, weight) + bias
                a = ops.tanh(a) if i < len(self.dense) - 1 else a
            s, t = a[:, : d - first], a[:, d - first :]
            return _MOST_SCALE * ops.tanh(s / _MOST_SCALE), t

        def call(self, x: Any, back: bool = False) -> Any:
            x = x if back else ops.matmul(x, self.turn)
            a, b = x[:, :first], x[:, first:]
            s, t = self._shifts(a)
            b = b * ops.exp(s) + t if back else (b - t) * ops.exp(-s)
            x = ops.concatenate([a, b], axis=1)
            return ops.matmul(x, self.turn.T) if back else x

    x = keras.Input((d,), name="x")
    layers = [Affine(number) for number in range(len(turns))]
    z = x
    for layer in layers:
        z = layer(z)
    z = ops.pad(z[:, :manifold], ((0, 0), (0, d - manifold)))
    for layer in reversed(layers):
        z = layer(z, back=True)
    return keras.Model([x], ops.sum(ops.square(x - z), axis=1)), layers
