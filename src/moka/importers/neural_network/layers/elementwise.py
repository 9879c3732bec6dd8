"""Element-wise layers of the first specification, dot product and reduction."""

from __future__ import annotations

from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


def _chain(net: NetworkBuilder, operation: str, blobs: tuple[Value, ...]) -> Value:
    """The blobs put together two by two, with broadcasting."""
    if not blobs:
        raise ProgramError(f"{net.origin} has no inputs; expected one or more")
    result = blobs[0]
    for blob in blobs[1:]:
        result = net.emit(operation, x=result, y=blob)
    return result


@layer("add")
def add(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The sum of the blobs, or of the only one and alpha."""
    return net.emit("add", x=blobs[0], y=params.alpha) if len(blobs) == 1 else _chain(net, "add", blobs)


@layer("multiply")
def multiply(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The product of the blobs, or of the only one and alpha."""
    return net.emit("mul", x=blobs[0], y=params.alpha) if len(blobs) == 1 else _chain(net, "mul", blobs)


@layer("average")
def average(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The mean of the blobs."""
    return net.emit("mul", x=_chain(net, "add", blobs), y=1 / max(1, len(blobs)))


@layer("max")
def maximum(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The largest of the blobs."""
    return _chain(net, "maximum", blobs)


@layer("min")
def minimum(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The smallest of the blobs."""
    return _chain(net, "minimum", blobs)


def _spread(net: NetworkBuilder, message: Any, shape: Any, where: str) -> Any:
    """A parameter of shape [1], [C], [1, H, W] or [C, H, W] so that it broadcasts over the last three axes."""
    sizes = list(shape)
    if len(sizes) not in (1, 3):
        raise ProgramError(f"{net.origin}: {where} has the shape {sizes}; expected [1], [C], [1, H, W] or [C, H, W]")
    array = net.weights.read(message, sizes, f"{net.origin}: {where}")
    return array if len(sizes) == 3 or sizes == [1] else array[:, None, None]


@layer("scale")
def scale(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """scale * x + bias."""
    scaled = net.emit("mul", x=x, y=_spread(net, params.scale, params.shapeScale, "scale"))
    return net.emit("add", x=scaled, y=_spread(net, params.bias, params.shapeBias, "bias")) if params.hasBias else scaled


@layer("bias")
def bias(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """x + bias."""
    return net.emit("add", x=x, y=_spread(net, params.bias, params.shape, "bias"))


_UNARY = ("sqrt", "rsqrt", "inverse", "pow", "exp", "log", "abs", "maximum")
"""By number of ``UnaryFunctionLayerParams.Operation``."""


@layer("unary")
def unary(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """A function of scale * x + shift."""
    operation = _UNARY[params.type]
    if params.scale not in (0, 1):
        x = net.emit("mul", x=x, y=params.scale)
    if params.shift:
        x = net.emit("add", x=x, y=params.shift)
    if operation in ("pow", "maximum"):
        return net.emit(operation, x=x, y=params.alpha)
    if operation in ("rsqrt", "inverse"):
        return net.emit(operation, x=x, epsilon=params.epsilon or 1e-6)
    return net.emit(operation, x=x, epsilon=params.epsilon) if operation == "log" else net.emit(operation, x=x)


@layer("dot")
def dot(net: NetworkBuilder, params: Any, x: Value, y: Value) -> Value:
    """The dot product over channels, or the cosine of the angle between the vectors."""
    product = net.emit("reduce_sum", x=net.emit("mul", x=x, y=y), axes=[-3], keep_dims=True)
    if not params.cosineSimilarity:
        return product
    lengths = [net.emit("reduce_l2_norm", x=vector, axes=[-3], keep_dims=True) for vector in (x, y)]
    return net.emit("real_div", x=product, y=net.emit("mul", x=lengths[0], y=lengths[1]))


_REDUCTIONS = ("sum", "mean", "prod", "sum", "sum_square", "l1_norm", "l2_norm", "max", "min", "argmax")
_AXES = ([-3, -2, -1], [-2, -1], [-3], [-2], [-1])
"""By number of ``ReduceLayerParams.ReduceOperation`` and ``ReduceAxis``."""

_LOGSUM, _ARGMAX = 3, 9


@layer("reduce")
def reduce(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """One number for all elements along some of the last three axes, which stay with size 1. LOGSUM is the sum of logarithms."""
    axes = _AXES[params.axis]
    if params.mode == _LOGSUM:
        x = net.emit("log", x=x, epsilon=params.epsilon or 1e-6)
    operation = f"reduce_{_REDUCTIONS[params.mode]}"
    if params.mode != _ARGMAX:
        return net.emit(operation, x=x, axes=axes, keep_dims=True)
    if len(axes) > 1:
        raise ProgramError(f"{net.origin}: mode is ARGMAX over {len(axes)} axes; expected C, H or W")
    return net.cast(net.emit(operation, x=x, axis=axes[0], keep_dims=True), "fp32")
