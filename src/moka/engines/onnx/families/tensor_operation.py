"""Tensors made, joined, split, padded, sorted and searched."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.engines.onnx.families.elementwise import wide
from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}

_REPEATED = 3
"""Axes up to which OpenVINO 2026.4 repeats a tensor as often as it learns while it runs; of more it gives memory that nobody wrote."""


@lowers("identity")
def identity(g: Graph, x: Operand) -> Operand:
    return g.node("Identity", x)


@lowers("select")
def select(g: Graph, cond: Operand, a: Operand, b: Operand) -> Operand:
    if a.dtype == np.bool_:
        return g.node("Or", g.node("And", cond, a), g.node("And", g.node("Not", cond), b))
    a, b = wide(g, a), wide(g, b)
    return g.node("Where", cond, a, b, dtype=a.dtype)


@lowers("shape")
def shape(g: Graph, x: Operand) -> Operand:
    return g.shape_of(x)


@lowers("fill", computed=("shape",))
def fill(g: Graph, value: Operand | None, *, shape: tuple[int, ...] | Operand) -> Operand:
    return _filled(g, value, g.ints(shape) if isinstance(shape, tuple) else g.cast(shape, np.int64))


@lowers("fill_like")
def fill_like(g: Graph, ref_tensor: Operand, value: Operand | None) -> Operand:
    return _filled(g, value, g.shape_of(ref_tensor))


def _filled(g: Graph, value: Operand | None, shape: Operand) -> Operand:
    return g.node("Expand", value if value is not None else g.constant(np.zeros((), np.float32)), shape)


@lowers("nn_broadcast_to", computed=("shape",))
def broadcast_to(g: Graph, x: Operand, *, shape: tuple[int, ...] | Operand) -> Operand:
    return _filled(g, x, g.ints(shape) if isinstance(shape, tuple) else g.cast(shape, np.int64))


@lowers("range_1d", computed=("end", "start", "step"))
def range_1d(g: Graph, *, end: float | Operand, start: float | Operand, step: float | Operand) -> Operand:
    bounds = (start, end, step)
    whole = all(bound.dtype.kind == "i" if isinstance(bound, Operand) else isinstance(bound, int) for bound in bounds)
    dtype = np.dtype(np.int32 if whole else np.float32)
    operands = [_scalar(g, g.cast(bound, dtype)) if isinstance(bound, Operand) else g.constant(np.array(bound, dtype)) for bound in bounds]
    return g.node("Range", *operands)


def _scalar(g: Graph, x: Operand) -> Operand:
    return x if x.shape == () else g.node("Reshape", x, g.ints([]))


@lowers("one_hot", computed=("one_hot_vector_size",))
def one_hot(g: Graph, indices: Operand, *, one_hot_vector_size: int | Operand, axis: int, on_value: float, off_value: float) -> Operand:
    rank = indices.rank + 1
    shape = g.ints([-1 if other == axis % rank else 1 for other in range(rank)])
    if isinstance(one_hot_vector_size, Operand):
        count = _scalar(g, g.cast(one_hot_vector_size, np.int64))
        positions = g.node("Range", g.constant(np.array(0, np.int64)), count, g.constant(np.array(1, np.int64)))
    else:
        positions = g.constant(np.arange(one_hot_vector_size, dtype=np.int64))
    column = g.node("Unsqueeze", g.cast(indices, np.int64), g.ints([axis]))
    hit = g.node("Equal", column, g.node("Reshape", positions, shape), dtype=np.bool_)
    dtype = np.int32 if isinstance(on_value, int) and isinstance(off_value, int) else np.float32
    return g.node("Where", hit, g.constant(np.array(on_value, dtype)), g.constant(np.array(off_value, dtype)), dtype=dtype)


@lowers("concat")
def concat(g: Graph, values: tuple[Operand, ...], *, axis: int, interleave: bool) -> Operand:
    if values[0].shape == ():
        return stack(g, values, axis=0)
    if not interleave:
        return g.node("Concat", *values, axis=axis)
    axis %= values[0].rank
    sizes = [0 if other < axis else -1 for other in range(axis + 1)]
    stacked = stack(g, values, axis=axis + 1)
    after = g.node("Shape", values[0], dtype=np.int64, start=axis + 1)
    return g.node("Reshape", stacked, g.node("Concat", g.ints(sizes), after, axis=0))


@lowers("stack")
def stack(g: Graph, values: tuple[Operand, ...], *, axis: int) -> Operand:
    return g.node("Concat", *(g.node("Unsqueeze", value, g.ints([axis])) for value in values), axis=axis)


@lowers("split")
def split(g: Graph, x: Operand, *, axis: int, num_splits: int | None, split_sizes: tuple[int, ...] | None) -> Any:
    count = len(split_sizes) if split_sizes is not None else num_splits or 1
    if count == 1:
        return g.node("Identity", x)
    sizes = split_sizes if split_sizes is not None else (x.size(axis) // count,) * count
    return g.nodes_of("Split", x, g.ints(sizes), dtypes=[x.dtype] * count, axis=axis)


@lowers("tile", computed=("reps",))
def tile(g: Graph, x: Operand, *, reps: tuple[int, ...] | Operand) -> Operand:
    if g.target.name == "openvino" and isinstance(reps, Operand) and (x.shape is None or x.rank > _REPEATED):
        raise Unlowerable(f"OpenVINO repeats more than {_REPEATED} axes wrongly by numbers that it learns while it runs")
    if isinstance(reps, tuple) and len(reps) > x.rank:
        x = g.node("Unsqueeze", x, g.ints(range(len(reps) - x.rank)))
    return g.node("Tile", x, g.ints(reps) if isinstance(reps, tuple) else g.cast(reps, np.int64))


@lowers("flatten2d")
def flatten2d(g: Graph, x: Operand, *, axis: int) -> Operand:
    return g.node("Flatten", x, axis=axis)


@lowers("pad", computed=("pad",))
def pad(g: Graph, x: Operand, *, pad: tuple[int, ...] | Operand, mode: str, constant_val: float) -> Operand:
    if isinstance(pad, Operand):
        pairs = g.node("Reshape", g.cast(pad, np.int64), g.ints([-1, 2]))
        amounts = g.node("Reshape", g.node("Transpose", pairs, perm=[1, 0]), g.ints([-1]))
        axes = g.ints(range(x.rank - pad.size(0) // 2, x.rank))
    else:  # for every axis: with fewer, ONNX Runtime 1.32 goes wrong where it moves a transposition across the padding
        none = [0] * (x.rank - len(pad) // 2)
        amounts, axes = g.ints([*none, *pad[::2], *none, *pad[1::2]]), None
    value = g.constant(np.array(constant_val, x.dtype)) if mode == "constant" else None
    return g.node("Pad", x, amounts, value, axes, mode=_PAD_MODES[mode])


@lowers("band_part")
def band_part(g: Graph, x: Operand, *, lower: int, upper: int) -> Operand:
    x = g.cast(x, np.int64) if x.dtype == np.int32 else x
    if lower >= 0:
        x = g.node("Trilu", x, g.constant(np.array(-lower, np.int64)), upper=1)
    return g.node("Trilu", x, g.constant(np.array(upper, np.int64)), upper=0) if upper >= 0 else g.node("Identity", x)


@lowers("nn_lower_triangle")
def lower_triangle(g: Graph, x: Operand, *, k: int) -> Operand:
    return g.node("Trilu", x, g.constant(np.array(k, np.int64)), upper=0)


@lowers("nn_upper_triangle")
def upper_triangle(g: Graph, x: Operand, *, k: int) -> Operand:
    return g.node("Trilu", x, g.constant(np.array(k, np.int64)), upper=1)


@lowers("cumsum")
def cumsum(g: Graph, x: Operand, *, axis: int, exclusive: bool, reverse: bool) -> Operand:
    return g.node("CumSum", x, g.constant(np.array(axis, np.int64)), exclusive=int(exclusive), reverse=int(reverse))


@lowers("non_zero")
def non_zero(g: Graph, x: Operand) -> Operand:
    return g.node("Transpose", g.node("NonZero", x, dtype=np.int64), perm=[1, 0])


@lowers("argsort")
def argsort(g: Graph, x: Operand, *, axis: int, ascending: bool) -> Operand:
    return _top(g, x, g.size_of(x, axis), axis, ascending)[1]


@lowers("topk")
def topk(
    g: Graph,
    x: Operand,
    *,
    k: int,
    axis: int,
    ascending: bool,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Any:
    values, indices = _top(g, x, g.size_of(x, axis) if k == -1 else g.ints([k]), axis, ascending)
    return (values, indices) if return_indices else values


def _top(g: Graph, x: Operand, count: Operand, axis: int, ascending: bool) -> list[Operand]:
    x = wide(g, x)
    return g.nodes_of("TopK", x, count, dtypes=[x.dtype, np.int64], axis=axis, largest=int(not ascending), sorted=1)
