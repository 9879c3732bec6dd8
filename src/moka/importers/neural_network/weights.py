"""Weights of layers, in every form that the format has, as float32 arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from moka.errors import ProgramError

__all__ = ["WeightStore", "decode_weights"]

Array: TypeAlias = np.ndarray[Any, Any]


class WeightStore:
    """Decodes each weight of a network once, however many programs are made of it."""

    def __init__(self) -> None:
        self._decoded: dict[int, tuple[Any, Array]] = {}

    def read(self, message: Any, shape: Sequence[int], where: str) -> Array:
        """A ``WeightParams`` message as a float32 array of ``shape``; ``where`` names layer and field in errors."""
        if id(message) not in self._decoded:
            self._decoded[id(message)] = (
                message,
                decode_weights(message, int(np.prod(shape, dtype=object)), shape[0] if shape else 1, where),
            )
        return self._decoded[id(message)][1].reshape(tuple(shape))


def decode_weights(message: Any, count: int, channels: int, where: str) -> Array:
    """``count`` weights as float32. ``channels`` is the size of the first axis, along which quantization may have a scale each.

    Raises:
        ProgramError: no weights, two forms at once, or another number of them than the layer's shape takes.
    """
    forms = [name for name in ("floatValue", "float16Value", "rawValue", "int8RawValue") if len(getattr(message, name))]
    if len(forms) != 1:
        raise ProgramError(f"{where}: has {' and '.join(forms) or 'no weights'}; expected one form of weights with {count} numbers")
    form = forms[0]
    if form == "floatValue":
        values = packed_floats(message)
    elif form == "float16Value":
        values = _from_bytes(message.float16Value, np.dtype("<f2"), where).astype(np.float32)
    elif message.HasField("quantization"):
        values = _quantized(message, form, count, channels, where)
    else:
        raise ProgramError(f"{where}: has {form} without quantization parameters")
    if values.size != count:
        raise ProgramError(f"{where}: has {values.size} weights; expected {count}")
    return values


def packed_floats(message: Any) -> Array:
    """The ``floatValue`` of a message. Read from the wire form: thousands of times faster than one Python float after the other."""
    values = message.floatValue
    data = type(message)(floatValue=values).SerializeToString()
    return np.frombuffer(data, np.dtype("<f4"), len(values), len(data) - 4 * len(values)).astype(np.float32)


def _from_bytes(data: bytes, dtype: np.dtype[Any], where: str) -> Array:
    if len(data) % dtype.itemsize:
        raise ProgramError(f"{where}: has {len(data)} bytes, which is no whole number of {dtype.name}")
    return np.frombuffer(data, dtype)


def _quantized(message: Any, form: str, count: int, channels: int, where: str) -> Array:
    bits = 8 if form == "int8RawValue" else int(message.quantization.numberOfBits)
    if not 1 <= bits <= 8:
        raise ProgramError(f"{where}: quantized to {bits} bits; expected 1 to 8")
    data = np.frombuffer(getattr(message, form), np.int8 if form == "int8RawValue" else np.uint8)
    if len(data) != (count * bits + 7) // 8:
        raise ProgramError(f"{where}: has {len(data)} bytes; expected {(count * bits + 7) // 8} for {count} weights of {bits} bits")
    codes = data if bits == 8 else _codes(data, bits, count)
    if message.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
        table = packed_floats(message.quantization.lookupTableQuantization)
        if len(table) != 1 << bits:
            raise ProgramError(f"{where}: has a lookup table of {len(table)} entries; expected {1 << bits} for {bits} bits")
        return table[codes]
    return _dequantized(codes, message.quantization.linearQuantization, channels, where)


def _codes(data: Array, bits: int, count: int) -> Array:
    """Codes of ``bits`` bits, the most significant bit first, running across bytes."""
    rows = np.unpackbits(data)[: count * bits].reshape(count, bits)
    return rows @ (1 << np.arange(bits - 1, -1, -1))


def _dequantized(codes: Array, message: Any, channels: int, where: str) -> Array:
    scale, bias = (np.array(part, np.float32) for part in (message.scale, message.bias))
    for name, part in (("scale", scale), ("bias", bias)):
        if part.size not in (1, channels) and not (name == "bias" and part.size == 0):
            raise ProgramError(f"{where}: has a linear quantization with {part.size} {name} values; expected 1 or {channels}")
    rows = codes.astype(np.float32).reshape(-1 if channels == 0 else max(1, max(scale.size, bias.size)), -1)
    offset = bias if bias.size else np.zeros(1, np.float32)
    return (rows * scale[:, None] + offset[:, None]).reshape(-1)
