"""Sizes of a program's values for given shapes of its inputs, where its types leave sizes open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import torch

from moka.errors import MokaError
from moka.ir.program import Argument, Function, Operation, Value
from moka.ir.types import Dimension, StateType, TensorType
from moka.models.features import Feature, MultiArrayFeature
from moka.models.images import ImageFeature
from moka.ops.shapes import ShapeInference
from moka.ops.table import COMPUTED
from moka.planning.sizes import Sizes

__all__ = ["Shape", "assumed_sizes", "declared_shape", "known_shapes"]

Shape: TypeAlias = tuple[int, ...]

_SMALL = 4096
"""Constants of more elements are not looked into: they hold no shapes."""


def declared_shape(feature: Feature) -> tuple[int, ...] | None:
    """The shape that an input has unless it is given another one; None where the file says nothing of it."""
    if isinstance(feature, ImageFeature):
        return tuple(feature.absent().shape)
    assert isinstance(feature, MultiArrayFeature)
    smallest = tuple(max(1, low) for low, _ in feature.ranges)
    return feature.shape or (feature.shapes[0] if feature.shapes else smallest) or None


def assumed_sizes(function: Function, features: Mapping[str, Feature]) -> Sizes:
    """Sizes that are good enough to choose an engine by: working out each from the inputs' would take longer than loading the rest.

    Inputs have the shapes that they declare; whatever else is open counts as the largest of their open sizes.
    """
    declared = {value: _declared(value, features) for value in function.inputs if not _is_static(value)}
    known = {value: shape for value, shape in declared.items() if shape is not None}
    opened = [size for value, shape in known.items() for size, stated in zip(shape, _shape(value), strict=True) if size != stated]
    return Sizes(known, max(opened, default=1))


def _declared(value: Value, features: Mapping[str, Feature]) -> Shape | None:
    """The shape that an input is declared with, if it is of the same rank as its type."""
    feature = features.get(value.name)
    shape = declared_shape(feature) if isinstance(feature, MultiArrayFeature | ImageFeature) else None
    return shape if shape is not None and len(shape) == len(_shape(value)) else None


def _shape(value: Value) -> tuple[Dimension, ...]:
    return (value.type.shape if isinstance(value.type, TensorType) else None) or ()


def known_shapes(function: Function, inputs: Mapping[str, Shape]) -> dict[Value, Shape]:
    """The shape of every value that follows from the inputs' shapes; what depends on data, and what follows from that, is left out.

    Args:
        inputs: shapes of the function's inputs by name; the declared ones hold for the rest.
    """
    if all(_is_static(value) for operation in function.body.walk() for value in operation.outputs) and not inputs:
        return {}
    inference = ShapeInference(function.opset)
    for value in function.inputs:
        if value.name in inputs and isinstance(value.type, TensorType):
            inference.note(value, torch.empty(inputs[value.name], dtype=COMPUTED[value.type.dtype], device="meta"))
        else:
            inference.enter(value)
    for operation in function.body.operations:
        _infer(inference, operation)
    values = [*function.inputs, *(value for operation in function.body.operations for value in operation.outputs)]
    tensors = {value: inference.tensor(value) for value in values}
    return {value: tuple(tensor.shape) for value, tensor in tensors.items() if tensor is not None}


def _is_static(value: Value) -> bool:
    held = value.type.wrapped if isinstance(value.type, StateType) else value.type
    return not isinstance(held, TensorType) or held.is_static


def _infer(inference: ShapeInference, operation: Operation) -> None:
    """Notes what an operation gives, as far as that can be told."""
    opaque = operation.blocks or operation.type == "const" or operation.type.startswith("constexpr_")
    results = None if opaque else _results(inference, operation)
    for index, value in enumerate(operation.outputs):
        result = results[index] if results is not None and index < len(results) else None
        if isinstance(result, torch.Tensor):
            inference.note(value, result)
        elif isinstance(value.type, TensorType) and value.type.dtype in COMPUTED:
            inference.enter(value)


def _results(inference: ShapeInference, operation: Operation) -> list[object] | None:
    resolved = Operation(operation.type, {name: tuple(map(_resolved, items)) for name, items in operation.inputs.items()})
    resolved.attributes, resolved.outputs = operation.attributes, operation.outputs
    try:
        return inference.results(resolved)
    except MokaError:  # a kernel that takes no tensors without data
        return None


def _resolved(argument: Argument) -> Argument:
    """The constant that a const operation gives, where it may hold a shape, an axis or a word; else the argument itself."""
    producer = argument.producer if isinstance(argument, Value) else None
    stated = producer.attributes.get("val") if producer is not None and producer.type == "const" else None
    if stated is None or stated.file is not None:
        return argument
    shape = stated.type.static_shape if isinstance(stated.type, TensorType) else ()
    return stated if shape is not None and math.prod(shape) <= _SMALL else argument
