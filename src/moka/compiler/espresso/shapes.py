"""Shapes of all blobs of a network, as Moka's own importer of networks infers them for the inputs as declared."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from moka.compiler.espresso.weights import check_count
from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder, ShapeError
from moka.importers.neural_network.layers._nested import kinds, networks, reads, writes
from moka.importers.neural_network.network import Network, translate_network
from moka.importers.neural_network.translation import translate
from moka.importers.neural_network.weights import Array, WeightStore

__all__ = ["COLORS", "blob_shapes", "declared_shape"]

COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE"}
"""Orders of colours by the format's number; the last is grayscale in half precision."""

_HEAD = ("DESCRIPTOR", "preprocessing", "arrayInputShapeMapping", "imageInputShapeMapping")
"""What of a network's message comes before its layers."""

_SMALL = 4096
_LARGEST = 2**40


class _Sizes(WeightStore):
    """Weights that have their shape only, so that nothing large is decoded. Few numbers are real: they may be a shape themselves."""

    def read(self, message: Any, shape: Sequence[int], where: str, *, axis: int = 0) -> Array:
        if math.prod(shape) <= _SMALL:
            return super().read(message, shape, where, axis=axis)
        check_count(message, shape, where)
        return np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), tuple(shape), (0,) * len(shape))


def blob_shapes(message: Any, description: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each blob, by name; none of a blob whose shape depends on data, on a custom layer or on which layer wrote it last.

    Args:
        message: the network, in any of its three messages.
        description: the ``ModelDescription``.

    Raises:
        ProgramError: the network breaks rules of its layers.
        UnsupportedError: a layer that Moka can't run.
    """
    features = {feature.name: feature.type for feature in description.input}
    images = {name: COLORS.get(kind.imageType.colorSpace, "RGB") for name, kind in features.items() if kind.HasField("imageType")}
    head = SimpleNamespace(**{name: getattr(message, name) for name in _HEAD}, layers=())
    network = Network(head, tuple(features), images, {}, weights=_Sizes())
    net = NetworkBuilder(rank5=network.rank5, weights=network.weights)
    translate_network(net, network, {name: declared_shape(kind, name) for name, kind in features.items()})
    _translate_known(net, message.layers)
    shapes = {name: getattr(value.type, "static_shape", None) for name, value in net.blobs.items()}
    ambiguous = _rewritten(message.layers)
    return {name: tuple(shape) for name, shape in shapes.items() if shape is not None and name not in ambiguous}


def _translate_known(net: NetworkBuilder, layers: Sequence[Any]) -> None:
    """Translates the layers that don't need what custom layers write, whose shape only an app's own class knows.

    Nor what layers write that take no blobs of the shapes declared; they may take others, which the model's inputs have when it runs.
    """
    unknown: set[str] = set()
    for message in layers:
        if "custom" in kinds([message]) or not unknown.isdisjoint(reads([message])) or not _translates(net, message):
            unknown.update(writes([message]))
        else:
            unknown.difference_update(message.output)
    for name in unknown:
        net.blobs.pop(name, None)


def _translates(net: NetworkBuilder, message: Any) -> bool:
    try:
        translate(net, [message])
    except ShapeError:
        return False
    return True


def _rewritten(layers: Sequence[Any]) -> set[str]:
    """The blobs whose shape is not one for the whole network: those that several layers write, or nested networks."""
    counts = Counter(name for message in layers for name in message.output)
    nested = {name for message in layers for inner in networks(message) for name in writes(inner)}
    return nested | {name for name, count in counts.items() if count > 1}


def declared_shape(kind: Any, name: str) -> tuple[int, ...]:
    """The shape that an input has unless it is given another one.

    Raises:
        ProgramError: neither an image nor an array, an array that says nothing of its shape, or too many elements.
    """
    shape = _image_shape(kind.imageType) if kind.HasField("imageType") else _array_shape(kind, name)
    if math.prod(shape) > _LARGEST:
        raise ProgramError(f"input {name!r} has the shape {list(shape)}, which is more than {_LARGEST} elements")
    return shape


def _image_shape(image: Any) -> tuple[int, ...]:
    channels = 3 if COLORS.get(image.colorSpace) in ("RGB", "BGR") else 1
    return (1, channels, int(image.height), int(image.width))


def _array_shape(kind: Any, name: str) -> tuple[int, ...]:
    if not kind.HasField("multiArrayType"):
        raise ProgramError(f"input {name!r} is neither an image nor a multi-array; a network takes these")
    array = kind.multiArrayType
    enumerated = [entry.shape for entry in array.enumeratedShapes.shapes]
    smallest = [max(1, bounds.lowerBound) for bounds in array.shapeRange.sizeRanges]
    shape = tuple(map(int, array.shape or (enumerated[0] if enumerated else smallest)))
    if not shape:
        raise ProgramError(f"input {name!r} has no shape; a compiled network states the shape of every blob")
    return shape
