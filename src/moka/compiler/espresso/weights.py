"""Weights of layers as the compiled model stores them: in their own form, or with a batch normalization in them.

    weights     (w * gamma) / sqrt(var + eps), in float32 from left to right, then in the weights' form
    biases      (b - mean) * gamma / sqrt(var + eps) + beta, in float64 but for the root, then float32

These orders of operations give the very bits of Apple's compiler: the 119 half-precision weights and 60 biases of the real models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from moka.errors import ProgramError
from moka.importers.neural_network.weights import decode_weights

__all__ = ["BatchNormalization", "Blob", "batchnorm_parameters", "biases", "check_count", "constant", "form", "stored", "weights"]

Array: TypeAlias = np.ndarray[Any, Any]

_FORMS = {"floatValue": "f32", "float16Value": "f16", "rawValue": "quantized", "int8RawValue": "quantized"}
_PARAMETERS = ("gamma", "beta", "mean", "variance")
_DTYPES: dict[str, np.dtype[Any]] = {"f32": np.dtype("<f4"), "f16": np.dtype("<f2"), "quantized": np.dtype("<f4")}


@dataclass(frozen=True)
class Blob:
    """A blob of the weight file: its size in bytes, and what gives its content when it is written."""

    size: int
    read: Callable[[], Array]


@dataclass(frozen=True)
class BatchNormalization:
    """The parameters of a batch normalization, float32, one number for each channel."""

    gamma: Array
    beta: Array
    mean: Array
    root: Array

    @classmethod
    def of(cls, params: Any, channels: int, where: str) -> BatchNormalization:
        """From a ``BatchnormLayerParams`` message; the root is that of the variance and epsilon.

        Raises:
            ProgramError: it is of another number of channels, or its parameters are.
        """
        if params.channels != channels:
            raise ProgramError(f"{where}: the batch normalization after it has {params.channels} channels; expected {channels}")
        gamma, beta, mean, variance = (_channels(params, name, where) for name in _PARAMETERS)
        return cls(gamma, beta, mean, np.sqrt(variance + np.float32(params.epsilon)))

    def weights(self, values: Array) -> Array:
        """Convolution weights [out, ...] with this normalization in them."""
        spread = (-1,) + (1,) * (values.ndim - 1)
        result: Array = values * self.gamma.reshape(spread) / self.root.reshape(spread)
        return result

    def biases(self, values: Array) -> Array:
        """Biases with this normalization in them."""
        parts = (part.astype(np.float64) for part in (values, self.mean, self.gamma, self.root, self.beta))
        bias, mean, gamma, root, beta = parts
        return ((bias - mean) * gamma / root + beta).astype(np.float32)


def form(message: Any, where: str) -> str:
    """The form of a ``WeightParams`` message: ``f32``, ``f16`` or ``quantized``.

    Raises:
        ProgramError: it has none, or several.
    """
    found = {name for field, name in _FORMS.items() if len(getattr(message, field))}
    if len(found) != 1:
        raise ProgramError(f"{where}: has {' and '.join(sorted(found)) or 'no'} weights; expected one form of them")
    return found.pop()


def weights(message: Any, shape: Sequence[int], where: str, normalization: BatchNormalization | None = None) -> Blob:
    """Weights of ``shape`` in their own form (quantized ones as float32), with a batch normalization in them if there is one."""
    dtype = _DTYPES[form(message, where)]
    check_count(message, shape, where)

    def read() -> Array:
        if normalization is None and message.float16Value:
            return np.frombuffer(message.float16Value, dtype)
        values = _floats(message, shape, where)
        return (values if normalization is None else normalization.weights(values)).astype(dtype, copy=False)

    return Blob(math.prod(shape) * dtype.itemsize, read)


def biases(message: Any | None, channels: int, where: str, *, spread: int = 1, normalization: BatchNormalization | None = None) -> Blob:
    """Biases as float32, zeros where there is no message, in a blob of room for ``spread`` times as many."""
    if message is not None:
        check_count(message, (channels,), where)

    def read() -> Array:
        values = np.zeros(channels, np.float32) if message is None else _floats(message, (channels,), where)
        values = values if normalization is None else normalization.biases(values)
        return np.concatenate([values, np.zeros(channels * (spread - 1), np.float32)])

    return Blob(channels * 4 * spread, read)


def constant(message: Any, shape: Sequence[int], where: str) -> Blob:
    """Numbers of ``shape`` as float32."""
    check_count(message, shape, where)
    return Blob(math.prod(shape) * 4, lambda: _floats(message, shape, where))


def stored(message: Any, field: str) -> Blob:
    """The numbers of a ``WeightParams`` message as it has them in one of its fields."""
    if field == "floatValue":
        return Blob(4 * len(message.floatValue), lambda: _single(message))
    data = getattr(message, field)
    return Blob(len(data), lambda: np.frombuffer(data, np.uint8))


def batchnorm_parameters(params: Any, where: str) -> Blob:
    """Scale, offset, mean and variance of each channel, the four of a channel together; a mean that is missing is 0, a variance 1."""

    def read() -> Array:
        missing = {"mean": np.float32(0), "variance": np.float32(1)}
        parts = [
            np.full(params.channels, missing[name]) if name in missing and not params.HasField(name) else _channels(params, name, where)
            for name in _PARAMETERS
        ]
        return np.stack(parts, axis=1)

    return Blob(int(params.channels) * 4 * len(_PARAMETERS), read)


def _channels(params: Any, name: str, where: str) -> Array:
    return _floats(getattr(params, name), (params.channels,), f"{where}: {name}")


def check_count(message: Any, shape: Sequence[int], where: str) -> None:
    """Refuses weights that are not as many as the shape says, before anything of their size is made."""
    found = len(message.floatValue) or len(message.float16Value) / 2
    if form(message, where) != "quantized" and found != math.prod(shape):
        raise ProgramError(f"{where}: has {found:g} weights; expected {math.prod(shape)}, which is {list(shape)}")
    if form(message, where) == "quantized":
        _floats(message, shape, where)


def _floats(message: Any, shape: Sequence[int], where: str) -> Array:
    return _single(message).reshape(shape) if form(message, where) == "f32" else decode_weights(message, shape, 0, where)


def _single(message: Any) -> Array:
    """A message's float32 numbers, with one copy of them at a time: the field is the first in the wire form, behind a tag and its size."""
    data, count = message.SerializePartialToString(), len(message.floatValue)
    start = 1 + -(-(4 * count).bit_length() // 7)
    return np.frombuffer(data, _DTYPES["f32"], count, start)
