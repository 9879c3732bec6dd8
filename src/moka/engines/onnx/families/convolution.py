"""Convolutions and transposed convolutions, with padding resolved to numbers wherever sizes allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moka.engines.onnx.families._nodes import along_axis, reshape
from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers
from moka.ops._windows import Pads, PadType, explicit_pads, extents, per_dimension, split
from moka.ops.table import Ints

__all__ = ["flat", "padded", "window_pads"]


def window_pads(x: Operand, pad_type: PadType, pad: Ints | None, extent: Sequence[int], strides: Sequence[int]) -> Pads | None:
    """Padding of each spatial axis; None where it depends on sizes that are not known.

    With a stride of 1, ``same`` pads alike whatever the size.
    """
    if not pad_type.startswith("same"):
        return explicit_pads(pad_type, pad, extent, extent, strides)
    if all(stride == 1 for stride in strides):
        return explicit_pads(pad_type, pad, extent, extent, strides)
    axes = range(2, 2 + len(extent))
    if not x.is_static(*axes):
        return None
    return explicit_pads(pad_type, pad, [x.size(axis) for axis in axes], extent, strides)


def flat(pads: Pads) -> list[int]:
    """Pads in ONNX's order: all that come before, then all that come after."""
    return [before for before, _ in pads] + [after for _, after in pads]


def padded(g: Graph, x: Operand, pads: Pads, value: float) -> Operand:
    """``x`` with its spatial axes padded with a value, or cut where pads are negative."""
    if not any(map(any, pads)):
        return x
    return g.node("Pad", x, g.ints(flat([(0, 0), (0, 0), *pads])), value)


def _biased(g: Graph, kind: str, x: Operand, weight: Operand, bias: Operand | None, **attributes: Any) -> Operand:
    """A convolution with its bias, which OpenVINO gets as an addition: its reader would make nine operators of it, all but one to fold."""
    weight, bias = g.cast(weight, x.dtype), None if bias is None else g.cast(bias, x.dtype)
    if bias is None or g.target.name != "openvino":
        return g.node(kind, x, weight, bias, **attributes)
    return g.node("Add", g.node(kind, x, weight, **attributes), along_axis(g, bias, weight.rank, 1))


@lowers("conv")
def conv(
    g: Graph,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    *,
    strides: Ints | None,
    pad_type: PadType,
    pad: Ints | None,
    dilations: Ints | None,
    groups: int,
) -> Operand:
    kernel = weight.static_shape[2:]
    strides, dilations = per_dimension(strides, len(kernel)), per_dimension(dilations, len(kernel))
    pads = window_pads(x, pad_type, pad, extents(kernel, dilations), strides)
    padding: dict[str, Any] = {"auto_pad": "SAME_UPPER" if pad_type == "same" else "SAME_LOWER"}
    if pads is None and max(dilations) > 1:
        raise Unlowerable(f"pad_type {pad_type!r} with dilations needs the sizes of {x.name!r}, known only while the program runs")
    if pads is not None:
        if min(map(min, pads), default=0) < 0:
            x, pads = padded(g, x, pads, 0.0), [(0, 0)] * len(pads)
        padding = {"pads": flat(pads)}
    return _biased(g, "Conv", x, weight, bias, kernel_shape=kernel, strides=strides, dilations=dilations, group=groups, **padding)


@lowers("conv_quantized")
def conv_quantized(
    g: Graph,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    *,
    quantization_type: str,
    nbits: int,
    quant_scale: Operand,
    quant_bias: Operand,
    strides: Ints | None,
    pad_type: PadType,
    pad: Ints | None,
    dilations: Ints | None,
    groups: int,
) -> Operand:
    if quantization_type != "linear":
        raise Unlowerable("quantization_type 'lut' comes without its table")
    shape = (-1,) + (1,) * (weight.rank - 1)
    scale, shift = (reshape(g, g.cast(parameter, x.dtype), shape) for parameter in (quant_scale, quant_bias))
    kernel = g.node("Add", g.node("Mul", g.cast(weight, x.dtype), scale), shift, shape=weight.shape)
    return conv(g, x, kernel, bias, strides=strides, pad_type=pad_type, pad=pad, dilations=dilations, groups=groups)


@lowers("conv_transpose")
def conv_transpose(
    g: Graph,
    x: Operand,
    weight: Operand,
    bias: Operand | None,
    *,
    pad: Ints | None,
    output_shape: Ints | None,
    pad_type: PadType,
    strides: Ints | None,
    dilations: Ints | None,
    groups: int,
) -> Operand:
    kernel = weight.static_shape[2:]
    strides, dilations = per_dimension(strides, len(kernel)), per_dimension(dilations, len(kernel))
    extent = extents(kernel, dilations)
    if output_shape is None:
        pads, extra = _cut(pad_type, pad, extent, strides)
    else:
        pads, extra = _cut_to(x, output_shape[-len(kernel) :], pad_type, pad, extent, strides)
    return _biased(
        g, "ConvTranspose", x, weight, bias, kernel_shape=kernel, strides=strides, dilations=dilations, group=groups,
        pads=flat(pads), output_padding=extra if any(extra) else None,
    )  # fmt: skip


def _cut(pad_type: PadType, pad: Ints | None, extent: Sequence[int], strides: Sequence[int]) -> tuple[Pads, list[int]]:
    """What is cut off the canvas of (d - 1) * stride + extent elements, and what is added after it, for every size d."""
    if pad_type == "custom" and pad:
        return [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)], [0] * len(extent)
    if pad_type in ("valid", "custom"):
        return [(0, 0)] * len(extent), [0] * len(extent)
    surplus = [e - s for e, s in zip(extent, strides, strict=True)]
    pads = [split(max(0, more), lower=pad_type == "same_lower") for more in surplus]
    return pads, [max(0, -more) for more in surplus]


def _cut_to(
    x: Operand, wanted: Sequence[int], pad_type: PadType, pad: Ints | None, extent: Sequence[int], strides: Sequence[int]
) -> tuple[Pads, list[int]]:
    """The same for a window of the canvas of the sizes that the program wants."""
    sizes = [x.size(axis) for axis in range(2, 2 + len(extent))]
    surplus = [(d - 1) * s + e - want for d, s, e, want in zip(sizes, strides, extent, wanted, strict=True)]
    if pad_type in ("same", "same_lower"):
        starts = [split(max(0, more), lower=pad_type == "same_lower")[0] for more in surplus]
    else:
        starts = [before for before, _ in explicit_pads("custom" if pad_type == "custom" else "valid", pad, extent, extent, strides)]
    ends = [more - start for more, start in zip(surplus, starts, strict=True)]
    return [(start, max(0, end)) for start, end in zip(starts, ends, strict=True)], [max(0, -end) for end in ends]
