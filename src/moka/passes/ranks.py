"""Axes of size 1: put in and taken out where nothing needs them, they keep neighbours apart that runtimes fuse.

`expand_dims` moves down past operations that do the same without the axes, until it meets the `squeeze` that undoes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from moka.ir.program import Argument, Constant, Operation, Value
from moka.ir.rewrite import Replacements, Uses
from moka.ir.types import TensorType
from moka.passes.matching import Rules, constant, integers, is_like, made_by, new, number, tensor_type

__all__ = ["RULES"]

_VIEWS = ("expand_dims", "squeeze", "reshape")

_ELEMENTWISE = (
    "abs", "acos", "asin", "atan", "atanh", "cast", "ceil", "clamped_relu", "clip", "cos", "cosh", "elu", "erf", "exp", "exp2", "floor",
    "gelu", "identity", "inverse", "leaky_relu", "linear_activation", "log", "relu", "relu6", "round", "rsqrt", "scaled_tanh", "sigmoid",
    "sigmoid_hard", "sign", "silu", "sin", "sinh", "softplus", "softsign", "sqrt", "square", "tan", "tanh", "threshold", "thresholded_relu",
)  # fmt: skip
_BROADCAST = ("add", "floor_div", "maximum", "minimum", "mod", "mul", "pow", "real_div", "sub")
_IMAGES = ("crop", "resize_bilinear", "resize_nearest_neighbor", "upsample_bilinear", "upsample_nearest_neighbor")
"""Operations on the last two axes."""


def undo(operation: Operation, uses: Uses) -> Replacements:
    """Views of views that have the first one's shape again: none of them moves an element."""
    (x,) = operation.inputs["x"]
    while (inner := made_by(x, *_VIEWS)) is not None:
        (x,) = inner.inputs["x"]
        if is_like(x, operation.outputs[0]):
            return [x]
    return None


def _added(argument: Argument) -> list[int] | None:
    """The axes that an expand_dims puts in, counted from the start."""
    inner, type = made_by(argument, "expand_dims"), tensor_type(argument)
    axes = integers(inner, "axes") if inner is not None else None
    return sorted(axis % len(type.shape) for axis in axes) if axes is not None and type is not None and type.shape is not None else None


def _without(type: TensorType, axes: Sequence[int]) -> TensorType:
    assert type.shape is not None
    return replace(type, shape=tuple(size for axis, size in enumerate(type.shape) if axis not in axes))


def _moved(operation: Operation, axes: Sequence[int], **inputs: object) -> Replacements:
    """The operation on inputs without the axes, which come after it."""
    type = tensor_type(operation.outputs[0])
    if type is None:
        return None
    given = {**operation.inputs, **inputs}
    narrow = new(operation.type, operation, _without(type, axes), part=True, **given)
    return [new("expand_dims", operation, type, x=narrow, axes=list(axes))]


def _source(argument: Argument) -> Argument:
    assert isinstance(argument, Value)
    assert argument.producer is not None
    return argument.producer.inputs["x"][0]


def past_elementwise(operation: Operation, uses: Uses) -> Replacements:
    (x,) = operation.inputs["x"]
    axes = _added(x)
    return None if axes is None else _moved(operation, axes, x=_source(x))


def past_broadcast(operation: Operation, uses: Uses) -> Replacements:
    """Where both operands have the axes, or one has and the other is a constant that has size 1 there."""
    (x,), (y,) = operation.inputs["x"], operation.inputs["y"]
    axes = _added(x) or _added(y)
    type = tensor_type(operation.outputs[0])
    if axes is None or type is None or type.shape is None:
        return None
    operands = [_narrowed(item, axes, len(type.shape)) for item in (x, y)]
    if operands[0] is None or operands[1] is None:
        return None
    return _moved(operation, axes, x=operands[0], y=operands[1])


def _narrowed(argument: Argument, axes: list[int], rank: int) -> Argument | None:
    """An operand without the axes of a result of ``rank``; None where it has them in earnest."""
    if tensor_type(argument) is not None and len(tensor_type(argument).shape or ()) == rank and _added(argument) == axes:  # type: ignore[union-attr]
        return _source(argument)
    found = constant(argument)
    if found is None or not isinstance(found.type, TensorType) or found.type.shape is None:
        return None
    start = rank - len(found.type.shape)
    inner = [axis - start for axis in axes if axis >= start]
    if any(found.type.shape[axis] != 1 for axis in inner):
        return None
    return Constant(_without(found.type, inner), np.squeeze(np.asarray(found.value), tuple(inner))) if inner else argument


def past_images(operation: Operation, uses: Uses) -> Replacements:
    (x,) = operation.inputs["x"]
    axes, type = _added(x), tensor_type(operation.outputs[0])
    if axes is None or type is None or type.shape is None or max(axes) >= len(type.shape) - 2:
        return None
    return _moved(operation, axes, x=_source(x))


def past_padding(operation: Operation, uses: Uses) -> Replacements:
    """Padding is stated for the last axes alone."""
    (x,) = operation.inputs["x"]
    axes, amounts, type = _added(x), integers(operation, "pad"), tensor_type(operation.outputs[0])
    if axes is None or amounts is None or type is None or type.shape is None or max(axes) >= len(type.shape) - len(amounts) // 2:
        return None
    return _moved(operation, axes, x=_source(x))


def past_softmax(operation: Operation, uses: Uses) -> Replacements:
    (x,) = operation.inputs["x"]
    axes, type = _added(x), tensor_type(operation.outputs[0])
    stated = integers(operation, "axis") if "axis" in operation.inputs else [-1]
    if axes is None or type is None or type.shape is None or stated is None or (axis := stated[0] % len(type.shape)) in axes:
        return None
    return _moved(operation, axes, x=_source(x), axis=_place(axis, axes))


def past_concat(operation: Operation, uses: Uses) -> Replacements:
    values = operation.inputs["values"]
    axes, type = _added(values[0]), tensor_type(operation.outputs[0])
    stated = integers(operation, "axis")
    if axes is None or type is None or type.shape is None or stated is None or _interleaves(operation):
        return None
    axis = stated[0] % len(type.shape)
    if axis in axes or any(_added(value) != axes for value in values):
        return None
    return _moved(operation, axes, values=tuple(map(_source, values)), axis=_place(axis, axes))


def _interleaves(operation: Operation) -> bool:
    return "interleave" in operation.inputs and number(operation, "interleave") != 0


def _place(axis: int, removed: Sequence[int]) -> int:
    return axis - sum(item < axis for item in removed)


RULES: Rules = {
    **{kind: [undo] for kind in _VIEWS},
    **{kind: [past_elementwise] for kind in _ELEMENTWISE},
    **{kind: [past_broadcast] for kind in _BROADCAST},
    **{kind: [past_images] for kind in _IMAGES},
    "concat": [past_concat],
    "pad": [past_padding],
    "softmax": [past_softmax],
}
