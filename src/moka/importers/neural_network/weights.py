"""Weights of layers, in every form that the format has, as float32 arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from moka.errors import ProgramError

__all__ = ["WeightStore", "decode_weights", "packed_floats"]

Array: TypeAlias = np.ndarray[Any, Any]


class WeightStore:
    """Decodes each weight of a network once, however many programs are made of it."""

    def __init__(self) -> None:
        self._decoded: dict[int, tuple[Any, Array]] = {}

    def read(self, message: Any, shape: Sequence[int], where: str, *, axis: int = 0) -> Array:
        """A ``WeightParams`` message as a float32 array of ``shape``.

        Args:
            where: the layer and the field, for errors.
            axis: the one along which linear quantization may have a scale for each index.
        """
        if id(message) not in self._decoded:
            self._decoded[id(message)] = message, decode_weights(message, shape, axis, where)
        return self._decoded[id(message)][1].reshape(tuple(shape))

    def read_channels(self, message: Any, channels: int, where: str) -> Array:
        """A message with one number for each channel, or one for all of them, as an array [channels]."""
        single = len(message.floatValue) == 1 or len(message.float16Value) == 2 or _is_one_code(message, channels)
        count = 1 if single else channels
        return np.broadcast_to(self.read(message, (count,), where), (channels,)).copy()


def _is_one_code(message: Any, channels: int) -> bool:
    """Whether quantized weights are too few for ``channels``."""
    size = len(message.rawValue) or len(message.int8RawValue)
    return size == 1 and channels * max(1, message.quantization.numberOfBits) > 8


def decode_weights(message: Any, shape: Sequence[int], axis: int, where: str) -> Array:
    """Weights as a float32 array of ``shape``; see `WeightStore.read`.

    Raises:
        ProgramError: no weights, two forms at once, or another number of them than the layer's shape takes.
    """
    count = math.prod(map(int, shape))
    forms = [name for name in ("floatValue", "float16Value", "rawValue", "int8RawValue") if len(getattr(message, name))]
    if len(forms) != 1:
        raise ProgramError(f"{where}: has {' and '.join(forms) or 'no weights'}; expected one form of weights with {count} numbers")
    form = forms[0]
    if form == "floatValue":
        values = packed_floats(message)
    elif form == "float16Value":
        values = _from_bytes(message.float16Value, np.dtype("<f2"), where).astype(np.float32)
    elif message.HasField("quantization"):
        values = _quantized(message, form, tuple(map(int, shape)), axis, where)
    else:
        raise ProgramError(f"{where}: has {form} without quantization parameters")
    if values.size != count:
        raise ProgramError(f"{where}: has {values.size} weights; expected {count}, which is {list(map(int, shape))}")
    return values.reshape(tuple(shape))


def packed_floats(message: Any, field: str = "floatValue") -> Array:
    """A field of many floats. Read from the wire form: thousands of times faster than one Python float after the other."""
    values = getattr(message, field)
    data = type(message)(**{field: values}).SerializeToString()
    return np.frombuffer(data, np.dtype("<f4"), len(values), len(data) - 4 * len(values)).astype(np.float32)


def _from_bytes(data: bytes, dtype: np.dtype[Any], where: str) -> Array:
    if len(data) % dtype.itemsize:
        raise ProgramError(f"{where}: has {len(data)} bytes, which is no whole number of {dtype.name}")
    return np.frombuffer(data, dtype)


def _quantized(message: Any, form: str, shape: tuple[int, ...], axis: int, where: str) -> Array:
    bits, count = int(message.quantization.numberOfBits), math.prod(shape)
    if not 1 <= bits <= 8 or (form == "int8RawValue" and bits != 8):
        raise ProgramError(f"{where}: {form} quantized to {bits} bits; expected {'8' if form == 'int8RawValue' else '1 to 8'}")
    data = np.frombuffer(getattr(message, form), np.int8 if form == "int8RawValue" else np.uint8)
    if len(data) != (count * bits + 7) // 8:
        raise ProgramError(f"{where}: has {len(data)} bytes; expected {(count * bits + 7) // 8} for {count} weights of {bits} bits")
    codes = data if bits == 8 else _codes(data, bits, count)
    if message.quantization.WhichOneof("QuantizationType") != "lookupTableQuantization":
        return _dequantized(codes.reshape(shape), message.quantization.linearQuantization, axis, where)
    table = packed_floats(message.quantization.lookupTableQuantization)
    if form == "int8RawValue" or len(table) != 1 << bits:
        raise ProgramError(f"{where}: {form} has a lookup table of {len(table)} entries; expected rawValue and {1 << bits} for {bits} bits")
    return table[codes]


def _codes(data: Array, bits: int, count: int) -> Array:
    """Codes of ``bits`` bits, the most significant bit first, running across bytes."""
    rows = np.unpackbits(data)[: count * bits].reshape(count, bits)
    return rows @ (1 << np.arange(bits - 1, -1, -1))


def _dequantized(codes: Array, message: Any, axis: int, where: str) -> Array:
    """Codes times scale plus bias, of which there is one, or one for each index of ``axis``; a missing bias is 0."""
    scale, bias = (np.array(part, np.float32) for part in (message.scale, message.bias or [0.0]))
    channels = codes.shape[axis] if codes.ndim else 1
    for name, part in (("scale", scale), ("bias", bias)):
        if part.size not in (1, channels):
            raise ProgramError(f"{where}: has a linear quantization with {part.size} {name} values; expected 1 or {channels}")
    spread = (-1,) + (1,) * (codes.ndim - 1 - axis)
    result: Array = codes.astype(np.float32) * scale.reshape(spread) + bias.reshape(spread)
    return result
