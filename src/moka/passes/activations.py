"""Activations written out in steps, as converters do where their format lacks them, made into the operations that runtimes fuse."""

from __future__ import annotations

import math

import numpy as np

from moka.formats import dtypes
from moka.ir.program import Argument, Operation
from moka.ir.rewrite import Replacements, Uses
from moka.ir.types import TensorType
from moka.passes.matching import Rules, constant, is_like, made_by, new, number, tensor_type

__all__ = ["RULES"]

_FLOATS = (dtypes.FP16, dtypes.FP32)


def _float_type(operation: Operation) -> TensorType | None:
    type = tensor_type(operation.outputs[0])
    return type if type is not None and type.dtype in _FLOATS else None


def _line(operation: Operation | None) -> tuple[Argument, float, float] | None:
    """x, a and b of a * x + b."""
    if operation is None:
        return None
    (x,) = operation.inputs["x"]
    slope, shift = number(operation, "alpha"), number(operation, "beta")
    return None if slope is None or shift is None else (x, slope, shift)


def _lines(operation: Operation, inner: str) -> tuple[tuple[float, float], tuple[Argument, float, float]] | None:
    """Slope and shift of an operation, and x, slope and shift of the one of type ``inner`` that it takes."""
    outer, before = _line(operation), _line(made_by(operation.inputs["x"][0], inner))
    return None if outer is None or before is None else (outer[1:], before)


def joined_lines(operation: Operation, uses: Uses) -> Replacements:
    """A line of a line is a line; one that changes nothing goes."""
    outer, type = _line(operation), _float_type(operation)
    if outer is None or type is None:
        return None
    x, slope, shift = outer
    if slope == 1 and shift == 0 and is_like(x, operation.outputs[0]):
        return [x]
    inner = _line(made_by(x, "linear_activation"))
    if inner is None:
        return None
    source, a, b = inner
    return [new("linear_activation", operation, type, x=source, alpha=slope * a, beta=slope * b + shift)]


def line_of_bounded_line(operation: Operation, uses: Uses) -> Replacements:
    """a * max(c * x + d, k) + b is a bound, from the other side if a is negative, of the two lines joined."""
    outer, type = _line(operation), _float_type(operation)
    bounded = made_by(operation.inputs["x"][0], "maximum", "minimum")
    if outer is None or type is None or bounded is None or uses.count(bounded.outputs[0]) > 1:
        return None
    _, slope, shift = outer
    operand, bound = _with_number(bounded)
    line = _line(made_by(operand, "linear_activation"))
    if line is None or bound is None or slope == 0:
        return None
    source, a, b = line
    kind = bounded.type if slope > 0 else {"maximum": "minimum", "minimum": "maximum"}[bounded.type]
    inner = new("linear_activation", operation, type, part=True, x=source, alpha=slope * a, beta=slope * b + shift)
    return [new(kind, operation, type, x=inner, y=slope * bound + shift)]


def _with_number(operation: Operation) -> tuple[Argument | None, float | None]:
    """The operand and the number of an operation of one tensor and one number."""
    for tensor, other in (("x", "y"), ("y", "x")):
        if (value := number(operation, other)) is not None and constant(operation.inputs[tensor][0]) is None:
            return operation.inputs[tensor][0], value
    return None, None


def _bounds(operation: Operation | None) -> tuple[Argument, float, float] | None:
    """x and the two bounds that it is kept within."""
    if operation is None:
        return None
    if operation.type in ("relu", "relu6"):
        return operation.inputs["x"][0], 0.0, 6.0 if operation.type == "relu6" else math.inf
    if operation.type == "clip":
        low, high = number(operation, "alpha"), number(operation, "beta")
        return None if low is None or high is None else (operation.inputs["x"][0], low, high)
    operand, bound = _with_number(operation)
    if operand is None or bound is None:
        return None
    return (operand, bound, math.inf) if operation.type == "maximum" else (operand, -math.inf, bound)


def joined_bounds(operation: Operation, uses: Uses) -> Replacements:
    """A lower and an upper bound, one after the other, as one clip; a lower bound of 0 alone is relu."""
    outer, type = _bounds(operation), _float_type(operation)
    if outer is None or type is None:
        return None
    x, low, high = outer
    if operation.type == "maximum" and low == 0 and is_like(x, operation.outputs[0]):
        return [new("relu", operation, type, x=x)]
    inner = _bounds(made_by(x, "relu", "relu6", "clip", "maximum", "minimum"))
    if inner is None or uses.count(x) > 1:  # type: ignore[arg-type]  # what an operation makes is a value
        return None
    source, first, last = inner
    if not first < high or not low < last or not is_like(source, operation.outputs[0]):
        return None  # the outer bound alone decides
    return _clip(operation, type, source, max(low, first), min(high, last))


def _clip(operation: Operation, type: TensorType, x: Argument, low: float, high: float) -> Replacements:
    if not low < high or math.isinf(low) or (math.isinf(high) and low != 0):
        return None
    if math.isinf(high):
        return [new("relu", operation, type, x=x)]
    return [new("clip", operation, type, x=x, alpha=low, beta=high)]


def hard_sigmoid_of_line(operation: Operation, uses: Uses) -> Replacements:
    lines, type = _lines(operation, "linear_activation"), _float_type(operation)
    if lines is None or type is None:
        return None
    (slope, shift), (source, a, b) = lines
    return [new("sigmoid_hard", operation, type, x=source, alpha=slope * a, beta=slope * b + shift)]


def line_of_hard_sigmoid(operation: Operation, uses: Uses) -> Replacements:
    """c * min(max(a * x + b, 0), 1) + d is a clip of x where the two lines cancel out."""
    lines, type = _lines(operation, "sigmoid_hard"), _float_type(operation)
    if lines is None or type is None:
        return None
    (slope, shift), (source, a, b) = lines
    if slope <= 0 or abs(slope * a - 1) > 1e-6 or abs(slope * b + shift) > 1e-6 * slope:
        return None
    return _clip(operation, type, source, shift, slope + shift)


def selected_slope(operation: Operation, uses: Uses) -> Replacements:
    """x where it is above zero, and a multiple of it below: leaky_relu, or prelu with a slope for each channel."""
    condition = made_by(operation.inputs["cond"][0], "greater", "greater_equal", "less", "less_equal")
    type = _float_type(operation)
    if condition is None or type is None or number(condition, "y") != 0:
        return None
    (a,), (b,), (x,) = operation.inputs["a"], operation.inputs["b"], condition.inputs["x"]
    kept, scaled = (a, b) if condition.type.startswith("greater") else (b, a)
    return _leaky(operation, type, x, scaled) if kept is x and is_like(x, operation.outputs[0]) else None


def larger_of_slopes(operation: Operation, uses: Uses) -> Replacements:
    """max(x, a * x) for a between 0 and 1."""
    type = _float_type(operation)
    for kept, scaled in (("x", "y"), ("y", "x")):
        (x,), (other,) = operation.inputs[kept], operation.inputs[scaled]
        slopes = _slopes(x, other)
        if type is not None and slopes is not None and slopes.min() >= 0 and slopes.max() <= 1 and is_like(x, operation.outputs[0]):
            return _leaky(operation, type, x, other)
    return None


def _slopes(x: Argument, scaled: Argument) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None:
    """By what x is multiplied."""
    product = made_by(scaled, "mul")
    if product is None:
        line = _line(made_by(scaled, "linear_activation"))
        return np.asarray(line[1], np.float32) if line is not None and line[0] is x and line[2] == 0 else None
    (first,), (second,) = product.inputs["x"], product.inputs["y"]
    factor = constant(second if first is x else first if second is x else None)
    return None if factor is None else np.asarray(factor.value, np.float32)


def _leaky(operation: Operation, type: TensorType, x: Argument, scaled: Argument) -> Replacements:
    slopes = _slopes(x, scaled)
    if slopes is None or type.shape is None:
        return None
    if slopes.size == 1:
        return [new("leaky_relu", operation, type, x=x, alpha=float(slopes.reshape(())))]
    shape = (1,) * (len(type.shape) - slopes.ndim) + slopes.shape
    if not 3 <= len(shape) <= 5 or slopes.size != shape[1]:
        return None
    return [new("prelu", operation, type, x=x, alpha=slopes.reshape(-1))]


RULES: Rules = {
    "linear_activation": [joined_lines, line_of_bounded_line, line_of_hard_sigmoid],
    "maximum": [larger_of_slopes, joined_bounds],
    "minimum": [joined_bounds],
    "relu": [joined_bounds],
    "select": [selected_slope],
    "sigmoid_hard": [hard_sigmoid_of_line],
}
