"""From a trained model to a complete tagger: the canonical graph, checked, with its card.

Keras writes the graph. Its names count what a process traced before, and its converter simplifies
nodes in an order that depends on those names. So shapes are made constants, and the graph is
written anew in an order and with names that follow from its structure alone: the same weights
give the same bytes in every process.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.card import METADATA_KEY, Card
from tnt_coffea.training import backend
from tnt_coffea.training.fitting import evaluated
from tnt_coffea.training.graph import IR_VERSION, OPSET, check_graph

__all__ = ["canonical", "keras_graph", "seal"]

_OUTPUTS = ("score", "latent")


def keras_graph(model: Any) -> Any:
    """Return the ONNX graph of a Keras model, in canonical form.

    Parameters
    ----------
    model
        keras.Model whose inputs have the names and shapes of a tagger's inputs. It gives the
        score (n,), or the score and a latent vector (n, k).

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    TrainingError
        Keras cannot write the model, or it needs operators that a tagger may not have.

    Examples
    --------
    >>> from tnt_coffea.training import backend
    >>> keras = backend.keras()
    >>> columns = keras.Input((2,), name="features")
    >>> model = keras.Model([columns], keras.ops.sum(columns, axis=1))
    >>> graph = keras_graph(model).graph
    >>> [item.name for item in (*graph.input, *graph.output)]
    ['features', 'score']
    """
    onnx = backend.onnx()
    with backend.quiet(), TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        # Keras exports what was called at least once.
        evaluated(
            model,
            {item.name: np.zeros((1, *item.shape[1:]), np.float32) for item in model.inputs},
        )
        try:
            model.export(path, format="onnx", verbose=False, opset_version=OPSET)
        except Exception as error:  # whatever the converter raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            msg = f"the model cannot be written as ONNX: {reason[:200]}"
            raise TrainingError(msg) from error
        traced = onnx.load(path)
    return canonical(traced)


def canonical(traced: Any) -> Any:
    """Return a model with nodes, names and dimensions that follow from its structure alone.

    Nodes stand in the order in which the outputs need them; what no output needs is dropped.

    Parameters
    ----------
    traced
        onnx.ModelProto of any converter.

    Raises
    ------
    TrainingError
        It has more outputs than a score and a latent vector, or operators of other domains.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Columns
    >>> from tnt_coffea.training import Graph
    >>> graph = Graph(Columns.of(("heavy_mass",), testing.make_sample(1)))
    >>> unused, score = graph.add("Abs", "features"), graph.flat("features")
    >>> [node.name for node in canonical(graph.model(score)).graph.node]
    ['Reshape_0', 'Identity_1', 'score']
    """
    onnx = backend.onnx()
    graph = _with_constant_shapes(traced).graph
    if len(graph.output) > len(_OUTPUTS):
        msg = f"a tagger gives {' and '.join(_OUTPUTS)}, the model {len(graph.output)} outputs"
        raise TrainingError(msg)
    makers = {name: node for node in graph.node for name in node.output if name}
    constants = {item.name: item for item in graph.initializer}
    names = {item.name: item.name for item in graph.input if item.name not in constants}
    nodes: list[Any] = []
    kept: list[Any] = []

    def place(wanted: str) -> None:
        # Not recursive: a graph may be deeper than the stack.
        waiting = [wanted]
        while waiting:
            name = waiting[-1]
            if not name or name in names:
                waiting.pop()
            elif name in constants:
                constant = onnx.TensorProto()
                constant.CopyFrom(constants[name])
                constant.name = names[name] = f"constant_{len(kept)}"
                kept.append(constant)
                waiting.pop()
            else:
                maker = makers[name]
                missing = [item for item in maker.input if item and item not in names]
                if missing:
                    waiting.extend(reversed(missing))
                    continue
                node = onnx.NodeProto()
                node.CopyFrom(maker)
                node.name = f"{maker.op_type}_{len(nodes)}"
                node.ClearField("doc_string")
                for number, item in enumerate(maker.output):
                    names[item] = f"{node.name}_{number}" if item else ""
                attributes = sorted(node.attribute, key=lambda item: item.name)
                del node.attribute[:]
                node.attribute.extend(attributes)
                node.input[:] = [names[item] if item else "" for item in maker.input]
                node.output[:] = [names[item] for item in maker.output]
                nodes.append(node)
                waiting.pop()

    helper, outputs = onnx.helper, []
    for item, name in zip(graph.output, _OUTPUTS, strict=False):
        place(item.name)
        nodes.append(helper.make_node("Identity", [names[item.name]], [name], name=name))
        outputs.append(_value(item, name))
    inputs = [_value(item, item.name) for item in graph.input if item.name not in constants]
    made = helper.make_model(
        helper.make_graph(nodes, "tagger", inputs, outputs, kept),
        producer_name="tnt_coffea",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    foreign = sorted({node.domain for node in nodes if node.domain})
    if foreign:
        msg = f"the model needs operators of {', '.join(foreign)}, which ONNX itself does not have"
        raise TrainingError(msg)
    check_graph(made)
    return made


def _with_constant_shapes(traced: Any) -> Any:
    """Return a model whose reshapes have constant shapes, wherever one dimension alone is open.

    The converter leaves some of them computed, which ones is chance.
    """
    onnx = backend.onnx()
    inferred = onnx.shape_inference.infer_shapes(traced, data_prop=True)
    graph = inferred.graph
    shapes = {
        item.name: [dim.dim_value or -1 for dim in item.type.tensor_type.shape.dim]
        for item in (*graph.value_info, *graph.output)
        if item.type.tensor_type.HasField("shape")
    }
    constants = {item.name for item in graph.initializer}
    for number, node in enumerate(graph.node):
        shape = shapes.get(node.output[0], [-1, -1])
        if node.op_type != "Reshape" or node.input[1] in constants or shape.count(-1) > 1:
            continue
        name = f"constant shape {number}"
        constant = onnx.numpy_helper.from_array(np.array(shape, np.int64), name)
        graph.initializer.append(constant)
        node.input[1] = name
    return inferred


def _value(item: Any, name: str) -> Any:
    onnx = backend.onnx()
    tensor = item.type.tensor_type
    shape: list[Any] = ["n", *(dim.dim_value or None for dim in tensor.shape.dim[1:])]
    return onnx.helper.make_tensor_value_info(name, tensor.elem_type, shape)


def seal(model: Any, card: Card) -> bytes:
    """Return the bytes of a tagger: the model with the card among its metadata.

    Parameters
    ----------
    model
        onnx.ModelProto from named inputs to `score`.
    card
        Card of the tagger.

    Examples
    --------
    >>> from tnt_coffea import taggers
    >>> from tnt_coffea.training import backend
    >>> tagger = taggers.load("rnd-3500/tnt/heavy-0-0")
    >>> model = backend.onnx().load_from_string(tagger.data)
    >>> taggers.Tagger(seal(model, tagger.card)).card == tagger.card
    True
    """
    sealed = type(model)()
    sealed.CopyFrom(model)
    backend.onnx().helper.set_model_props(sealed, {METADATA_KEY: card.to_json()})
    data: bytes = sealed.SerializeToString(deterministic=True)
    return data
