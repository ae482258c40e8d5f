"""Many small networks trained at once: each with its own events, first weights and batch order.

One network of 64 nodes a layer is so small that a step costs more to call than to compute. A
stack shares the calls and nothing else: it gives, bit for bit, what its members give alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from tnt_coffea import seeds as streams
from tnt_coffea.errors import ConfigError, TrainingError
from tnt_coffea.training.fitting import OptimizerSettings
from tnt_coffea.typing import Float32Array, Float64Array, IntArray

__all__ = ["ADAM", "HIDDEN", "StackedNetworks", "train_stacked"]

HIDDEN = (64, 64, 64)
"""Nodes of the hidden layers; source: arXiv:2009.02205, section II."""
ADAM = OptimizerSettings(beta1=0.9, beta2=0.999, decay=0.0, batch=200, keep="last")
"""Adam with Keras' defaults and a batch of 200; source: arXiv:2009.02205, section II."""
_EPSILON = 1e-7  # of Keras
_ROWS = 2048


@dataclass(frozen=True, eq=False)
class StackedNetworks:
    """Networks of equal size, ReLU between their layers, one logit at the end.

    Attributes
    ----------
    nodes
        Inputs, nodes of every hidden layer, and 1.
    parameters
        (member, parameter) float32: kernel and bias of one layer after the other.
    loss
        (member, epoch) mean weighted loss of the training events, as the weights went by.

    Examples
    --------
    >>> networks = StackedNetworks.initial((2, 64, 64, 64, 1), seeds=(1, 2))
    >>> networks.parameters.shape, networks.logits(np.zeros((3, 2))).shape
    ((2, 8577), (2, 3))
    """

    nodes: tuple[int, ...]
    parameters: Float32Array
    loss: Float64Array

    @classmethod
    def initial(cls, nodes: Sequence[int], seeds: Sequence[int]) -> StackedNetworks:
        """Return untrained networks, a member a seed: Glorot's uniform kernels, biases of zero."""
        members = []
        for seed in seeds:
            layers: list[Float64Array] = []
            for layer, (inputs, outputs) in enumerate(pairwise(nodes)):
                limit = np.sqrt(6 / (inputs + outputs))
                rng = streams.generator(seed, "initial", layer)
                layers += [rng.uniform(-limit, limit, inputs * outputs), np.zeros(outputs)]
            members.append(np.concatenate(layers))
        parameters = np.array(members, np.float32)
        return cls(tuple(nodes), parameters, np.empty((len(members), 0)))

    def __len__(self) -> int:
        return len(self.parameters)

    def layers(self) -> list[tuple[Float32Array, Float32Array]]:
        """Return, by layer, views of the (member, input, node) kernels and (member, node) biases.

        Examples
        --------
        >>> networks = StackedNetworks.initial((2, 64, 1), seeds=(1, 2, 3))
        >>> [(kernel.shape, bias.shape) for kernel, bias in networks.layers()]
        [((3, 2, 64), (3, 64)), ((3, 64, 1), (3, 1))]
        """
        return _layers(self.parameters, self.nodes)

    def logits(self, inputs: npt.ArrayLike) -> Float32Array:
        """Return the (member, event) logits of (event, feature) inputs, the same for all."""
        values = np.asarray(inputs, np.float32)
        layers = self.layers()
        out = np.empty((len(self), len(values)), np.float32)
        for start in range(0, len(values), _ROWS):
            nodes: Float32Array = values[start : start + _ROWS]
            for kernel, bias in layers[:-1]:
                nodes = np.matmul(nodes, kernel)
                nodes += bias[:, None]
                np.maximum(nodes, 0, out=nodes)
            kernel, bias = layers[-1]
            out[:, start : start + _ROWS] = np.matmul(nodes, kernel)[..., 0] + bias
        return out


def train_stacked(
    inputs: Float32Array,
    rows: IntArray,
    targets: npt.ArrayLike,
    weights: npt.ArrayLike,
    *,
    seeds: Sequence[int],
    epochs: int,
    optimizer: OptimizerSettings = ADAM,
    hidden: Sequence[int] = HIDDEN,
) -> StackedNetworks:
    """Return networks trained by weighted binary cross-entropy, with the weights of the last epoch.

    The loss is that of the logit, exact for any of its values. Members may have other events,
    but equally many. One member is trained as `fit` trains a Keras model of the same first
    weights with the same seed.

    Parameters
    ----------
    inputs
        (row, feature) float32, what all members choose their events from.
    rows
        (member, event) the rows of `inputs` that a member trains on.
    targets
        (event,) or (member, event): 1 for the positive class, 0 for the other.
    weights
        (event,) or (member, event), of mean absolute value 1; negative ones are allowed.
    seeds
        A seed a member, of its first weights and of the order of its batches.
    epochs
        How often every event is seen.
    optimizer
        Learning rate, decays and batch of Adam.
    hidden
        Nodes of every hidden layer.

    Raises
    ------
    ConfigError
        The optimizer keeps other weights than the last.
    TrainingError
        There are no events, or a loss is not finite.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> x = rng.normal(size=(400, 2)).astype(np.float32)
    >>> rows, ones = np.tile(np.arange(400), (3, 1)), np.ones(400)
    >>> networks = train_stacked(x, rows, x[:, 0] > 0, ones, seeds=(1, 2, 3), epochs=40)
    >>> ((networks.logits(x) > 0) == (x[:, 0] > 0)).mean() > 0.95
    np.True_
    """
    if optimizer.keep != "last":
        msg = f"stacked networks keep the last weights, and keep is {optimizer.keep!r}"
        raise ConfigError(msg)
    members, events = rows.shape
    if not rows.size:
        msg = "no events to train on"
        raise TrainingError(msg)
    nodes = (inputs.shape[1], *hidden, 1)
    networks = StackedNetworks.initial(nodes, seeds)
    targets = np.broadcast_to(np.asarray(targets, np.float32), rows.shape)
    weights = np.broadcast_to(np.asarray(weights, np.float32), rows.shape)
    workspace = _Workspace(nodes, networks.parameters, min(optimizer.batch, events))
    adam = _Adam(networks.parameters, optimizer)
    losses = np.empty((members, epochs))
    for epoch in range(epochs):
        order = np.stack(
            [streams.generator(seed, "epoch", epoch).permutation(events) for seed in seeds]
        )
        chosen, wanted, weighted = (
            np.take_along_axis(values, order, axis=1) for values in (rows, targets, weights)
        )
        total = np.zeros(members)
        for start in range(0, events, optimizer.batch):
            batch = np.s_[:, start : start + optimizer.batch]
            events_of_batch = inputs.take(chosen[batch], axis=0)
            total += workspace.gradient(events_of_batch, wanted[batch], weighted[batch])
            adam.step(workspace.slope)
        losses[:, epoch] = total / np.abs(weights).sum(axis=1, dtype=np.float64)
        if not np.isfinite(total).all():
            msg = f"a loss is not finite in epoch {epoch + 1}: lower the optimizer's learning_rate"
            raise TrainingError(msg)
    return StackedNetworks(nodes, networks.parameters, losses)


def _layers(
    parameters: Float32Array, nodes: Sequence[int]
) -> list[tuple[Float32Array, Float32Array]]:
    out, at = [], 0
    for inputs, outputs in pairwise(nodes):
        end = at + inputs * outputs
        kernel = parameters[:, at:end].reshape(-1, inputs, outputs)
        at = end + outputs
        out.append((kernel, parameters[:, end:at]))
    return out


class _Workspace:
    """Arrays of one step, made once: the nodes of every layer and the slope of every parameter."""

    def __init__(self, nodes: Sequence[int], parameters: Float32Array, batch: int) -> None:
        members = len(parameters)
        self.slope = np.empty_like(parameters)
        self.layers, self.slopes = _layers(parameters, nodes), _layers(self.slope, nodes)
        self.nodes = [np.empty((members, batch, size), np.float32) for size in nodes[1:]]
        self.errors = [np.empty_like(values) for values in self.nodes]
        self.ones = np.ones((1, batch), np.float32)

    def gradient(
        self, inputs: Float32Array, targets: Float32Array, weights: Float32Array
    ) -> Float64Array:
        """Fill `slope` with that of the batch's mean loss, and return each member's summed loss."""
        size = inputs.shape[1]
        nodes = [inputs, *(values[:, :size] for values in self.nodes)]
        for (kernel, bias), below, above in zip(self.layers, nodes, nodes[1:], strict=False):
            np.matmul(below, kernel, out=above)
            above += bias[:, None]
            if above is not nodes[-1]:
                np.maximum(above, 0, out=above)
        logits = nodes[-1][..., 0]
        losses = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - targets * logits
        errors = [values[:, :size] for values in self.errors]
        np.multiply(expit(logits) - targets, weights / np.float32(size), out=errors[-1][..., 0])
        for i in reversed(range(len(self.layers))):
            kernel_slope, bias_slope = self.slopes[i]
            np.matmul(nodes[i].swapaxes(1, 2), errors[i], out=kernel_slope)
            np.matmul(self.ones[:, :size], errors[i], out=bias_slope[:, None])
            if i:
                np.matmul(errors[i], self.layers[i][0].swapaxes(1, 2), out=errors[i - 1])
                errors[i - 1] *= nodes[i] > 0
        summed: Float64Array = (weights * losses).sum(axis=1, dtype=np.float64)
        return summed


class _Adam:
    """Adam as Keras has it, in place, on all parameters of all members at once."""

    def __init__(self, parameters: Float32Array, settings: OptimizerSettings) -> None:
        self.parameters, self.settings = parameters, settings
        self.mean, self.square = np.zeros_like(parameters), np.zeros_like(parameters)
        self.scratch, self.steps = np.empty_like(parameters), 0

    def step(self, slope: Float32Array) -> None:
        """Move the parameters against their slopes, which are overwritten."""
        settings = self.settings
        rate = settings.learning_rate / (1 + settings.decay * self.steps)
        self.steps += 1
        scale = np.sqrt(1 - settings.beta2**self.steps) / (1 - settings.beta1**self.steps)
        np.subtract(slope, self.mean, out=self.scratch)
        self.scratch *= np.float32(1 - settings.beta1)
        self.mean += self.scratch
        np.multiply(slope, slope, out=slope)
        slope -= self.square
        slope *= np.float32(1 - settings.beta2)
        self.square += slope
        np.sqrt(self.square, out=self.scratch)
        self.scratch += np.float32(_EPSILON)
        np.divide(self.mean, self.scratch, out=self.scratch)
        self.scratch *= np.float32(rate * scale)
        self.parameters -= self.scratch
