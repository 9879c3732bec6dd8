"""Element-wise operations: arithmetic, comparison and logic of two tensors, functions of one, and conversion between types."""

from __future__ import annotations

import numpy as np

from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers

_BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "maximum": "Max", "minimum": "Min"}
_COMPARISON = {"equal": "Equal", "greater": "Greater", "greater_equal": "GreaterOrEqual", "less": "Less", "less_equal": "LessOrEqual"}
_LOGICAL = {"logical_and": "And", "logical_or": "Or", "logical_xor": "Xor", "logical_not": "Not"}
_UNARY = {
    "abs": "Abs", "acos": "Acos", "asin": "Asin", "atan": "Atan", "atanh": "Atanh", "ceil": "Ceil", "cos": "Cos", "cosh": "Cosh",
    "erf": "Erf", "exp": "Exp", "floor": "Floor", "round": "Round", "sign": "Sign", "sin": "Sin", "sinh": "Sinh", "sqrt": "Sqrt",
    "tan": "Tan", "tanh": "Tanh", "nn_acosh": "Acosh", "nn_asinh": "Asinh",
}  # fmt: skip


def _enter_binary(operation: str, kind: str) -> None:
    @lowers(operation)
    def function(g: Graph, x: Operand, y: Operand) -> Operand:
        x, y = wide(g, x), wide(g, y)
        return g.node(kind, x, y)


def _enter_comparison(operation: str, kind: str) -> None:
    @lowers(operation)
    def function(g: Graph, x: Operand, y: Operand) -> Operand:
        return g.node(kind, wide(g, x), wide(g, y), dtype=np.bool_)


def _enter_plain(operation: str, kind: str) -> None:
    @lowers(operation)
    def function(g: Graph, **inputs: Operand) -> Operand:
        return g.node(kind, *inputs.values())


def wide(g: Graph, x: Operand) -> Operand:
    """Integers narrower than 32 bits as int32: runtimes have few kernels for them."""
    return g.cast(x, np.int32) if x.dtype.kind in "iu" and x.dtype.itemsize < 4 else x


for _table, _enter in ((_BINARY, _enter_binary), (_COMPARISON, _enter_comparison), (_LOGICAL, _enter_plain), (_UNARY, _enter_plain)):
    for _operation, _kind in _table.items():
        _enter(_operation, _kind)
