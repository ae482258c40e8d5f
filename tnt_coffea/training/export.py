"""From trained numbers to a complete tagger: scores inside the graph, the card in the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tnt_coffea.taggers.card import METADATA_KEY, Card
from tnt_coffea.training import backend
from tnt_coffea.training.graph import Graph, add_layers

if TYPE_CHECKING:
    from tnt_coffea.training.linear import PrincipalComponents

__all__ = [
    "classifier_model",
    "convolutional_model",
    "linear_model",
    "seal",
]


def classifier_model(network: Any) -> Any:
    """Return the ONNX model of a classifier: its score is the probability of signal-rich.

    Parameters
    ----------
    network
        keras.Sequential, (n, row, column, channel) to (n, 1).

    Returns
    -------
    onnx.ModelProto
    """
    graph = Graph(_image_shape(network))
    out = add_layers(graph, network, "image")
    return graph.model(graph.add("Reshape", out, graph.constant([-1])))


def convolutional_model(network: Any) -> Any:
    """Return the ONNX model of an autoencoder: its score is the squared error over all pixels.

    Parameters
    ----------
    network
        keras.Sequential, (n, row, column, 1) to (n, row x column).

    Returns
    -------
    onnx.ModelProto
    """
    graph = Graph(_image_shape(network))
    return graph.model(_squared_error(graph, add_layers(graph, network, "image")))


def linear_model(components: PrincipalComponents) -> Any:
    """Return the ONNX model of a linear autoencoder: its score is the squared error.

    Parameters
    ----------
    components
        Principal components of images.

    Returns
    -------
    onnx.ModelProto
    """
    graph = Graph(components.shape)
    mean = graph.constant(components.mean)
    encoder = graph.constant(components.axes.T)
    decoder = graph.constant(components.axes)
    centred = graph.add("Sub", graph.add("Flatten", "image"), mean)
    decoded = graph.add("MatMul", graph.add("MatMul", centred, encoder), decoder)
    return graph.model(_squared_error(graph, graph.add("Add", decoded, mean)))


def seal(model: Any, card: Card) -> bytes:
    """Return the bytes of a tagger: the model with the card among its metadata.

    Parameters
    ----------
    model
        onnx.ModelProto from `image` to `score`.
    card
        What the tagger is and what it was made from.
    """
    sealed = type(model)()
    sealed.CopyFrom(model)
    backend.onnx().helper.set_model_props(sealed, {METADATA_KEY: card.to_json()})
    data: bytes = sealed.SerializeToString(deterministic=True)
    return data


def _image_shape(network: Any) -> tuple[int, int, int]:
    _, rows, columns, channels = network.input_shape
    return channels, rows, columns


def _squared_error(graph: Graph, reconstruction: str) -> str:
    # The sum over pixels, not the mean: the same order, without tiny numbers.
    residual = graph.add("Sub", graph.add("Flatten", "image"), reconstruction)
    axes = graph.constant([1])
    return graph.add("ReduceSum", graph.add("Mul", residual, residual), axes, keepdims=0)
