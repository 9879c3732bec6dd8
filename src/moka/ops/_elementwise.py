"""What element-wise operations share: their combinators, and conversion to integers.

`sub = binary("sub", torch.sub, "Element-wise difference, with broadcasting: x - y.")` is a whole record.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from moka.formats.dtypes import DType
from moka.ops.table import BOOL, FLOATS, INT32, K, T, operation

__all__ = ["along_axis", "binary", "comparison", "logical", "saturate", "unary"]

Unary: TypeAlias = Callable[[Tensor], Tensor]
Binary: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def unary(name: str, function: Unary, doc: str, domain: frozenset[DType] = FLOATS) -> Unary:
    """The record of an operation of one tensor, whose result has its shape and type."""

    @operation("ios15", name=name, call=function, T=domain)
    def kernel(x: T) -> T:
        return function(x)

    return _named(kernel, name, doc)


def binary(name: str, function: Binary, doc: str) -> Binary:
    """The record of an operation of two tensors of one type, which broadcast."""

    @operation("ios15", name=name, call=function, T=FLOATS | INT32)
    def kernel(x: T, y: T) -> T:
        return function(x, y)

    return _named(kernel, name, doc)


def comparison(name: str, function: Binary, doc: str) -> Binary:
    """The record of an operation that asks the same of every pair of elements of two tensors, which broadcast; the result is bool."""

    @operation("ios15", name=name, call=function, T=FLOATS | INT32)
    def kernel(x: T, y: T) -> Tensor:
        return function(x, y)

    return _named(kernel, name, doc)


def logical(name: str, function: Binary, doc: str) -> Binary:
    """The record of an operation of two bool tensors, which broadcast."""

    @operation("ios15", name=name, call=function, T=BOOL)
    def kernel(x: T, y: T) -> T:
        return function(x, y)

    return _named(kernel, name, doc)


def _named(kernel: K, name: str, doc: str) -> K:
    kernel.__name__ = kernel.__qualname__ = name
    kernel.__doc__ = doc
    return kernel


_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1), "int32": (-(2**31), 2**31 - 1)}


def saturate(x: Tensor, dtype: str) -> Tensor:
    """Floats as integers of the named type: rounded toward zero, the nearest end of the range beyond it, NaN as 0.

    That is what ARM's conversion instructions do, so what Apple's processors give; x86 has another rule, and PyTorch none.
    """
    low, high = _RANGES[dtype]
    if x.is_meta:  # without data there is nothing to clamp, and PyTorch takes milliseconds to find out
        return x.to(torch.int64)
    # float32 does not hold 2**31 - 1 but rounds it up to 2**31, hence the second clamp, among the integers.
    return x.float().nan_to_num(0.0).clamp(low, high).to(torch.int64).clamp(low, high)


def along_axis(parameter: Tensor, rank: int, axis: int | None) -> Tensor:
    """A vector laid along ``axis`` of a tensor of ``rank``, ready to broadcast; scalars as they are."""
    if parameter.dim() != 1 or axis is None:
        return parameter
    return parameter.reshape([-1 if i == axis % rank else 1 for i in range(rank)])
