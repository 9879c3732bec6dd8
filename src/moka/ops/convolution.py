"""Convolutions and transposed convolutions over one, two or three spatial dimensions."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch

from moka.errors import UnsupportedError
from moka.ops._common import like, memoized
from moka.ops._windows import PadType, explicit_pads, extents, flat, per_dimension, split
from moka.ops.table import FLOATS, UINT8, Ints, T, U, operation


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def conv(
    x: T,
    weight: U,
    bias: U | None = None,
    *,
    strides: Ints | None = None,
    pad_type: PadType = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> T:
    """Cross-correlation of each group of input channels with its kernels, plus a bias for each output channel.

    x: [n, c_in, *d], weight: [c_out, c_in / groups, *k], bias: [c_out]; result: [n, c_out, *d_out] with
    d_out = floor((d + pad_before + pad_after - (k - 1) * dilation - 1) / stride) + 1. `pad` counts for `pad_type="custom"` alone.
    """
    strides, dilations, padding, around = _plan(pad_type, pad, strides, dilations, x.shape[2:], weight.shape[2:])
    if around is not None:
        x = torch.nn.functional.pad(x, around)
    return torch.convolution(x, like(x, weight), like(x, bias), strides, padding, dilations, False, [0] * len(strides), groups)


_Plan: TypeAlias = tuple[Ints, Ints, list[int], list[int] | None]


@memoized
def _plan(pad_type: str, pad: Ints | None, strides: Ints | None, dilations: Ints | None, sizes: Ints, kernel: Ints) -> _Plan:
    """Strides, dilations, the padding that PyTorch's convolution is to do, and what must be put around x before, if anything."""
    strides, dilations = per_dimension(strides, len(sizes)), per_dimension(dilations, len(sizes))
    pads = explicit_pads(pad_type, pad, sizes, extents(kernel, dilations), strides)
    if all(before == after >= 0 for before, after in pads):
        return strides, dilations, [before for before, _ in pads], None
    return strides, dilations, [0] * len(sizes), flat(pads)


@operation("ios15", T=FLOATS, U=UINT8)
def conv_quantized(
    x: T,
    weight: U,
    bias: U | None = None,
    *,
    quantization_type: Literal["linear", "lut"],
    nbits: int = 8,
    quant_scale: T,
    quant_bias: T,
    strides: Ints | None = None,
    pad_type: PadType = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> T:
    """Convolution with weights stored as codes of `nbits` bits, one a byte: weight * quant_scale + quant_bias, then `conv`.

    `quant_scale` and `quant_bias` hold one value, or one for each output channel. A lookup table has no place among the
    operation's parameters, so `quantization_type="lut"` is refused.
    """
    if quantization_type == "lut":
        raise UnsupportedError("conv_quantized: quantization_type 'lut' comes without its table; expected 'linear'")
    shape = (-1,) + (1,) * (weight.dim() - 1)
    kernel = weight.to(x) * quant_scale.reshape(shape) + quant_bias.reshape(shape)
    return conv(x, kernel, bias, strides=strides, pad_type=pad_type, pad=pad, dilations=dilations, groups=groups)


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def conv_transpose(
    x: T,
    weight: U,
    bias: U | None = None,
    *,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: PadType = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> T:
    """Transposed convolution: the gradient of `conv` with respect to its input, plus a bias for each output channel.

    x: [n, c_in, *d], weight: [c_in, c_out / groups, *k], bias: [c_out]; result: [n, c_out, *d_out]. Every input element adds a kernel
    to a canvas of (d - 1) * stride + (k - 1) * dilation + 1, of which the result is a window: all of it for `valid`, without `pad`
    for `custom`, d * stride elements in its middle for `same` and `same_lower`. `output_shape` sets the window's size.
    """
    sizes, kernel = x.shape[2:], weight.shape[2:]
    strides, dilations, cropped, extra, window = _transposed_plan(pad_type, pad, output_shape, strides, dilations, sizes, kernel)
    result = torch.convolution(x, like(x, weight), like(x, bias), strides, cropped, dilations, True, extra, groups)
    for axis, start, size in window:
        result = result.narrow(axis, start, size)
    return result


_TransposedPlan: TypeAlias = tuple[Ints, Ints, list[int], list[int], list[tuple[int, int, int]]]


@memoized
def _transposed_plan(
    pad_type: str, pad: Ints | None, output_shape: Ints | None, strides: Ints | None, dilations: Ints | None, sizes: Ints, kernel: Ints
) -> _TransposedPlan:
    """Strides, dilations, what PyTorch's convolution is to crop on both sides and add at the end, and the windows to cut out then.

    A window is an axis, a start and a size.
    """
    strides, dilations = per_dimension(strides, len(sizes)), per_dimension(dilations, len(sizes))
    canvas = [(d - 1) * s + e for d, s, e in zip(sizes, strides, extents(kernel, dilations), strict=True)]
    starts, wanted = _canvas_window(pad_type, pad, output_shape, canvas, [d * s for d, s in zip(sizes, strides, strict=True)])
    missing = [start + size - whole for start, size, whole in zip(starts, wanted, canvas, strict=True)]
    cropped = [max(0, min(start, -lack)) for start, lack in zip(starts, missing, strict=True)]
    extra = [max(0, lack) for lack in missing]
    given = [whole - 2 * crop + more for whole, crop, more in zip(canvas, cropped, extra, strict=True)]
    ranges = zip(starts, cropped, wanted, given, strict=True)
    window = [(axis, start - crop, size) for axis, (start, crop, size, have) in enumerate(ranges, start=2) if size != have]
    return strides, dilations, cropped, extra, window


def _canvas_window(
    pad_type: str, pad: Ints | None, output_shape: Ints | None, canvas: list[int], same: list[int]
) -> tuple[list[int], list[int]]:
    """Where the result starts on the canvas in each dimension, and its size there."""
    explicit = explicit_pads(pad_type if pad_type == "custom" else "valid", pad, canvas, canvas, canvas)
    centred = pad_type in ("same", "same_lower")
    if output_shape is not None:
        sizes = list(output_shape[-len(canvas) :])
    elif centred:
        sizes = same
    else:
        sizes = [whole - before - after for whole, (before, after) in zip(canvas, explicit, strict=True)]
    if centred:
        cut = (max(0, whole - size) for whole, size in zip(canvas, sizes, strict=True))
        return [split(amount, lower=pad_type == "same_lower")[0] for amount in cut], sizes
    return [before for before, _ in explicit], sizes
