"""Layers in order, each through its translation: those of a network, and those of the networks nested in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moka.errors import ProgramError, UnsupportedError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.messages import check_enumerations
from moka.importers.neural_network.registry import LAYERS, check_inputs
from moka.ir.program import Value
from moka.ir.types import TensorType

__all__ = ["translate"]


def translate(net: NetworkBuilder, messages: Sequence[Any]) -> None:
    """Translates layers in order; what they write goes to ``net.blobs``."""
    for index, message in enumerate(messages):
        outer, net.layer = net.layer, message
        kind = message.WhichOneof("layer")
        translation = LAYERS.get(kind)
        if translation is None:
            raise UnsupportedError(f"layer {message.name!r} is of the kind {kind}, which Moka has no translation for")
        check_enumerations(getattr(message, kind), net.origin)
        blobs = [_read(net, name, messages[index:]) for name in message.input]
        check_inputs(translation, len(blobs), net.origin)
        result = translation(net, getattr(message, kind), *blobs)
        results = [result] if isinstance(result, Value) else list(result)
        if len(results) != len(message.output):
            raise ProgramError(f"{net.origin} has {len(message.output)} outputs; expected {len(results)}")
        _state_ranks(results, message.outputTensor)
        net.blobs.update(zip(message.output, (_with_axes(net, value) for value in results), strict=True))
        net.layer = outer


def _read(net: NetworkBuilder, name: str, coming: Sequence[Any]) -> Value:
    if name in net.blobs:
        return net.blobs[name]
    writer = next((message.name for message in coming if name in message.output), None)
    late = "" if writer is None else f"; layer {writer!r} writes it, which needs this layer or comes after it"
    raise ProgramError(f"{net.origin} reads the blob {name!r}, which no input and no earlier layer writes{late}")


def _state_ranks(results: Sequence[Value], tensors: Sequence[Any]) -> None:
    """Ranks that the file states, where they are not known otherwise: data decides the shape."""
    for value, tensor in zip(results, tensors, strict=False):
        if isinstance(value.type, TensorType) and value.type.shape is None and tensor.rank:
            value.type = TensorType(value.type.dtype, (None,) * tensor.rank)


def _with_axes(net: NetworkBuilder, value: Value) -> Value:
    """The value with one axis at least, as all blobs have."""
    if not isinstance(value.type, TensorType) or value.type.rank != 0:
        return value
    blob = net.emit("expand_dims", rank=1, x=value, axes=[0])
    net.scalars.add(blob)
    return blob
