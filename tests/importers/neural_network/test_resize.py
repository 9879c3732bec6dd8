"""Layers that change height and width beside PyTorch and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator  # type: ignore[import-untyped]
from torch.nn import functional

from tests.importers.neural_network.networks import Array, Build, both, check, noise

X = noise(2, 3, 5, 7)


def test_crop_by_amounts() -> None:
    def build(builder: Any) -> None:
        builder.add_crop("c", left=1, right=2, top=0, bottom=3, offset=[], input_names=["x"], output_name="y")

    both(X, build, X[:, :, 0:2, 1:5])


def test_crop_to_the_size_of_another_blob() -> None:
    like = noise(2, 1, 2, 4)

    def build(builder: Any) -> None:
        builder.add_crop("c", 0, 0, 0, 0, [2, 1], ["x", "like"], "y")

    check({"x": X, "like": like}, build, X[:, :, 2:4, 1:5], exact=True)
    check({"x": X[:, None], "like": like[:, None]}, build, X[:, None, :, 2:4, 1:5])


@pytest.mark.parametrize(
    ("kind", "options"),
    [("constant", {"mode": "constant", "constant_values": 1.5}), ("reflection", {"mode": "reflect"}), ("replication", {"mode": "edge"})],
)
def test_padding(kind: str, options: dict[str, Any]) -> None:
    def build(builder: Any) -> None:
        builder.add_padding("p", left=3, right=1, top=2, bottom=0, value=1.5, input_name="x", output_name="y", padding_type=kind)

    both(X, build, np.pad(X, [(0, 0), (0, 0), (2, 0), (3, 1)], **options))
    check({"x": X[0]}, build, np.pad(X[0], [(0, 0), (2, 0), (3, 1)], **options), exact=True)


def scaled(rows: float, columns: float, mode: str, linear: str = "DEFAULT") -> Build:
    return lambda builder: builder.add_upsample("u", rows, columns, "x", "y", mode, linear)


def test_upsample_nearest() -> None:
    both(X, scaled(2, 3, "NN"), X.repeat(2, 2).repeat(3, 3))


def test_upsample_by_fractions() -> None:
    expected = functional.interpolate(torch.tensor(X), (12, 12), mode="bilinear", align_corners=True)
    both(X, scaled(2.5, 1.8, "BILINEAR", "ALIGN_CORNERS_TRUE"), expected)


@pytest.mark.parametrize("aligned", [True, False])
def test_upsample_bilinear_as_pytorch_does(aligned: bool) -> None:
    expected = functional.interpolate(torch.tensor(X), (10, 21), mode="bilinear", align_corners=aligned)
    both(X, scaled(2, 3, "BILINEAR", f"ALIGN_CORNERS_{str(aligned).upper()}"), expected)


def sampled(x: Array, rows: Array, columns: Array) -> Array:
    """Linear interpolation of the last two axes at the points of a grid."""
    points = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    axes = [np.arange(size) for size in x.shape[-2:]]
    images = x.reshape(-1, *x.shape[-2:])
    result = np.stack([RegularGridInterpolator(axes, image, "linear")(points) for image in images])
    return result.reshape(*x.shape[:-2], len(rows), len(columns))


def linspaced(size: int, count: int, mode: str) -> Array:
    """The grid points as the format states them: by NumPy's linspace between a start and an end, within the image."""
    start, end = 0.0, size - 1.0
    if mode == "ALIGN_ENDPOINTS_MODE" and count == 1:
        start = end = (size - 1) / 2
    elif mode == "UPSAMPLE_MODE":
        end = size - size / count
    elif mode == "ROI_ALIGN_MODE":
        spacing = max(1, size - 1) / count
        start, end = spacing / 2, spacing / 2 + (count - 1) * spacing
    return np.minimum(size - 1, np.linspace(start, end, count))


def test_default_upsampling_is_the_grid_of_upsample_mode() -> None:
    expected = sampled(X, linspaced(5, 10, "UPSAMPLE_MODE"), linspaced(7, 21, "UPSAMPLE_MODE"))
    both(X, scaled(2, 3, "BILINEAR"), expected)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_ENDPOINTS_MODE", "ALIGN_ENDPOINTS_MODE", "UPSAMPLE_MODE", "ROI_ALIGN_MODE"])
@pytest.mark.parametrize("size", [(9, 4), (1, 12), (5, 1)])
def test_resize_bilinear(mode: str, size: tuple[int, int]) -> None:
    expected = sampled(X, linspaced(5, size[0], mode), linspaced(7, size[1], mode))
    both(X, lambda builder: builder.add_resize_bilinear("r", "x", "y", *size, mode), expected)


BOXES = np.array([[0.5, 1.0, 3.5, 5.0], [1.0, 2.0, 2.0, 6.0], [0.0, 0.0, 4.0, 6.0]], np.float32)
"""Top, left, bottom, right, in pixels."""

ORDERS: dict[str, Any] = {
    "CORNERS_HEIGHT_FIRST": lambda top, left, bottom, right: (top, left, bottom, right),
    "CORNERS_WIDTH_FIRST": lambda top, left, bottom, right: (left, top, right, bottom),
    "CENTER_SIZE_HEIGHT_FIRST": lambda top, left, bottom, right: ((top + bottom) / 2, (left + right) / 2, bottom - top, right - left),
    "CENTER_SIZE_WIDTH_FIRST": lambda top, left, bottom, right: ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
}


def cut(image: Array, box: Array, mode: str, size: tuple[int, int]) -> Array:
    """One box of an image [C, H, W]: linspace over the box, as the format states each mode."""
    grids = []
    for start, end, count in zip(box[:2], box[2:], size, strict=True):
        length = end - start + 1
        grids.append(start + linspaced(length, count, mode))
    return sampled(image, *grids)


def crop_resize(mode: str, boxes: str = "CORNERS_HEIGHT_FIRST", **options: Any) -> Build:
    return lambda builder: builder.add_crop_resize("c", ["x", "boxes"], "y", 3, 4, mode, box_indices_mode=boxes, **options)


@pytest.mark.parametrize("order", ORDERS)
def test_boxes_of_every_image(order: str) -> None:
    boxes = np.array([ORDERS[order](*box) for box in BOXES], np.float32)[:, None, :, None, None]
    mode = "STRICT_ALIGN_ENDPOINTS_MODE"
    expected = np.stack([np.stack([cut(image, box, mode, (3, 4)) for image in X]) for box in BOXES])
    check({"x": X[None], "boxes": boxes}, crop_resize(mode, order), expected)
    check({"x": X[None], "boxes": boxes}, crop_resize(mode, order), expected, exact=True)


@pytest.mark.parametrize("mode", ["STRICT_ALIGN_ENDPOINTS_MODE", "ALIGN_ENDPOINTS_MODE", "ROI_ALIGN_MODE"])
def test_boxes_that_name_their_image(mode: str) -> None:
    images = [1, 0, 1]
    boxes = np.concatenate([np.array(images, np.float32)[:, None], BOXES], 1)[:, None, :, None, None]
    expected = np.stack([cut(X[i], box, mode, (3, 4)) for i, box in zip(images, BOXES, strict=True)])[:, None]
    check({"x": X[None], "boxes": boxes}, crop_resize(mode), expected)


def test_normalized_and_scaled_boxes() -> None:
    mode, shares = "STRICT_ALIGN_ENDPOINTS_MODE", BOXES / np.array([4, 6, 4, 6], np.float32)
    expected = np.stack([cut(X[0], box, mode, (3, 4)) for box in BOXES])[:, None]
    given = {"x": X[None, :1], "boxes": shares[:, None, :, None, None]}
    check(given, crop_resize(mode, normalized_roi=True), expected)
    given["boxes"] = BOXES[:, None, :, None, None] * 4
    check(given, crop_resize(mode, spatial_scale=0.25), expected)
