"""Sizes of a program's values, as its types state them or as they follow from the shapes of the inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

from moka.formats.dtypes import DType
from moka.ir.program import Argument, Constant, Operation, Value
from moka.ir.types import Dimension, StateType, TensorType

__all__ = ["Sizes", "stated"]


class Sizes:
    """Shapes and bytes of values.

    A program with flexible inputs leaves sizes open. Those known for the inputs at hand are given as ``known``; one that stays open counts
    as 1, so that what is computed from it is a lower bound, and `is_exact` says so.

    Args:
        known: shapes by value, where they say more than the value's type.
        assumed: what a size that stays open counts as, where a guess is better than a lower bound.
    """

    def __init__(self, known: Mapping[Value, tuple[int, ...]] | None = None, assumed: int = 1) -> None:
        self._known = known or {}
        self._assumed = assumed

    def shape(self, argument: Argument) -> tuple[Dimension, ...] | None:
        """The shape of a tensor or state; None for what has none, or an unknown rank."""
        if self._known and isinstance(argument, Value) and argument in self._known:
            return self._known[argument]
        held = _tensor(argument)
        return None if held is None else held.shape

    def sizes(self, argument: Argument) -> tuple[int, ...]:
        """The shape with 1, or what is assumed, for each size that is open; () for what has no shape."""
        return tuple([size if isinstance(size, int) else self._assumed for size in self.shape(argument) or ()])

    def is_exact(self, argument: Argument) -> bool:
        """Whether the whole shape is known; so for what is no tensor, which counts nothing."""
        shape = self.shape(argument)
        if shape is None:
            return _tensor(argument) is None
        return all(isinstance(size, int) for size in shape)

    def count(self, argument: Argument) -> int:
        """Elements of a tensor or state; 0 for what is neither."""
        return math.prod(self.sizes(argument)) if _tensor(argument) is not None else 0

    def bytes(self, argument: Argument) -> int:
        """Bytes of a tensor or state in its declared type."""
        held = _tensor(argument)
        return 0 if held is None else (self.count(argument) * held.dtype.bits + 7) // 8

    def dtype(self, argument: Argument) -> DType | None:
        """The element type of a tensor or state."""
        held = _tensor(argument)
        return None if held is None else held.dtype


def _tensor(argument: Argument) -> TensorType | None:
    held = argument.type.wrapped if isinstance(argument.type, StateType) else argument.type
    return held if isinstance(held, TensorType) else None


def stated(operation: Operation, name: str) -> Constant | None:
    """The constant that an input of an operation is, or that a const operation gives for it; None if it is computed or left out."""
    for argument in operation.inputs.get(name, ()):
        if isinstance(argument, Constant):
            return argument
        if argument.producer is not None and argument.producer.type == "const":
            return argument.producer.attributes.get("val")
    return None
