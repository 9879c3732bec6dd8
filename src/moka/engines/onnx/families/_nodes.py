"""Rearrangements that lowerings of many families need: constants are rearranged ahead where they are small, all else by nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moka.engines.onnx.graph import Array, Graph, Operand

__all__ = ["along_axis", "reshape", "resized_shape", "sliced", "squeeze", "transpose", "unsqueeze"]

_SMALL = 4096
"""Elements up to which a constant is rearranged ahead; larger ones stay the views of the weight file that they are."""


def reshape(g: Graph, x: Operand, sizes: Sequence[int]) -> Operand:
    """``x`` with other sizes: 0 keeps the size of that axis, -1 stands for whatever is left."""
    if (array := _small(x)) is not None and 0 not in sizes:
        return g.constant(array.reshape(sizes))
    return g.node("Reshape", x, g.ints(sizes), shape=tuple(sizes) if min(sizes, default=1) > 0 else None)


def transpose(g: Graph, x: Operand, order: Sequence[int]) -> Operand:
    """``x`` with its axes in another order."""
    if list(order) == sorted(order):
        return x
    if (array := _small(x)) is not None:
        return g.constant(np.ascontiguousarray(array.transpose(order)))
    return g.node("Transpose", x, shape=None if x.shape is None else tuple(x.shape[axis] for axis in order), perm=list(order))


def unsqueeze(g: Graph, x: Operand, *axes: int) -> Operand:
    """``x`` with axes of size 1 put in, at these places of the result."""
    if (array := _small(x)) is not None:
        return g.constant(np.expand_dims(array, axes))
    return g.node("Unsqueeze", x, g.ints(axes), shape=_unsqueezed(x, axes))


def squeeze(g: Graph, x: Operand, *axes: int) -> Operand:
    """``x`` without some axes of size 1."""
    if (array := _small(x)) is not None:
        return g.constant(array.squeeze(axes))
    kept = None if x.shape is None else tuple(size for i, size in enumerate(x.shape) if i not in {axis % x.rank for axis in axes})
    return g.node("Squeeze", x, g.ints(axes), shape=kept)


def sliced(g: Graph, x: Operand, axis: int, start: int, end: int, step: int = 1) -> Operand:
    """``x`` from ``start`` to ``end`` along one axis; negative places count from its end."""
    return g.node("Slice", x, g.ints([start]), g.ints([end]), g.ints([axis]), g.ints([step]))


def along_axis(g: Graph, parameter: Operand, rank: int, axis: int) -> Operand:
    """A vector laid along ``axis`` of a tensor of ``rank``, ready to broadcast; scalars as they are."""
    if parameter.rank != 1:
        return parameter
    return reshape(g, parameter, [-1 if i == axis % rank else 1 for i in range(rank)])


def resized_shape(g: Graph, x: Operand, last: Sequence[int]) -> Operand:
    """The shape of ``x`` with other sizes in its last axes, as int64."""
    kept = x.rank - len(last)
    if x.is_static(*range(kept)):
        return g.ints([*(x.size(axis) for axis in range(kept)), *last])
    return g.node("Concat", g.node("Shape", x, dtype=np.int64, start=0, end=kept), g.ints(last), axis=0)


def _small(x: Operand) -> Array | None:
    """The content of a small constant."""
    return x.content if x.is_constant and x.is_static() and np.prod(x.static_shape) <= _SMALL else None


def _unsqueezed(x: Operand, axes: Sequence[int]) -> tuple[int | str | None, ...] | None:
    if x.shape is None:
        return None
    rank = x.rank + len(axes)
    sizes = iter(x.shape)
    places = {axis % rank for axis in axes}
    return tuple(1 if i in places else next(sizes) for i in range(rank))
