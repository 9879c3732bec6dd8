"""Reductions: one number for all elements along some dimensions.

``axes`` None means all dimensions; an empty list means none, and then each element is reduced alone. With ``keep_dims`` reduced
dimensions stay, with size 1. Integers give integers, computed without rounding where that can be and else rounded toward zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from moka.ops.table import FLOATS, INT32, Ints, T, operation

Reduce: TypeAlias = Callable[[Tensor, list[int], bool], Tensor]
"""A reduction over one dimension or more, none of them negative, in rising order."""


def reduction(name: str, function: Reduce, doc: str) -> Callable[..., Tensor]:
    """The record of a reduction over several dimensions."""

    @operation("ios15", name=name, T=FLOATS | INT32)
    def kernel(x: T, *, axes: Ints | None = None, keep_dims: bool = False) -> T:
        rank = x.dim()
        dims = list(range(rank)) if axes is None else sorted({axis % rank for axis in axes})
        if not dims:  # over no dimension, which PyTorch takes to mean all: over one of size 1 put there for the purpose
            return function(x.unsqueeze(0), [0], False)
        return function(x, dims, keep_dims)

    kernel.__name__ = kernel.__qualname__ = name
    kernel.__doc__ = doc
    return kernel


def _wide(x: Tensor) -> Tensor:
    """float32 in place of float16, whose range sums leave before their logarithm or root would bring them back, and of integers."""
    return x if x.is_floating_point() and x.dtype.itemsize >= 4 else x.float()


def _sum(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.sum(x, dims, keep)


def _mean(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    if x.is_floating_point():
        return torch.mean(x, dims, keep)
    total = torch.sum(x, dims, keep)
    return torch.div(total, x.numel() // max(total.numel(), 1), rounding_mode="trunc")


def _product(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    for dim in reversed(dims):
        x = torch.prod(x, dim, keep)
    return x


def _sum_square(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.sum(torch.square(_wide(x) if x.is_floating_point() else x), dims, keep)


def _l1_norm(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.sum(torch.abs(x), dims, keep)


def _l2_norm(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(_wide(x), 2, dims, keep)
    return norm


def _log_sum(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.log(torch.sum(_wide(x), dims, keep))


def _log_sum_exp(x: Tensor, dims: list[int], keep: bool) -> Tensor:
    return torch.logsumexp(_wide(x), dims, keep)


reduce_l1_norm = reduction("reduce_l1_norm", _l1_norm, "Sum of absolute values.")
reduce_l2_norm = reduction("reduce_l2_norm", _l2_norm, "Euclidean norm: sqrt(sum(x^2)).")
reduce_log_sum = reduction("reduce_log_sum", _log_sum, "Natural logarithm of the sum: ln(sum(x)).")
reduce_log_sum_exp = reduction(
    "reduce_log_sum_exp", _log_sum_exp, "Smooth maximum: ln(sum(e^x)), computed so that no exponential overflows."
)
reduce_max = reduction("reduce_max", torch.amax, "Largest element; NaN where there is one.")
reduce_mean = reduction("reduce_mean", _mean, "Arithmetic mean.")
reduce_min = reduction("reduce_min", torch.amin, "Smallest element; NaN where there is one.")
reduce_prod = reduction("reduce_prod", _product, "Product.")
reduce_sum = reduction("reduce_sum", _sum, "Sum.")
reduce_sum_square = reduction("reduce_sum_square", _sum_square, "Sum of squares.")


@operation("ios15", T=FLOATS | INT32)
def reduce_argmax(x: T, *, axis: int = -1, keep_dims: bool = False) -> Tensor:
    """Position of the largest element along ``axis``, as int32; any of them where several are largest."""
    return torch.argmax(x, axis, keep_dims)


@operation("ios15", T=FLOATS | INT32)
def reduce_argmin(x: T, *, axis: int = -1, keep_dims: bool = False) -> Tensor:
    """Position of the smallest element along ``axis``, as int32; any of them where several are smallest."""
    return torch.argmin(x, axis, keep_dims)


IndexType: TypeAlias = Literal["int32", "uint16"]


@operation("ios17", name="reduce_argmax", T=FLOATS | INT32)
def reduce_argmax_ios17(x: T, *, axis: int = -1, keep_dims: bool = False, output_dtype: IndexType = "int32") -> Tensor:
    """Position of the largest element along ``axis``, as ``output_dtype``; any of them where several are largest."""
    return torch.argmax(x, axis, keep_dims)


@operation("ios17", name="reduce_argmin", T=FLOATS | INT32)
def reduce_argmin_ios17(x: T, *, axis: int = -1, keep_dims: bool = False, output_dtype: IndexType = "int32") -> Tensor:
    """Position of the smallest element along ``axis``, as ``output_dtype``; any of them where several are smallest."""
    return torch.argmin(x, axis, keep_dims)
