"""Boxes cut out of images and resized: four pixels around each point, picked and interpolated."""

from __future__ import annotations

import numpy as np

from moka.engines.onnx.families._nodes import reshape, transpose
from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers

_ON_THE_EDGE = 1e-4
"""How far outside the image a point may lie and still count as on its edge, as for the operation's kernel."""


@lowers("crop_resize")
def crop_resize(
    g: Graph,
    x: Operand,
    roi: Operand | None = None,
    boxes: Operand | None = None,
    box_indices: Operand | None = None,
    *,
    target_height: int,
    target_width: int,
    normalized_coordinates: bool,
    spatial_scale: float,
    box_coordinate_mode: str,
    sampling_mode: str,
    pad_value: float = 0.0,
) -> Operand:
    """Up to ios16 ``roi`` holds the boxes, with the image's number before each or else for every image; then ``boxes`` [n, 4] does."""
    images, corners = _boxes(g, x, roi, boxes, box_indices)
    spans = _spans(g, g.node("Mul", g.cast(corners, np.float32), spatial_scale), box_coordinate_mode)
    points, inside = [], []
    for (start, end), axis, count in zip(spans, (2, 3), (target_height, target_width), strict=True):
        place = _places(g, start, end, x.size(axis), count, normalized_coordinates, sampling_mode)
        inside.append(_inside(g, place, x.size(axis)))
        points.append(g.node("Clip", place, 0.0, float(x.size(axis) - 1)))
    rows, columns = g.node("Unsqueeze", points[0], g.ints([-1])), g.node("Unsqueeze", points[1], g.ints([-2]))
    samples = _samples(g, x, images, rows, columns)
    seen = g.node("And", g.node("Unsqueeze", inside[0], g.ints([-1])), g.node("Unsqueeze", inside[1], g.ints([-2])))
    result = g.node("Where", g.node("Unsqueeze", seen, g.ints([-1])), samples, g.constant(pad_value, np.float32), dtype=np.float32)
    rank = 4 if roi is None else 5
    return transpose(g, result, [*range(rank - 3), rank - 1, rank - 3, rank - 2])


def _boxes(g: Graph, x: Operand, roi: Operand | None, boxes: Operand | None, box_indices: Operand | None) -> tuple[Operand, Operand]:
    """The image of each box, laid out to broadcast over its points, and the boxes' four numbers, [*, 4]."""
    if roi is None:
        assert boxes is not None
        images = g.constant(np.arange(boxes.size(0))) if box_indices is None else g.cast(box_indices, np.int64)
        return reshape(g, images, [-1, 1, 1]), boxes
    numbers = roi.size(2)
    flat = reshape(g, roi, [-1, 1, numbers])
    if numbers == 4:
        return g.constant(np.arange(x.size(0)).reshape(1, -1, 1, 1)), flat
    first = g.node("Slice", flat, g.ints([0]), g.ints([1]), g.ints([2]))
    return g.node("Unsqueeze", g.cast(first, np.int64), g.ints([-1])), g.node("Slice", flat, g.ints([1]), g.ints([5]), g.ints([2]))


def _spans(g: Graph, boxes: Operand, mode: str) -> list[tuple[Operand, Operand]]:
    """Start and end of each box, of its height and of its width, each [*, 1]."""
    first, second, third, fourth = (g.node("Slice", boxes, g.ints([i]), g.ints([i + 1]), g.ints([-1])) for i in range(4))
    spans = [(first, third), (second, fourth)]
    if mode.startswith("CENTER_SIZE"):
        halves = [g.node("Mul", size, 0.5) for _, size in spans]
        spans = [(g.node("Sub", center, half), g.node("Add", center, half)) for (center, _), half in zip(spans, halves, strict=True)]
    return spans if mode.endswith("HEIGHT_FIRST") else spans[::-1]


def _places(g: Graph, start: Operand, end: Operand, limit: int, count: int, normalized: bool, mode: str) -> Operand:
    """Where each box is sampled along one axis, [*, count], in pixels."""
    if normalized:
        start, end = g.node("Mul", start, float(limit - 1)), g.node("Mul", end, float(limit - 1))
    if mode == "UNALIGN_CORNERS":  # a box that runs backwards stands for the whole image
        backward = g.node("Less", end, start, dtype=np.bool_)
        start = g.node("Where", backward, g.constant(0, np.float32), start, dtype=np.float32)
        end = g.node("Where", backward, g.constant(limit - 1, np.float32), end, dtype=np.float32)
    return g.node("Add", start, _grid(g, mode, g.node("Sub", end, start), count))


def _grid(g: Graph, mode: str, last: Operand, count: int) -> Operand:
    """Points at which an interval from 0 to ``last`` is sampled, as `moka.ops._sampling.grid` has them."""
    steps = np.arange(count, dtype=np.float32)
    if mode == "ALIGN_CORNERS" and count == 1:
        return g.node("Mul", last, 0.5)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = g.node("Mul", g.node("Div", last, float(max(1, count - 1))), steps)
    elif mode == "DEFAULT":
        points = g.node("Mul", g.node("Div", g.node("Add", last, 1.0), float(count)), steps)
    elif mode == "OFFSET_CORNERS":
        points = g.node("Mul", g.node("Div", g.node("Max", last, 1.0), float(count)), steps + 0.5)
    else:
        points = g.node("Sub", g.node("Mul", g.node("Div", g.node("Add", last, 1.0), float(count)), steps + 0.5), 0.5)
    return g.node("Max", g.node("Min", points, g.node("Max", last, 0.0)), g.node("Min", last, 0.0))


def _inside(g: Graph, place: Operand, limit: int) -> Operand:
    low = g.node("GreaterOrEqual", place, -_ON_THE_EDGE, dtype=np.bool_)
    return g.node("And", low, g.node("LessOrEqual", place, limit - 1 + _ON_THE_EDGE, dtype=np.bool_))


def _samples(g: Graph, x: Operand, images: Operand, rows: Operand, columns: Operand) -> Operand:
    """Bilinear interpolation at points inside the images, [*, i, j, c]."""
    height, width = x.size(2), x.size(3)
    pixels = reshape(g, g.cast(transpose(g, x, [0, 2, 3, 1]), np.float32), [-1, x.size(1)])
    top, left = g.cast(rows, np.int64), g.cast(columns, np.int64)
    bottom, right = (_next(g, place, size) for place, size in ((top, height), (left, width)))
    down = g.node("Unsqueeze", g.node("Sub", rows, g.node("Floor", rows)), g.ints([-1]))
    across = g.node("Unsqueeze", g.node("Sub", columns, g.node("Floor", columns)), g.ints([-1]))
    first = g.node("Mul", images, g.constant(height, np.int64))

    def at(row: Operand, column: Operand) -> Operand:
        line = g.node("Mul", g.node("Add", first, row), g.constant(width, np.int64))
        return g.node("Gather", pixels, g.node("Add", line, column), axis=0)

    upper, lower = (_between(g, at(row, left), at(row, right), across) for row in (top, bottom))
    return _between(g, upper, lower, down)


def _next(g: Graph, place: Operand, size: int) -> Operand:
    return g.node("Min", g.node("Add", place, g.constant(1, np.int64)), g.constant(size - 1, np.int64))


def _between(g: Graph, start: Operand, end: Operand, share: Operand) -> Operand:
    return g.node("Add", start, g.node("Mul", g.node("Sub", end, start), share))
