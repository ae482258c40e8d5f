"""Arithmetic of columns, written as text: in tables, and in the features of taggers."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tnt_coffea.errors import ConfigError

__all__ = ["Expression"]

_BINARY = {
    ast.Add: "add",
    ast.Sub: "subtract",
    ast.Mult: "multiply",
    ast.Div: "divide",
    ast.Pow: "power",
}
_FUNCTIONS = ("log", "log10", "sqrt", "exp", "abs")
_NODES = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.USub, ast.Name, ast.Load, ast.Constant, ast.Call),
    *_BINARY,
)


@dataclass(frozen=True)
class Expression:
    """Arithmetic of columns: + - * / **, numbers, log, log10, sqrt, exp, abs.

    Attributes
    ----------
    text
        As written.

    Examples
    --------
    >>> import numpy as np
    >>> ratio = Expression("heavy_mass / m_jj")
    >>> ratio.columns
    ('heavy_mass', 'm_jj')
    >>> float(ratio({"heavy_mass": 350.0, "m_jj": 3500.0}, np))
    0.1
    """

    text: str

    def __post_init__(self) -> None:
        for node in ast.walk(self._parsed()):
            number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
            function = not isinstance(node, ast.Call) or (
                isinstance(node.func, ast.Name)
                and node.func.id in _FUNCTIONS
                and len(node.args) == 1
                and not node.keywords
            )
            known = isinstance(node, _NODES) and function
            if not known or (isinstance(node, ast.Constant) and not number):
                msg = (
                    f"{self.text!r}: an expression has columns, numbers, + - * / ** and "
                    f"{', '.join(_FUNCTIONS)} of one value"
                )
                raise ConfigError(msg)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names in the expression, in their order."""
        names = (
            node.id
            for node in _in_order(self._parsed())
            if isinstance(node, ast.Name) and node.id not in _FUNCTIONS
        )
        return tuple(dict.fromkeys(names))

    def renamed(self, names: Mapping[str, str]) -> Expression:
        """Return the expression with columns of other names."""
        tree = self._parsed()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                node.id = names.get(node.id, node.id)
        return Expression(ast.unparse(tree))

    def __call__(self, columns: Mapping[str, Any], ops: Any) -> Any:
        """Return the value of the expression.

        Parameters
        ----------
        columns
            Values by name: arrays, tensors, or names of values in a graph.
        ops
            Module or object with `add`, `subtract`, `multiply`, `divide`, `power`, `negative` and
            the functions: numpy, `keras.ops`, or an object of a graph or a table.
        """
        return _value(self._parsed().body, columns, ops)

    def _parsed(self) -> ast.Expression:
        try:
            return ast.parse(self.text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError) as error:
            msg = f"{self.text!r}: not an expression of columns"
            raise ConfigError(msg) from error


def _in_order(node: ast.AST) -> list[ast.AST]:
    return [node, *(item for child in ast.iter_child_nodes(node) for item in _in_order(child))]


def _value(node: ast.AST, columns: Mapping[str, Any], ops: Any) -> Any:
    if isinstance(node, ast.Name):
        return columns[node.id]
    if isinstance(node, ast.Constant):
        return float(node.value)  # type: ignore[arg-type]  # a number, as was checked
    if isinstance(node, ast.BinOp):
        left, right = (_value(part, columns, ops) for part in (node.left, node.right))
        return getattr(ops, _BINARY[type(node.op)])(left, right)
    if isinstance(node, ast.UnaryOp):
        return ops.negative(_value(node.operand, columns, ops))
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return getattr(ops, node.func.id)(_value(node.args[0], columns, ops))
