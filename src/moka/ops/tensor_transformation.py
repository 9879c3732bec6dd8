"""Transformations: the same elements in another shape, order or selection."""

from __future__ import annotations

import functools
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from moka.ops.table import BOOL, FLOATS, INT8, INT16, INT32, NUMBERS, Bools, Ints, T, Tensors, U, operation

_FIRST = FLOATS | INT32 | BOOL
_ALL = NUMBERS | BOOL


@operation("ios15", T=_FIRST)
def reshape(x: T, *, shape: Ints) -> T:
    """The elements of x, in row-major order, in another shape.

    One entry of shape may be -1: what is left over. Where shape has as many entries as x has dimensions, 0 keeps x's own dimension.
    """
    return reshape_ios17(x, shape=shape) if len(shape) == x.dim() else x.reshape(shape)


@operation("ios17", name="reshape", T=_ALL)
def reshape_ios17(x: T, *, shape: Ints) -> T:
    """The elements of x, in row-major order, in another shape.

    One entry of shape may be -1: what is left over. An entry of 0 keeps the dimension of x that is as far from the last one, and is 1
    where x has none: (2, 50) in shape (1, 0, -1, 0) becomes (1, 1, 2, 50).
    """
    if 0 in shape:
        own = (1,) * (len(shape) - x.dim()) + x.shape[max(0, x.dim() - len(shape)) :]
        shape = tuple([size or kept for size, kept in zip(shape, own, strict=True)])
    return x.reshape(shape)


@operation("ios17", T=_ALL)
@operation("ios16", T=_FIRST)
def reshape_like(x: T, ref_tensors: Tensors, *, begins: Ints, ends: Ints, end_masks: Bools) -> T:
    """The elements of x in a shape put together from parts of other tensors' shapes.

    Reference i gives its dimensions begins[i] to ends[i], or to its last one where end_masks[i] is true.
    """
    shape: list[int] = []
    for reference, begin, end, to_last in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += reference.shape[begin : None if to_last else end]
    return x.reshape(shape)


@operation("ios17", T=_ALL)
@operation("ios15", T=_FIRST)
def expand_dims(x: T, *, axes: Ints) -> T:
    """New dimensions of size 1, which are the result's dimensions ``axes``."""
    rank = x.dim() + len(axes)
    for axis in sorted([axis % rank for axis in axes]):
        x = x.unsqueeze(axis)
    return x


@operation("ios17", T=_ALL)
@operation("ios15", T=_FIRST)
def squeeze(x: T, *, axes: Ints | None = None) -> T:
    """Drops dimensions of size 1: those of ``axes``, or all. A dimension of another size stays, even if it is named."""
    return x.squeeze() if axes is None else x.squeeze(axes)


@operation("ios17", T=_ALL)
@operation("ios15", T=_FIRST)
def transpose(x: T, *, perm: Ints) -> T:
    """Permuted dimensions: dimension i of the result is dimension perm[i] of x."""
    return x.permute(perm)


@operation("ios17", T=_ALL)
@operation("ios15", T=_FIRST)
def reverse(x: T, *, axes: Ints | None = None) -> T:
    """The elements in opposite order along ``axes``, or along every dimension."""
    return x.flip(tuple(range(x.dim())) if axes is None else axes)


@operation("ios17", T=_ALL, U=INT8 | INT16 | INT32)
@operation("ios15", T=_FIRST, U=INT32)
def reverse_sequence(x: T, lengths: U, *, seq_axis: int = 0, batch_axis: int = 0) -> T:
    """Sequences of different lengths in opposite order: element b of the batch has its first lengths[b] steps reversed, the others stay."""
    steps = _along(torch.arange(x.shape[seq_axis], device=lengths.device), seq_axis, x.dim())
    length = _along(lengths, batch_axis, x.dim())
    source = torch.where(steps < length, length - 1 - steps, steps)
    return x.gather(seq_axis, source.long().to(x.device).expand(x.shape))


def _along(vector: Tensor, axis: int, rank: int) -> Tensor:
    """A vector as a tensor of ``rank`` dimensions that are all 1 but ``axis``."""
    shape = [1] * rank
    shape[axis] = -1
    return vector.reshape(shape)


@operation("ios17", T=_ALL)
@operation("ios15", T=_FIRST)
def slice_by_index(
    x: T,
    *,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> T:
    """The part of x from begin to end, exclusive, with a step of stride, as NumPy slices.

    A negative bound counts from the end, a negative stride goes backwards. Where begin_mask or end_mask is true the bound is open; where
    squeeze_mask is true the element at begin is taken and the dimension dropped.
    """
    selection, backwards = _selection(tuple(x.shape), begin, end, stride, begin_mask, end_mask, squeeze_mask)
    part = x[selection]
    return part.flip(backwards) if backwards else part


@operation("ios18", T=_ALL)
def slice_update(
    x: T,
    update: T,
    *,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> T:
    """x with the part that `slice_by_index` would take replaced by update."""
    selection, backwards = _selection(tuple(x.shape), begin, end, stride, begin_mask, end_mask, squeeze_mask)
    result = x.clone()
    result[selection] = update.flip(backwards) if backwards else update
    return result


_Selection: TypeAlias = tuple[tuple[slice | int, ...], tuple[int, ...]]


@functools.lru_cache(maxsize=4096)
def _selection(
    shape: tuple[int, ...],
    begin: Ints,
    end: Ints,
    stride: Ints | None,
    begin_mask: Bools | None,
    end_mask: Bools | None,
    squeeze_mask: Bools | None,
) -> _Selection:
    """A slice as an index with positive steps, and the dimensions of what it selects that then have to be reversed.

    PyTorch has no negative steps: the same elements are selected forwards.
    """
    closed = (False,) * len(shape)
    begin_mask, end_mask, squeeze_mask = begin_mask or closed, end_mask or closed, squeeze_mask or closed
    index: list[slice | int] = []
    backwards: list[int] = []
    for axis, size in enumerate(shape):
        first, last = None if begin_mask[axis] else begin[axis], None if end_mask[axis] else end[axis]
        if squeeze_mask[axis]:
            index.append(first or 0)
            continue
        chosen = range(size)[first : last : stride[axis] if stride else 1]
        if chosen.step < 0:
            backwards.append(axis - sum(squeeze_mask[:axis]))
            chosen = chosen[::-1]
        index.append(slice(chosen.start, chosen.stop, chosen.step) if chosen else slice(0, 0))
    return tuple(index), tuple(backwards)


@operation("ios17", T=_ALL)
@operation("ios15", T=_FIRST)
def slice_by_size(x: T, *, begin: Ints, size: Ints) -> T:
    """The part of x that starts at begin and has shape size; -1 in size is all that follows, a negative begin counts from the end."""
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        first = first + x.shape[axis] if first < 0 else first
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


@operation("ios17", T=_ALL)
@operation("ios15", T=FLOATS | INT32)
def sliding_windows(x: T, *, axis: int, size: int, stride: int = 1) -> T:
    """Every window of ``size`` elements along ``axis``, ``stride`` apart, as a new dimension after it.

    Dimension ``axis`` becomes (x.shape[axis] - size) // stride + 1.
    """
    return x.unfold(axis, size, stride).movedim(-1, axis % x.dim() + 1)


@operation("ios15", T=FLOATS)
def depth_to_space(x: T, *, block_size: int) -> T:
    """Channels to blocks of pixels: (n, c * b * b, h, w) to (n, c, h * b, w * b).

    The position inside a block is the slower part of the channel: channel (row * b + column) * c + i of x gives channel i, unlike
    `pixel_shuffle`, where it is the faster one.
    """
    n, channels, h, w = x.shape
    b = block_size
    return x.reshape(n, b, b, channels // (b * b), h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, channels // (b * b), h * b, w * b)


@operation("ios15", T=FLOATS)
def space_to_depth(x: T, *, block_size: int) -> T:
    """Blocks of pixels to channels: (n, c, h, w) to (n, c * b * b, h / b, w / b), the inverse of `depth_to_space`."""
    n, c, h, w = x.shape
    b = block_size
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@operation("ios15", T=FLOATS)
def space_to_batch(x: T, *, block_shape: Ints, paddings: Ints) -> T:
    """Pads height and width with zeros, then moves the positions inside each block to the batch.

    (n, c, h, w) to (n * bh * bw, c, padded h / bh, padded w / bw); element (row * bw + column) * n + i of the batch has the pixels at
    that row and column of the blocks of image i.
    """
    (bh, bw), (top, bottom, left, right) = block_shape, paddings
    x = functional.pad(x, (left, right, top, bottom))
    n, c, h, w = x.shape
    return x.reshape(n, c, h // bh, bh, w // bw, bw).permute(3, 5, 0, 1, 2, 4).reshape(bh * bw * n, c, h // bh, w // bw)


@operation("ios15", T=FLOATS)
def batch_to_space(x: T, *, block_shape: Ints, crops: Ints) -> T:
    """Moves parts of the batch to blocks of pixels, then crops height and width: the inverse of `space_to_batch`.

    (n * bh * bw, c, h, w) to (n, c, h * bh - cropped, w * bw - cropped).
    """
    (bh, bw), (top, bottom, left, right) = block_shape, crops
    batch, c, h, w = x.shape
    n = batch // (bh * bw)
    x = x.reshape(bh, bw, n, c, h, w).permute(2, 3, 4, 0, 5, 1).reshape(n, c, h * bh, w * bw)
    return x[:, :, top : h * bh - bottom, left : w * bw - right]


@operation("ios15", T=FLOATS)
def pixel_shuffle(x: T, *, upscale_factor: int) -> T:
    """Channels to blocks of pixels: (n, c * f * f, h, w) to (n, c, h * f, w * f); channel i * f * f + row * f + column gives channel i."""
    return functional.pixel_shuffle(x, upscale_factor)


@operation("ios16", T=FLOATS)
def pixel_unshuffle(x: T, *, downscale_factor: int) -> T:
    """Blocks of pixels to channels: (n, c, h, w) to (n, c * f * f, h / f, w / f), the inverse of `pixel_shuffle`."""
    return functional.pixel_unshuffle(x, downscale_factor)
