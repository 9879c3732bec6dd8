"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from moka.ops.table import FLOATS, INT32, T, U, operation


def _product(x: Tensor, y: Tensor) -> Tensor:
    """Matrix product; CUDA has none for integers, so there it is a sum of products."""
    if x.is_floating_point() or not x.is_cuda:
        return torch.matmul(x, y)
    if x.dim() == 1 or y.dim() == 1:
        return (x * y.movedim(-2, -1)).sum(-1) if y.dim() > 1 else (x * y).sum(-1)
    return (x.unsqueeze(-1) * y.unsqueeze(-3)).sum(-2)


@operation("ios17", T=FLOATS | INT32, U=FLOATS | INT32)
@operation("ios15", T=FLOATS | INT32, U=FLOATS | INT32)
def linear(x: T, weight: U, bias: U | None = None) -> T:
    """Affine map of the last dimension: x @ transpose(weight) + bias.

    x: [*d, d_in], weight: [d_out, d_in], bias: [d_out]; result: [*d, d_out].
    """
    if weight.dtype is not x.dtype:
        weight, bias = weight.to(x.dtype), None if bias is None else bias.to(x.dtype)
    if x.is_floating_point():
        return torch.nn.functional.linear(x, weight, bias)
    product = _product(x, weight.t())
    return product if bias is None else product + bias


@operation("ios17", T=FLOATS | INT32, U=FLOATS | INT32)
@operation("ios15", T=FLOATS | INT32, U=FLOATS | INT32)
def matmul(x: T, y: U, *, transpose_x: bool = False, transpose_y: bool = False) -> T:
    """Matrix product of the last two dimensions, the others broadcast; a vector is a row on the left and a column on the right.

    The transposes swap the last two dimensions first and leave vectors alone. From ios17 on the types may differ where one side is a
    constant; the product is then computed in the wider one.
    """
    if transpose_x and x.dim() > 1:
        x = x.mT
    if transpose_y and y.dim() > 1:
        y = y.mT
    if x.dtype is not y.dtype:
        wide = torch.promote_types(x.dtype, y.dtype)
        x, y = x.to(wide), y.to(wide)
    return _product(x, y)


@operation("ios15", T=FLOATS)
def einsum(values: tuple[T, ...], *, equation: str) -> T:
    """Sum of products over named dimensions; sizes of 1 broadcast.

    Core ML allows products of two tensors laid out as `nchw,nwhu->nchu` or `chw,whr->chr`, under any letters.
    """
    return torch.einsum(equation, *values)
