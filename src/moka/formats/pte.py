"""ExecuTorch programs, ``.pte`` files: their methods, and what was delegated to backends such as Core ML.

    0    distance to the root table, "ET12"
    8    "eh00", length of this header, size of the program, where the segments start, and since version 1.0 their size
    ...  the program, a FlatBuffer
    ...  segments: delegates' payloads, constants, named data

A program without the extended header has everything inside the FlatBuffer. Source: ``schema/program.fbs`` and
``runtime/core/exec_aten/.../extended_header`` of ExecuTorch 1.5, checked on programs that it writes.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeVar

from moka.errors import FormatError
from moka.formats.files import regular_file_size
from moka.formats.flatbuffer import Table, root_table

__all__ = ["Call", "Delegate", "ListValue", "Method", "ProgramFile", "TensorValue", "Value", "is_program", "read_program"]

T = TypeVar("T")

MAGIC = b"ET"
_HEADER_MAGIC = b"eh00"
_HEADER = struct.Struct("<4sIQQ")
_LARGEST_TEXT = 2**16

SCALAR_TYPES = {
    0: "uint8", 1: "int8", 2: "int16", 3: "int32", 4: "int64", 5: "float16", 6: "float32", 7: "float64", 11: "bool", 12: "qint8",
    13: "quint8", 14: "qint32", 15: "bfloat16", 16: "quint4x2", 17: "quint2x4", 22: "bits16", 23: "float8_e5m2", 24: "float8_e4m3fn",
    25: "float8_e5m2fnuz", 26: "float8_e4m3fnuz", 27: "uint16", 28: "uint32", 29: "uint64",
}  # fmt: skip
"""PyTorch's names of the types by their numbers in ``scalar_type.fbs``."""

_BYTES = {
    "uint8": 1, "int8": 1, "bool": 1, "int16": 2, "uint16": 2, "float16": 2, "bfloat16": 2, "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip
"""Sizes of the types that constants are read of."""

_DYNAMISM = {0: "static", 1: "bounded", 2: "unbounded"}


@dataclass(frozen=True)
class TensorValue:
    """A tensor of a method.

    Attributes:
        dtype: its type.
        sizes: its sizes; with ``dynamism`` bounded the largest ones.
        dynamism: ``static``, ``bounded`` or ``unbounded``.
        order: its dimensions from the one that varies slowest in memory; empty for the usual order.
        data: a constant's numbers, not copied from the file; None for what is computed.
    """

    dtype: str
    sizes: tuple[int, ...]
    dynamism: str
    order: tuple[int, ...] = ()
    data: memoryview | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ListValue:
    """A list of a method's values, by their indices; -1 stands for None."""

    items: tuple[int, ...]


Value: TypeAlias = TensorValue | ListValue | int | float | bool | str | tuple[int, ...] | tuple[float, ...] | None
"""What a method computes with; lists of floats and booleans hold these."""


@dataclass(frozen=True)
class Delegate:
    """A part of a method that a backend runs.

    Attributes:
        backend: the backend's name: ``CoreMLBackend``.
        payload: what the backend made of the part when the program was written, not copied from the file.
        compile_specs: its options, by key.
    """

    backend: str
    payload: memoryview = field(repr=False)
    compile_specs: Mapping[str, bytes]


@dataclass(frozen=True)
class Call:
    """One instruction: ``delegate`` (``index`` is the delegate's), ``kernel`` (the operator's), ``move``, ``jump`` or ``free``.

    ``arguments`` are indices of values; a delegate's and a kernel's outputs come last. Those of ``move`` are from and to.
    """

    kind: str
    index: int
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Method:
    """One entry point of a program: ``inputs``, ``outputs`` and arguments of calls are indices of ``values``."""

    name: str
    values: tuple[Value, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[str, ...]
    delegates: tuple[Delegate, ...]
    calls: tuple[Call, ...]


@dataclass(frozen=True)
class ProgramFile:
    """An ExecuTorch program: its methods, and data that delegates share, by key."""

    path: Path
    version: int
    methods: tuple[Method, ...]
    named_data: Mapping[str, memoryview] = field(repr=False)


def is_program(path: str | os.PathLike[str]) -> bool:
    """Whether a file is an ExecuTorch program, by its first bytes."""
    path = Path(path)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(8)
    return len(start) == 8 and start[4:6] == MAGIC and start[6:].isdigit()


def read_program(path: str | os.PathLike[str]) -> ProgramFile:
    """Reads a program. The file is mapped: payloads are views of it.

    Raises:
        FormatError: the file is no ExecuTorch program, or something in it lies outside of it.
    """
    path = Path(path)
    if regular_file_size(path) < 8 or not is_program(path):
        raise FormatError(path, "is no ExecuTorch program: it does not start with an offset and 'ET12'")
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return _Reader(path, data).read()


class _Reader:
    def __init__(self, path: Path, data: memoryview) -> None:
        self.path = path
        self.program, self.segments_start = self._extended_header(data)
        self.data = data
        self.root = root_table(self.program, str(path))
        self.segments = [self._segment(*pair) for pair in self.root.tables(4, lambda t: (t.number(0, "Q"), t.number(1, "Q")))]
        self.inline = self.root.tables(3, lambda table: table.bytes(0))
        self.constants = self._constants()

    def read(self) -> ProgramFile:
        named = dict(self.root.tables(7, lambda t: (self._text(t, 0), self._at(self.segments, t.number(1, "I"), "named data"))))
        methods = tuple(self.root.tables(1, self._method))
        return ProgramFile(self.path, self.root.number(0, "I"), methods, named)

    def _extended_header(self, data: memoryview) -> tuple[memoryview, int]:
        """The program's bytes, and where the segments start."""
        if len(data) < 8 + _HEADER.size or data[8:12] != _HEADER_MAGIC:
            return data, len(data)
        _, length, size, start = _HEADER.unpack_from(data, 8)
        if length < _HEADER.size or size > len(data) or not (start == 0 or size <= start <= len(data)):
            raise FormatError(
                self.path, f"header says {size} bytes of program and segments from {start}; the file has {len(data)} bytes: it is cut off"
            )
        return data[:size], start

    def _segment(self, offset: int, size: int) -> memoryview:
        start = self.segments_start + offset
        if start + size > len(self.data):
            raise FormatError(self.path, f"segment of {size} bytes at {start} ends outside the file's {len(self.data)}: it is cut off")
        return self.data[start : start + size]

    def _constants(self) -> list[memoryview]:
        """Where each constant starts, with all that follows it; number 0 stands for tensors that are none."""
        if buffers := self.root.tables(2, lambda table: table.bytes(0)):
            return buffers
        table = self.root.table(5)
        if table is None or not (offsets := table.numbers(1, "Q")):
            return []
        segment = self._at(self.segments, table.number(0, "I"), "constants' segment")
        return [segment[offset:] for offset in offsets]

    def _value(self, table: Table) -> Value:
        kind, content = table.number(0, "B"), table.table(1)
        if content is None:
            return None
        if kind == _TENSOR:
            return self._tensor(content)
        read = _VALUES.get(kind)
        return None if read is None else read(content)

    def _tensor(self, table: Table) -> TensorValue:
        kind, sizes, constant = table.number(0, "b"), tuple(table.numbers(2, "i")), table.number(5, "I")
        if any(size < 0 for size in sizes):
            raise FormatError(self.path, f"a tensor has sizes {list(sizes)}")
        dtype, order = SCALAR_TYPES.get(kind, f"type {kind}"), tuple(table.bytes(3))
        dynamism = _DYNAMISM.get(table.number(8, "b"), "unbounded")
        if sorted(order) != list(range(len(sizes))) or sorted(order) == list(order):
            order = ()
        if not constant or table.table(6) is not None or table.table(9) is not None:  # computed, a buffer that changes, or in another file
            return TensorValue(dtype, sizes, dynamism, order)
        data, size = self._at(self.constants, constant, "constants"), math.prod(sizes) * _BYTES.get(dtype, 0)
        if size > len(data):
            raise FormatError(self.path, f"constant {constant}: {size} bytes, the file has {len(data)} from its start on")
        return TensorValue(dtype, sizes, dynamism, order, data[:size])

    def _method(self, table: Table) -> Method:
        operators = table.tables(6, lambda t: ".".join(filter(None, (self._text(t, 0), self._text(t, 1)))))
        delegates = table.tables(7, self._delegate)
        calls = [call for chain in table.tables(5, lambda t: t.tables(2, self._call)) for call in chain]
        method = Method(
            name=self._text(table, 0),
            values=tuple(table.tables(2, self._value)),
            inputs=tuple(table.numbers(3, "i")),
            outputs=tuple(table.numbers(4, "i")),
            operators=tuple(operators),
            delegates=tuple(delegates),
            calls=tuple(calls),
        )
        self._check(method)
        return method

    def _check(self, method: Method) -> None:
        """Every index must be one of the list that it means."""
        where = f"method {method.name!r}"
        lists = [index for value in method.values if isinstance(value, ListValue) for index in value.items if index != -1]
        for index in (*method.inputs, *method.outputs, *lists, *(index for call in method.calls for index in call.arguments)):
            self._at(method.values, index, f"{where}: values")
        for call in method.calls:
            if call.kind == "delegate":
                self._at(method.delegates, call.index, f"{where}: delegates")
            elif call.kind == "kernel":
                self._at(method.operators, call.index, f"{where}: operators")

    def _delegate(self, table: Table) -> Delegate:
        reference = table.table(1)
        if reference is None:
            raise FormatError(self.path, f"delegate {self._text(table, 0)!r} has no payload")
        place, index = reference.number(0, "b"), reference.number(1, "I")
        if place not in (0, 1):
            raise FormatError(self.path, f"delegate's payload is in place {place}, expected 0 (inline) or 1 (segment)")
        payload = self._at((self.inline, self.segments)[place], index, "delegates' payloads")
        specs = dict(table.tables(2, lambda t: (self._text(t, 0), bytes(t.bytes(1)))))
        return Delegate(self._text(table, 0), payload, specs)

    def _call(self, table: Table) -> Call:
        kind, arguments = _CALLS.get(table.number(0, "B")), table.table(1)
        if kind is None or arguments is None:
            raise FormatError(self.path, f"instruction of kind {table.number(0, 'B')}, expected 1 to 5 with arguments")
        if kind in ("kernel", "delegate"):
            return Call(kind, arguments.number(0, "i"), tuple(arguments.numbers(1, "i")))
        if kind == "move":
            return Call(kind, 0, (arguments.number(0, "i"), arguments.number(1, "i")))
        return Call(kind, arguments.number(1, "i"), (arguments.number(0, "i"),))

    def _text(self, table: Table, index: int) -> str:
        text = table.string(index)
        if len(text) > _LARGEST_TEXT:
            raise FormatError(self.path, f"a name has {len(text)} characters, allowed are {_LARGEST_TEXT}")
        return text

    def _at(self, items: Sequence[T], index: int, what: str) -> T:
        if not 0 <= index < len(items):
            raise FormatError(self.path, f"{what}: index {index}, there are {len(items)}")
        return items[index]


_CALLS = {1: "kernel", 2: "delegate", 3: "move", 4: "jump", 5: "free"}


_TENSOR = 5
_VALUES: dict[int, Callable[[Table], Value]] = {
    2: lambda table: table.number(0, "q"),
    3: lambda table: bool(table.number(0, "B")),
    4: lambda table: table.float(0),
    6: lambda table: table.string(0),
    7: lambda table: ListValue(tuple(table.numbers(0, "q"))),
    8: lambda table: tuple(table.floats(0)),
    9: lambda table: tuple(map(bool, table.bytes(0))),
    10: lambda table: ListValue(tuple(table.numbers(0, "i"))),
    11: lambda table: ListValue(tuple(table.numbers(0, "i"))),
}
"""How values are read, by their number in the union ``KernelTypes``; 1 is null."""
