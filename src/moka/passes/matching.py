"""What rules look at and what they make: constants behind arguments, operations behind values, and new operations in the place of old."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.ir.program import Argument, Constant, Operation, Value
from moka.ir.rewrite import Replacements, Rule, Uses
from moka.ir.types import TensorType

__all__ = ["Rules", "constant", "dispatch", "integers", "is_like", "made_by", "new", "number", "shape_of", "tensor_type", "text"]

Array: TypeAlias = np.ndarray[Any, Any]

Rules: TypeAlias = Mapping[str, Sequence[Rule]]
"""Rules by the type of the operation that they look at."""


def dispatch(*tables: Rules) -> Rule:
    """All rules of some tables as one, which tries those for an operation's type in their order."""
    rules: dict[str, list[Rule]] = {}
    for table in tables:
        for kind, items in table.items():
            rules.setdefault(kind, []).extend(items)

    def first_that_answers(operation: Operation, uses: Uses) -> Replacements:
        answers = (rule(operation, uses) for rule in rules.get(operation.type, ()))
        return next((answer for answer in answers if answer is not None), None)

    return first_that_answers


def constant(argument: Argument | None) -> Constant | None:
    """The constant that an argument is or names."""
    if isinstance(argument, Value) and argument.producer is not None and argument.producer.type == "const":
        return argument.producer.attributes.get("val")
    return argument if isinstance(argument, Constant) else None


def _stated(operation: Operation, name: str) -> Any:
    """The constant value of an input; None where it is not given, or computed."""
    arguments = operation.inputs.get(name, ())
    found = constant(arguments[0]) if len(arguments) == 1 else None
    return None if found is None else found.value


def number(operation: Operation, name: str) -> float | None:
    """A constant input of one element."""
    value = _stated(operation, name)
    return float(np.asarray(value).reshape(())) if value is not None and np.size(value) == 1 else None


def integers(operation: Operation, name: str) -> list[int] | None:
    """A constant input of whole numbers."""
    value = _stated(operation, name)
    return None if value is None else [int(item) for item in np.asarray(value).reshape(-1)]


def text(operation: Operation, name: str) -> str | None:
    """A constant string."""
    value = _stated(operation, name)
    return None if value is None else str(value)


def made_by(argument: Argument | None, *kinds: str) -> Operation | None:
    """The operation of one of some kinds that computes an argument."""
    producer = argument.producer if isinstance(argument, Value) else None
    return producer if producer is not None and producer.type in kinds else None


def tensor_type(argument: Argument) -> TensorType | None:
    """The type of a tensor of known rank."""
    return argument.type if isinstance(argument.type, TensorType) and argument.type.shape is not None else None


def shape_of(argument: Argument) -> tuple[int, ...] | None:
    """A shape without unknown sizes."""
    return argument.type.static_shape if isinstance(argument.type, TensorType) else None


def is_like(a: Argument, b: Argument) -> bool:
    """Whether two arguments have the same known shape and element type."""
    return isinstance(a.type, TensorType) and a.type == b.type and a.type.is_static


def new(kind: str, old: Operation, type: TensorType, /, *, part: bool = False, **inputs: Any) -> Value:
    """The result of a new operation that stands for an old one and has its name.

    Args:
        part: whether it is one of several that do, and not the last, whose result takes the name of the old one's.
        inputs: arguments, tuples of them, or Python values, which become constants (floats of the result's element type).
    """
    name = Constant(TensorType(dtypes.STRING, ()), old.name)
    operation = Operation(kind, {key: _arguments(item, type.dtype) for key, item in inputs.items()}, [], {"name": name}, [], old.origin)
    result = old.outputs[0].name
    operation.outputs = [Value(f"{result}_{kind}" if part else result, type, operation)]
    return operation.outputs[0]


def _arguments(item: Any, dtype: DType) -> tuple[Argument, ...]:
    if isinstance(item, tuple):
        return item
    return (item,) if isinstance(item, Value | Constant) else (_constant(item, dtype),)


def _constant(item: Any, dtype: DType) -> Constant:
    if isinstance(item, str):
        return Constant(TensorType(dtypes.STRING, ()), item)
    array = np.asarray(item)
    kinds = {"b": dtypes.BOOL, "i": dtypes.INT32, "f": dtype}
    found = kinds[array.dtype.kind]
    return Constant(TensorType(found, array.shape), array.astype(found.numpy))
