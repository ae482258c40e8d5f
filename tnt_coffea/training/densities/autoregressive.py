"""Masked autoregressive flow, conditional on the mass: blocks that shift and scale each feature.

A block turns x_i into (x_i - mu_i) exp(-alpha_i), mu_i and alpha_i functions of the features before
i and of the mass; the order is reversed from block to block. Keras fits the weights, of which
every one of the last epochs is kept: numpy and graphs average p over these.

Source: arXiv:1705.07057 (flow), arXiv:1502.03509 (masks); arXiv:2001.04990 (conditional on the
mass, average of epochs).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from scipy.special import logsumexp

from tnt_coffea import seeds
from tnt_coffea.config import Settings
from tnt_coffea.training import backend
from tnt_coffea.training.densities.interface import checked_events, sum_of_features
from tnt_coffea.training.fitting import Batches, OptimizerSettings, fit, model_output
from tnt_coffea.training.graph import DoubleOps
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["Autoregressive", "AutoregressiveDensity", "Block", "block_layers", "masks"]

_FEWEST = 100
_MOST_ALPHA = 3.0
"""Largest |alpha| of a block."""
_FARTHEST = 100.0
"""Largest |x| behind a block: nothing diverges where no event was trained on."""
_SMALL = 0.01
"""Width of the last layers' initial weights: a flow begins as the unit Gaussian."""
_CHUNK = 4096
_LOG_UNIT = 0.5 * np.log(2 * np.pi)


class Autoregressive(Settings):
    """Masked autoregressive flow; p is averaged over epochs.

    Examples
    --------
    >>> settings = Autoregressive(epochs=20, averaged=5)
    >>> settings.blocks, settings.hidden, settings.passes
    (15, 128, 20)
    """

    model: Literal["autoregressive"] = "autoregressive"
    blocks: int = Field(15, ge=1, description="blocks, the order reversed from one to the next")
    hidden: int = Field(128, ge=1, description="nodes of the hidden layer of a block")
    epochs: int = Field(50, ge=1, description="most epochs")
    averaged: int = Field(
        10, ge=1, description="epochs whose p is averaged: the last, or (keep: best) the best"
    )
    optimizer: OptimizerSettings = Field(
        OptimizerSettings(beta1=0.9, beta2=0.999, decay=0.0, batch=256, patience=10, keep="last"),
        description="Adam, and which epochs are kept",
    )

    @model_validator(mode="after")
    def _check_averaged(self) -> Self:
        if self.averaged > self.epochs:
            msg = f"averaged: {self.averaged} epochs cannot be averaged of {self.epochs} (epochs)"
            raise ValueError(msg)
        return self

    @property
    def passes(self) -> int:
        """Most epochs."""
        return self.epochs

    @property
    def libraries(self) -> tuple[str, ...]:
        """Keras, and what writes its models."""
        return backend.libraries()

    def fit(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any], weight: npt.NDArray[Any], seed: int
    ) -> AutoregressiveDensity:
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
            Of weights, batches and validation events.

        Raises
        ------
        TrainingError
            There are too few events, or the loss is not finite.
        """
        checked_events(x, m, weight, _FEWEST, "autoregressive flow")
        shown = {"x": np.asarray(x, np.float32), "m": np.asarray(m, np.float32)[:, None]}
        readers = {name: values.__getitem__ for name, values in shown.items()}
        order = seeds.generator(seed, "validation").permutation(len(x))
        held = max(1, round(self.optimizer.validation * len(x)))
        mean = weight.mean()

        def batches(rows: npt.NDArray[np.int64]) -> Batches:
            zero = np.zeros(len(rows), np.float32)
            weights = (weight[rows] / mean).astype(np.float32)
            return Batches([readers], zero.astype(np.int64), rows, zero, weights)

        model, blocks = _network(x.shape[1], self.blocks, self.hidden, seed)
        kept: list[list[list[Float32Array]]] = []
        history = fit(
            model,
            model_output,
            batches(np.sort(order[held:])),
            batches(np.sort(order[:held])),
            optimizer=self.optimizer,
            epochs=self.epochs,
            seed=seed,
            after_epoch=lambda: kept.append([block.get_weights() for block in blocks]),
        )
        chosen = np.arange(len(kept))
        if self.optimizer.keep == "best":
            chosen = np.sort(np.argsort(history.validation_loss, kind="stable")[: self.averaged])
        return AutoregressiveDensity.of([kept[i] for i in chosen[-self.averaged :]])


@dataclass(frozen=True)
class Block:
    """Weights of a block in all epochs kept; float32, masks applied.

    Attributes
    ----------
    first
        (epoch, feature, node), of the features.
    mass
        (epoch, 1, node), of the mass.
    bias
        (epoch, 1, node).
    last
        (epoch, node, 2 x feature), to mu and alpha.
    offset
        (epoch, 1, 2 x feature).
    """

    first: Float32Array
    mass: Float32Array
    bias: Float32Array
    last: Float32Array
    offset: Float32Array

    def shifts(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return mu and alpha, (epoch, event, feature), of (epoch, event, feature) and masses."""
        hidden = np.maximum(x @ self.first + m[:, None] * self.mass + self.bias, 0)
        mu, alpha = np.split(hidden @ self.last + self.offset, 2, axis=2)
        return mu, _MOST_ALPHA * np.tanh(alpha / _MOST_ALPHA)


@dataclass(frozen=True)
class AutoregressiveDensity:
    """Mean of the densities of several epochs of one flow.

    Attributes
    ----------
    blocks
        In order from x to the Gaussian.
    """

    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, epochs: Sequence[Sequence[Sequence[Float32Array]]]) -> AutoregressiveDensity:
        """Return that of the weights by epoch and block, in the order of `Block`."""
        blocks = []
        for number in range(len(epochs[0])):
            first, mass, bias, last, offset = (
                np.stack(values) for values in zip(*(item[number] for item in epochs), strict=True)
            )
            inner, outer = masks(first.shape[1], first.shape[2], backwards=number % 2 == 1)
            blocks.append(Block(first * inner, mass, bias[:, None], last * outer, offset[:, None]))
        return cls(tuple(blocks))

    @property
    def _sizes(self) -> tuple[int, int]:
        epochs, d, _ = self.blocks[0].first.shape
        return epochs, d

    def mapped(
        self, x: npt.NDArray[Any], m: npt.NDArray[Any]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Return Gaussian values (epoch, event, feature) and ln of the volume's change.

        The latter is (epoch, event).
        """
        y = np.repeat(np.asarray(x, np.float64)[None], self._sizes[0], axis=0)
        m = np.asarray(m, np.float64)
        log_slope = np.zeros(y.shape[:2])
        for block in self.blocks:
            mu, alpha = block.shifts(y, m)
            y = np.clip((y - mu) * np.exp(-alpha), -_FARTHEST, _FARTHEST)
            log_slope -= alpha.sum(axis=2)
        return y, log_slope

    def log_prob(self, x: npt.NDArray[Any], m: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (event,) ln p(x | m), computed in double precision."""
        epochs, d = self._sizes
        out = np.empty(len(x))
        for start in range(0, len(x), _CHUNK):
            rows = slice(start, start + _CHUNK)
            y, log_slope = self.mapped(x[rows], m[rows])
            each = log_slope - 0.5 * (y**2).sum(axis=2) - d * _LOG_UNIT
            out[rows] = logsumexp(each, axis=0) - np.log(epochs)
        return out

    def sample(self, m: npt.NDArray[Any], seed: int) -> Float64Array:
        """Return one (event, feature) draw for each (event,) mass, from any of the epochs.

        Examples
        --------
        >>> import numpy as np
        >>> m = np.random.default_rng(1).uniform(-1, 1, 200)
        >>> x = np.random.default_rng(2).normal(m[:, None], 1.0, (200, 2))
        >>> settings = Autoregressive(blocks=1, hidden=4, epochs=1, averaged=1)
        >>> settings.fit(x, m, np.ones(200), seed=1).sample(m, seed=3).shape
        (200, 2)
        """
        rng = seeds.generator(seed, "sample")
        epochs, d = self._sizes
        epoch = rng.integers(epochs, size=len(m))
        y, out = rng.standard_normal((len(m), d)), np.empty((len(m), d))
        for number in range(epochs):
            of_epoch, mine = self.of_epoch(number), np.flatnonzero(epoch == number)
            for start in range(0, len(mine), _CHUNK):
                rows = mine[start : start + _CHUNK]
                out[rows] = of_epoch.inverted(y[None, rows], m[rows])[0]
        return out

    def of_epoch(self, number: int) -> AutoregressiveDensity:
        """Return the density of one of the epochs."""
        which = slice(number, number + 1)
        return AutoregressiveDensity(
            tuple(
                Block(*(getattr(block, each.name)[which] for each in fields(Block)))
                for block in self.blocks
            )
        )

    def inverted(self, y: Float64Array, m: npt.NDArray[Any]) -> Float64Array:
        """Return what `mapped` takes to Gaussian values, (epoch, event, feature) likewise."""
        for number, block in reversed(list(enumerate(self.blocks))):
            x = np.zeros_like(y)
            for i in range(y.shape[2])[:: -1 if number % 2 else 1]:
                mu, alpha = block.shifts(x, m)
                x[..., i] = y[..., i] * np.exp(alpha[..., i]) + mu[..., i]
            y = x
        return y

    def add(self, graph: Any, x: str, m: str) -> str:
        """Return the name of ln p (n,) appended to a graph: all epochs at once.

        In double precision: as many blocks multiply the error of a last digit.
        """
        ops, (epochs, d) = DoubleOps(graph), self._sizes
        y = graph.add("Reshape", graph.cast(x, "double"), graph.constant([1, -1, d]))
        y = graph.add("Expand", y, graph.constant([epochs, 1, 1]))
        m = graph.add("Reshape", graph.cast(m, "double"), graph.constant([1, -1, 1]))
        least, largest, most = (ops.constant(each) for each in (-_FARTHEST, _FARTHEST, _MOST_ALPHA))
        alphas = []
        for block in self.blocks:
            hidden = graph.add("MatMul", y, ops.constant(block.first))
            of_mass = ops.add(ops.multiply(m, block.mass), block.bias)
            hidden = graph.add("Relu", ops.add(hidden, of_mass))
            out = ops.add(graph.add("MatMul", hidden, ops.constant(block.last)), block.offset)
            mu, alpha = (
                graph.add("Slice", out, *(graph.constant([i]) for i in (low, low + d, 2)))
                for low in (0, d)
            )
            alpha = ops.multiply(most, graph.add("Tanh", ops.divide(alpha, most)))
            y = ops.multiply(ops.subtract(y, mu), ops.exp(ops.negative(alpha)))
            y = graph.add("Clip", y, least, largest)
            alphas.append(alpha)
        terms = ops.multiply(ops.multiply(y, y), 0.5)
        for alpha in alphas:
            terms = ops.add(terms, alpha)
        each = sum_of_features(graph, ops.negative(terms), d)
        summed = graph.add("ReduceLogSumExp", each, axes=[0], keepdims=0)
        constant = np.float32(np.log(epochs) + d * _LOG_UNIT)
        return str(graph.ops.subtract(graph.cast(summed, "float"), constant))


def masks(d: int, hidden: int, *, backwards: bool = False) -> tuple[Float32Array, Float32Array]:
    """Return which weights a block has: (feature, node) and (node, 2 x feature), 0 or 1.

    Outputs of a feature then depend on the features before it alone.

    Parameters
    ----------
    d, hidden
        Numbers of features and of hidden nodes.
    backwards
        Whether the last feature is the first in the order.

    Examples
    --------
    >>> first, last = masks(3, 4)
    >>> ((first @ last) > 0).astype(int).tolist()  # from feature (row) to mu and alpha
    [[0, 1, 1, 0, 1, 1], [0, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]]
    """
    feature = np.arange(d)[::-1] if backwards else np.arange(d)
    # A node sees the features up to its own number; none at all where there is one feature.
    node = np.arange(hidden) % (d - 1) if d > 1 else np.full(hidden, -1)
    first = (node >= feature[:, None]).astype(np.float32)
    last = (feature > node[:, None]).astype(np.float32)
    return first, np.tile(last, 2)


def block_layers(
    d: int, hidden: int, blocks: int, seed: int, *, conditional: bool = True
) -> list[Any]:
    """Return Keras layers of a flow, in order, each from (n, d) to new values and their alpha.

    Parameters
    ----------
    d, hidden
        Numbers of features and of hidden nodes.
    blocks
        Number of layers.
    seed
        Seed of the initial weights.
    conditional
        Whether a layer is called with the mass (n, 1) as well.

    Returns
    -------
    list
        keras.Layer each; ln of the volume's change by one is minus the sum of its alpha.

    Examples
    --------
    >>> (layer,) = block_layers(2, 4, blocks=1, seed=1, conditional=False)
    >>> y, alpha = layer(backend.keras().ops.zeros((5, 2)))
    >>> tuple(y.shape), tuple(alpha.shape)
    ((5, 2), (5, 2))
    """
    keras = backend.keras()
    ops, initial = keras.ops, backend.initialisers(seed)

    class Made(keras.layers.Layer):  # type: ignore[misc,name-defined]
        """Masked autoencoder: a block of the flow."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.inner, self.outer = masks(d, hidden, backwards=number % 2 == 1)
            small = keras.initializers.RandomNormal(
                stddev=_SMALL, seed=seeds.integer(seed, "last", number)
            )
            self.first = self.add_weight(shape=(d, hidden), initializer=initial())
            if conditional:
                self.mass = self.add_weight(shape=(1, hidden), initializer=initial())
            self.bias = self.add_weight(shape=(hidden,), initializer="zeros")
            self.last = self.add_weight(shape=(hidden, 2 * d), initializer=small)
            self.offset = self.add_weight(shape=(2 * d,), initializer="zeros")

        def call(self, x: Any, m: Any = None) -> Any:
            value = ops.matmul(x, self.first * self.inner)
            if conditional:
                value = value + m * self.mass
            value = ops.matmul(ops.relu(value + self.bias), self.last * self.outer) + self.offset
            alpha = _MOST_ALPHA * ops.tanh(value[:, d:] / _MOST_ALPHA)
            y = ops.clip((x - value[:, :d]) * ops.exp(-alpha), -_FARTHEST, _FARTHEST)
            return y, alpha

    return [Made(number) for number in range(blocks)]


def _network(d: int, blocks: int, hidden: int, seed: int) -> tuple[Any, list[Any]]:
    """Return the Keras model from `x` and `m` to -ln p (n,), and its blocks."""
    keras = backend.keras()
    ops = keras.ops
    x, m = keras.Input((d,), name="x"), keras.Input((1,), name="m")
    layers = block_layers(d, hidden, blocks, seed)
    y, total = x, 0.0
    for layer in layers:
        y, alpha = layer(y, m)
        total = total + ops.sum(alpha, axis=1)
    loss = 0.5 * ops.sum(ops.square(y), axis=1) + total + d * float(_LOG_UNIT)
    return keras.Model([x, m], loss), layers
