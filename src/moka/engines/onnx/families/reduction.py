"""Reductions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers
from moka.ops.table import Ints

Reduce: TypeAlias = Callable[[Graph, Operand, Operand, int], Operand]
"""A reduction of an operand over axes, with ONNX's ``keepdims``."""


def _reduction(operation: str, function: Reduce) -> None:
    @lowers(operation)
    def lowering(g: Graph, x: Operand, *, axes: Ints | None, keep_dims: bool) -> Operand:
        dims = list(range(x.rank)) if axes is None else sorted({axis % x.rank for axis in axes})
        if not dims:  # over no axis: over one of size 1 put there for the purpose
            return function(g, g.node("Unsqueeze", x, g.ints([0])), g.ints([0]), 0)
        return function(g, x, g.ints(dims), int(keep_dims))


def _plain(kind: str) -> Reduce:
    return lambda g, x, axes, keep: g.node(kind, x, axes, keepdims=keep)


def _exact(kind: str) -> Reduce:
    """Integers in 64 bits, so that sums wrap around as those of 32 bits do: ONNX Runtime's saturate."""
    return lambda g, x, axes, keep: g.node(kind, g.cast(x, np.int64) if x.dtype.kind in "iu" else x, axes, keepdims=keep)


def _wide(kind: str) -> Reduce:
    """In float32, whose range sums leave less easily than that of float16, and which integers' logarithms and roots need."""
    return lambda g, x, axes, keep: g.node(kind, g.cast(x, np.float32), axes, keepdims=keep)


def _sum_square(g: Graph, x: Operand, axes: Operand, keep: int) -> Operand:
    wide = g.cast(x, np.float32 if x.dtype.kind == "f" else np.int64)
    return g.node("ReduceSumSquare", wide, axes, keepdims=keep)


def _mean(g: Graph, x: Operand, axes: Operand, keep: int) -> Operand:
    """Of integers: their sum in 64 bits over their number, rounded toward zero."""
    if x.dtype.kind == "f":
        return g.node("ReduceMean", x, axes, keepdims=keep)
    if g.target.name == "openvino":
        raise Unlowerable("OpenVINO divides integers with other rounding")
    total = g.node("ReduceSum", g.cast(x, np.int64), axes, keepdims=keep)
    sizes = g.node("Gather", g.shape_of(x), axes, axis=0)
    count = g.node("Max", g.node("ReduceProd", sizes, keepdims=0), g.constant(1, np.int64))
    return g.node("Div", total, count)


def _log_sum_exp(g: Graph, x: Operand, axes: Operand, keep: int) -> Operand:
    """Of what is left of x less its maximum, so that no exponential overflows; a maximum that is infinite takes no part."""
    wide = g.cast(x, np.float32)
    largest = g.node("ReduceMax", wide, axes, keepdims=1)
    finite = g.node("Clip", largest, float(np.finfo(np.float32).min), float(np.finfo(np.float32).max))
    result = g.node("Add", g.node("ReduceLogSum", g.node("Exp", g.node("Sub", wide, finite)), axes, keepdims=1), finite)
    return result if keep else g.node("Squeeze", result, axes)


_REDUCTIONS: dict[str, Reduce] = {
    "reduce_l1_norm": _exact("ReduceL1"),
    "reduce_l2_norm": _wide("ReduceL2"),
    "reduce_log_sum": _wide("ReduceLogSum"),
    "reduce_log_sum_exp": _log_sum_exp,
    "reduce_max": _plain("ReduceMax"),
    "reduce_mean": _mean,
    "reduce_min": _plain("ReduceMin"),
    "reduce_prod": _exact("ReduceProd"),
    "reduce_sum": _exact("ReduceSum"),
    "reduce_sum_square": _sum_square,
}

for _operation, _function in _REDUCTIONS.items():
    _reduction(_operation, _function)


def _position(operation: str, kind: str) -> None:
    @lowers(operation)
    def lowering(g: Graph, x: Operand, *, axis: int, keep_dims: bool, output_dtype: str = "int32") -> Operand:
        return g.node(kind, x, dtype=np.int64, axis=axis, keepdims=int(keep_dims))


_position("reduce_argmax", "ArgMax")
_position("reduce_argmin", "ArgMin")
