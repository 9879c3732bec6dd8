"""The stand-in for ``coremltools.libmilstoragepython``, where the platform has none: weight files, by Moka's own formats.

Arguments are converted as the extension module converts them: anything that NumPy makes an array of, cast to the method's type
without a check, except for the range of the types below eight bits. float16 travels as the bits of uint16.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from moka.bridge.failures import runtime_errors
from moka.errors import FormatError
from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.formats.weights import WeightFile, append_blob, start_file, unpack

__all__ = ["_BlobStorageReader", "_BlobStorageWriter"]

Array = npt.NDArray[np.generic]


def _carrier(dtype: DType) -> np.dtype[Any]:
    """The NumPy dtype that elements have in coremltools' hands."""
    return np.dtype(np.uint16) if dtype == dtypes.FP16 else dtype.numpy


def _write(dtype: DType) -> Callable[[_BlobStorageWriter, npt.ArrayLike], int]:
    def write(self: _BlobStorageWriter, data: npt.ArrayLike) -> int:
        """Appends a blob and returns its offset, by which a program refers to it."""
        array = _converted(data, dtype)
        with runtime_errors(), self.path.open("r+b") as file:
            return append_blob(file, array, dtype)

    return write


def _read(dtype: DType) -> Callable[[_BlobStorageReader, int], Array]:
    def read(self: _BlobStorageReader, offset: int) -> Array:
        """A copy of the blob at an offset, with one dimension."""
        with runtime_errors():
            record = self.file.record(offset)
            if record.dtype != dtype:
                raise FormatError(f"{self.path}: blob at {offset}: type", f"found {record.dtype}, asked for {dtype}")
            return np.array(unpack(self.file.raw(record), dtype, record.count)).view(_carrier(dtype))

    return read


def _converted(data: npt.ArrayLike, dtype: DType) -> Array:
    try:
        array = np.asarray(data).astype(_carrier(dtype))
    except (TypeError, ValueError) as error:
        raise TypeError(f"weights of type {dtype}: {error}") from error
    if dtype.is_sub_byte:
        _check_range(array, dtype)
    return array.view(dtype.numpy)


def _check_range(array: Array, dtype: DType) -> None:
    """ValueError, in the words that coremltools' own tests look for, where a value needs more bits than the type has."""
    low, high = (-8, 7) if dtype == dtypes.INT4 else (0, 2**dtype.bits - 1)
    values: npt.NDArray[np.integer[Any]] = array.astype(np.int16).reshape(-1)
    outside = values[(values < low) | (values > high)]
    if outside.size:
        raise ValueError(f"Value {outside[0]} is outside allowed subbyte datatype range [{low}, {high}].")


class _BlobStorageWriter:
    """Writes a weight file, which is complete after every call: coremltools never closes a writer."""

    def __init__(self, file_name: str, truncate_file: bool = True) -> None:
        self.path = Path(file_name)
        with runtime_errors():
            if truncate_file or not self.path.exists() or self.path.stat().st_size == 0:
                with self.path.open("wb") as file:
                    start_file(file)
            else:
                WeightFile(self.path)  # refuses what is no weight file

    write_int4_data = _write(dtypes.INT4)
    write_uint1_data = _write(dtypes.UINT1)
    write_uint2_data = _write(dtypes.UINT2)
    write_uint3_data = _write(dtypes.UINT3)
    write_uint4_data = _write(dtypes.UINT4)
    write_uint6_data = _write(dtypes.UINT6)
    write_int8_data = _write(dtypes.INT8)
    write_uint8_data = _write(dtypes.UINT8)
    write_int16_data = _write(dtypes.INT16)
    write_uint16_data = _write(dtypes.UINT16)
    write_int32_data = _write(dtypes.INT32)
    write_uint32_data = _write(dtypes.UINT32)
    write_fp16_data = _write(dtypes.FP16)
    write_float_data = _write(dtypes.FP32)


class _BlobStorageReader:
    """Reads a weight file, which is opened at the first read."""

    def __init__(self, file_name: str) -> None:
        self.path = Path(file_name)

    @cached_property
    def file(self) -> WeightFile:
        return WeightFile(self.path)

    read_int4_data = _read(dtypes.INT4)
    read_uint1_data = _read(dtypes.UINT1)
    read_uint2_data = _read(dtypes.UINT2)
    read_uint3_data = _read(dtypes.UINT3)
    read_uint4_data = _read(dtypes.UINT4)
    read_uint6_data = _read(dtypes.UINT6)
    read_int8_data = _read(dtypes.INT8)
    read_uint8_data = _read(dtypes.UINT8)
    read_int16_data = _read(dtypes.INT16)
    read_uint16_data = _read(dtypes.UINT16)
    read_int32_data = _read(dtypes.INT32)
    read_uint32_data = _read(dtypes.UINT32)
    read_fp16_data = _read(dtypes.FP16)
    read_float_data = _read(dtypes.FP32)
