"""The one table of element types: MIL's name and number, the number in a weight file, bits, and how NumPy holds a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

__all__ = ["BY_BLOB", "BY_MIL", "BY_NAME", "DType"]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type of Core ML.

    Attributes:
        name: MIL's name in text form: ``fp16``, ``int4``, ``uint1``.
        mil: number in ``MILSpec.DataType``.
        blob: number in a record of ``weight.bin``; None where the file format has no such type.
        bits: size of one element in a weight file; 0 for strings.
        holder: name of the NumPy dtype that holds unpacked values (int4 lives in int8, uint1 to uint6 in uint8).
    """

    name: str
    mil: int
    blob: int | None
    bits: int
    holder: str = field(compare=False)

    @property
    def is_float(self) -> bool:
        return self.name.startswith(("fp", "bf"))

    @property
    def is_int(self) -> bool:
        return self.name.startswith(("int", "uint"))

    @property
    def is_sub_byte(self) -> bool:
        return 0 < self.bits < 8 and self.name != "bool"

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype that holds unpacked values."""
        return _holder(self.holder)

    def __str__(self) -> str:
        return self.name


@cache
def _holder(name: str) -> np.dtype[Any]:
    if name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        import ml_dtypes

        name = getattr(ml_dtypes, name)
    return np.dtype(name)


BOOL = DType("bool", 1, None, 8, "bool")
STRING = DType("string", 2, None, 0, "object")
FP16 = DType("fp16", 10, 1, 16, "float16")
FP32 = DType("fp32", 11, 2, 32, "float32")
FP64 = DType("fp64", 12, None, 64, "float64")
BF16 = DType("bf16", 13, 5, 16, "bfloat16")
FP8E4M3FN = DType("fp8e4m3fn", 40, 16, 8, "float8_e4m3fn")
FP8E5M2 = DType("fp8e5m2", 41, 17, 8, "float8_e5m2")
INT4 = DType("int4", 25, 8, 4, "int8")
INT8 = DType("int8", 21, 4, 8, "int8")
INT16 = DType("int16", 22, 6, 16, "int16")
INT32 = DType("int32", 23, 14, 32, "int32")
INT64 = DType("int64", 24, None, 64, "int64")
UINT1 = DType("uint1", 37, 9, 1, "uint8")
UINT2 = DType("uint2", 36, 10, 2, "uint8")
UINT3 = DType("uint3", 39, 12, 3, "uint8")
UINT4 = DType("uint4", 35, 11, 4, "uint8")
UINT6 = DType("uint6", 38, 13, 6, "uint8")
UINT8 = DType("uint8", 31, 3, 8, "uint8")
UINT16 = DType("uint16", 32, 7, 16, "uint16")
UINT32 = DType("uint32", 33, 15, 32, "uint32")
UINT64 = DType("uint64", 34, None, 64, "uint64")

ALL = (
    BOOL, STRING, FP16, FP32, FP64, BF16, FP8E4M3FN, FP8E5M2, INT4, INT8, INT16, INT32, INT64,
    UINT1, UINT2, UINT3, UINT4, UINT6, UINT8, UINT16, UINT32, UINT64,
)  # fmt: skip
BY_NAME = {dtype.name: dtype for dtype in ALL}
BY_MIL = {dtype.mil: dtype for dtype in ALL}
BY_BLOB = {dtype.blob: dtype for dtype in ALL if dtype.blob is not None}
