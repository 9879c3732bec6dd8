"""Elements to bytes and back, for weight files and for the ``bytes`` of immediate values.

Whole-byte types are little-endian. Elements of fewer than eight bits lie one after the other without gaps, the first
in the lowest bits of the first byte, an element's lowest bit first; uint3 and uint6 elements may cross into the next
byte. Unused bits of the last byte are zero.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from moka.errors import FormatError, InputError
from moka.formats.dtypes import DType

__all__ = ["Array", "as_bytes", "pack", "packed_size", "unpack"]

Array = npt.NDArray[np.generic]
_Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def packed_size(count: int, dtype: DType) -> int:
    """Bytes that ``count`` elements take: ceil(count · bits / 8)."""
    return -(-count * dtype.bits // 8)


def unpack(data: bytes | bytearray | memoryview | _Bytes, dtype: DType, count: int) -> Array:
    """``count`` elements from their bytes, in the NumPy dtype that holds them: a view of ``data`` for whole-byte types.

    Raises:
        FormatError: ``data`` is not exactly as long as ``count`` elements are.
    """
    raw: _Bytes = data if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)
    if dtype.bits == 0:
        raise FormatError(f"elements of type {dtype}", "have no packed form")
    if count < 0 or raw.size != packed_size(count, dtype):
        raise FormatError(f"{count} elements of type {dtype}", f"found {raw.size} bytes, expected {packed_size(max(count, 0), dtype)}")
    return _unpack_bits(raw, dtype, count) if dtype.is_sub_byte else raw.view(dtype.numpy)


def pack(array: Array, dtype: DType) -> bytes:
    """The bytes of an array whose dtype holds elements of ``dtype``, in row-major order.

    Raises:
        InputError: the array has another dtype, or a value that ``dtype`` can't hold.
    """
    return as_bytes(array, dtype).tobytes()


def as_bytes(array: Array, dtype: DType) -> _Bytes:
    """``pack`` without a copy where the array already lies in memory as it does in a file."""
    if dtype.bits == 0 or array.dtype != dtype.numpy:
        raise InputError(f"array of type {dtype}: found NumPy dtype {array.dtype}, expected {dtype.numpy}")
    flat = np.ascontiguousarray(array).reshape(-1)
    if not dtype.is_sub_byte:
        return flat.view(np.uint8)
    low, high = _range(dtype)
    if flat.size and (flat.min() < low or flat.max() > high):
        raise InputError(f"array of type {dtype}: values are from {flat.min()} to {flat.max()}, allowed {low} to {high}")
    return _pack_bits(flat.view(np.uint8), dtype.bits)


def _range(dtype: DType) -> tuple[int, int]:
    if dtype.name.startswith("int"):
        return -(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1
    return 0, (1 << dtype.bits) - 1


def _lanes(bits: int) -> Iterator[tuple[int, int, int]]:
    """Element, byte and shift for the eight elements that make up ``bits`` whole bytes."""
    return ((element, *divmod(element * bits, 8)) for element in range(8))


def _unpack_bits(raw: _Bytes, dtype: DType, count: int) -> Array:
    bits = dtype.bits
    groups = -(-count // 8)
    packed = np.zeros((groups, bits), np.uint8)
    packed.reshape(-1)[: raw.size] = raw
    elements = np.empty((groups, 8), np.uint8)
    for element, byte, shift in _lanes(bits):
        elements[:, element] = packed[:, byte] >> shift
        if shift + bits > 8:
            elements[:, element] |= packed[:, byte + 1] << (8 - shift)
    elements &= (1 << bits) - 1
    flat = elements.reshape(-1)[:count]
    if dtype.name.startswith("uint"):
        return flat
    sign = np.uint8(1 << bits - 1)  # two's complement: (x ^ sign) - sign extends the sign bit
    flat ^= sign
    flat -= sign
    return flat.view(np.int8)


def _pack_bits(flat: _Bytes, bits: int) -> _Bytes:
    groups = -(-flat.size // 8)
    elements = np.zeros((groups, 8), np.uint8)
    np.bitwise_and(flat, (1 << bits) - 1, out=elements.reshape(-1)[: flat.size])
    packed = np.zeros((groups, bits), np.uint8)
    for element, byte, shift in _lanes(bits):
        packed[:, byte] |= elements[:, element] << shift
        if shift + bits > 8:
            packed[:, byte + 1] |= elements[:, element] >> (8 - shift)
    return packed.reshape(-1)[: -(-flat.size * bits // 8)]
