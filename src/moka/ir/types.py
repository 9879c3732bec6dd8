"""Types of the program's values: tensors, states, lists, tuples and dictionaries, with unknown and symbolic dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from moka.formats.dtypes import DType

__all__ = ["DictionaryType", "Dimension", "ListType", "OpaqueType", "StateType", "TensorType", "TupleType", "Type", "compatible_shapes"]

Dimension: TypeAlias = int | str | None
"""A constant size, a symbol's name (equal names are equal sizes), or None: unknown until the program runs."""


def _dimension_text(dimension: Dimension) -> str:
    return "?" if dimension is None else str(dimension)


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor of ``dtype``; ``shape`` is ``()`` for a scalar and None where even the rank is unknown."""

    dtype: DType
    shape: tuple[Dimension, ...] | None = ()

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_static(self) -> bool:
        return self.shape is not None and all(isinstance(size, int) for size in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape if every size is a constant, else None."""
        if self.shape is None:
            return None
        sizes = tuple(size for size in self.shape if isinstance(size, int))
        return sizes if len(sizes) == len(self.shape) else None

    def __str__(self) -> str:
        shape = "..." if self.shape is None else ", ".join(map(_dimension_text, self.shape))
        return f"tensor<{self.dtype}, [{shape}]>"


@dataclass(frozen=True, slots=True)
class StateType:
    """A buffer that outlives one prediction and holds values of type ``wrapped``."""

    wrapped: TensorType

    def __str__(self) -> str:
        return f"state<{self.wrapped}>"


@dataclass(frozen=True, slots=True)
class ListType:
    """A list of ``length`` elements, each of type ``element``."""

    element: Type
    length: Dimension = None

    def __str__(self) -> str:
        return f"list<{self.element}, {_dimension_text(self.length)}>"


@dataclass(frozen=True, slots=True)
class TupleType:
    """A fixed number of values, each of its own type."""

    elements: tuple[Type, ...]

    def __str__(self) -> str:
        return f"tuple<{', '.join(map(str, self.elements))}>"


@dataclass(frozen=True, slots=True)
class DictionaryType:
    """A map from keys of type ``key`` to values of type ``value``."""

    key: Type
    value: Type

    def __str__(self) -> str:
        return f"dict<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True)
class OpaqueType:
    """A Python object that Moka put into a program, such as what computes a custom layer; no file holds one."""

    name: str

    def __str__(self) -> str:
        return f"opaque<{self.name}>"


Type: TypeAlias = TensorType | StateType | ListType | TupleType | DictionaryType | OpaqueType


def compatible_shapes(a: tuple[Dimension, ...] | None, b: tuple[Dimension, ...] | None) -> bool:
    """Whether one tensor may have both shapes: equal rank, and no dimension with two different constants."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(not (isinstance(x, int) and isinstance(y, int)) or x == y for x, y in zip(a, b, strict=True))
