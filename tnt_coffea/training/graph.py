"""ONNX graphs written node by node, so that the same numbers give the same bytes.

Converters name nodes after counters that go on through the life of a process;
here a name is the node's place in the graph, and nothing else enters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.training import backend

if TYPE_CHECKING:
    from tnt_coffea.training.trees import BoostedTrees

__all__ = ["Graph", "add_layers"]

# Old enough for every onnxruntime that the package allows, new enough for
# ReduceSum with axes as an input.
_OPSET = 17
_ML_OPSET = 3
_ML = "ai.onnx.ml"
_IR_VERSION = 8


class Graph:
    """An ONNX graph in the making, from its inputs to `score`.

    Parameters
    ----------
    shape
        (channel, row, column) of one image; None without one.
    features
        Number of features; None without any.
    constituents
        (jet, particle, 3) of their input; None without one.
    """

    def __init__(
        self,
        shape: tuple[int, int, int] | None,
        features: int | None = None,
        constituents: tuple[int, int, int] | None = None,
    ) -> None:
        self.inputs: dict[str, tuple[int, ...]] = {}
        if shape is not None:
            self.inputs["image"] = shape
        if features is not None:
            self.inputs["features"] = (features,)
        if constituents is not None:
            self.inputs["constituents"] = constituents
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: npt.ArrayLike) -> str:
        """Return the name of a new constant; floats become float32, integers int64."""
        array = np.asarray(value)
        kind = np.int64 if array.dtype.kind in "iu" else np.float32
        name = f"constant_{len(self._constants)}"
        # ascontiguousarray would turn a scalar into a vector.
        array = np.array(array, dtype=kind, order="C")
        self._constants.append(backend.onnx().numpy_helper.from_array(array, name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Return the name of the output of a new node."""
        name = f"{operator}_{len(self._nodes)}"
        helper = backend.onnx().helper
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    @property
    def _has_trees(self) -> bool:
        return any(node.domain == _ML for node in self._nodes)

    def add_trees(self, value: str, trees: BoostedTrees) -> str:
        """Return the name of the log-odds (n, 1) of boosted trees, value being (n, feature)."""
        nodes: dict[str, list[Any]] = {
            name: []
            for name in (
                [
                    "treeids",
                    "nodeids",
                    "featureids",
                    "modes",
                    "values",
                    "truenodeids",
                    "falsenodeids",
                ]
            )
        }
        targets: dict[str, list[Any]] = {name: [] for name in ["treeids", "nodeids", "weights"]}
        for number, tree in enumerate(trees.trees):
            n = len(tree.feature)
            leaf = tree.feature < 0
            nodes["treeids"] += [number] * n
            nodes["nodeids"] += range(n)
            nodes["featureids"] += np.where(leaf, 0, tree.feature).tolist()
            nodes["modes"] += ["LEAF" if end else "BRANCH_LEQ" for end in leaf]
            nodes["values"] += tree.threshold.tolist()
            nodes["truenodeids"] += tree.left.tolist()
            nodes["falsenodeids"] += tree.right.tolist()
            targets["treeids"] += [number] * int(leaf.sum())
            targets["nodeids"] += np.flatnonzero(leaf).tolist()
            targets["weights"] += tree.value[leaf].tolist()
        return self.add(
            "TreeEnsembleRegressor",
            value,
            domain=_ML,
            n_targets=1,
            post_transform="NONE",
            base_values=[trees.base],
            target_ids=[0] * len(targets["treeids"]),
            **{f"nodes_{name}": values for name, values in nodes.items()},
            **{f"target_{name}": values for name, values in targets.items()},
        )

    def model(self, score: str) -> Any:
        """Return the checked model whose output is the value of that name.

        Parameters
        ----------
        score
            Name of a value of shape (n,).

        Returns
        -------
        onnx.ModelProto
            Inputs `image` (n, channel, row, column), `features` (n, feature) and
            `constituents` (n, jet, particle, 3) float32, output `score` (n,) float32.
        """
        onnx = backend.onnx()
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        output = helper.make_node("Identity", [score], ["score"], name="score")
        graph = helper.make_graph(
            [*self._nodes, output],
            "tagger",
            [
                helper.make_tensor_value_info(name, kind, ["n", *shape])
                for name, shape in self.inputs.items()
            ],
            [helper.make_tensor_value_info("score", kind, ["n"])],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="tnt_coffea",
            ir_version=_IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", _OPSET),
                *([helper.make_opsetid(_ML, _ML_OPSET)] if self._has_trees else []),
            ],
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def add_layers(graph: Graph, network: Any, value: str) -> str:
    """Return the name of the output of a Keras network appended to a graph.

    Parameters
    ----------
    graph
        Graph to append to.
    network
        keras.Sequential, channels last.
    value
        Name of its input, (n, channel, row, column): the graph is channels first.

    Raises
    ------
    TrainingError
        The network has a layer that is not known here.
    """
    for layer in network.layers:
        kind = type(layer).__name__
        if kind not in _LAYERS:
            msg = f"cannot export a Keras layer {kind}; known are {', '.join(sorted(_LAYERS))}"
            raise TrainingError(msg)
        value = _LAYERS[kind](graph, layer, value)
    return value


def _rescaling(graph: Graph, layer: Any, value: str) -> str:
    # Numbers for all, or one for each of the last axis.
    scaled = graph.add("Mul", value, graph.constant(np.asarray(layer.scale, np.float32)))
    if not np.any(layer.offset):
        return scaled
    return graph.add("Add", scaled, graph.constant(np.asarray(layer.offset, np.float32)))


def _convolution(graph: Graph, layer: Any, value: str) -> str:
    kernel, bias = layer.get_weights()
    padding = {"same": "SAME_UPPER", "valid": "VALID"}[layer.padding]
    # Keras stores (row, column, in, out), ONNX (out, in, row, column).
    weights = graph.constant(kernel.transpose(3, 2, 0, 1))
    out = graph.add("Conv", value, weights, graph.constant(bias), auto_pad=padding)
    return _activation(graph, layer, out)


def _dense(graph: Graph, layer: Any, value: str) -> str:
    kernel, bias = layer.get_weights()
    out = graph.add("Gemm", value, graph.constant(kernel), graph.constant(bias))
    return _activation(graph, layer, out)


def _activation(graph: Graph, layer: Any, value: str) -> str:
    operator = {"relu": "Relu", "elu": "Elu", "sigmoid": "Sigmoid", "linear": None}[
        layer.activation.__name__
    ]
    return graph.add(operator, value) if operator else value


def _leaky(graph: Graph, layer: Any, value: str) -> str:
    return graph.add("LeakyRelu", value, alpha=float(layer.negative_slope))


def _nothing(graph: Graph, layer: Any, value: str) -> str:
    # Dropout is there in training only.
    return value


def _pooling(graph: Graph, layer: Any, value: str) -> str:
    size = list(layer.pool_size)
    return graph.add("MaxPool", value, kernel_shape=size, strides=size)


def _upsampling(graph: Graph, layer: Any, value: str) -> str:
    factors = graph.constant([1.0, 1.0, *map(float, layer.size)])
    return graph.add(
        "Resize",
        value,
        "",
        factors,
        mode="nearest",
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    )


def _flatten(graph: Graph, layer: Any, value: str) -> str:
    # Dense weights were trained on channels-last pixels.
    return graph.add("Flatten", graph.add("Transpose", value, perm=[0, 2, 3, 1]))


def _reshape(graph: Graph, layer: Any, value: str) -> str:
    shape = graph.constant([-1, *layer.target_shape])
    return graph.add("Transpose", graph.add("Reshape", value, shape), perm=[0, 3, 1, 2])


def _softmax(graph: Graph, layer: Any, value: str) -> str:
    return graph.add("Softmax", value, axis=-1)


_LAYERS: dict[str, Callable[[Graph, Any, str], str]] = {
    "Conv2D": _convolution,
    "Dense": _dense,
    "Dropout": _nothing,
    "Flatten": _flatten,
    "LeakyReLU": _leaky,
    "MaxPooling2D": _pooling,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "UpSampling2D": _upsampling,
}
