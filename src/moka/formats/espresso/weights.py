"""Weights of compiled networks as ``WeightParams`` messages: single and half precision as they are, 8-bit codes with their scales.

Codes of 8 bits, in the blob ``W_U8``, stand for ``code * per_ch_qscale + per_ch_qbias`` of their output channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from moka.errors import FormatError
from moka.formats.espresso.reading import CompiledLayer

__all__ = ["read_biases", "read_floats", "read_weights", "set_floats"]

_FLOAT, _HALF, _CODES = ("blob_weights", "W"), ("blob_weights_f16",), ("W_U8",)
_SCALE, _BIAS = "per_ch_qscale", "per_ch_qbias"
_LENGTH_DELIMITED = 2
_BIAS_PADDING = 4
"""Bytes of a bias for each channel, in single precision numbers, in layouts with room for four: the rest is zero."""


def read_weights(layer: CompiledLayer, shape: Sequence[int], message: Any) -> None:
    """Fills ``message`` with a layer's weights, which have ``shape``.

    Raises:
        FormatError: the blob is not there, or has another size.
        UnsupportedError: weights in a form of no known meaning.
    """
    count = math.prod(shape)
    if name := layer.weight_name(*_FLOAT):
        set_floats(message, _exactly(layer, name, "<f4", count))
    elif name := layer.weight_name(*_HALF):
        message.float16Value = _exactly(layer, name, "<f2", count).tobytes()
    elif name := layer.weight_name(*_CODES):
        _set_codes(layer, name, shape, message)
    else:
        found = [*sorted(layer.further_weights), *layer.attributes_with("blob")] or ["none"]
        raise layer.unknown("form of weights", ", ".join(found), ", ".join(_FLOAT + _HALF + _CODES))


def _set_codes(layer: CompiledLayer, name: str, shape: Sequence[int], message: Any) -> None:
    message.rawValue = _exactly(layer, name, np.uint8, math.prod(shape)).tobytes()
    message.quantization.numberOfBits = 8
    linear = message.quantization.linearQuantization
    linear.scale.extend(_exactly(layer, _SCALE, "<f4", shape[0], padding=_BIAS_PADDING).tolist())
    linear.bias.extend(_exactly(layer, _BIAS, "<f4", shape[0], padding=_BIAS_PADDING).tolist())


def read_biases(layer: CompiledLayer, channels: int, params: Any) -> None:
    """Fills ``hasBias`` and ``bias`` of a layer's parameters."""
    if layer.flag("has_biases"):
        params.hasBias = True
        set_floats(params.bias, _exactly(layer, "blob_biases", "<f4", channels, padding=_BIAS_PADDING))
    elif layer.has("blob_biases"):
        layer.blob_id("blob_biases")  # says nothing


def read_floats(layer: CompiledLayer, name: str, count: int) -> npt.NDArray[np.float32]:
    """The numbers of single precision in the blob that an attribute or entry of the table of weights refers to."""
    return _exactly(layer, name, "<f4", count)


def _exactly(layer: CompiledLayer, name: str, dtype: npt.DTypeLike, count: int, padding: int = 1) -> npt.NDArray[Any]:
    """A blob of ``count`` elements, or of ``padding`` times as many with zeros behind."""
    if not (layer.has(name) or name in layer.further_weights):
        raise layer.refuse(name, "is missing")
    identifier, file = layer.blob_id(name), layer.weight_file()
    size, itemsize = file.blob(identifier).size, np.dtype(dtype).itemsize
    if size not in (count * itemsize, count * itemsize * padding):
        problem = f"has {size} bytes, expected {count * itemsize} for {count} of {np.dtype(dtype).name}; {layer.where} uses it"
        raise FormatError(f"{file.path}: blob {identifier}", problem)
    return file.array(identifier, dtype, count)


def set_floats(message: Any, values: npt.NDArray[Any]) -> None:
    """Sets ``floatValue`` through the wire form, which is thousands of times faster than one Python float after the other."""
    data = values.astype("<f4", copy=False).tobytes()
    tag = message.DESCRIPTOR.fields_by_name["floatValue"].number << 3 | _LENGTH_DELIMITED
    message.MergeFromString(bytes([tag]) + _varint(len(data)) + data)


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes(parts) + bytes([number])
