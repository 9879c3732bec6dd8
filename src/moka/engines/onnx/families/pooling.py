"""Pooling. What windows reach past the padding under ``ceil_mode`` is put around x, so that every runtime counts alike."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np

from moka.engines.onnx.families.convolution import flat, padded, window_pads
from moka.engines.onnx.graph import Array, Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers
from moka.ops._windows import Pads, PadType, overhang, per_dimension
from moka.ops.table import Ints


def _windows(
    x: Operand, kernel: Ints, strides: Ints | None, pad_type: PadType, pad: Ints | None, ceil_mode: bool
) -> tuple[Ints, Pads, list[int]]:
    """Strides, padding, and how far the last windows reach past it.

    Raises:
        Unlowerable: they depend on sizes that are not known.
    """
    steps = per_dimension(strides, len(kernel))
    pads = window_pads(x, pad_type, pad, kernel, steps)
    axes = range(2, 2 + len(kernel))
    if pads is None or (ceil_mode and max(steps) > 1 and not x.is_static(*axes)):
        reason = "ceil_mode" if ceil_mode else f"pad_type {pad_type!r}"
        raise Unlowerable(f"{reason} needs the sizes of {x.name!r}, known only while the program runs")
    if not ceil_mode or max(steps) == 1:
        return steps, pads, [0] * len(kernel)
    return steps, pads, [overhang(x.size(axis), *window) for axis, window in zip(axes, zip(kernel, steps, pads, strict=True), strict=True)]


def _reach(pads: Pads, over: Sequence[int]) -> Pads:
    return [(before, after + extra) for (before, after), extra in zip(pads, over, strict=True)]


def _fits(pads: Pads, kernel: Ints) -> bool:
    """Whether a pooling node can do the padding: runtimes want less of it than a window."""
    return all(0 <= amount < size for pair, size in zip(pads, kernel, strict=True) for amount in pair)


@lowers("max_pool")
def max_pool(
    g: Graph, x: Operand, *, kernel_sizes: Ints, strides: Ints | None, pad_type: PadType, pad: Ints | None, ceil_mode: bool
) -> Operand:
    steps, pads, over = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    pads = _reach(pads, over)
    if not _fits(pads, kernel_sizes):
        x, pads = padded(g, x, pads, -math.inf), [(0, 0)] * len(pads)
    return g.node("MaxPool", x, kernel_shape=kernel_sizes, strides=steps, pads=flat(pads))


@lowers("avg_pool")
def avg_pool(
    g: Graph,
    x: Operand,
    *,
    kernel_sizes: Ints,
    strides: Ints | None,
    pad_type: PadType,
    pad: Ints | None,
    exclude_padding_from_average: bool,
    ceil_mode: bool,
) -> Operand:
    steps, pads, over = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    if not any(over) and _fits(pads, kernel_sizes):
        counted = None if exclude_padding_from_average else 1
        return g.node("AveragePool", x, kernel_shape=kernel_sizes, strides=steps, pads=flat(pads), count_include_pad=counted)
    mean = g.node("AveragePool", padded(g, x, _reach(pads, over), 0.0), kernel_shape=kernel_sizes, strides=steps)
    sizes = [x.size(axis) for axis in range(2, 2 + len(kernel_sizes))]
    within = [(0, 0)] * len(pads) if exclude_padding_from_average else pads
    shares = [_shares(*window) for window in zip(sizes, kernel_sizes, steps, pads, over, within, strict=True)]
    return g.node("Div", mean, functools.reduce(np.multiply.outer, shares).astype(x.dtype))


def _shares(size: int, kernel: int, stride: int, pads: tuple[int, int], over: int, within: tuple[int, int]) -> Array:
    """Which part of each window counts along one axis: what lies in x or ``within`` so much around it; at least one element does."""
    starts = np.arange(0, pads[0] + size + pads[1] + over - kernel + 1, stride) - pads[0]
    counted = np.minimum(starts + kernel, size + within[1]) - np.maximum(starts, -within[0])
    shares: Array = np.maximum(counted, 1) / kernel
    return shares


@lowers("l2_pool")
def l2_pool(
    g: Graph, x: Operand, *, kernel_sizes: Ints, strides: Ints | None, pad_type: PadType, pad: Ints | None, ceil_mode: bool
) -> Operand:
    steps, pads, over = _windows(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    wide = padded(g, g.cast(x, np.float32), _reach(pads, over), 0.0)
    mean = g.node("AveragePool", g.node("Mul", wide, wide), kernel_shape=kernel_sizes, strides=steps)
    return g.node("Sqrt", g.node("Mul", mean, float(math.prod(kernel_sizes))))
