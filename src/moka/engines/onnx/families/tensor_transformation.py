"""Transformations: the same elements in another shape, order or selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers

_LAST = 2**30  # of 32 bits, as OpenVINO counts, and one that the float32 holds in which it selects
_BEFORE_FIRST = np.iinfo(np.int32).min


@lowers("reshape", computed=("shape",))
def reshape(g: Graph, x: Operand, *, shape: tuple[int, ...] | Operand) -> Operand:
    if isinstance(shape, Operand):
        return g.node("Reshape", x, g.cast(shape, np.int64))
    if 0 in shape and len(shape) != x.rank and g.version != "ios15":
        own = [1] * (len(shape) - x.rank) + [x.size(axis) for axis in range(max(0, x.rank - len(shape)), x.rank)]
        shape = tuple(size or kept for size, kept in zip(shape, own, strict=True))
    keeps = 0 in shape and len(shape) != x.rank
    return g.node("Reshape", x, g.ints(shape), allowzero=1 if keeps else None)


@lowers("reshape_like")
def reshape_like(
    g: Graph,
    x: Operand,
    ref_tensors: tuple[Operand, ...],
    *,
    begins: tuple[int, ...],
    ends: tuple[int, ...],
    end_masks: tuple[bool, ...],
) -> Operand:
    parts = [
        g.node("Shape", reference, dtype=np.int64, start=begin, end=None if to_last else end)
        for reference, begin, end, to_last in zip(ref_tensors, begins, ends, end_masks, strict=True)
    ]
    return g.node("Reshape", x, g.node("Concat", *parts, axis=0), allowzero=1)


@lowers("expand_dims")
def expand_dims(g: Graph, x: Operand, *, axes: tuple[int, ...]) -> Operand:
    return g.node("Unsqueeze", x, g.ints(axes))


@lowers("squeeze")
def squeeze(g: Graph, x: Operand, *, axes: tuple[int, ...] | None) -> Operand:
    if axes is None and not x.is_static():
        return g.node("Squeeze", x)
    chosen = [axis % x.rank for axis in (range(x.rank) if axes is None else axes)]
    kept = [axis for axis in chosen if x.shape is None or not isinstance(x.shape[axis], int) or x.shape[axis] == 1]
    return g.node("Squeeze", x, g.ints(kept)) if kept else g.node("Identity", x)


@lowers("transpose")
def transpose(g: Graph, x: Operand, *, perm: tuple[int, ...]) -> Operand:
    return g.node("Transpose", x, perm=[axis % len(perm) for axis in perm])


@lowers("reverse")
def reverse(g: Graph, x: Operand, *, axes: tuple[int, ...] | None) -> Operand:
    chosen = range(x.rank) if axes is None else axes
    if not chosen:
        return g.node("Identity", x)
    count = len(chosen)
    return g.node("Slice", x, g.ints([-1] * count), g.ints([_BEFORE_FIRST] * count), g.ints(chosen), g.ints([-1] * count))


@lowers("reverse_sequence")
def reverse_sequence(g: Graph, x: Operand, lengths: Operand, *, seq_axis: int, batch_axis: int) -> Operand:
    def along(axis: int) -> Operand:
        return g.ints([-1 if other == axis % x.rank else 1 for other in range(x.rank)])

    count = g.node("Squeeze", g.size_of(x, seq_axis), g.ints([0]))
    steps = g.node("Reshape", g.node("Range", _scalar(g, 0), count, _scalar(g, 1)), along(seq_axis))
    length = g.node("Reshape", g.cast(lengths, np.int64), along(batch_axis))
    mirrored = g.node("Sub", g.node("Sub", length, _scalar(g, 1)), steps)
    source = g.node("Where", g.node("Less", steps, length, dtype=np.bool_), mirrored, steps, dtype=np.int64)
    return g.node("GatherElements", x, g.node("Expand", source, g.shape_of(x)), axis=seq_axis)


def _scalar(g: Graph, value: int) -> Operand:
    return g.constant(np.array(value, np.int64))


@lowers("slice_by_index", computed=("begin", "end", "stride"))
def slice_by_index(
    g: Graph,
    x: Operand,
    *,
    begin: tuple[int, ...] | Operand,
    end: tuple[int, ...] | Operand,
    stride: tuple[int, ...] | Operand | None,
    begin_mask: tuple[bool, ...] | None,
    end_mask: tuple[bool, ...] | None,
    squeeze_mask: tuple[bool, ...] | None,
) -> Operand:
    rank = len(begin) if isinstance(begin, tuple) else x.rank
    squeezed = [axis for axis in range(rank) if squeeze_mask and squeeze_mask[axis]]
    sliced = [axis for axis in range(rank) if axis not in squeezed]
    if isinstance(stride, Operand):
        raise Unlowerable("its 'stride' is computed while the program runs")
    steps = [stride[axis] if stride else 1 for axis in sliced]
    firsts = _bounds(g, begin, sliced, begin_mask, [0 if step > 0 else _LAST for step in steps])
    lasts = _bounds(g, end, sliced, end_mask, [_LAST if step > 0 else _BEFORE_FIRST for step in steps])
    for axis in reversed(squeezed):
        x = g.node("Gather", x, _entry(g, begin, axis, begin_mask), axis=axis)
    if not sliced or _takes_all(firsts, lasts, steps):
        return x if squeezed else g.node("Identity", x)
    return g.node("Slice", x, firsts, lasts, g.ints(range(len(sliced))), g.ints(steps))


def _takes_all(firsts: Operand, lasts: Operand, steps: Sequence[int]) -> bool:
    if not (firsts.is_constant and lasts.is_constant) or any(step != 1 for step in steps):
        return False
    return not firsts.content.any() and bool((lasts.content == _LAST).all())


def _entry(g: Graph, values: tuple[int, ...] | Operand, axis: int, mask: tuple[bool, ...] | None) -> Operand:
    """One bound as an int64 scalar; 0 where it is open."""
    if mask and mask[axis]:
        return _scalar(g, 0)
    if isinstance(values, tuple):
        return _scalar(g, values[axis])
    return g.node("Gather", g.cast(values, np.int64), _scalar(g, axis), axis=0)


def _bounds(
    g: Graph, values: tuple[int, ...] | Operand, axes: Sequence[int], mask: tuple[bool, ...] | None, open_ends: Sequence[int]
) -> Operand:
    """Bounds of some axes, with those that are open replaced."""
    opened = [bool(mask and mask[axis]) for axis in axes]
    if isinstance(values, tuple):
        return g.ints(end if free else values[axis] for axis, free, end in zip(axes, opened, open_ends, strict=True))
    if all(opened):
        return g.ints(open_ends)
    chosen = g.node("Gather", g.cast(values, np.int64), g.ints(axes), axis=0)
    return g.node("Where", g.constant(np.array(opened)), g.ints(open_ends), chosen, dtype=np.int64) if any(opened) else chosen


@lowers("slice_by_size", computed=("begin", "size"))
def slice_by_size(g: Graph, x: Operand, *, begin: tuple[int, ...] | Operand, size: tuple[int, ...] | Operand) -> Operand:
    if isinstance(begin, tuple) and isinstance(size, tuple):
        ends = [_LAST if count == -1 or first < 0 <= first + count else first + count for first, count in zip(begin, size, strict=True)]
        return g.node("Slice", x, g.ints(begin), g.ints(ends))
    firsts = _counted_from_start(g, x, begin)
    if isinstance(size, tuple):
        counts, to_end = g.ints(size), g.constant(np.array([count == -1 for count in size]))
    else:
        counts = g.cast(size, np.int64)
        to_end = g.node("Equal", counts, _scalar(g, -1), dtype=np.bool_)
    lasts = g.node("Where", to_end, g.ints([_LAST] * x.rank), g.node("Add", firsts, counts), dtype=np.int64)
    return g.node("Slice", x, firsts, lasts)


def _counted_from_start(g: Graph, x: Operand, begin: tuple[int, ...] | Operand) -> Operand:
    """Bounds as int64, negative ones counted from the start."""
    if isinstance(begin, tuple) and min(begin, default=0) >= 0:
        return g.ints(begin)
    given = g.ints(begin) if isinstance(begin, tuple) else g.cast(begin, np.int64)
    negative = g.node("Less", given, _scalar(g, 0), dtype=np.bool_)
    return g.node("Where", negative, g.node("Add", given, g.shape_of(x)), given, dtype=np.int64)


@lowers("slice_update", computed=("begin", "end"))
def slice_update(
    g: Graph,
    x: Operand,
    update: Operand,
    *,
    begin: tuple[int, ...] | Operand,
    end: tuple[int, ...] | Operand,
    stride: tuple[int, ...] | None,
    begin_mask: tuple[bool, ...] | None,
    end_mask: tuple[bool, ...] | None,
    squeeze_mask: tuple[bool, ...] | None,
) -> Operand:
    """The part before, the update and the part after, joined, axis by axis; with steps, by the positions of the elements.

    ONNX Runtime is told the positions of the parts of the update instead, which it can write to where x lies.
    """
    squeezed = [axis for axis in range(x.rank) if squeeze_mask and squeeze_mask[axis]]
    if stride and any(step != 1 for axis, step in enumerate(stride) if axis not in squeezed):
        selection: dict[str, Any] = {"begin": begin, "end": end, "stride": stride, "begin_mask": begin_mask, "end_mask": end_mask}
        return _scattered(g, x, update, selection | {"squeeze_mask": squeeze_mask})
    update = _unsqueezed(g, update, squeezed) if squeezed else update
    ranges: list[tuple[Operand | int, Operand | int]] = []
    for axis in range(x.rank):
        if axis in squeezed and x.is_static(axis) and x.size(axis) == 1:
            ranges.append((0, _LAST))
        elif axis in squeezed:
            ranges.append(_one(g, x, _entry(g, begin, axis, begin_mask), axis))
        else:
            ranges.append((_edge(g, x, begin, axis, begin_mask, 0), _edge(g, x, end, axis, end_mask, _LAST)))
    if g.target.name == "onnxruntime" and x.is_static() and update.shape is not None and any(bounds != (0, _LAST) for bounds in ranges):
        return g.node("ScatterND", x, _positions(g, x, update, [first for first, _ in ranges], _sliced(ranges)), update)
    return _replaced(g, x, update, ranges, 0)


def _unsqueezed(g: Graph, x: Operand, axes: Sequence[int]) -> Operand:
    """x with axes of size 1, which are counted in the result."""
    if x.shape is None:
        return g.node("Unsqueeze", x, g.ints(axes))
    shape = list(x.shape)
    for axis in axes:
        shape.insert(axis, 1)
    return g.node("Unsqueeze", x, g.ints(axes), shape=tuple(shape))


def _sliced(ranges: Sequence[tuple[Operand | int, Operand | int]]) -> int:
    """How many axes there are up to the last one of which not all is taken."""
    return max(axis + 1 for axis, bounds in enumerate(ranges) if bounds != (0, _LAST))


def _positions(g: Graph, x: Operand, update: Operand, firsts: Sequence[Operand | int], count: int) -> Operand:
    """Where the parts of an update go, by the first ``count`` axes: int64, of the update's sizes along those and an axis of ``count``."""
    sizes = g.node("Concat", g.node("Slice", g.shape_of(update), g.ints([0]), g.ints([count])), g.ints([1]), axis=0)
    parts = []
    for axis, first in enumerate(firsts[:count]):
        along = g.ints([-1 if other == axis else 1 for other in range(count + 1)])
        parts.append(g.node("Expand", g.node("Reshape", _along(g, x, update, first, axis), along), sizes))
    return g.node("Concat", *parts, axis=-1) if count > 1 else parts[0]


def _along(g: Graph, x: Operand, update: Operand, first: Operand | int, axis: int) -> Operand:
    """The positions in x along one axis that an update goes to, from ``first`` on, which may count from the end."""
    if isinstance(first, int) and update.is_static(axis):
        return g.ints(range(first % x.size(axis), first % x.size(axis) + update.size(axis)))
    count = g.node("Squeeze", g.size_of(update, axis), g.ints([0]))
    steps = g.node("Range", _scalar(g, 0), count, _scalar(g, 1))
    if isinstance(first, int):
        return g.node("Add", steps, g.ints([first % x.size(axis)]))
    negative = g.node("Less", first, g.ints([0]), dtype=np.bool_)
    start = g.node("Where", negative, g.node("Add", first, g.ints([x.size(axis)])), first, dtype=np.int64)
    return g.node("Add", steps, start)


def _edge(
    g: Graph, x: Operand, values: tuple[int, ...] | Operand, axis: int, mask: tuple[bool, ...] | None, open_end: int
) -> Operand | int:
    """A bound: a number if it is known, else an operand of one element."""
    if mask and mask[axis]:
        return open_end
    if isinstance(values, tuple):
        value = values[axis]
        return _LAST if open_end and x.is_static(axis) and value >= x.size(axis) else value
    return g.node("Unsqueeze", _entry(g, values, axis, None), g.ints([0]))


def _one(g: Graph, x: Operand, index: Operand, axis: int) -> tuple[Operand | int, Operand | int]:
    """The range of one element."""
    if index.is_constant:
        value = int(index.content)
        return value, value + 1 if value != -1 else _LAST
    index = g.node("Unsqueeze", index, g.ints([0]))
    negative = g.node("Less", index, _scalar(g, 0), dtype=np.bool_)
    first = g.node("Where", negative, g.node("Add", index, g.size_of(x, axis)), index, dtype=np.int64)
    return first, g.node("Add", first, _scalar(g, 1))


def _replaced(
    g: Graph, x: Operand, update: Operand, ranges: Sequence[tuple[Operand | int, Operand | int]], axis: int, size: Operand | None = None
) -> Operand:
    """x with its part inside ``ranges``, from ``axis`` on, replaced."""
    while axis < len(ranges) and ranges[axis] == (0, _LAST):
        axis += 1
    if axis == len(ranges):
        return update
    first, last = (g.ints([bound]) if isinstance(bound, int) else bound for bound in ranges[axis])
    axes = g.ints([axis])
    before = g.node("Slice", x, g.ints([0]), first, axes)
    after = None if ranges[axis][1] == _LAST else g.node("Slice", x, last, g.ints([_LAST]), axes)
    if any(bounds != (0, _LAST) for bounds in ranges[axis + 1 :]):
        update = _replaced(g, g.node("Slice", x, first, last, axes), update, ranges, axis + 1)
    return g.node("Concat", *(part for part in (before, update, after) if part is not None), axis=axis)


def _scattered(g: Graph, x: Operand, update: Operand, selection: dict[str, Any]) -> Operand:
    count = math.prod(x.static_shape)
    positions = g.constant(np.arange(count, dtype=np.int64).reshape(x.static_shape))
    chosen = slice_by_index(g, positions, **selection)
    flat = g.ints([-1])
    scattered = g.node("ScatterElements", g.node("Reshape", x, flat), g.node("Reshape", chosen, flat), g.node("Reshape", update, flat))
    return g.node("Reshape", scattered, g.ints(x.static_shape))


@lowers("sliding_windows")
def sliding_windows(g: Graph, x: Operand, *, axis: int, size: int, stride: int) -> Operand:
    count = (x.size(axis) - size) // stride + 1
    windows = np.arange(count, dtype=np.int64)[:, None] * stride + np.arange(size, dtype=np.int64)
    return g.node("Gather", x, g.constant(windows), axis=axis)


@lowers("depth_to_space")
def depth_to_space(g: Graph, x: Operand, *, block_size: int) -> Operand:
    return g.node("DepthToSpace", x, blocksize=block_size, mode="DCR")


@lowers("pixel_shuffle")
def pixel_shuffle(g: Graph, x: Operand, *, upscale_factor: int) -> Operand:
    return g.node("DepthToSpace", x, blocksize=upscale_factor, mode="CRD")


@lowers("space_to_depth")
def space_to_depth(g: Graph, x: Operand, *, block_size: int) -> Operand:
    return g.node("SpaceToDepth", x, blocksize=block_size)


@lowers("pixel_unshuffle")
def pixel_unshuffle(g: Graph, x: Operand, *, downscale_factor: int) -> Operand:
    n, c, h, w = x.static_shape
    f = downscale_factor
    return _rearranged(g, x, (n, c, h // f, f, w // f, f), (0, 1, 3, 5, 2, 4), (n, c * f * f, h // f, w // f))


@lowers("space_to_batch")
def space_to_batch(g: Graph, x: Operand, *, block_shape: tuple[int, ...], paddings: tuple[int, ...]) -> Operand:
    (bh, bw), (top, bottom, left, right) = block_shape, paddings
    n, c, h, w = x.static_shape
    h, w = h + top + bottom, w + left + right
    padded = g.node("Pad", x, g.ints([0, 0, top, left, 0, 0, bottom, right]))
    return _rearranged(g, padded, (n, c, h // bh, bh, w // bw, bw), (3, 5, 0, 1, 2, 4), (bh * bw * n, c, h // bh, w // bw))


@lowers("batch_to_space")
def batch_to_space(g: Graph, x: Operand, *, block_shape: tuple[int, ...], crops: tuple[int, ...]) -> Operand:
    (bh, bw), (top, bottom, left, right) = block_shape, crops
    batch, c, h, w = x.static_shape
    n = batch // (bh * bw)
    whole = _rearranged(g, x, (bh, bw, n, c, h, w), (2, 3, 4, 0, 5, 1), (n, c, h * bh, w * bw))
    return g.node("Slice", whole, g.ints([top, left]), g.ints([h * bh - bottom, w * bw - right]), g.ints([2, 3]))


def _rearranged(g: Graph, x: Operand, parts: Sequence[int], order: Sequence[int], shape: Sequence[int]) -> Operand:
    apart = g.node("Reshape", x, g.ints(parts))
    return g.node("Reshape", g.node("Transpose", apart, perm=list(order)), g.ints(shape))
