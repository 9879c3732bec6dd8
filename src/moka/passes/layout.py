"""Operations that only name values or reorder elements, one after the other."""

from __future__ import annotations

from moka.ir.program import Operation
from moka.ir.rewrite import Replacements, Uses
from moka.passes.matching import Rules, integers, is_like, made_by, new, shape_of, tensor_type

__all__ = ["RULES"]


def no_identity(operation: Operation, uses: Uses) -> Replacements:
    return operation.inputs["x"]


def joined_transposes(operation: Operation, uses: Uses) -> Replacements:
    """Two permutations as one, and none where they undo each other."""
    inner, type = made_by(operation.inputs["x"][0], "transpose"), tensor_type(operation.outputs[0])
    first = integers(inner, "perm") if inner is not None else None
    second = integers(operation, "perm")
    if inner is None or first is None or second is None or type is None:
        return None
    order = [first[axis] % len(first) for axis in second]
    if order == list(range(len(order))) and is_like(inner.inputs["x"][0], operation.outputs[0]):
        return inner.inputs["x"]
    return [new("transpose", operation, type, x=inner.inputs["x"], perm=order)]


def transpose_as_reshape(operation: Operation, uses: Uses) -> Replacements:
    """A permutation that leaves the axes of more than one element in their order."""
    shape, order, type = shape_of(operation.inputs["x"][0]), integers(operation, "perm"), tensor_type(operation.outputs[0])
    if shape is None or order is None or type is None or 0 in shape:
        return None
    moved = [axis % len(shape) for axis in order if shape[axis] != 1]
    if moved != sorted(moved):
        return None
    return [new("reshape", operation, type, x=operation.inputs["x"], shape=[shape[axis] for axis in order])]


def joined_reshapes(operation: Operation, uses: Uses) -> Replacements:
    """A reshape of a reshape needs the last shape alone."""
    inner, shape = made_by(operation.inputs["x"][0], "reshape"), shape_of(operation.outputs[0])
    type = tensor_type(operation.outputs[0])
    if inner is None or shape is None or type is None:
        return None
    return [new("reshape", operation, type, x=inner.inputs["x"], shape=list(shape))]


RULES: Rules = {
    "identity": [no_identity],
    "reshape": [joined_reshapes],
    "transpose": [joined_transposes, transpose_as_reshape],
}
