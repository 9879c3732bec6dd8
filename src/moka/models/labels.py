"""The class labels of a classifier, wherever its kind of model keeps them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moka.ir.program import Constant, Operation, Program, Value
from moka.models.parts import Part

__all__ = ["class_labels"]


def class_labels(models: Sequence[Part]) -> list[str] | list[int] | None:
    """A classifier's labels in order, those of the first part that has any for a pipeline; None for what is no classifier."""
    found = [labels for part in models if (labels := _labels(part)) is not None]
    return next(filter(None, found), found[0]) if found else None


def _labels(part: Part) -> list[Any] | None:
    if part.program is not None:
        return _program_labels(part.program)
    body = part.body
    for field in ("stringClassLabels", "int64ClassLabels"):
        if field in body.DESCRIPTOR.fields_by_name and body.HasField(field):
            return list(getattr(body, field).vector)
    return [] if "stringClassLabels" in body.DESCRIPTOR.fields_by_name else None


def _program_labels(program: Program) -> list[Any] | None:
    """What the ``classify`` operation of a program names as its classes."""
    for function in program.functions.values():
        for operation in function.body.walk():
            if operation.type == "classify":
                return _classes(operation)
    return None


def _classes(operation: Operation) -> list[Any] | None:
    argument = next(iter(operation.inputs.get("classes", ())), None)
    if isinstance(argument, Value) and argument.producer is not None:
        argument = argument.producer.attributes.get("val")
    if not isinstance(argument, Constant):
        return None
    return [item.item() if hasattr(item, "item") else item for item in argument.value]
