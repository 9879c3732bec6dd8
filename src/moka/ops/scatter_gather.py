"""Reading and writing at computed places.

Indices count from the end if negative, up to iOS 16. From iOS 17 on an index must be inside the dimension; Core ML checks that where
validate_indices is true and else leaves undefined what happens, short of touching other memory. Here an index outside then reads the
nearest element and writes nothing, and before iOS 17 it wraps around.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from moka.ops.table import FLOATS, INT16, INT32, INTS, NUMBERS, UINT16, T, U, operation

_FIRST = FLOATS | INT32

Mode: TypeAlias = Literal["add", "div", "max", "min", "mul", "sub", "update"]
Place: TypeAlias = Callable[[Tensor, int], Tensor]
"""From indices and the size of the dimension that they are for to int64 indices inside it."""
Combine: TypeAlias = Callable[[Tensor, int, Tensor, Tensor], Tensor]
"""data, axis, index and updates to data with the updates combined into it."""


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """The rule up to iOS 16."""
    return indices.long().remainder(size) if size else indices.long()


def _bounded(indices: Tensor, size: int) -> Tensor:
    """The rule for reading from iOS 17 on, without checks."""
    return indices.long().clamp(0, max(0, size - 1))


def _validated(indices: Tensor, size: int) -> Tensor:
    """The rule from iOS 17 on, with checks."""
    indices = indices.long()
    if indices.numel() and (indices.amin() < 0 or indices.amax() >= size):
        raise IndexError(f"indices from {int(indices.amin())} to {int(indices.amax())}; expected 0 to {size - 1}")
    return indices


def _place(validate_indices: bool) -> Place:
    return _validated if validate_indices else _bounded


@operation("ios15", T=_FIRST, U=INT32)
def gather(x: T, indices: U, *, axis: int = 0) -> T:
    """Slices of x along ``axis``: x.shape[:axis] + indices.shape + x.shape[axis + 1:]."""
    return _gather(x, indices, axis, 0, _wrapped)


@operation("ios16", name="gather", T=_FIRST, U=INT32 | INT16 | UINT16)
def gather_ios16(x: T, indices: U, *, axis: int = 0, batch_dims: int = 0) -> T:
    """Slices of x along ``axis``, within each element of the first batch_dims dimensions, which x and indices share.

    The result has shape x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:].
    """
    return _gather(x, indices, axis, batch_dims, _wrapped)


@operation("ios17", name="gather", T=NUMBERS, U=INTS)
def gather_ios17(x: T, indices: U, *, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> T:
    """Slices of x along ``axis``, within each element of the first batch_dims dimensions, which x and indices share.

    The result has shape x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:].
    """
    return _gather(x, indices, axis, batch_dims, _place(validate_indices))


def _gather(x: Tensor, indices: Tensor, axis: int, batch_dims: int, place: Place) -> Tensor:
    axis %= x.dim()
    size = x.shape[axis]
    index = place(indices, size).to(x.device)
    shape = x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1 :]
    if not batch_dims:
        return x.index_select(axis, index.reshape(-1)).reshape(shape)
    batch, before, after = (math.prod(part) for part in (x.shape[:batch_dims], x.shape[batch_dims:axis], x.shape[axis + 1 :]))
    index = index.reshape(batch, 1, math.prod(indices.shape[batch_dims:]), 1).expand(-1, before, -1, after)
    return x.reshape(batch, before, size, after).gather(2, index).reshape(shape)


@operation("ios16", T=_FIRST, U=INT32 | INT16 | UINT16)
@operation("ios15", T=_FIRST, U=INT32)
def gather_along_axis(x: T, indices: U, *, axis: int = 0) -> T:
    """For each index the element of x at its place, but for coordinate ``axis``, which is the index; in the shape of indices."""
    return x.gather(axis, _wrapped(indices, x.shape[axis]).to(x.device))


@operation("ios17", name="gather_along_axis", T=NUMBERS, U=INTS)
def gather_along_axis_ios17(x: T, indices: U, *, axis: int = 0, validate_indices: bool = False) -> T:
    """For each index the element of x at its place, but for coordinate ``axis``, which is the index; in the shape of indices."""
    return x.gather(axis, _place(validate_indices)(indices, x.shape[axis]).to(x.device))


@operation("ios15", T=_FIRST, U=INT32)
def gather_nd(x: T, indices: U) -> T:
    """Slices of x at coordinates, which are indices' last dimension: indices.shape[:-1] + x.shape[indices.shape[-1]:]."""
    return _gather_nd(x, indices, 0, _wrapped)


@operation("ios16", name="gather_nd", T=_FIRST, U=INT32 | INT16 | UINT16)
def gather_nd_ios16(x: T, indices: U, *, batch_dims: int = 0) -> T:
    """Slices of x at coordinates, which are indices' last dimension, within each element of the first batch_dims dimensions.

    The result has shape indices.shape[:-1] + x.shape[batch_dims + indices.shape[-1]:].
    """
    return _gather_nd(x, indices, batch_dims, _wrapped)


@operation("ios17", name="gather_nd", T=NUMBERS, U=INTS)
def gather_nd_ios17(x: T, indices: U, *, batch_dims: int = 0, validate_indices: bool = False) -> T:
    """Slices of x at coordinates, which are indices' last dimension, within each element of the first batch_dims dimensions.

    The result has shape indices.shape[:-1] + x.shape[batch_dims + indices.shape[-1]:].
    """
    return _gather_nd(x, indices, batch_dims, _place(validate_indices))


def _gather_nd(x: Tensor, indices: Tensor, batch_dims: int, place: Place) -> Tensor:
    """The coordinates as positions in x with its indexed dimensions flattened to one, counted on from where the batch element starts."""
    batch, rest = x.shape[:batch_dims], x.shape[batch_dims:]
    indexed, kept = rest[: indices.shape[-1]], rest[indices.shape[-1] :]
    position = _flat_position(indices, indexed, place)
    if batch_dims:
        start = torch.arange(math.prod(batch), device=indices.device) * math.prod(indexed)
        position = position + start.reshape(*batch, *[1] * (position.dim() - batch_dims))
    table = x.reshape(math.prod(batch) * math.prod(indexed), *kept)
    return table.index_select(0, position.reshape(-1).to(x.device)).reshape(indices.shape[:-1] + kept)


def _flat_position(indices: Tensor, sizes: tuple[int, ...], place: Place) -> Tensor:
    """Coordinates (in the last dimension) to positions in row-major order in a tensor of the given shape."""
    position = torch.zeros(indices.shape[:-1], dtype=torch.int64, device=indices.device)
    for coordinate, size in zip(indices.unbind(-1), sizes, strict=True):
        position = position * size + place(coordinate, size)
    return position


@operation("ios15", T=_FIRST, U=INT32)
def scatter(data: T, indices: U, updates: T, *, axis: int = 0, mode: Mode = "add") -> T:
    """data with its slices along ``axis`` at indices combined with updates, or replaced by them.

    updates has shape data.shape[:axis] + indices.shape + data.shape[axis + 1:]. Where an index occurs twice both updates count; with
    mode ``update`` it is the last one.
    """
    return _scatter(data, indices, updates, axis, mode, _wrapped)


@operation("ios17", name="scatter", T=_FIRST, U=INT32)
def scatter_ios17(data: T, indices: U, updates: T, *, axis: int = 0, mode: Mode = "add", validate_indices: bool = False) -> T:
    """data with its slices along ``axis`` at indices combined with updates, or replaced by them.

    updates has shape data.shape[:axis] + indices.shape + data.shape[axis + 1:]. Where an index occurs twice both updates count; with
    mode ``update`` it is the last one.
    """
    return _guarded(data, [axis], validate_indices, lambda room, place: _scatter(room, indices, updates, axis, mode, place))


def _scatter(data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str, place: Place) -> Tensor:
    axis %= data.dim()
    index = place(indices, data.shape[axis]).reshape([-1] + [1] * (data.dim() - 1 - axis))
    updates = updates.reshape((*data.shape[:axis], indices.numel(), *data.shape[axis + 1 :]))
    return _combined(data, axis, index.expand(updates.shape), updates, mode)


@operation("ios15", T=_FIRST, U=INT32)
def scatter_along_axis(data: T, indices: U, updates: T, *, axis: int = 0, mode: Mode = "add") -> T:
    """data with updates combined into it, each at its own place but for coordinate ``axis``, which is the index beside it."""
    return _scatter_along(data, indices, updates, axis, mode, _wrapped)


@operation("ios17", name="scatter_along_axis", T=_FIRST, U=INT32)
def scatter_along_axis_ios17(data: T, indices: U, updates: T, *, axis: int = 0, mode: Mode = "add", validate_indices: bool = False) -> T:
    """data with updates combined into it, each at its own place but for coordinate ``axis``, which is the index beside it."""
    return _guarded(data, [axis], validate_indices, lambda room, place: _scatter_along(room, indices, updates, axis, mode, place))


@operation("ios15", T=_FIRST, U=INT32)
def scatter_nd(data: T, indices: U, updates: T, *, mode: Mode = "add") -> T:
    """data with updates combined into it at coordinates, which are indices' last dimension.

    updates has shape indices.shape[:-1] + data.shape[indices.shape[-1]:].
    """
    return _scatter_nd(data, indices, updates, mode, _wrapped)


@operation("ios17", name="scatter_nd", T=_FIRST, U=INT32)
def scatter_nd_ios17(data: T, indices: U, updates: T, *, mode: Mode = "add", validate_indices: bool = False) -> T:
    """data with updates combined into it at coordinates, which are indices' last dimension.

    updates has shape indices.shape[:-1] + data.shape[indices.shape[-1]:].
    """
    axes = list(range(indices.shape[-1]))
    return _guarded(data, axes, validate_indices, lambda room, place: _scatter_nd(room, indices, updates, mode, place))


def _scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str, place: Place) -> Tensor:
    indexed, kept = data.shape[: indices.shape[-1]], data.shape[indices.shape[-1] :]
    position = _flat_position(indices, indexed, place).reshape(-1, 1)
    table = data.reshape(math.prod(indexed), math.prod(kept))
    updates = updates.reshape(position.shape[0], math.prod(kept))
    return _combined(table, 0, position.expand(updates.shape), updates, mode).reshape(data.shape)


def _scatter_along(data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str, place: Place) -> Tensor:
    return _combined(data, axis, place(indices, data.shape[axis]), updates, mode)


def _guarded(data: Tensor, axes: list[int], validate_indices: bool, scatter: Callable[[Tensor, Place], Tensor]) -> Tensor:
    """Scatters into data with indices for ``axes`` that are checked, or with room for those outside, which is cut off afterwards."""
    if validate_indices:
        return scatter(data, _validated)
    indexed = {axis % data.dim() for axis in axes}
    room = functional.pad(data, [count for axis in reversed(range(data.dim())) for count in (0, int(axis in indexed))])
    return scatter(room, _outside_last)[tuple([slice(size) for size in data.shape])]


def _outside_last(indices: Tensor, size: int) -> Tensor:
    """The rule for writing from iOS 17 on, without checks: what is outside goes to the last element, which is not data."""
    return torch.where(indices < 0, size - 1, indices.long().clamp(max=size - 1))


def _combined(data: Tensor, axis: int, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    """data with each update combined into the element at its own place but for coordinate ``axis``, which is the index."""
    return _COMBINE[mode](data, axis, index.to(data.device), updates)


def _reduce(how: str) -> Combine:
    return lambda data, axis, index, updates: data.scatter_reduce(axis, index, updates, how)


def _divide(data: Tensor, axis: int, index: Tensor, updates: Tensor) -> Tensor:
    divisor = torch.ones_like(data).scatter_reduce(axis, index, updates, "prod")
    return data / divisor if data.is_floating_point() else data.div(divisor, rounding_mode="trunc")


_COMBINE: dict[str, Combine] = {
    "add": torch.scatter_add,
    "sub": lambda data, axis, index, updates: data.scatter_add(axis, index, -updates),
    "mul": _reduce("prod"),
    "div": _divide,
    "max": _reduce("amax"),
    "min": _reduce("amin"),
    "update": torch.scatter,
}
