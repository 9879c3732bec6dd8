"""Element-wise functions of one, two or more blobs: one type of layer, with a number for the function."""

from __future__ import annotations

from dataclasses import dataclass

from moka.formats.espresso.reading import CompiledLayer, reads


@dataclass(frozen=True, slots=True)
class _Binary:
    """A function of two blobs, or of one and a number.

    Attributes:
        kind: the layer for blobs of one shape, or of shapes that are broadcast.
        broadcast: the layer that states that it broadcasts.
        scalar: the layer for one blob and the number ``alpha``; None where there is none.
        many: whether there may be more than two blobs.
    """

    kind: str
    broadcast: str
    scalar: str | None = None
    many: bool = False


_BINARY = {
    0: _Binary("add", "addBroadcastable", "add", many=True),
    1: _Binary("multiply", "multiplyBroadcastable", "multiply", many=True),
    13: _Binary("powBroadcastable", "powBroadcastable"),
    22: _Binary("min", "minBroadcastable", many=True),
    23: _Binary("max", "maxBroadcastable", many=True),
    33: _Binary("subtractBroadcastable", "subtractBroadcastable"),
    36: _Binary("modBroadcastable", "modBroadcastable"),
    100: _Binary("equal", "equal", "equal"),
    102: _Binary("divideBroadcastable", "divideBroadcastable"),
    103: _Binary("lessThan", "lessThan", "lessThan"),
    104: _Binary("lessEqual", "lessEqual", "lessEqual"),
    105: _Binary("greaterThan", "greaterThan", "greaterThan"),
    106: _Binary("greaterEqual", "greaterEqual", "greaterEqual"),
    107: _Binary("notEqual", "notEqual", "notEqual"),
    1021: _Binary("floorDivBroadcastable", "floorDivBroadcastable"),
}
_UNARY = {10: "INVERSE", 11: "SQRT", 12: "RSQRT", 24: "ABS", 25: "THRESHOLD", 26: "LOG", 27: "EXP"}
_LAYERS = {
    35: "exp2",
    37: "round",
    38: "sign",
    114: "cos",
    115: "sin",
    117: "floor",
    118: "ceil",
    121: "tan",
    122: "cosh",
    123: "sinh",
    124: "tanh",
    125: "acos",
    126: "asin",
    127: "atan",
    128: "acosh",
    129: "asinh",
    130: "atanh",
}
_POWER, _ADD_NUMBER, _SCALE, _SELECT, _CLIP = 13, 2, 3, 101, 119
_EPSILON = 1e-6
"""What the specification adds under a root or a fraction where nothing else is stated."""
_OPERATIONS = (*_BINARY, *_UNARY, *_LAYERS, _ADD_NUMBER, _SCALE, _SELECT, _CLIP)


@reads("elementwise")
def _elementwise(layer: CompiledLayer) -> None:
    operation = layer.choice("operation", {number: number for number in sorted(_OPERATIONS)})
    then = layer.fused(ReLU="fused_relu")
    if operation in _BINARY:
        _binary(layer, operation, then)
    elif operation == _SELECT:
        layer.expect_inputs(3)
        _plain(layer, "whereBroadcastable", then)
    else:
        layer.expect_inputs(1)
        _of_one(layer, operation, then)


def _of_one(layer: CompiledLayer, operation: int, then: str | None) -> None:
    if operation in _UNARY:
        _unary(layer, _UNARY[operation], then)
    elif operation in _LAYERS:
        _plain(layer, _LAYERS[operation], then)
    elif operation == _CLIP:
        layer.only("nd_mode", 0, 1)
        params = layer.add("clip", then=then)
        params.minVal, params.maxVal = layer.number("alpha"), layer.number("beta")
    else:
        _with_number(layer, "add" if operation == _ADD_NUMBER else "multiply", then)


def _binary(layer: CompiledLayer, operation: int, then: str | None) -> None:
    function = _BINARY[operation]
    if len(layer.inputs) == 1 and operation == _POWER:
        _unary(layer, "POWER", then)
    elif len(layer.inputs) == 1 and function.scalar is not None:
        _with_number(layer, function.scalar, then)
    elif len(layer.inputs) == 2 or (function.many and len(layer.inputs) > 2):
        broadcast = layer.flag("nd_mode") and len(layer.inputs) == 2
        _plain(layer, function.broadcast if broadcast else function.kind, then)
    else:
        raise layer.refuse("bottom", f"has {len(layer.inputs)} blobs, which operation {operation} ({function.kind}) does not take")


def _with_number(layer: CompiledLayer, kind: str, then: str | None) -> None:
    layer.only("beta", 0)
    layer.only("nd_mode", 0, 1)
    layer.add(kind, then=then).alpha = layer.number("alpha")


def _unary(layer: CompiledLayer, function: str, then: str | None) -> None:
    layer.only("beta", 0)
    layer.only("nd_mode", 0, 1)
    params = layer.add("unary", then=then)
    params.type = params.Operation.Value(function)
    params.alpha = layer.number("alpha", 1)
    params.scale = 1
    params.epsilon = layer.number("eps", _EPSILON)


def _plain(layer: CompiledLayer, kind: str, then: str | None) -> None:
    """A layer without parameters; the numbers that the compiler writes all the same are 1 and 0."""
    layer.only("alpha", 0, 1)
    layer.only("beta", 0)
    layer.only("nd_mode", 0, 1)
    layer.add(kind, then=then)
