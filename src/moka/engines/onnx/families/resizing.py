"""Images resized: Resize where its arithmetic is Core ML's, else pixels picked at places that are known ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from moka.engines.onnx.families._nodes import resized_shape, squeeze, unsqueeze
from moka.engines.onnx.graph import Array, Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers
from moka.ops._sampling import grid, picked
from moka.ops.table import Ints

_LINEAR: dict[str, dict[str, Any]] = {
    "STRICT_ALIGN_CORNERS": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "ALIGN_CORNERS": {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
    "UNALIGN_CORNERS": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "DEFAULT": {"mode": "linear", "coordinate_transformation_mode": "asymmetric"},
}
"""Attributes of Resize for the sampling modes that ONNX has too; ALIGN_CORNERS differs for a single sample."""

_REPEATED: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_CENTERS: dict[str, Any] = {"mode": "nearest", "coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}


@lowers("upsample_nearest_neighbor")
def upsample_nearest_neighbor(g: Graph, x: Operand, *, scale_factor_height: float, scale_factor_width: float) -> Operand:
    factors = scale_factor_height, scale_factor_width
    return _nearest(g, x, _scaled(x, *factors), "corners") if x.is_static(-2, -1) else _scale(g, x, factors, _REPEATED)


@lowers("resize_nearest_neighbor")
def resize_nearest_neighbor(g: Graph, x: Operand, *, target_size_height: int, target_size_width: int) -> Operand:
    return _nearest(g, x, (target_size_height, target_size_width), "centers")


@lowers("upsample_bilinear")
def upsample_bilinear(
    g: Graph,
    x: Operand,
    *,
    scale_factor_height: float,
    scale_factor_width: float,
    align_corners: bool,
    half_pixel_centers: bool | None = None,
) -> Operand:
    centers = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if centers else "DEFAULT"
    factors = scale_factor_height, scale_factor_width
    return _linear(g, x, _scaled(x, *factors), mode) if x.is_static(-2, -1) else _scale(g, x, factors, _LINEAR[mode])


@lowers("resize_bilinear")
def resize_bilinear(g: Graph, x: Operand, *, target_size_height: int, target_size_width: int, sampling_mode: str) -> Operand:
    return _linear(g, x, (target_size_height, target_size_width), sampling_mode)


@lowers("resize", computed=("shape",))
def resize(g: Graph, x: Operand, *, shape: Ints | Operand, resized_dims: int, interpolation_mode: str, sampling_mode: str) -> Operand:
    if resized_dims == 0:
        return x
    if isinstance(shape, Operand):
        return _resize_to(g, x, shape, resized_dims, interpolation_mode, sampling_mode)
    axes = range(x.rank - resized_dims, x.rank)
    sizes = [new or x.size(axis) for new, axis in zip(shape[-resized_dims:], axes, strict=True)]
    if interpolation_mode == "LINEAR":
        return _linear(g, x, sizes, sampling_mode)
    return _nearest(g, x, sizes, "centers" if sampling_mode == "DEFAULT" else sampling_mode)


def _resize_to(g: Graph, x: Operand, shape: Operand, dims: int, interpolation: str, mode: str) -> Operand:
    """Resize to sizes that the program computes, where ONNX has the sampling mode; 0 keeps a size."""
    attributes = _LINEAR.get(mode) if interpolation == "LINEAR" else _CENTERS if mode == "DEFAULT" else None
    if attributes is None or mode == "ALIGN_CORNERS" or dims != 2 or x.rank != 4:
        raise Unlowerable(f"{interpolation} with {mode} to a shape that is computed while the program runs")
    wanted = g.node("Slice", g.cast(shape, np.int64), g.ints([-dims]), g.ints([2**30]), g.ints([0]))
    have = g.node("Shape", x, dtype=np.int64, start=-dims)
    sizes = g.node("Where", g.node("Equal", wanted, g.ints([0]), dtype=np.bool_), have, wanted, dtype=np.int64)
    whole = g.node("Concat", g.node("Shape", x, dtype=np.int64, end=-dims), sizes, axis=0)
    return g.node("Resize", x, None, None, whole, **attributes)


def _scaled(x: Operand, height: float, width: float) -> tuple[int, int]:
    """The last two sizes times their factors, rounded down, in the fp32 arithmetic that coremltools declares shapes with."""
    return int(np.float32(x.size(-2)) * np.float32(height)), int(np.float32(x.size(-1)) * np.float32(width))


def _linear(g: Graph, x: Operand, sizes: Sequence[int], mode: str) -> Operand:
    """The last axes resized with linear interpolation, in floating point."""
    x = x if x.dtype.kind == "f" else g.cast(x, np.float32)
    if len(sizes) == 2 and x.rank in (3, 4) and mode in _LINEAR and not (mode == "ALIGN_CORNERS" and 1 in sizes):
        return _as_images(g, x, lambda images: g.node("Resize", images, None, None, resized_shape(g, images, sizes), **_LINEAR[mode]))
    for axis, count in enumerate(sizes, start=x.rank - len(sizes)):
        size = x.size(axis)
        if size != count or mode == "OFFSET_CORNERS":  # the other grids of as many points as pixels are the pixels
            x = _along(g, x, axis, grid(mode, torch.tensor(size - 1), count).numpy())
    return x


def _along(g: Graph, x: Operand, axis: int, points: Array) -> Operand:
    """Linear interpolation at points of one axis."""
    low = points.astype(np.int64)
    weight = (points - low).astype(x.dtype).reshape(-1, *[1] * (x.rank - 1 - axis))
    before = g.node("Gather", x, low, axis=axis)
    after = g.node("Gather", x, np.minimum(low + 1, x.size(axis) - 1), axis=axis)
    result = g.node("Add", before, g.node("Mul", g.node("Sub", after, before), weight))
    return _with_size(x, result, axis, len(points))


def _nearest(g: Graph, x: Operand, sizes: Sequence[int], mode: str) -> Operand:
    """The last axes resized by picking pixels: Resize where whole factors leave no doubt which, else by their indices."""
    axes = range(x.rank - len(sizes), x.rank)
    factors = [count / x.size(axis) if x.size(axis) else 0.0 for axis, count in zip(axes, sizes, strict=True)]
    whole = mode in ("corners", "centers") and all(factor.is_integer() and factor > 0 for factor in factors)
    if whole and len(sizes) == 2 and x.rank in (3, 4) and x.dtype.kind == "f" and max(factors) > 1:
        return _scale(g, x, factors, _REPEATED)
    for axis, count in zip(axes, sizes, strict=True):
        if x.size(axis) != count:
            places = picked(mode, x.size(axis), count, torch.device("cpu")).numpy()
            x = _with_size(x, g.node("Gather", x, places, axis=axis), axis, count)
    return x


def _with_size(x: Operand, result: Operand, axis: int, count: int) -> Operand:
    """``result``, known to have the shape of ``x`` but for one axis."""
    assert x.shape is not None
    return replace(result, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))


def _as_images(g: Graph, x: Operand, function: Callable[[Operand], Operand]) -> Operand:
    """A function of images, [n, c, h, w], of ``x``, which may lack the first axis."""
    return function(x) if x.rank == 4 else squeeze(g, function(unsqueeze(g, x, 0)), 0)


def _scale(g: Graph, x: Operand, factors: Sequence[float], attributes: dict[str, Any]) -> Operand:
    """Resize by whole factors of the last two axes.

    Raises:
        Unlowerable: other factors, whose result depends on sizes that are not known.
    """
    if not all(float(factor).is_integer() for factor in factors):
        raise Unlowerable(f"scale factors that are not whole need the sizes of {x.name!r}, known only while the program runs")
    scales = np.array([1, 1, *factors], np.float32)
    return _as_images(g, x, lambda images: g.node("Resize", images, None, scales, **attributes))
