"""Reads and writes weight files: ``weight.bin``, version 2 of the storage format of ML Programs.

    header    64 bytes: u32 number of blobs, u32 version 2, zeros
    record    64 bytes: u32 0xDEADBEEF, u32 type, u64 bytes of data, u64 where the data starts, u64 padding bits, zeros
    data      as many bytes as the record says

Records and data start at multiples of 64; numbers are little-endian; the last data is not padded. A program refers to
a blob by where its record starts. Checked against what coremltools' ``libmilstoragepython`` writes and reads.
"""

from __future__ import annotations

import mmap
import os
import reprlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from moka.errors import FormatError, InputError
from moka.formats.dtypes import BY_BLOB, DType
from moka.formats.files import FileSection, regular_file_size, replacing_file
from moka.formats.packing import Array, as_bytes, pack, packed_size, unpack

__all__ = ["BlobRecord", "WeightFile", "WeightWriter", "append_blob", "element_count", "pack", "start_file", "unpack"]

_ALIGNMENT = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2
_HEADER = struct.Struct("<II")
_RECORD = struct.Struct("<IIQQQ")
_LARGEST_COUNT = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """One blob of a weight file.

    Attributes:
        dtype: type of the elements.
        offset: where the data starts in the file.
        size: bytes of data.
        padding_bits: unused bits at the end of the last byte, for types of fewer than eight bits; else 0.
        record_offset: where the record starts: what a program refers to.
    """

    dtype: DType
    offset: int
    size: int
    padding_bits: int
    record_offset: int

    @property
    def count(self) -> int:
        """The number of elements."""
        return (self.size * 8 - self.padding_bits) // self.dtype.bits

    @property
    def end(self) -> int:
        """Where the data ends."""
        return self.offset + self.size


class WeightFile:
    """A weight file, mapped into memory: arrays are views of the map, and the system reads a page when it is touched.

    The map is private and copy-on-write: arrays are writable, as PyTorch wants them, but nothing reaches the file.
    It lives as long as the last array that refers to it. A section of a file that is mapped already is one, too.

    Raises:
        FormatError: missing, not a regular file, shorter than a header, another version, or more blobs than fit.
    """

    def __init__(self, path: str | os.PathLike[str] | FileSection) -> None:
        given = path if isinstance(path, FileSection) else Path(path)
        self.path = str(given)
        self.size = regular_file_size(given) if isinstance(given, Path) else given.size
        if self.size < _ALIGNMENT:
            raise FormatError(f"{self.path}: header", f"the file has {self.size} bytes, a header has {_ALIGNMENT}")
        section = _mapped(given, self.size) if isinstance(given, Path) else given
        self._bytes = np.frombuffer(section.content, np.uint8, section.size, section.offset)
        self.count, version = _HEADER.unpack_from(self._bytes.data)
        if version != _VERSION:
            raise FormatError(f"{self.path}: header: version", f"found {version}, expected {_VERSION}")
        if self.count > self.size // _ALIGNMENT - 1:
            raise FormatError(f"{self.path}: header: count", f"{self.count} blobs don't fit into a file of {self.size} bytes")

    def record(self, offset: int) -> BlobRecord:
        """The record that starts at ``offset``, with its data checked to lie in the file."""
        where = f"{self.path}: blob at {offset}"
        if offset < _ALIGNMENT or offset % _ALIGNMENT:
            raise FormatError(f"{where}: offset", f"expected a multiple of {_ALIGNMENT} after the header")
        if offset + _ALIGNMENT > self.size:
            raise FormatError(f"{where}: offset", f"the record would end past the file's {self.size} bytes")
        sentinel, number, size, start, padding = _RECORD.unpack_from(self._bytes.data, offset)
        if sentinel != _SENTINEL:
            raise FormatError(f"{where}: sentinel", f"found {sentinel:#010x}, expected {_SENTINEL:#010x}: no blob here")
        if number not in BY_BLOB:
            raise FormatError(f"{where}: type", f"found {number}, known are {sorted(BY_BLOB)}")
        if start < offset + _ALIGNMENT or start % _ALIGNMENT:
            raise FormatError(f"{where}: data offset", f"found {start}, expected a multiple of 64 after the record")
        if start + size > self.size:
            raise FormatError(f"{where}: size", f"data from {start} to {start + size}, the file has {self.size} bytes")
        dtype = BY_BLOB[number]
        return BlobRecord(dtype, start, size, _padding(dtype, size, padding, where), offset)

    def records(self) -> Iterator[BlobRecord]:
        """All records, in the order of the file."""
        offset = _ALIGNMENT
        for _ in range(self.count):
            record = self.record(offset)
            yield record
            offset = _align(record.end)

    def read(self, offset: int, dtype: DType, shape: Sequence[int]) -> Array:
        """The array of the blob whose record starts at ``offset``.

        A view of the map for whole-byte types; unpacked into int8 or uint8 for int4 and uint1 to uint6.

        Raises:
            FormatError: no blob there, its type is not ``dtype``, or its size is not that of ``shape``.
        """
        record = self.record_for(offset, dtype, shape)
        try:
            return unpack(self.raw(record), dtype, record.count).reshape(tuple(shape))
        except ValueError as error:  # NumPy has limits on the rank, and on the sizes beside a 0
            raise FormatError(f"{self.path}: blob at {offset}: shape", f"{_brief(shape)}: {error}") from error

    def record_for(self, offset: int, dtype: DType, shape: Sequence[int]) -> BlobRecord:
        """The record that starts at ``offset``, checked to be of ``dtype`` and ``shape``; errors are those of ``read``."""
        where = f"{self.path}: blob at {offset}"
        record = self.record(offset)
        if record.dtype != dtype:
            raise FormatError(f"{where}: type", f"found {record.dtype}, the program declares {dtype}")
        count = element_count(shape, f"{where}: shape")
        if record.count != count:
            expected = f"shape {_brief(shape)} of {dtype} has {count} in {packed_size(count, dtype)}"
            raise FormatError(f"{where}: size", f"found {record.count} elements in {record.size} bytes, {expected}")
        return record

    def raw(self, record: BlobRecord) -> npt.NDArray[np.uint8]:
        """The bytes of a blob, as a view of the map."""
        return self._bytes[record.offset : record.end]

    def __repr__(self) -> str:
        return f"WeightFile({self.path!r}: {self.count} blobs, {self.size} bytes)"


def _mapped(path: Path, size: int) -> FileSection:
    """A whole file as a section."""
    try:
        with path.open("rb") as file:
            return FileSection(str(path), mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY), 0, size)
    except (OSError, ValueError) as error:
        raise FormatError(path, f"can't be mapped into memory: {error}") from error


def _padding(dtype: DType, size: int, padding: int, where: str) -> int:
    """Checked padding bits of a record.

    They mean something for sub-byte types only: real files of older writers have arbitrary bytes there otherwise.
    """
    if not dtype.is_sub_byte:
        if size % (dtype.bits // 8):
            raise FormatError(f"{where}: size", f"{size} bytes are no whole number of {dtype} elements")
        return 0
    if padding > 7 or (size * 8 - padding) % dtype.bits or padding > size * 8:
        raise FormatError(f"{where}: padding", f"{size} bytes less {padding} bits are no whole number of {dtype} elements")
    return padding


def element_count(shape: Sequence[int], where: object) -> int:
    """The product of a shape's sizes; FormatError where a size is negative or the product passes 2⁶³ - 1."""
    if any(size < 0 for size in shape):
        raise FormatError(where, f"{_brief(shape)} has a negative size")
    count = 0 if 0 in shape else 1
    for size in shape:
        count *= size
        if count > _LARGEST_COUNT:
            raise FormatError(where, f"{_brief(shape)} has more elements than 64 bits count")
    return count


def _brief(shape: Sequence[int]) -> str:
    """A shape for a message: a hostile file may have one of a million sizes."""
    return reprlib.repr(tuple(shape))


def _align(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT


def start_file(file: BinaryIO) -> None:
    """Writes the header of a weight file without blobs."""
    file.write(_HEADER.pack(0, _VERSION).ljust(_ALIGNMENT, b"\0"))


def append_blob(file: BinaryIO, array: Array, dtype: DType) -> int:
    """Appends a blob to a weight file that is open for reading and writing, and returns where its record starts.

    The number of blobs in the header is kept right, so the file is complete after every call.

    Raises:
        InputError: the array's dtype or values are not those of ``dtype``, or weight files have no such type.
    """
    if dtype.blob is None:
        raise InputError(f"array of type {dtype}: weight files have no such type")
    data = as_bytes(array, dtype)
    padding = data.size * 8 - array.size * dtype.bits
    offset = _align(file.seek(0, os.SEEK_END))
    start = offset + _ALIGNMENT
    file.write(b"\0" * (offset - file.tell()))
    file.write(_RECORD.pack(_SENTINEL, dtype.blob, data.size, start, padding).ljust(_ALIGNMENT, b"\0"))
    file.write(data.data)
    file.seek(0)
    count, version = _HEADER.unpack(file.read(_HEADER.size))
    file.seek(0)
    file.write(_HEADER.pack(count + 1, version))
    return offset


class WeightWriter:
    """Writes a weight file; it takes the place of ``path`` when the ``with`` block ends without an error.

    with WeightWriter("weight.bin") as writer:
        offset = writer.write(array, dtypes.FP16)
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._cleanup = ExitStack()
        self._file: BinaryIO | None = None

    def __enter__(self) -> WeightWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing_file(self.path))
            self._file = stack.enter_context(temporary.open("x+b"))
            start_file(self._file)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._file = None
        self._cleanup.__exit__(kind, error, traceback)

    def write(self, array: Array, dtype: DType) -> int:
        """Appends a blob and returns the offset that a program refers to it by; errors are those of ``append_blob``."""
        if self._file is None:
            raise InputError(f"{self.path}: the writer is not open, use it in a with statement")
        return append_blob(self._file, array, dtype)
