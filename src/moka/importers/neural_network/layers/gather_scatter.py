"""Reading and writing at computed places; negative indices count from the end."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.formats import dtypes
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import known_rank, outer_rank, shape_of, size_of, wrapped
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value
from moka.ir.types import TensorType

_MODES = ("update", "add", "sub", "mul", "div", "max", "min")
"""By number of ``ScatterMode``."""


@layer("gather")
def gather(net: NetworkBuilder, params: Any, x: Value, indices: Value) -> Value:
    """Slices of the blob along an axis."""
    rank = outer_rank(known_rank(x), known_rank(indices), -1)
    return net.emit("gather", rank=rank, x=x, indices=wrapped(net, indices, size_of(net, x, params.axis)), axis=params.axis)


@layer("gatherAlongAxis")
def gather_along_axis(net: NetworkBuilder, params: Any, x: Value, indices: Value) -> Value:
    """Elements of the blob, one for each index, at the index's own place but for one axis."""
    places = wrapped(net, indices, size_of(net, x, params.axis))
    return net.emit("gather_along_axis", rank=known_rank(x), x=x, indices=places, axis=params.axis)


@layer("gatherND")
def gather_nd(net: NetworkBuilder, params: Any, x: Value, indices: Value) -> Value:
    """Slices of the blob at coordinates."""
    depth = _depth(net, indices)
    rank = None if depth is None else outer_rank(known_rank(x), known_rank(indices), -1 - depth)
    return net.emit("gather_nd", rank=rank, x=x, indices=_coordinates(net, x, indices, depth))


def _depth(net: NetworkBuilder, indices: Value) -> int | None:
    """How many axes coordinates are for: the size of their last axis."""
    size = size_of(net, indices, -1)
    return size if isinstance(size, int) else None


def _coordinates(net: NetworkBuilder, x: Value, indices: Value, depth: int | None) -> Value:
    """Coordinates that count from the beginning of each axis."""
    known = net.shape(x)[:depth] if known_rank(x) is not None and depth is not None else (None,)
    if all(isinstance(size, int) for size in known):
        return wrapped(net, indices, np.array(known, np.int32))
    end = net.emit_all("slice_by_index", 1, rank=1, dtype="int32", x=shape_of(net, indices), begin=[-1], end=[0], end_mask=[True])[0]
    sizes = net.emit_all("slice_by_index", 1, rank=1, dtype="int32", x=shape_of(net, x), begin=[0], end=end)[0]
    return wrapped(net, indices, sizes)


@layer("scatter")
def scatter(net: NetworkBuilder, params: Any, data: Value, indices: Value, updates: Value) -> Value:
    """The blob with slices along an axis combined with updates."""
    places = wrapped(net, indices, size_of(net, data, params.axis))
    mode = _MODES[params.mode]
    return net.emit("scatter", rank=known_rank(data), data=data, indices=places, updates=updates, axis=params.axis, mode=mode)


@layer("scatterAlongAxis")
def scatter_along_axis(net: NetworkBuilder, params: Any, data: Value, indices: Value, updates: Value) -> Value:
    """The blob with updates combined into it, each at its own place but for one axis."""
    places = wrapped(net, indices, size_of(net, data, params.axis))
    mode = _MODES[params.mode]
    return net.emit("scatter_along_axis", rank=known_rank(data), data=data, indices=places, updates=updates, axis=params.axis, mode=mode)


@layer("scatterND")
def scatter_nd(net: NetworkBuilder, params: Any, data: Value, indices: Value, updates: Value) -> Value:
    """The blob with updates combined into it at coordinates."""
    places = _coordinates(net, data, indices, _depth(net, indices))
    return net.emit("scatter_nd", rank=known_rank(data), data=data, indices=places, updates=updates, mode=_MODES[params.mode])


@layer("sliceBySize")
def slice_by_size(net: NetworkBuilder, params: Any, x: Value, begin: Value) -> Value:
    """``size`` elements along an axis, from a computed one on. Their number is known, so the shape of the result is."""
    first = net.cast(begin, "int32")
    places = net.emit_all("add", 1, rank=1, dtype="int32", x=first, y=list(range(params.size)))[0]
    places = wrapped(net, places, size_of(net, x, params.axis))
    return net.emit("gather", rank=known_rank(x), x=x, indices=places, axis=params.axis)


@layer("whereNonZero")
def where_non_zero(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The indices of the elements that are not zero, one row each."""
    (places,) = net.emit_all("non_zero", 1, rank=2, dtype="int32", x=x)
    if net.shapes.tensor(places) is None:
        places.type = TensorType(dtypes.INT32, (None, known_rank(x)))
    return net.cast(places, "fp32")


@layer("oneHot")
def one_hot(net: NetworkBuilder, params: Any, indices: Value, size: Value | None = None) -> Value:
    """A new axis with onValue at the index and offValue elsewhere; its size may be a blob."""
    return net.emit(
        "one_hot",
        rank=outer_rank(known_rank(indices), 1),
        indices=net.cast(indices, "int32"),
        one_hot_vector_size=params.oneHotVectorSize if size is None else net.cast(size, "int32"),
        axis=params.axis,
        on_value=params.onValue,
        off_value=params.offValue,
    )


@layer("embeddingND")
def embedding_nd(net: NetworkBuilder, params: Any, indices: Value) -> Value:
    """A row of the weights for each index, [..., 1] to [..., embeddingSize], plus a bias."""
    table = net.weights.read(params.weights, (params.embeddingSize, params.vocabSize), f"{net.origin}: weights").T
    if params.hasBias:
        table = table + net.weights.read(params.bias, (params.embeddingSize,), f"{net.origin}: bias")
    rows = net.emit("squeeze", rank=outer_rank(known_rank(indices), -1), x=net.cast(indices, "int32"), axes=[-1])
    return net.emit("gather", rank=known_rank(indices), x=table, indices=rows, axis=0)
