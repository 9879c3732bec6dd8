"""Tensors made, joined, split, padded, sorted and searched."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from moka.ops.table import BOOL, FLOATS, INT32, NUMBERS, Ints, T, U, operation

_COMMON = FLOATS | INT32 | BOOL


@operation("ios15")
def identity(x: Tensor) -> Tensor:
    """x itself, of whatever type; it may be a list or a dictionary."""
    return x


@operation("ios15", T=_COMMON, U=BOOL)
def select(cond: U, a: T, b: T) -> T:
    """Element by element, with broadcasting: a where cond is true, else b."""
    return torch.where(cond.to(a.device), a, b)


@operation("ios15", T=_COMMON)
def shape(x: T) -> Tensor:
    """The dimensions of x, as a vector of int32."""
    return torch.tensor(x.shape, dtype=torch.int32)


@operation("ios15", T=_COMMON)
def fill(value: T | None = None, *, shape: Ints) -> T:
    """A tensor of the given shape with ``value``, or 0.0, in every element."""
    return torch.zeros(shape) if value is None else value.expand(shape).contiguous()


@operation("ios16", T=_COMMON, U=_COMMON)
def fill_like(ref_tensor: T, value: U | None = None) -> U:
    """A tensor of the shape of ref_tensor with ``value``, or 0.0, in every element."""
    if value is None:
        return torch.zeros(ref_tensor.shape, device=ref_tensor.device)
    return value.expand(ref_tensor.shape).contiguous()


@operation("ios15", T=FLOATS | INT32)
def range_1d(*, end: int | float, start: int | float, step: int | float) -> Tensor:
    """The numbers start, start + step, ... that come before end: ceil((end - start) / step) of them."""
    return torch.arange(start, end, step)


@operation("ios15", T=_COMMON)
def one_hot(indices: Tensor, *, one_hot_vector_size: int, axis: int = -1, on_value: int | float = 1, off_value: int | float = 0) -> Tensor:
    """A new dimension ``axis`` of size one_hot_vector_size with on_value at the index and off_value elsewhere.

    An index outside the vector, negative ones too, gives off_value everywhere.
    """
    positions = torch.arange(one_hot_vector_size, device=indices.device)
    position_shape = [1] * (indices.dim() + 1)
    position_shape[axis] = -1
    return torch.where(indices.unsqueeze(axis) == positions.reshape(position_shape), on_value, off_value)


@operation("ios15")
def concat(values: tuple[T, ...], *, axis: int, interleave: bool = False) -> T:
    """The tensors joined along ``axis``; scalars become a vector.

    With interleave the tensors, all of one shape, take turns: first slice of each, second slice of each, and so on.
    """
    if values[0].dim() == 0:
        return torch.stack(values)
    if not interleave:
        return torch.cat(values, axis)
    axis %= values[0].dim()
    return torch.stack(values, axis + 1).flatten(axis, axis + 1)


@operation("ios15")
def stack(values: tuple[T, ...], *, axis: int) -> T:
    """The tensors, all of one shape, joined along a new dimension ``axis``."""
    return torch.stack(values, axis)


@operation("ios15", T=_COMMON)
def split(x: T, *, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> T | tuple[T, ...]:
    """x cut along ``axis`` into parts of split_sizes, or into num_splits parts of one size."""
    if split_sizes is None:
        assert num_splits is not None
        split_sizes = (x.shape[axis] // num_splits,) * num_splits
    parts = tuple(x.split_with_sizes(split_sizes, axis))
    return parts if len(parts) > 1 else parts[0]


@operation("ios15", T=_COMMON)
def tile(x: T, *, reps: Ints) -> T:
    """x repeated reps[i] times along each dimension i."""
    return x.repeat(reps)


@operation("ios15", T=_COMMON)
def flatten2d(x: T, *, axis: int = 1) -> T:
    """A matrix: the dimensions before ``axis`` make its rows, the others its columns."""
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operation("ios15", T=FLOATS)
def pad(x: T, *, pad: Ints, mode: Literal["constant", "reflect", "replicate"] = "constant", constant_val: int | float = 0.0) -> T:
    """x with more elements before and after it in its last dimensions.

    ``pad`` has two entries a dimension, before and after, for the last len(pad) / 2 dimensions, outermost first. The new elements are
    constant_val, or mirrored at the edge element without repeating it (reflect), or the edge element (replicate).
    """
    amounts = list(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        return functional.pad(x, _innermost_first(amounts), value=constant_val)
    first = x.dim() - len(amounts)
    padded = [first + i for i, amount in enumerate(amounts) if amount != (0, 0)]
    for start in range(0, len(padded), 3):
        axes = padded[start : start + 3]
        x = _extend(x, axes, _innermost_first([amounts[axis - first] for axis in axes]), mode)
    return x


def _innermost_first(amounts: list[tuple[int, int]]) -> list[int]:
    """Amounts of padding in PyTorch's order."""
    return [count for amount in reversed(amounts) for count in amount]


def _extend(x: Tensor, axes: list[int], amounts: list[int], mode: str) -> Tensor:
    """Reflects or replicates along up to three axes: PyTorch does so for the last ones only, and under two others at least."""
    count = len(axes)
    last = list(range(-count, 0))
    moved = x.movedim(axes, last)
    outer, inner = moved.shape[:-count], moved.shape[-count:]
    padded = functional.pad(moved.reshape(1, math.prod(outer), *inner), amounts, mode)
    return padded.reshape(*outer, *padded.shape[2:]).movedim(last, axes)


@operation("ios15", T=_COMMON)
def band_part(x: T, *, lower: int = -1, upper: int = -1) -> T:
    """The innermost matrices with zeros outside a band: ``lower`` diagonals below the main one, ``upper`` above; negative is all."""
    if lower >= 0:
        x = x.triu(-lower)
    return x.tril(upper) if upper >= 0 else x


@operation("ios15", T=FLOATS | INT32)
def cumsum(x: T, *, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> T:
    """Running sums along ``axis``, from the end if ``reverse``; with ``exclusive`` each sum leaves its own element out."""
    if reverse:
        x = x.flip(axis)
    if exclusive:
        x = functional.pad(x, (0, 0) * (x.dim() - 1 - axis % x.dim()) + (1, 0)).narrow(axis, 0, x.shape[axis])
    total = x.cumsum(axis)
    return total.flip(axis) if reverse else total


@operation("ios15", T=_COMMON)
def non_zero(x: T) -> Tensor:
    """The indices of the elements that are not zero, one row each, in row-major order: (count, rank of x)."""
    return x.nonzero()


@operation("ios15", T=FLOATS | INT32)
def argsort(x: T, *, axis: int = -1, ascending: bool = False) -> Tensor:
    """The indices that sort x along ``axis``, largest first unless ``ascending``; equal elements keep their order."""
    return x.argsort(dim=axis, descending=not ascending, stable=True)


@operation("ios15", T=FLOATS | INT32)
def topk(x: T, *, k: int = 1, axis: int = -1, ascending: bool = False) -> tuple[T, Tensor]:
    """The k largest elements along ``axis``, or smallest if ``ascending``, and their indices; of equal ones the first comes first."""
    return _topk(x, k, axis, ascending, True)


@operation("ios16", name="topk", T=FLOATS | INT32)
def topk_ios16(
    x: T, *, k: int = 1, axis: int = -1, ascending: bool = False, sort: bool = True, return_indices: bool = True
) -> T | tuple[T, Tensor]:
    """The k largest elements along ``axis``, or smallest if ``ascending``, and their indices if return_indices.

    They come in order if ``sort``, of equal ones the first first; else in any order.
    """
    values, indices = _topk(x, k, axis, ascending, sort)
    return (values, indices) if return_indices else values


@operation("ios17", name="topk", T=NUMBERS)
def topk_ios17(
    x: T,
    *,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: Literal["int32", "uint16"] = "int32",
) -> T | tuple[T, Tensor]:
    """The k largest elements along ``axis``, or smallest if ``ascending``, and their indices if return_indices; k = -1 is all elements.

    They come in order if ``sort``, of equal ones the first first; else in any order. The indices have type output_indices_dtype.
    """
    values, indices = _topk(x, x.shape[axis] if k == -1 else k, axis, ascending, sort)
    return (values, indices) if return_indices else values


def _topk(x: Tensor, k: int, axis: int, ascending: bool, ordered: bool) -> tuple[Tensor, Tensor]:
    """PyTorch's topk takes equal elements in any order. Here it gets keys that are all different: an element's rank, then its index."""
    if x.dim() == 0:
        return x, torch.zeros_like(x, dtype=torch.int64)
    position = torch.arange(x.shape[axis], device=x.device).reshape([-1] + [1] * (x.dim() - 1 - axis % x.dim()))
    keys = _rank(x) + (position if ascending else -position)
    indices = keys.topk(k, axis, largest=not ascending, sorted=ordered).indices
    return x.gather(axis, indices), indices


def _rank(x: Tensor) -> Tensor:
    """Integers in the order of x's elements, 2**32 apart; NaN is above infinity.

    The bits of a float, read as an integer, are in the order of positive numbers and in the opposite one of negative numbers.
    """
    if x.is_floating_point():
        bits = (x.detach().float() + 0.0).view(torch.int32)
        x = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return x.long() << 32


@operation("ios15", T=FLOATS)
def non_maximum_suppression(
    boxes: T, scores: T, *, iou_threshold: float, score_threshold: float, max_boxes: int, per_class_suppression: bool = False
) -> tuple[T, T, Tensor, Tensor]:
    """The best boxes that do not overlap a better one: an intersection over union above iou_threshold is an overlap.

    ``boxes`` are (n, B, 4): centre x, centre y, width, height; ``scores`` are (n, B, K). A box counts with the best of its K scores, which
    must be above score_threshold; with per_class_suppression it only gives way to boxes of its own best class. If no score is high
    enough the best box stays.

    Gives up to max_boxes boxes, best first, their scores, their indices and how many they are, padded with zeros (indices with -1).
    """
    chosen = [
        _suppress(image_boxes, image_scores, iou_threshold, score_threshold, max_boxes, per_class_suppression)
        for image_boxes, image_scores in zip(boxes, scores, strict=True)
    ]
    kept_boxes, kept_scores = (
        _stacked([image[kept] for image, kept in zip(rows, chosen, strict=True)], max_boxes, 0) for rows in (boxes, scores)
    )
    counts = torch.tensor([len(indices) for indices in chosen], dtype=torch.int32)
    return kept_boxes, kept_scores, _stacked(chosen, max_boxes, -1), counts


@operation("ios17", name="non_maximum_suppression", T=FLOATS)
def non_maximum_suppression_ios17(
    boxes: T, scores: T, *, iou_threshold: float, max_boxes: int, per_class_suppression: bool = False
) -> tuple[T, T, Tensor]:
    """The same as before iOS 17, with boxes last, (n, 4, B) and (n, K, B), without a least score and without the numbers of boxes."""
    kept_boxes, kept_scores, indices, _ = non_maximum_suppression(
        boxes.mT,
        scores.mT,
        iou_threshold=iou_threshold,
        score_threshold=-math.inf,
        max_boxes=max_boxes,
        per_class_suppression=per_class_suppression,
    )
    return kept_boxes.mT, kept_scores.mT, indices


def _suppress(boxes: Tensor, scores: Tensor, iou_threshold: float, score_threshold: float, max_boxes: int, per_class: bool) -> Tensor:
    """The indices of one image's boxes that stay, best first."""
    best, classes = scores.max(-1)
    order = best.argsort(descending=True, stable=True)
    remaining = order[best[order] > score_threshold]
    if not len(remaining):
        return order[:1]
    kept: list[Tensor] = []
    while len(remaining) and len(kept) < max_boxes:
        first, remaining = remaining[0], remaining[1:]
        kept.append(first)
        overlaps = _iou(boxes[first], boxes[remaining]) > iou_threshold
        if per_class:
            overlaps &= classes[remaining] == classes[first]
        remaining = remaining[~overlaps]
    return torch.stack(kept)


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of one box (4) with others (n, 4), all centre and size."""
    low = torch.maximum(box[:2] - box[2:] / 2, boxes[:, :2] - boxes[:, 2:] / 2)
    high = torch.minimum(box[:2] + box[2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    intersection = (high - low).clamp(min=0).prod(-1)
    return intersection / (box[2:].prod() + boxes[:, 2:].prod(-1) - intersection)


def _stacked(images: list[Tensor], count: int, value: int) -> Tensor:
    """One tensor of each image's first ``count`` rows, with rows of ``value`` where there are fewer."""
    fill = (0, 0) * (images[0].dim() - 1)
    return torch.stack([functional.pad(rows, (*fill, 0, count - len(rows)), value=value) for rows in images])
