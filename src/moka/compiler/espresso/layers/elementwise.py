"""Arithmetic on each element: one type of compiled layer with a number for each operation."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import LISTED, Attributes, LayerContext, layer

__all__ = ["binary", "broadcastable", "clip", "extreme", "unary", "unary_math"]

_BINARY = {"add": 0, "multiply": 1, "min": 22, "max": 23}

_BROADCASTABLE = {
    "addBroadcastable": 0,
    "multiplyBroadcastable": 1,
    "powBroadcastable": 13,
    "subtractBroadcastable": 33,
    "modBroadcastable": 36,
    "divideBroadcastable": 102,
    "floorDivBroadcastable": 1021,
}

_UNARY = {"SQRT": 11, "RSQRT": 12, "INVERSE": 10, "EXP": 27, "LOG": 26, "ABS": 24, "THRESHOLD": 25}

_MATH = {
    "exp2": 35, "round": 37, "sign": 38, "cos": 114, "sin": 115, "floor": 117, "ceil": 118, "tan": 121, "cosh": 122, "sinh": 123,
    "tanh": 124, "acos": 125, "asin": 126, "atan": 127, "acosh": 128, "asinh": 129, "atanh": 130,
}  # fmt: skip

_DEFAULT_EPSILON = number(1e-6)


def _operation(code: int, alpha: float = 1, beta: float = 0) -> Attributes:
    return {"operation": code, "alpha": number(alpha), "beta": number(beta), "fused_relu": 0}


@layer(
    "add",
    "multiply",
    to="elementwise",
    verified=1,
    seen="4 compiled networks",
    scope="two blobs, and a constant that is multiplied; one that is added is taken to be written alike",
)
def binary(net: LayerContext, params: Any) -> Attributes:
    """A constant is the second operand of a layer with one input."""
    net.guess_unless(len(net.node.inputs) <= 2, "more than two inputs")
    alone = len(net.node.inputs) == 1
    return _operation(_BINARY[net.node.kind], params.alpha if alone else 1)


@layer("min", "max", to="elementwise", seen=LISTED, scope="two inputs")
def extreme(net: LayerContext, params: Any) -> Attributes:
    net.guess_unless(len(net.node.inputs) == 2, "another number of inputs than two")
    return _operation(_BINARY[net.node.kind])


@layer(*_BROADCASTABLE, to="elementwise", seen=f"{LISTED}; 2 compiled networks subtract and multiply")
def broadcastable(net: LayerContext, params: Any) -> Attributes:
    """The same operations, with blobs of other shapes."""
    return {**_operation(_BROADCASTABLE[net.node.kind]), "nd_mode": True}


@layer("unary", to="elementwise", verified=2, seen=f"1 compiled network, {LISTED}", scope="scale 1, shift 0, no power")
def unary(net: LayerContext, params: Any) -> Attributes:
    """Exponential, inverse and threshold are in pairs, the others in the list. An epsilon of 1e-6 is left out."""
    kind = params.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[params.type].name
    if kind not in _UNARY or params.scale != 1 or params.shift:
        raise net.no_form(f"type {kind} with scale {params.scale:g} and shift {params.shift:g}")
    attributes = _operation(_UNARY[kind], params.alpha if kind == "THRESHOLD" else 1)
    if number(params.epsilon) == _DEFAULT_EPSILON or kind not in ("RSQRT", "INVERSE", "LOG"):
        return attributes
    return {**attributes, "eps": number(params.epsilon)}


@layer(*_MATH, to="elementwise", seen=LISTED)
def unary_math(net: LayerContext, params: Any) -> Attributes:
    return _operation(_MATH[net.node.kind])


@layer("clip", to="elementwise", seen="1 compiled network")
def clip(net: LayerContext, params: Any) -> Attributes:
    return _operation(119, params.minVal, params.maxVal)
