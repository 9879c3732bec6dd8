"""Element-wise operations: arithmetic, comparison and logic of two tensors, functions of one, and conversion between types."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers
from moka.formats import dtypes

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


@lowers("not_equal")
def not_equal(g: Graph, x: Operand, y: Operand) -> Operand:
    return g.node("Not", g.node("Equal", wide(g, x), wide(g, y), dtype=np.bool_))


def _not_zero(g: Graph, y: Operand) -> tuple[Operand, Operand | None]:
    """An integer divisor with 1 in place of 0, and where it is 0; None if it never is."""
    if y.is_constant and y.content.all():
        return y, None
    zero = g.node("Equal", y, g.constant(np.zeros((), y.dtype)), dtype=np.bool_)
    return g.node("Where", zero, g.constant(np.ones((), y.dtype)), y, dtype=y.dtype), zero


def _zero_where(g: Graph, zero: Operand | None, result: Operand) -> Operand:
    return result if zero is None else g.node("Where", zero, g.constant(np.zeros((), result.dtype)), result, dtype=result.dtype)


@lowers("real_div")
def real_div(g: Graph, x: Operand, y: Operand) -> Operand:
    if x.dtype.kind == "f":
        return g.node("Div", x, y)
    divisor, zero = _not_zero(g, wide(g, y))
    return _zero_where(g, zero, g.node("Div", wide(g, x), divisor))


@lowers("floor_div")
def floor_div(g: Graph, x: Operand, y: Operand) -> Operand:
    if x.dtype.kind == "f":
        return g.node("Floor", g.node("Div", x, y))
    x = wide(g, x)
    divisor, zero = _not_zero(g, wide(g, y))
    rest, none = g.node("Mod", x, divisor), g.constant(np.zeros((), x.dtype))
    signs = (g.node("Less", item, none, dtype=np.bool_) for item in (x, divisor))
    rounds_up = g.node("And", g.node("Xor", *signs), g.node("Not", g.node("Equal", rest, none, dtype=np.bool_)))
    return _zero_where(g, zero, g.node("Sub", g.node("Div", x, divisor), g.cast(rounds_up, x.dtype)))


@lowers("mod")
def mod(g: Graph, x: Operand, y: Operand) -> Operand:
    if x.dtype.kind != "f":
        divisor, zero = _not_zero(g, wide(g, y))
        return _zero_where(g, zero, g.node("Mod", wide(g, x), divisor))
    rest, zero = g.node("Mod", x, y, fmod=1), g.constant(np.zeros((), x.dtype))
    signs = (g.node("Less", item, zero, dtype=np.bool_) for item in (rest, y))
    differs = g.node("And", g.node("Xor", *signs), g.node("Not", g.node("Equal", rest, zero, dtype=np.bool_)))
    return g.node("Where", differs, g.node("Add", rest, y), rest, dtype=x.dtype)


@lowers("pow")
def pow_(g: Graph, x: Operand, y: Operand) -> Operand:
    if y.is_constant and y.content.size == 1 and x.dtype.kind == "f":
        exponent = float(y.content.reshape(()))
        if exponent == 2 and y.shape == ():
            return g.node("Mul", x, x)
        if exponent == 0.5 and y.shape == ():
            return g.node("Sqrt", x)
    return g.node("Pow", wide(g, x), wide(g, y))


@lowers("exp2")
def exp2(g: Graph, x: Operand) -> Operand:
    x = wide(g, x)
    return g.node("Pow", g.constant(np.array(2, x.dtype)), x)


@lowers("square")
def square(g: Graph, x: Operand) -> Operand:
    x = wide(g, x)
    return g.node("Mul", x, x)


@lowers("clip")
def clip(g: Graph, x: Operand, *, alpha: float, beta: float) -> Operand:
    if g.version != "ios15" and alpha >= beta:
        raise Unlowerable(f"alpha is {alpha:g} and beta is {beta:g}; alpha must be below beta")
    return g.node("Clip", x, g.constant(np.array(alpha, x.dtype)), g.constant(np.array(beta, x.dtype)))


@lowers("threshold")
def threshold(g: Graph, x: Operand, *, alpha: float) -> Operand:
    x = wide(g, x)
    return g.node("Max", x, g.constant(np.array(alpha, x.dtype)))


def _shifted(g: Graph, x: Operand, epsilon: float) -> Operand:
    shift = np.array(epsilon, x.dtype)
    return g.node("Add", x, g.constant(shift)) if shift else x


@lowers("inverse")
def inverse(g: Graph, x: Operand, *, epsilon: float) -> Operand:
    return g.node("Reciprocal", _shifted(g, x, epsilon))


@lowers("log")
def log(g: Graph, x: Operand, *, epsilon: float) -> Operand:
    return g.node("Log", _shifted(g, x, epsilon))


@lowers("rsqrt")
def rsqrt(g: Graph, x: Operand, *, epsilon: float) -> Operand:
    return g.node("Reciprocal", g.node("Sqrt", _shifted(g, x, epsilon)))


@lowers("cast")
def cast(g: Graph, x: Operand, *, dtype: str) -> Operand:
    if dtype == "fp16" and x.declared != dtypes.FP16 and not g.target.half:
        return g.cast(g.cast(x, np.float16), np.float32)
    if dtype in ("fp16", "fp32"):
        return g.cast(x, np.float32) if x.dtype.kind != "f" else g.node("Identity", x)
    if dtype == "bool":
        return g.node("Not", g.node("Equal", x, g.constant(np.zeros((), x.dtype)), dtype=np.bool_)) if x.dtype != np.bool_ else x
    if x.dtype.kind == "f":
        return _saturated(g, x, np.dtype(dtype))
    return _modulo(g, g.cast(x, np.int32), dtype)


def _saturated(g: Graph, x: Operand, dtype: np.dtype[Any]) -> Operand:
    """Floats as integers: rounded toward zero, the nearest end of the range beyond it, 0 for NaN."""
    limits = np.iinfo(dtype)
    number = g.node("Where", g.node("IsNaN", x, dtype=np.bool_), g.constant(np.zeros((), x.dtype)), x, dtype=x.dtype)
    top = np.nextafter(np.float32(limits.max) + 1, np.float32(0), dtype=np.float32)
    inside = g.node("Clip", number, g.constant(np.array(limits.min, x.dtype)), g.constant(np.array(top, x.dtype)))
    whole = g.cast(inside, np.int32)
    if limits.max < 2**24:
        return whole
    beyond = g.node("Greater", number, g.constant(np.array(top, x.dtype)), dtype=np.bool_)
    return g.node("Where", beyond, g.constant(np.array(limits.max, np.int32)), whole, dtype=np.int32)


def _modulo(g: Graph, x: Operand, dtype: str) -> Operand:
    """Integers as narrower ones, modulo the size of their range; carried as int32."""
    if dtype == "int32":
        return x
    limits = np.iinfo(dtype)
    size = int(limits.max) - int(limits.min) + 1
    low = g.constant(np.array(limits.min, np.int32))
    return g.node("Add", g.node("Mod", g.node("Sub", x, low), g.constant(np.array(size, np.int32))), low)
