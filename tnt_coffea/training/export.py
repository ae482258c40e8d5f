"""From trained numbers to a complete tagger: scores inside the graph, the card in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tnt_coffea.taggers.card import METADATA_KEY, Card
from tnt_coffea.training import backend
from tnt_coffea.training.features import FeatureSet, Standardisation
from tnt_coffea.training.graph import Graph, add_layers
from tnt_coffea.training.particle_flow import LEAST_SHARE

if TYPE_CHECKING:
    from tnt_coffea.training.linear import PrincipalComponents
    from tnt_coffea.training.networks import TwoBranches
    from tnt_coffea.training.particle_flow import ParticleFlow
    from tnt_coffea.training.trees import BoostedTrees

__all__ = [
    "FeatureInputs",
    "autoencoder_model",
    "classifier_model",
    "linear_model",
    "particle_flow_model",
    "seal",
    "trees_model",
    "two_branch_model",
]


@dataclass(frozen=True)
class FeatureInputs:
    """Features and the standardisation that a network was trained with."""

    features: FeatureSet
    standardisation: Standardisation

    def add(self, graph: Graph) -> str:
        """Return the name of the standardised features, from the graph's input `features`."""
        return self.standardisation.add(graph, self.features.add(graph, "features"))


def classifier_model(network: Any, inputs: FeatureInputs | None = None) -> Any:
    """Return the ONNX model of a classifier: its score is the probability of signal-rich.

    Parameters
    ----------
    network
        keras.Sequential, (n, row, column, channel) to (n, 1), or with `inputs`
        (n, feature) to (n, 1).
    inputs
        How the features come from the skim's columns.

    Returns
    -------
    onnx.ModelProto
    """
    if inputs is None:
        graph = Graph(_image_shape(network))
        out = add_layers(graph, network, "image")
    else:
        graph = Graph(None, len(inputs.features.columns))
        out = add_layers(graph, network, inputs.add(graph))
    return graph.model(graph.add("Reshape", out, graph.constant([-1])))


def two_branch_model(network: TwoBranches, inputs: FeatureInputs) -> Any:
    """Return the ONNX model of a classifier of image and features.

    Parameters
    ----------
    network
        Its parts.
    inputs
        How the features come from the skim's columns.
    """
    graph = Graph(_image_shape(network.image), len(inputs.features.columns))
    branches = (
        add_layers(graph, network.image, "image"),
        add_layers(graph, network.features, inputs.add(graph)),
    )
    out = add_layers(graph, network.head, graph.add("Concat", *branches, axis=1))
    return graph.model(graph.add("Reshape", out, graph.constant([-1])))


def particle_flow_model(flow: ParticleFlow) -> Any:
    """Return the ONNX model of a classifier of constituents.

    Parameters
    ----------
    flow
        Its parts.
    """
    _, jets, particles, columns = flow.network.input_shape
    graph = Graph(None, constituents=(jets, particles, columns))
    share, place = (
        graph.add("Gather", "constituents", graph.constant(np.array(which)), axis=3)
        for which in ([0], [1, 2])
    )
    log_share = graph.add("Log", graph.add("Max", share, graph.constant(LEAST_SHARE)))
    seen = graph.add("Concat", log_share, place, axis=3)
    # One row a constituent: a dense layer is a matrix product of two dimensions.
    rows = graph.add("Reshape", seen, graph.constant([-1, columns]))
    described = add_layers(graph, flow.particle, rows)
    width = flow.particle.output_shape[-1]
    back = graph.add("Reshape", described, graph.constant([-1, jets, particles, width]))
    axes = graph.constant([2])
    summed = graph.add("ReduceSum", graph.add("Mul", back, share), axes, keepdims=0)
    flat = graph.add("Reshape", summed, graph.constant([-1, jets * width]))
    out = add_layers(graph, flow.head, flat)
    return graph.model(graph.add("Reshape", out, graph.constant([-1])))


def trees_model(trees: BoostedTrees, features: FeatureSet) -> Any:
    """Return the ONNX model of boosted trees: its score is the probability of signal-rich."""
    graph = Graph(None, len(features.columns))
    odds = graph.add_trees(features.add(graph, "features"), trees)
    flat = graph.add("Reshape", graph.add("Sigmoid", odds), graph.constant([-1]))
    return graph.model(flat)


def autoencoder_model(chains: Sequence[Sequence[Any]]) -> Any:
    """Return the ONNX model of autoencoders: its score is the harmonic mean of their errors.

    Parameters
    ----------
    chains
        Of every autoencoder the keras.Sequential on the way of an image, one after the other,
        from (n, row, column, 1) to (n, row x column).

    Returns
    -------
    onnx.ModelProto
        An error is squared and summed over pixels.

    Notes
    -----
    The harmonic mean is small where one error is: a jet that any of them describes is ordinary.
    """
    graph = Graph(_image_shape(chains[0][0]))
    errors = []
    for chain in chains:
        value = "image"
        for part in chain:
            value = add_layers(graph, part, value)
        errors.append(_squared_error(graph, value))
    if len(errors) == 1:
        return graph.model(errors[0])
    inverse = graph.add("Mean", *(graph.add("Reciprocal", error) for error in errors))
    return graph.model(graph.add("Reciprocal", inverse))


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
