"""Reading FlatBuffers: tables, vectors and strings of a buffer, each checked to lie inside it.

A table starts with the distance back to its vtable: two 16-bit sizes (of the vtable, of the table), then for each field its place in the
table, 0 for one that is absent. Tables, vectors and strings are referred to by 32-bit distances forward; vectors and strings start with
their length. All numbers are little-endian. Source: the FlatBuffers documentation, "Internals".

Nothing forbids that many references lead to one place, so that a small buffer stands for a huge tree. What is read in all is therefore
bounded by the buffer's length, which no honest buffer exceeds.
"""

from __future__ import annotations

import builtins
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from moka.errors import FormatError

__all__ = ["Table", "root_table"]

T = TypeVar("T")


@dataclass(slots=True)
class _Source:
    """The buffer, the name of its file, and how many more bytes of tables, numbers and text may be read."""

    buffer: memoryview
    where: str
    left: int


class Table:
    """One table of a buffer; its fields are asked for by their index in the schema.

    Raises:
        FormatError: something lies outside the buffer, or more is read than it can hold.
    """

    __slots__ = ("_buffer", "_fields", "_source", "_start")

    def __init__(self, source: _Source, start: int) -> None:
        self._source, self._buffer, self._start = source, source.buffer, start
        buffer = source.buffer
        vtable = start - self._number("<i", start)
        size, length = self._number("<H", vtable), self._number("<H", vtable + 2)
        if size < 4 or size % 2 or vtable + size > len(buffer) or length < 4 or start + length > len(buffer):
            raise self._error(start, f"table of {length} bytes with a vtable of {size} bytes at {vtable}")
        self._fields = struct.unpack_from(f"<{(size - 4) // 2}H", buffer, vtable + 4)
        if any(field >= length for field in self._fields):
            raise self._error(start, f"a field lies outside its table of {length} bytes")
        self._charge(length)

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A scalar field; ``kind`` is its letter in `struct`."""
        place = self._place(field)
        return default if place is None else int(self._number(f"<{kind}", place))

    def float(self, field: int) -> builtins.float:
        """A double field."""
        place = self._place(field)
        return 0.0 if place is None else builtins.float(self._number("<d", place))

    def string(self, field: int) -> str:
        """A string field; empty where it is absent."""
        content = self.bytes(field)
        self._charge(len(content))
        try:
            return str(content, "utf-8")
        except UnicodeDecodeError as error:
            raise self._error(self._start, f"field {field} is no UTF-8 text") from error

    def bytes(self, field: int) -> memoryview:
        """A vector of bytes, or a string's bytes, not copied; empty where it is absent."""
        place, length = self._vector(field, 1)
        return self._buffer[place : place + length]

    def numbers(self, field: int, kind: str) -> list[int]:
        """A vector of scalars."""
        size = struct.calcsize(f"<{kind}")
        place, length = self._vector(field, size)
        self._charge(length * size)
        return list(struct.unpack_from(f"<{length}{kind}", self._buffer, place))

    def floats(self, field: int) -> list[builtins.float]:
        """A vector of doubles."""
        place, length = self._vector(field, 8)
        self._charge(length * 8)
        return list(struct.unpack_from(f"<{length}d", self._buffer, place))

    def table(self, field: int) -> Table | None:
        """A table that a field refers to; None where it is absent."""
        place = self._place(field)
        return None if place is None else Table(self._source, self._target(place))

    def tables(self, field: int, read: Callable[[Table], T]) -> list[T]:
        """A vector of tables, each read by ``read``."""
        place, length = self._vector(field, 4)
        return [read(Table(self._source, self._target(place + 4 * index))) for index in range(length)]

    def _place(self, field: int) -> int | None:
        offset = self._fields[field] if field < len(self._fields) else 0
        return self._start + offset if offset else None

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Where a vector's items start, and how many there are."""
        place = self._place(field)
        if place is None:
            return 0, 0
        start = self._target(place)
        length = self._number("<I", start)
        if start + 4 + length * size > len(self._buffer):
            raise self._error(start, f"vector of {length} items of {size} bytes ends outside the {len(self._buffer)} bytes")
        return start + 4, length

    def _target(self, place: int) -> int:
        return place + int(self._number("<I", place))

    def _number(self, kind: str, place: int) -> Any:
        if place < 0 or place + struct.calcsize(kind) > len(self._buffer):
            raise self._error(place, f"is outside the {len(self._buffer)} bytes")
        return struct.unpack_from(kind, self._buffer, place)[0]

    def _charge(self, size: int) -> None:
        self._source.left -= size
        if self._source.left < 0:
            raise self._error(self._start, "its references repeat so often that they stand for more than the file holds")

    def _error(self, place: int, problem: str) -> FormatError:
        return FormatError(f"{self._source.where}: offset {place}", problem)


def root_table(buffer: memoryview, where: str) -> Table:
    """The table that a buffer is about.

    Raises:
        FormatError: the buffer is too short, or the table lies outside it.
    """
    if len(buffer) < 8:
        raise FormatError(where, f"has {len(buffer)} bytes, expected 8 or more")
    return Table(_Source(buffer, where, len(buffer)), struct.unpack_from("<I", buffer)[0])
