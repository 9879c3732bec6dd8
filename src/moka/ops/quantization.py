"""Affine quantization of values that are computed: real = scale * (stored - zero_point)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from moka.ops._elementwise import along_axis, saturate
from moka.ops.table import FLOATS, INT8, UINT8, T, U, operation


@operation("ios17", T=FLOATS, U=INT8 | UINT8)
def quantize(input: T, scale: T, zero_point: U | None = None, *, output_dtype: Literal["int8", "uint8"], axis: int | None = None) -> Tensor:
    """Floats as 8-bit integers: clip(round(input / scale) + zero_point), halves to even, clipped to the range of ``output_dtype``.

    scale and zero_point: scalars, or one value for each position along ``axis``.
    """
    rank = input.dim()
    scaled = torch.round(input / along_axis(scale, rank, axis))
    if zero_point is not None:
        scaled = scaled + along_axis(zero_point, rank, axis).to(scaled)
    return saturate(scaled, output_dtype)


@operation("ios17", T=INT8 | UINT8, U=FLOATS)
def dequantize(input: T, scale: U, zero_point: T | None = None, *, axis: int | None = None) -> U:
    """8-bit integers as floats: scale * (input - zero_point).

    scale and zero_point: scalars, or one value for each position along ``axis``.
    """
    return affine(input, scale, zero_point, axis)


def affine(data: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int | None) -> Tensor:
    """scale * (data - zero_point) in the type of ``scale``; vectors lie along ``axis``."""
    rank = data.dim()
    values = data.to(scale)
    if zero_point is not None:
        values = values - along_axis(zero_point, rank, axis).to(scale)
    return values * along_axis(scale, rank, axis)
