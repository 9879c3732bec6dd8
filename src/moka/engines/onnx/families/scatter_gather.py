"""Reading and writing at computed places.

Indices outside follow the rule of the operation's version, as its kernel states it: up to iOS 16 they wrap around, from iOS 17 on they
read the nearest element and write nothing. Nothing is added to the graph for indices that are known to lie inside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from moka.engines.onnx.graph import Array, Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers

_REDUCTIONS = {"add": "add", "sub": "add", "mul": "mul", "div": "mul", "max": "max", "min": "min", "update": "none"}


def _wraps(g: Graph) -> bool:
    return g.version in ("ios15", "ios16")


def _place(g: Graph, indices: Operand, sizes: Operand, validate_indices: bool) -> Operand:
    """Indices to read at, as int64."""
    if not validate_indices:
        return _inside(g, indices, sizes)
    if not _are_inside(indices, sizes):
        raise Unlowerable("it checks its indices while it runs, which ONNX has no form for")
    return g.cast(indices, np.int64)


def _are_inside(indices: Operand, sizes: Operand) -> bool:
    """Whether indices are known to be inside."""
    known = indices.is_constant and sizes.is_constant
    return known and bool(((indices.content >= 0) & (indices.content < sizes.content)).all())


def _inside(g: Graph, indices: Operand, sizes: Operand) -> Operand:
    """Indices to read at: int64, inside of what has ``sizes``, which broadcasts to the indices."""
    indices = g.cast(indices, np.int64)
    if indices.is_constant and sizes.is_constant:
        known, limits = indices.content, sizes.content
        return g.constant(_known_inside(known, limits, _wraps(g)))
    if _wraps(g):
        if sizes.is_constant and not sizes.content.all():  # there is nothing to read, and no remainder either
            return indices
        return g.node("Mod", indices, sizes)
    return g.node("Max", g.node("Min", indices, g.node("Sub", sizes, g.ints([1]))), g.constant(np.array(0, np.int64)))


def _known_inside(indices: Array, sizes: Array, wraps: bool) -> Array:
    inside = np.mod(indices, np.maximum(sizes, 1)) if wraps else np.clip(indices, 0, sizes - 1)
    return inside.reshape(indices.shape).astype(np.int64)


def _sizes(g: Graph, x: Operand, start: int, count: int) -> Operand:
    if x.is_static(*range(start, start + count)):
        return g.ints(x.size(axis) for axis in range(start, start + count))
    return g.node("Shape", x, dtype=np.int64, start=start, end=start + count)


def _axis_size(g: Graph, x: Operand, axis: int) -> Operand:
    """The size of one axis, without dimensions, so that indices keep theirs."""
    return g.constant(np.array(x.size(axis), np.int64)) if x.is_static(axis) else g.node("Squeeze", g.size_of(x, axis), g.ints([0]))


@lowers("gather")
def gather(g: Graph, x: Operand, indices: Operand, *, axis: int, batch_dims: int = 0, validate_indices: bool = False) -> Operand:
    axis %= x.rank
    place = _place(g, indices, _axis_size(g, x, axis), validate_indices)
    if not batch_dims:
        return g.node("Gather", x, place, axis=axis)
    between = list(range(batch_dims, axis))
    if between:
        order = [*range(batch_dims), axis, *between, *range(axis + 1, x.rank)]
        x = g.node("Transpose", x, perm=order)
    slices = g.node("GatherND", x, g.node("Unsqueeze", place, g.ints([-1])), batch_dims=batch_dims)
    if not between:
        return slices
    chosen = indices.rank - batch_dims
    total = indices.rank + len(between)
    moved = [*range(batch_dims), *range(batch_dims + chosen, total), *range(batch_dims, batch_dims + chosen)]
    rank = total + len(order) - axis - 1
    return g.node("Transpose", slices, perm=[*moved, *range(total, rank)])


@lowers("gather_along_axis")
def gather_along_axis(g: Graph, x: Operand, indices: Operand, *, axis: int, validate_indices: bool = False) -> Operand:
    place = _place(g, indices, _axis_size(g, x, axis), validate_indices)
    return g.node("GatherElements", x, place, axis=axis)


@lowers("gather_nd")
def gather_nd(g: Graph, x: Operand, indices: Operand, *, batch_dims: int = 0, validate_indices: bool = False) -> Operand:
    place = _place(g, indices, _sizes(g, x, batch_dims, indices.size(-1)), validate_indices)
    return g.node("GatherND", x, place, batch_dims=batch_dims or None)


@lowers("scatter")
def scatter(
    g: Graph, data: Operand, indices: Operand, updates: Operand, *, axis: int, mode: str, validate_indices: bool = False
) -> Operand:
    axis %= data.rank

    def write(room: Operand, place: Operand) -> Operand:
        column = g.node("Reshape", place, g.ints([-1, *([1] * (data.rank - 1 - axis))]))
        before, after = (g.node("Shape", data, dtype=np.int64, start=start, end=end) for start, end in ((0, axis), (axis + 1, None)))
        shape = g.node("Concat", before, g.ints([-1]), after, axis=0)
        flat = g.node("Reshape", updates, shape)
        return _elements(g, room, g.node("Expand", column, g.node("Shape", flat, dtype=np.int64)), flat, axis, mode)

    return _guarded(g, data, indices, [axis], validate_indices, write)


@lowers("scatter_along_axis")
def scatter_along_axis(
    g: Graph, data: Operand, indices: Operand, updates: Operand, *, axis: int, mode: str, validate_indices: bool = False
) -> Operand:
    axis %= data.rank
    return _guarded(g, data, indices, [axis], validate_indices, lambda room, place: _elements(g, room, place, updates, axis, mode))


@lowers("scatter_nd")
def scatter_nd(g: Graph, data: Operand, indices: Operand, updates: Operand, *, mode: str, validate_indices: bool = False) -> Operand:
    axes = list(range(indices.size(-1)))

    def write(room: Operand, place: Operand) -> Operand:
        def combine(target: Operand, values: Operand) -> Operand:
            return g.node("ScatterND", target, place, values, reduction=_REDUCTIONS[mode])

        return _combined(g, room, updates, mode, combine)

    return _guarded(g, data, indices, axes, validate_indices, write)


def _elements(g: Graph, data: Operand, place: Operand, updates: Operand, axis: int, mode: str) -> Operand:
    def combine(target: Operand, values: Operand) -> Operand:
        return g.node("ScatterElements", target, place, values, axis=axis, reduction=_REDUCTIONS[mode])

    return _combined(g, data, updates, mode, combine)


def _combined(g: Graph, data: Operand, updates: Operand, mode: str, combine: Callable[[Operand, Operand], Operand]) -> Operand:
    if mode == "sub":
        return combine(data, g.node("Neg", updates))
    if mode != "div":
        return combine(data, updates)
    ones = g.node("Expand", g.constant(np.ones((), data.dtype)), g.node("Shape", data, dtype=np.int64))
    return g.node("Div", data, combine(ones, updates))


def _guarded(
    g: Graph,
    data: Operand,
    indices: Operand,
    axes: Sequence[int],
    validate_indices: bool,
    write: Callable[[Operand, Operand], Operand],
) -> Operand:
    """Writes at indices that wrap around, or are inside; else into data with room for those outside, which is cut off afterwards."""
    sizes = _sizes(g, data, axes[0], len(axes)) if len(axes) > 1 else g.size_of(data, axes[0])
    if _wraps(g):
        return write(data, _inside(g, indices, sizes))
    place = g.cast(indices, np.int64)
    if _are_inside(indices, sizes):
        return write(data, place)
    if validate_indices:
        raise Unlowerable("it checks its indices while it runs, which ONNX has no form for")
    below = g.node("Less", place, g.constant(np.array(0, np.int64)), dtype=np.bool_)
    outside = g.node("Or", below, g.node("Greater", place, sizes, dtype=np.bool_))
    place = g.node("Where", outside, sizes, place, dtype=np.int64)
    ends = [int(axis in axes) for axis in range(data.rank)]
    room = g.node("Pad", data, g.ints([0] * data.rank + ends), g.constant(np.zeros((), data.dtype)))
    return g.node("Slice", write(room, place), g.ints([0] * data.rank), g.shape_of(data))
