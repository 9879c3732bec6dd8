"""Images cropped, and sampled at any points."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.engines.onnx.families._nodes import reshape, transpose
from moka.engines.onnx.graph import Array, Graph, Operand
from moka.engines.onnx.registry import lowers
from moka.ops.table import Ints

_END = 2**30


@lowers("crop")
def crop(g: Graph, x: Operand, *, crop_height: Ints, crop_width: Ints) -> Operand:
    starts, ends = zip(crop_height, crop_width, strict=True)
    return g.node("Slice", x, g.ints(starts), g.ints(-end if end else _END for end in ends), g.ints([-2, -1]))


@lowers("resample")
def resample(
    g: Graph,
    x: Operand,
    coordinates: Operand,
    *,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Operand:
    """GridSample at places that are folded back into the image and rounded before, since there Core ML has rules of its own."""
    wide, points = g.cast(x, np.float32), g.cast(coordinates, np.float32)
    sizes = np.array([x.size(3), x.size(2)], np.float32)
    points = _pixels(g, points, sizes, coordinates_mode, align_corners)
    if padding_mode in ("reflection", "symmetric"):
        points = _folded(g, points, sizes, 0.5 if padding_mode == "symmetric" else 0.0)
    if sampling_mode == "nearest":
        points = g.node("Round", points)
    places = g.node("Sub", g.node("Mul", points, 2 / sizes), (1 - 1 / sizes).astype(np.float32))
    constant = padding_mode == "constant"
    options: dict[str, Any] = {
        "mode": "linear" if sampling_mode == "bilinear" else "nearest",
        "padding_mode": "zeros" if constant else "border",
    }
    result = g.node("GridSample", wide, places, align_corners=0, **options)
    if not constant or padding_value == 0:
        return result
    covered = g.node(
        "GridSample", g.constant(np.ones((x.size(0), 1, x.size(2), x.size(3)), np.float32)), places, align_corners=0, **options
    )
    return g.node("Add", result, g.node("Mul", g.node("Sub", g.constant(1, np.float32), covered), padding_value))


def _pixels(g: Graph, points: Operand, sizes: Array, mode: str, align_corners: bool) -> Operand:
    """Coordinates as pixel positions, 0 being the centre of the first pixel."""
    if mode == "unnormalized":
        return points
    share = g.node("Mul", g.node("Add", points, 1.0), 0.5) if mode == "normalized_minus_one_to_one" else points
    return g.node("Mul", share, sizes - 1) if align_corners else g.node("Sub", g.node("Mul", share, sizes), 0.5)


def _folded(g: Graph, points: Operand, sizes: Array, edge: float) -> Operand:
    """Positions outside the image mirrored back into it, about the outer pixels' centres or, with an edge, their sides."""
    span = sizes - 1 + 2 * edge
    turn = np.where(span > 0, 2 * span, 1).astype(np.float32)
    moved = g.node("Add", points, edge)
    rest = g.node("Sub", moved, g.node("Mul", g.node("Floor", g.node("Div", moved, turn)), turn))
    mirrored = g.node("Sub", g.constant(span - np.float32(edge)), g.node("Abs", g.node("Sub", rest, span)))
    return g.node("Max", g.node("Min", mirrored, sizes - 1), 0.0)


@lowers("affine")
def affine(
    g: Graph,
    x: Operand,
    transform_matrix: Operand,
    *,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Operand:
    rows, columns = (_line(count, align_corners) for count in (output_height, output_width))
    places = np.stack([*np.meshgrid(columns, rows), np.ones((output_height, output_width))], -1).reshape(-1, 3)
    matrix = transpose(g, reshape(g, g.cast(transform_matrix, np.float32), [-1, 2, 3]), [0, 2, 1])
    batch = x.size(0)
    points = g.node("MatMul", g.constant(places.astype(np.float32)), matrix)
    points = g.node("Expand", reshape(g, points, [-1, output_height, output_width, 2]), g.ints([batch, 1, 1, 1]))
    return resample(
        g, x, points, sampling_mode=sampling_mode, padding_mode=padding_mode, padding_value=padding_value,
        coordinates_mode=coordinates_mode, align_corners=align_corners,
    )  # fmt: skip


def _line(count: int, align_corners: bool) -> Array:
    """Coordinates of the output's own pixels along one axis, from -1 to 1."""
    if align_corners:
        return np.linspace(-1, 1, count) if count > 1 else np.zeros(1)
    return (2 * np.arange(count) + 1) / count - 1
