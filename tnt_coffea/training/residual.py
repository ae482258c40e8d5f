"""A residual network of event images: in Keras to train, and in a graph with its norms folded in.

Basic blocks of two 3 x 3 convolutions, batch norm behind every convolution; 3, 4, 6 and 3 of them
are ResNet-34. In a graph each norm is part of the convolution before it, or of the dense layer
behind it: a tagger has a third of the nodes, and nothing that changes with the batch.

Source: K. He et al., arXiv:1512.03385, table 1; the head, arXiv:2101.08320, section 5.1, with the
sizes of its library, fastai.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tnt_coffea import seeds
from tnt_coffea.taggers.inputs import EventImage
from tnt_coffea.training import backend
from tnt_coffea.training.graph import Graph
from tnt_coffea.training.networks import input_tensor
from tnt_coffea.typing import Float32Array, Float64Array

__all__ = ["add_residual_network", "residual_network"]

_EPSILON = 1e-5
"""Added to variances of batch norm."""
_MOMENTUM = 0.9
"""Of the running means and variances that a score is computed with, a step."""
_DROPOUT = (0.25, 0.5)
"""Of the head's two dense layers, with dropout 1."""


def residual_network(
    image: EventImage,
    *,
    blocks: Sequence[int],
    width: int,
    dropout: float,
    seed: int,
    power: float = 1.0,
) -> Any:
    """Return the network that is trained.

    Parameters
    ----------
    image
        Image of the event.
    blocks
        Basic blocks of every stage; a stage halves the image and doubles the channels of the one
        before. (3, 4, 6, 3) is ResNet-34.
    width
        Channels of the first stage, 64 in ResNet-34.
    dropout
        Factor on the shares dropped in the head, 0.25 and 0.5.
    seed
        Seed of the initial weights and of the dropout.
    power
        Of the pixels, before the first layer.

    Returns
    -------
    keras.Model
        From `event_image` to the logarithm of the odds (n,).

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> image = EventImage.of(testing.make_sample(1, event_image=16))
    >>> model = residual_network(image, blocks=(1, 1), width=4, dropout=1.0, seed=1)
    >>> [item.name for item in model.inputs], model.output.shape
    (['event_image'], (None,))
    """
    keras = backend.keras()
    layers, count = keras.layers, iter(range(10_000))

    def initial() -> Any:
        return keras.initializers.HeUniform(seed=seeds.integer(seed, "initial", next(count)))

    def convolution(value: Any, name: str, channels: int, size: int, stride: int = 1) -> Any:
        value = layers.Conv2D(
            channels,
            size,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer=initial(),
            name=name,
        )(value)
        return norm(value, f"{name}_norm")

    def norm(value: Any, name: str) -> Any:
        return layers.BatchNormalization(epsilon=_EPSILON, momentum=_MOMENTUM, name=name)(value)

    def dense(value: Any, name: str, units: int, number: int) -> Any:
        value = norm(value, f"{name}_norm")
        share = dropout * _DROPOUT[number]
        if share:
            chance = seeds.integer(seed, "dropout", number)
            value = layers.Dropout(share, seed=chance)(value)
        return layers.Dense(units, kernel_initializer=initial(), name=name)(value)

    shown = input_tensor(image)
    pixels = shown if power == 1 else keras.ops.power(keras.ops.relu(shown), power)
    value = keras.ops.transpose(pixels, (0, 2, 3, 1))
    value = layers.ReLU()(convolution(value, "stem", width, 7, 2))
    value = layers.MaxPooling2D(3, strides=2, padding="same")(value)
    for name, channels, stride in _blocks(blocks, width):
        beside = value
        if stride != 1 or value.shape[-1] != channels:
            beside = convolution(value, f"{name}_beside", channels, 1, stride)
        first = layers.ReLU()(convolution(value, f"{name}_first", channels, 3, stride))
        second = convolution(first, f"{name}_second", channels, 3)
        value = layers.ReLU()(layers.Add()([second, beside]))
    pooled = layers.Concatenate()(
        [layers.GlobalAveragePooling2D()(value), layers.GlobalMaxPooling2D()(value)]
    )
    hidden = layers.ReLU()(dense(pooled, "hidden", 8 * width, 0))
    odds = dense(hidden, "odds", 1, 1)
    return keras.Model([shown], keras.ops.reshape(odds, (-1,)))


def add_residual_network(
    graph: Graph, model: Any, blocks: Sequence[int], power: float = 1.0
) -> str:
    """Return the name of the logarithm of the odds (n, 1) of a trained network, in a graph.

    Parameters
    ----------
    graph
        A graph with the input `event_image`.
    model
        The network of `residual_network`.
    blocks, power
        Those that it was made with.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> image = EventImage.of(testing.make_sample(1, event_image=16))
    >>> model = residual_network(image, blocks=(1, 1), width=4, dropout=1.0, seed=1)
    >>> graph = Graph(image)
    >>> onnx_model = graph.model(graph.flat(add_residual_network(graph, model, (1, 1))))
    >>> {node.op_type for node in onnx_model.graph.node} & {"BatchNormalization", "Dropout"}
    set()
    """
    layer: Callable[[str], Any] = model.get_layer

    def convolution(value: str, name: str) -> str:
        kernel, bias = _folded_behind(layer(name), layer(f"{name}_norm"))
        stride, size = layer(name).strides[0], kernel.shape[-1]
        return graph.add(
            "Conv",
            value,
            graph.constant(kernel),
            graph.constant(bias),
            auto_pad="SAME_UPPER",
            kernel_shape=[size, size],
            strides=[stride, stride],
        )

    def dense(value: str, name: str) -> str:
        kernel, bias = _folded_before(layer(f"{name}_norm"), layer(name))
        return graph.add("Gemm", value, graph.constant(kernel), graph.constant(bias))

    pixels = "event_image"
    if power != 1:
        pixels = graph.ops.power(graph.add("Relu", pixels), np.float32(power))
    value = graph.add("Relu", convolution(pixels, "stem"))
    value = graph.add("MaxPool", value, auto_pad="SAME_UPPER", kernel_shape=[3, 3], strides=[2, 2])
    names = {item.name for item in model.layers}
    for name, _, _ in _blocks(blocks, 1):
        beside = convolution(value, f"{name}_beside") if f"{name}_beside" in names else value
        first = graph.add("Relu", convolution(value, f"{name}_first"))
        value = graph.add("Relu", graph.ops.add(convolution(first, f"{name}_second"), beside))
    pools = [graph.add(pool, value) for pool in ("GlobalAveragePool", "GlobalMaxPool")]
    pooled = graph.add("Flatten", graph.add("Concat", *pools, axis=1))
    return dense(graph.add("Relu", dense(pooled, "hidden")), "odds")


def _blocks(blocks: Sequence[int], width: int) -> Iterator[tuple[str, int, int]]:
    """Yield the name, channels and stride of every block."""
    for stage, number in enumerate(blocks):
        for block in range(number):
            stride = 2 if stage and not block else 1
            yield f"stage{stage}_block{block}", width * 2**stage, stride


def _scale_and_shift(norm: Any) -> tuple[Float64Array, Float64Array]:
    gamma, beta, mean, variance = (np.asarray(item, np.float64) for item in norm.get_weights())
    scale = gamma / np.sqrt(variance + _EPSILON)
    return scale, beta - mean * scale


def _folded_behind(convolution: Any, norm: Any) -> tuple[Float32Array, Float32Array]:
    """Return kernel (out, in, row, column) and bias of a convolution and the norm behind it."""
    scale, shift = _scale_and_shift(norm)
    (kernel,) = convolution.get_weights()
    folded = kernel.astype(np.float64) * scale
    return folded.transpose(3, 2, 0, 1).astype(np.float32), shift.astype(np.float32)


def _folded_before(norm: Any, dense: Any) -> tuple[Float32Array, Float32Array]:
    """Return kernel (in, out) and bias of a dense layer and the norm before it."""
    scale, shift = _scale_and_shift(norm)
    kernel, bias = (item.astype(np.float64) for item in dense.get_weights())
    return (
        (scale[:, None] * kernel).astype(np.float32),
        (bias + shift @ kernel).astype(np.float32),
    )
