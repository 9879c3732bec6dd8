"""Images: resized, cropped, and sampled at any points."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from moka.errors import ProgramError
from moka.ops._sampling import SamplingMode, at_points, grid, resized, resized_nearest
from moka.ops.table import FLOATS, FP32, INT8, INT16, INT32, UINT8, UINT16, Ints, T, U, V, operation

BoxMode: TypeAlias = Literal["CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST"]
CoordinatesMode: TypeAlias = Literal["unnormalized", "normalized_minus_one_to_one", "normalized_zero_to_one"]
PaddingMode: TypeAlias = Literal["constant", "border", "reflection", "symmetric"]

_ON_THE_EDGE = 1e-4
"""How far outside the image, in pixels, a point may lie and still count as on its edge: rounding puts points there."""


def _scaled(x: Tensor, height: float, width: float) -> tuple[int, int]:
    """The last two sizes times their factors, rounded down, in the fp32 arithmetic that coremltools declares shapes with."""
    rows, columns = np.float32(x.shape[-2]) * np.float32(height), np.float32(x.shape[-1]) * np.float32(width)
    return int(rows), int(columns)


@operation("ios15", T=FLOATS)
def upsample_nearest_neighbor(x: T, *, scale_factor_height: float = 1, scale_factor_width: float = 1) -> T:
    """Scales the last two dimensions by picking pixels: floor(i * size / scaled size).

    x: [*, h, w]; result: [*, floor(h * scale_factor_height), floor(w * scale_factor_width)].
    """
    return resized_nearest(x, _scaled(x, scale_factor_height, scale_factor_width), "corners")


@operation("ios15", T=FLOATS)
def resize_nearest_neighbor(x: T, *, target_size_height: int, target_size_width: int) -> T:
    """Resizes the last two dimensions by picking the pixels under the new ones' centres: floor((i + 0.5) * size / target size)."""
    return resized_nearest(x, (target_size_height, target_size_width), "centers")


@operation("ios15", T=FLOATS)
def upsample_bilinear(x: T, *, scale_factor_height: float = 1, scale_factor_width: float = 1, align_corners: bool = True) -> T:
    """Scales the last two dimensions with bilinear interpolation, on the grid of `resize_bilinear`'s STRICT_ALIGN_CORNERS or, without
    `align_corners`, of UNALIGN_CORNERS.

    The grid follows from the sizes, which are rounded down, not from the scale factors.
    """
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS"
    return resized(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@operation("ios16", name="upsample_bilinear", T=FLOATS)
def upsample_bilinear_with_centers(
    x: T,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> T:
    """Scales the last two dimensions with bilinear interpolation, on the grid of `resize_bilinear`'s STRICT_ALIGN_CORNERS
    (`align_corners`), UNALIGN_CORNERS (`half_pixel_centers`, by default the opposite) or DEFAULT (neither).
    """
    if half_pixel_centers is None:
        half_pixel_centers = not align_corners
    if align_corners and half_pixel_centers:
        raise ProgramError("upsample_bilinear: align_corners and half_pixel_centers are both true; expected at most one of them")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixel_centers else "DEFAULT"
    return resized(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@operation("ios15", T=FLOATS)
def resize_bilinear(x: T, *, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: SamplingMode = "DEFAULT") -> T:
    """Resizes the last two dimensions with bilinear interpolation.

    The points sampled in a dimension of size X for a target size N are, with i from 0 to N - 1 and held within 0 and X - 1:
    STRICT_ALIGN_CORNERS i * (X - 1) / (N - 1); ALIGN_CORNERS the same, but the middle where N = 1; DEFAULT i * X / N;
    OFFSET_CORNERS (i + 0.5) * max(1, X - 1) / N; UNALIGN_CORNERS (i + 0.5) * X / N - 0.5.
    """
    return resized(x, (target_size_height, target_size_width), sampling_mode)


@operation("ios17", T=FLOATS | INT32)
def resize(
    x: T,
    *,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: Literal["LINEAR", "NEAREST_NEIGHBOR"] = "LINEAR",
    sampling_mode: SamplingMode = "DEFAULT",
) -> T:
    """Resizes the last `resized_dims` dimensions to the last sizes of `shape`, where 0 keeps a size.

    LINEAR interpolates on the grids of `resize_bilinear`. NEAREST_NEIGHBOR picks the pixel nearest to the grid, except with DEFAULT,
    where it is `resize_nearest_neighbor`: so coremltools converts TensorFlow's operation, and tests it.
    """
    if resized_dims == 0:
        return x
    sizes = [new or old for new, old in zip(shape[-resized_dims:], x.shape[-resized_dims:], strict=True)]
    if interpolation_mode == "LINEAR":
        return resized(x, sizes, sampling_mode)
    return resized_nearest(x, sizes, "centers" if sampling_mode == "DEFAULT" else sampling_mode)


@operation("ios15", T=FLOATS)
def crop(x: T, *, crop_height: Ints, crop_width: Ints) -> T:
    """Cuts the given numbers of pixels off the start and the end of the last two dimensions."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _cropped(
    x: Tensor, boxes: Tensor, batch: Tensor, sizes: tuple[int, int], normalized: bool, scale: float, box_mode: str, mode: str, pad: float
) -> Tensor:
    """Bilinear samples of boxes. boxes: [*, 4], batch: [*] (the image of each box); result: [*, c, *sizes]."""
    ranges = _corners(boxes.to(x.device).float() * scale, box_mode)
    points, inside = [], []
    for (start, end), limit, count in zip(ranges, x.shape[-2:], sizes, strict=True):
        if normalized:
            start, end = start * (limit - 1), end * (limit - 1)
        if mode == "UNALIGN_CORNERS":
            start, end = _backward_is_whole(start, end, limit)
        place = start.unsqueeze(-1) + grid(mode, end - start, count)
        inside.append((place >= -_ON_THE_EDGE) & (place <= limit - 1 + _ON_THE_EDGE))
        points.append(place.nan_to_num().clamp(0, limit - 1))
    samples = at_points(x, batch.to(x.device).long()[..., None, None], points[0].unsqueeze(-1), points[1].unsqueeze(-2))
    seen = inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)
    return torch.where(seen.unsqueeze(-3), samples, pad)


def _corners(boxes: Tensor, box_mode: str) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Start and end of each box, of its height and of its width."""
    first, second, third, fourth = boxes.unbind(-1)
    spans = ((first, third), (second, fourth))
    if box_mode.startswith("CENTER_SIZE"):
        spans = tuple((center - size / 2, center + size / 2) for center, size in spans)  # type: ignore[assignment]
    return spans if box_mode.endswith("HEIGHT_FIRST") else (spans[1], spans[0])


def _backward_is_whole(start: Tensor, end: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """A box that runs backwards stands for the whole image under UNALIGN_CORNERS (and under no other mode), as coremltools' tests show."""
    backward = end < start
    return torch.where(backward, 0, start), torch.where(backward, limit - 1, end)


@operation("ios15", T=FLOATS)
def crop_resize(
    x: T,
    roi: T,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: BoxMode = "CORNERS_HEIGHT_FIRST",
    sampling_mode: SamplingMode = "DEFAULT",
) -> T:
    """Samples boxes of images with bilinear interpolation, on the grids of `resize_bilinear`; a point outside the image is 0.

    x: [b, c, h, w]. roi: [n, 1, 4, 1, 1] cuts every box out of every image: [n, b, c, target_height, target_width]; roi: [n, 1, 5, 1, 1]
    names the image in its first number: [n, 1, c, target_height, target_width]. Coordinates are pixels times `spatial_scale`, or with
    `normalized_coordinates` shares of h - 1 and w - 1.
    """
    return crop_resize_padded(
        x,
        roi,
        target_height=target_height,
        target_width=target_width,
        normalized_coordinates=normalized_coordinates,
        spatial_scale=spatial_scale,
        box_coordinate_mode=box_coordinate_mode,
        sampling_mode=sampling_mode,
    )


@operation("ios16", name="crop_resize", T=FLOATS)
def crop_resize_padded(
    x: T,
    roi: T,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: BoxMode = "CORNERS_HEIGHT_FIRST",
    sampling_mode: SamplingMode = "DEFAULT",
    pad_value: float = 0.0,
) -> T:
    """Samples boxes of images with bilinear interpolation, as the version of ios15 does; a point outside the image is `pad_value`."""
    sizes, boxes = (target_height, target_width), roi.flatten(1)
    if boxes.shape[1] == 5:
        batch, boxes = boxes[:, :1], boxes[:, None, 1:]
    else:
        batch = torch.arange(x.shape[0]).expand(len(boxes), -1)
        boxes = boxes[:, None].expand(-1, x.shape[0], -1)
    return _cropped(x, boxes, batch, sizes, normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode, pad_value)


@operation("ios17", name="crop_resize", T=FLOATS, U=FLOATS | UINT16, V=UINT16 | INT32)
def crop_resize_of_boxes(
    x: T,
    boxes: U,
    box_indices: V | None = None,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: BoxMode = "CORNERS_HEIGHT_FIRST",
    sampling_mode: SamplingMode = "DEFAULT",
    pad_value: float = 0.0,
) -> T:
    """Samples boxes of images with bilinear interpolation, on the grids of `resize_bilinear`; a point outside the image is `pad_value`.

    x: [b, c, h, w], boxes: [n, 4], box_indices: [n], the image of each box (by default its own number); result:
    [n, c, target_height, target_width]. Coordinates are pixels times `spatial_scale`, or with `normalized_coordinates` shares of h - 1
    and w - 1.
    """
    batch = torch.arange(len(boxes)) if box_indices is None else box_indices
    sizes = (target_height, target_width)
    return _cropped(x, boxes, batch, sizes, normalized_coordinates, spatial_scale, box_coordinate_mode, sampling_mode, pad_value)


@operation("ios17", T=FLOATS, U=FLOATS | INT8 | UINT8 | INT16 | UINT16 | INT32)
@operation("ios16", T=FLOATS, U=FLOATS | INT32)
@operation("ios15", T=FLOATS, U=FP32 | INT32)
def resample(
    x: T,
    coordinates: U,
    *,
    sampling_mode: Literal["bilinear", "nearest"],
    padding_mode: PaddingMode,
    padding_value: float,
    coordinates_mode: CoordinatesMode,
    align_corners: bool,
) -> T:
    """Samples images at given points.

    x: [b, c, h, w], coordinates: [b, h2, w2, 2], each (x, y); result: [b, c, h2, w2]. Normalized coordinates run from the centre of the
    first pixel to that of the last with `align_corners`, else from edge to edge. Outside the image lies `padding_value` (constant), the
    nearest pixel (border), or its mirror image about the outer pixels' centres (reflection) or edges (symmetric). `nearest` rounds
    halves to even.
    """
    x_points, y_points = coordinates.to(x.device).float().unbind(-1)
    columns = _folded(_pixels(x_points, x.shape[3], coordinates_mode, align_corners), x.shape[3], padding_mode)
    rows = _folded(_pixels(y_points, x.shape[2], coordinates_mode, align_corners), x.shape[2], padding_mode)
    constant = padding_mode == "constant"
    if sampling_mode == "nearest":
        return _nearest_samples(x, rows.round(), columns.round(), padding_value if constant else None)
    places = torch.stack([(2 * columns + 1) / x.shape[3] - 1, (2 * rows + 1) / x.shape[2] - 1], -1)
    wide, padding = x.float(), "zeros" if constant else "border"
    result = functional.grid_sample(wide, places, "bilinear", padding, align_corners=False)
    if constant and padding_value != 0:
        covered = functional.grid_sample(torch.ones_like(wide[:, :1]), places, "bilinear", padding, align_corners=False)
        result = result + padding_value * (1 - covered)
    return result.to(x.dtype)


def _pixels(points: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Coordinates as pixel positions, 0 being the centre of the first pixel."""
    if mode == "unnormalized":
        return points
    share = (points + 1) / 2 if mode == "normalized_minus_one_to_one" else points
    return share * (size - 1) if align_corners else share * size - 0.5


def _folded(points: Tensor, size: int, padding_mode: str) -> Tensor:
    """Positions outside the image mirrored back into it, or held at its border."""
    if padding_mode == "constant":
        return points
    if padding_mode != "border":
        edge = 0.5 if padding_mode == "symmetric" else 0.0
        span = size - 1 + 2 * edge
        points = span - ((points + edge) % (2 * span) - span).abs() - edge if span > 0 else points * 0
    return points.clamp(0, size - 1)


def _nearest_samples(x: Tensor, rows: Tensor, columns: Tensor, padding_value: float | None) -> Tensor:
    height, width = x.shape[2:]
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    row, column = (points.nan_to_num().clamp(0, size - 1).long() for points, size in ((rows, height), (columns, width)))
    picked = x.permute(0, 2, 3, 1)[batch, row, column].movedim(-1, 1)
    if padding_value is None:
        return picked
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return torch.where(inside.unsqueeze(1), picked, padding_value)


@operation("ios15", T=FLOATS)
def affine(
    x: T,
    transform_matrix: T,
    *,
    output_height: int,
    output_width: int,
    sampling_mode: Literal["bilinear"],
    padding_mode: Literal["constant"],
    padding_value: float,
    coordinates_mode: Literal["normalized_minus_one_to_one"],
    align_corners: bool,
) -> T:
    """Samples images at an affine map of the output's own coordinates: (a0 * x + a1 * y + a2, b0 * x + b1 * y + b2).

    x: [b, c, h, w], transform_matrix: [b or 1, 6], its rows (a0, a1, a2, b0, b1, b2); result: [b, c, output_height, output_width].
    Coordinates run from -1 to 1 on both sides, as for `resample`.
    """
    matrix = transform_matrix.float().reshape(-1, 2, 3).expand(x.shape[0], -1, -1)
    places = functional.affine_grid(matrix, [x.shape[0], 1, output_height, output_width], align_corners)
    return resample(
        x,
        places,
        sampling_mode=sampling_mode,
        padding_mode=padding_mode,
        padding_value=padding_value,
        coordinates_mode=coordinates_mode,
        align_corners=align_corners,
    )
