"""Shapes of all blobs of a network, as Moka's own importer of networks infers them for the inputs as declared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from moka.compiler.espresso.weights import check_count
from moka.errors import ProgramError, UnsupportedError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.network import Network, translate_network
from moka.importers.neural_network.weights import Array, WeightStore

__all__ = ["COLORS", "blob_shapes", "declared_shape"]

COLORS = {10: "GRAYSCALE", 20: "RGB", 30: "BGR", 40: "GRAYSCALE"}
"""Orders of colours by the format's number; the last is grayscale in half precision."""

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
    """The shape of each blob, by name.

    Args:
        message: the network, in any of its three messages.
        description: the ``ModelDescription``.

    Raises:
        ProgramError: the network breaks rules of its layers.
        UnsupportedError: a layer that Moka can't run, or a shape that depends on data.
    """
    features = {feature.name: feature.type for feature in description.input}
    images = {name: COLORS.get(kind.imageType.colorSpace, "RGB") for name, kind in features.items() if kind.HasField("imageType")}
    network = Network(message, tuple(features), images, {}, weights=_Sizes())
    net = NetworkBuilder(rank5=network.rank5, weights=network.weights)
    translate_network(net, network, {name: declared_shape(kind, name) for name, kind in features.items()})
    shapes = {name: getattr(value.type, "static_shape", None) for name, value in net.blobs.items()}
    if unknown := next((name for name, shape in shapes.items() if shape is None), None):
        raise UnsupportedError(f"blob {unknown!r}: its shape depends on data; compiled networks state the shape of every blob")
    return {name: tuple(shape) for name, shape in shapes.items() if shape is not None}


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
