"""ONNX graphs written node by node: trees, tables, slices, arithmetic.

For taggers that are no Keras model. A name is the node's place in the graph and nothing else
enters, so the same numbers give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tnt_coffea.errors import TrainingError
from tnt_coffea.taggers.inputs import Input
from tnt_coffea.training import backend

if TYPE_CHECKING:
    from tnt_coffea.training.trees import Tree

__all__ = ["IR_VERSION", "OPSET", "DoubleOps", "Graph", "GraphOps", "check_graph"]


OPSET = 17
"""Old enough for every ONNX Runtime that the package allows, new enough for ReduceSum with axes
as an input."""
IR_VERSION = 8
_ML_OPSET = 3
_ML = "ai.onnx.ml"


class Graph:
    """An ONNX graph in the making, from its inputs to `score`.

    Values have names: those of the inputs (`image`, `features`, ...), and what every
    method here returns. `add` takes any operator of ONNX, opset 17, with its attributes by
    name; `ops` has arithmetic: add, subtract, multiply, divide, power, negative, log, log10,
    sqrt, exp, abs; and minimum, maximum, isnan, greater_equal, where, take.

    Parameters
    ----------
    inputs
        Inputs of the tagger.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Columns
    >>> graph = Graph(Columns.of(("heavy_mass", "light_mass"), testing.make_sample(1)))
    >>> heavy, light = graph.slice("features", 0), graph.slice("features", 1)
    >>> model = graph.model(graph.flat(graph.ops.log(graph.ops.divide(heavy, light))))
    >>> [node.op_type for node in model.graph.node]
    ['Gather', 'Gather', 'Div', 'Log', 'Reshape', 'Identity']
    """

    def __init__(self, *inputs: Input) -> None:
        self.inputs = {each.name: each.shape for each in inputs}
        self.ops = GraphOps(self)
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

    def cast(self, value: str, kind: Literal["float", "double", "int64"]) -> str:
        """Return the name of a value as numbers of another kind."""
        return self.add("Cast", value, to=backend.onnx().TensorProto.DataType.Value(kind.upper()))

    def slice(self, value: str, column: int) -> str:
        """Return the name of one column (n, 1) of a value (n, column)."""
        return self.add("Gather", value, self.constant(np.array([column])), axis=1)

    def flat(self, value: str) -> str:
        """Return the name of a value (n, 1) as (n,)."""
        return self.add("Reshape", value, self.constant([-1]))

    @property
    def _has_trees(self) -> bool:
        return any(node.domain == _ML for node in self._nodes)

    def add_trees(self, value: str, trees: Sequence[Tree], base: float = 0.0) -> str:
        """Return the name of the sum (n, 1) of trees and a base, value being (n, feature)."""
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
        for number, tree in enumerate(trees):
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
            base_values=[base],
            target_ids=[0] * len(targets["treeids"]),
            **{f"nodes_{name}": values for name, values in nodes.items()},
            **{f"target_{name}": values for name, values in targets.items()},
        )

    def model(self, score: str, latent: tuple[str, int] | None = None) -> Any:
        """Return the checked onnx.ModelProto whose output is the value (n,) of that name.

        Parameters
        ----------
        score
            Name of the score.
        latent
            Name and length k of a further output (n, k).
        """
        onnx = backend.onnx()
        helper, kind = onnx.helper, onnx.TensorProto.FLOAT
        given: list[tuple[str, str, list[str | int]]] = [("score", score, ["n"])]
        if latent is not None:
            given.append(("latent", latent[0], ["n", latent[1]]))
        outputs = [helper.make_node("Identity", [at], [name], name=name) for name, at, _ in given]
        graph = helper.make_graph(
            [*self._nodes, *outputs],
            "tagger",
            [
                helper.make_tensor_value_info(name, kind, ["n", *shape])
                for name, shape in self.inputs.items()
            ],
            [helper.make_tensor_value_info(name, kind, shape) for name, _, shape in given],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="tnt_coffea",
            ir_version=IR_VERSION,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                *([helper.make_opsetid(_ML, _ML_OPSET)] if self._has_trees else []),
            ],
        )
        check_graph(model)
        return model


def check_graph(model: Any) -> None:
    """Refuse a graph that is not valid ONNX.

    Raises
    ------
    TrainingError
        What is wrong with it.
    """
    try:
        backend.onnx().checker.check_model(model, full_check=True)
    except Exception as error:  # several of the checker's own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = (
            f"the graph is no valid tagger: {reason[:200]}; a score has the shape (n,), which "
            "`Graph.flat` gives to (n, 1)"
        )
        raise TrainingError(msg) from error


class GraphOps:
    """Functions of values in a graph, by their names, as numpy and `keras.ops` have them."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def add(self, left: Any, right: Any) -> str:
        """Return left + right."""
        return self._of("Add", left, right)

    def subtract(self, left: Any, right: Any) -> str:
        """Return left - right."""
        return self._of("Sub", left, right)

    def multiply(self, left: Any, right: Any) -> str:
        """Return left x right."""
        return self._of("Mul", left, right)

    def divide(self, left: Any, right: Any) -> str:
        """Return left / right."""
        return self._of("Div", left, right)

    def power(self, left: Any, right: Any) -> str:
        """Return left to the power of right."""
        return self._of("Pow", left, right)

    def negative(self, value: Any) -> str:
        """Return - value."""
        return self._of("Neg", value)

    def log(self, value: Any) -> str:
        """Return the natural logarithm."""
        return self._of("Log", value)

    def log10(self, value: Any) -> str:
        """Return the logarithm to base 10."""
        return self.multiply(self.log(value), np.float32(1 / np.log(10)))

    def sqrt(self, value: Any) -> str:
        """Return the square root."""
        return self._of("Sqrt", value)

    def exp(self, value: Any) -> str:
        """Return the exponential."""
        return self._of("Exp", value)

    def abs(self, value: Any) -> str:
        """Return the absolute value."""
        return self._of("Abs", value)

    def minimum(self, left: Any, right: Any) -> str:
        """Return the smaller one."""
        return self._of("Min", left, right)

    def maximum(self, left: Any, right: Any) -> str:
        """Return the larger one."""
        return self._of("Max", left, right)

    def isnan(self, value: Any) -> str:
        """Return whether it is no number."""
        return self._of("IsNaN", value)

    def greater_equal(self, left: Any, right: Any) -> str:
        """Return whether left >= right."""
        return self._of("GreaterOrEqual", left, right)

    def where(self, condition: str, left: Any, right: Any) -> str:
        """Return left where the condition holds, right elsewhere."""
        return self._of("Where", condition, left, right)

    def take(self, values: Any, places: str) -> str:
        """Return the (place,) values at integer places, of any shape."""
        return self._of("Gather", values, places)

    def total(self, values: Iterable[str]) -> str:
        """Return the sum of values, one after the other.

        ONNX Runtime's own sum along an axis has an order, and so last digits, that depend on
        where in a batch an event stands.
        """
        return reduce(self.add, values)

    def _of(self, operator: str, *values: Any) -> str:
        named = (v if isinstance(v, str) else self.graph.constant(v) for v in values)
        return self.graph.add(operator, *named)


class DoubleOps(GraphOps):
    """Arithmetic in double precision: numbers become doubles, values have to be.

    Examples
    --------
    >>> from tnt_coffea import testing
    >>> from tnt_coffea.taggers.inputs import Columns
    >>> graph = Graph(Columns.of(("heavy_mass",), testing.make_sample(1)))
    >>> ops = DoubleOps(graph)
    >>> half = ops.multiply(0.5, graph.cast("features", "double"))
    >>> score = graph.flat(graph.cast(half, "float"))
    >>> [node.op_type for node in graph.model(score).graph.node][:3]
    ['Cast', 'Cast', 'Mul']
    """

    def constant(self, value: npt.ArrayLike) -> str:
        """Return the name of numbers as doubles, of 48 digits: a graph's are of 24."""
        exact = np.asarray(value, np.float64)
        near = exact.astype(np.float32)
        rest = (exact - near).astype(np.float32)
        parts = (near, rest) if rest.any() else (near,)
        named = [self.graph.cast(self.graph.constant(part), "double") for part in parts]
        return str(named[0] if len(named) == 1 else self.graph.add("Add", *named))

    def _of(self, operator: str, *values: Any) -> str:
        named = (v if isinstance(v, str) else self.constant(v) for v in values)
        return str(self.graph.add(operator, *named))
