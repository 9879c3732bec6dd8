"""Cases of the image operations: beside ONNX Runtime, SciPy, and coremltools' own examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage  # type: ignore[import-untyped]

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

RNG = np.random.default_rng(6)
Array = np.ndarray[Any, Any]
X = RNG.normal(0, 1, (2, 3, 5, 7)).astype(np.float32)
PAIR = np.array([0, 1], np.float32).reshape(1, 1, 1, 2)
MODES = {"STRICT_ALIGN_CORNERS": "align_corners", "UNALIGN_CORNERS": "half_pixel", "DEFAULT": "asymmetric"}
"""Sampling modes that ONNX has too, with ONNX's names."""


def onnx_resize(x: Array, sizes: list[int], transformation: str, mode: str = "linear", **options: Any) -> Array:
    """ONNX Runtime's Resize of the last dimensions of x."""
    whole = np.array([*x.shape[: x.ndim - len(sizes)], *sizes], np.int64)
    return onnx_run("Resize", x, None, None, whole, mode=mode, coordinate_transformation_mode=transformation, **options)


def onnx_nearest(x: Array, sizes: list[int], centers: bool) -> Array:
    if centers:
        return onnx_resize(x, sizes, "half_pixel", "nearest", nearest_mode="round_prefer_ceil")
    return onnx_resize(x, sizes, "asymmetric", "nearest", nearest_mode="floor")


def onnx_roi_align(x: Array, boxes: Array, batch: Array, height: int, width: int, scale: float = 1.0) -> Array:
    """One sample in the middle of each cell: OFFSET_CORNERS is ROI Align with a sampling ratio of 1. Boxes are (w, h, w, h)."""
    return onnx_run(
        "RoiAlign",
        x,
        boxes,
        batch,
        output_height=height,
        output_width=width,
        sampling_ratio=1,
        spatial_scale=scale,
        coordinate_transformation_mode="output_half_pixel",
    )


def whole_roi_align(x: Array, height: int, width: int) -> Array:
    boxes = np.array([[0, 0, x.shape[3] - 1, x.shape[2] - 1]] * len(x), np.float32)
    return onnx_roi_align(x, boxes, np.arange(len(x)), height, width)


def upsampled(note: str, expected: Any, opset: str = "ios15", x: Array = X, **inputs: Any) -> Case:
    return Case("upsample_bilinear", {"x": x, **inputs}, expected, opset=opset, note=note)


def resized(mode: str, height: int, width: int, expected: Any, x: Array = X, note: str = "") -> Case:
    inputs = {"x": x, "target_size_height": height, "target_size_width": width, "sampling_mode": mode}
    return Case("resize_bilinear", inputs, expected, note=note or f"{mode.lower()}_{height}x{width}")


def beside_onnx(mode: str, height: int, width: int) -> Case:
    return resized(mode, height, width, lambda: onnx_resize(X, [height, width], MODES[mode]))


def line(*values: float) -> Array:
    return np.array(values, np.float32).reshape(1, 1, 1, -1)


NEAREST = [
    Case(
        "upsample_nearest_neighbor",
        {"x": X, "scale_factor_height": 2, "scale_factor_width": 3},
        lambda: X.repeat(2, 2).repeat(3, 3),
        note="whole",
    ),
    Case(
        "upsample_nearest_neighbor",
        {"x": X[0], "scale_factor_height": 1.7, "scale_factor_width": 2.5},
        lambda: onnx_nearest(X[0], [8, 17], centers=False),
        note="fractional",
    ),
    Case(
        "upsample_nearest_neighbor",
        {"x": line(1.5, -2.5, 3.5), "scale_factor_height": 3.17, "scale_factor_width": 0.67},
        np.array([[[[1.5, -2.5]] * 3]]),
        note="example",
    ),
    Case("upsample_nearest_neighbor", {"x": X}, X, note="as_it_is"),
    Case(
        "upsample_nearest_neighbor",
        {"x": X, "scale_factor_height": np.float32((8 + 1e-4) / 5).item(), "scale_factor_width": np.float32((12 + 1e-4) / 7).item()},
        lambda: onnx_nearest(X, [8, 12], centers=False),
        note="sizes_as_factors",
        fp16=None,
    ),
    Case(
        "resize_nearest_neighbor",
        {"x": X, "target_size_height": 8, "target_size_width": 3},
        lambda: onnx_nearest(X, [8, 3], centers=True),
    ),
    Case(
        "resize_nearest_neighbor",
        {"x": np.array([0.37, 6.17], np.float32).reshape(1, 1, 2, 1), "target_size_height": 2, "target_size_width": 3},
        np.array([[[[0.37] * 3, [6.17] * 3]]]),
        note="example",
    ),
]

BILINEAR = [
    upsampled(
        "corners", lambda: onnx_resize(X, [12, 10], "align_corners"),
        scale_factor_height=2.5, scale_factor_width=1.5, align_corners=True,
    ),
    upsampled("default", lambda: onnx_resize(X, [10, 7], "align_corners"), scale_factor_height=2),
    upsampled(
        "centers", lambda: onnx_resize(X, [12, 5], "half_pixel"), scale_factor_height=2.4, scale_factor_width=0.75, align_corners=False
    ),
    upsampled("example", line(0, 0.1, 0.5, 0.9, 1), x=PAIR, scale_factor_width=2.6, align_corners=False),
    upsampled("rank3", line(0, 0.2, 0.4, 0.6, 0.8, 1)[0], x=PAIR[0], scale_factor_width=3),
    upsampled(
        "not_given", lambda: onnx_resize(X, [10, 21], "half_pixel"), "ios16",
        scale_factor_height=2, scale_factor_width=3, align_corners=False,
    ),
    upsampled(
        "half_pixel_centers", lambda: onnx_resize(X, [10, 21], "half_pixel"), "ios16",
        scale_factor_height=2, scale_factor_width=3, align_corners=False, half_pixel_centers=True,
    ),
    upsampled(
        "corners", lambda: onnx_resize(X, [10, 21], "align_corners"), "ios16",
        scale_factor_height=2, scale_factor_width=3, align_corners=True, half_pixel_centers=False,
    ),
    upsampled(
        "neither", lambda: onnx_resize(X, [10, 21], "asymmetric"), "ios16",
        scale_factor_height=2, scale_factor_width=3, align_corners=False, half_pixel_centers=False,
    ),
    *[beside_onnx(mode, height, width) for mode in MODES for height, width in ((9, 4), (1, 7), (3, 14))],
    resized("ALIGN_CORNERS", 9, 4, lambda: onnx_resize(X, [9, 4], "align_corners")),
    resized("ALIGN_CORNERS", 1, 1, lambda: X[:, :, 2:3, 3:4]),
    resized("ALIGN_CORNERS", 1, 7, lambda: X[:, :, 2:3]),
    resized("OFFSET_CORNERS", 9, 4, lambda: whole_roi_align(X, 9, 4)),
    resized("OFFSET_CORNERS", 1, 14, lambda: whole_roi_align(X, 1, 14)),
    resized("OFFSET_CORNERS", 5, 7, lambda: whole_roi_align(X, 5, 7)),
    resized("UNALIGN_CORNERS", 1, 5, line(0, 0.1, 0.5, 0.9, 1), x=PAIR, note="example_unalign"),
    resized("STRICT_ALIGN_CORNERS", 1, 5, line(0, 0.25, 0.5, 0.75, 1), x=PAIR, note="example_strict"),
    resized("DEFAULT", 1, 5, line(0, 0.4, 0.8, 1, 1), x=PAIR, note="example_default"),
    resized("OFFSET_CORNERS", 1, 5, line(0.1, 0.3, 0.5, 0.7, 0.9)[0], x=PAIR[0], note="example_offset"),
    resized("OFFSET_CORNERS", 1, 6, line(*np.arange(1, 12, 2) / 12), x=PAIR, note="example_offset_6"),
]  # fmt: skip

INTEGERS = RNG.integers(-(2**30), 2**30, (2, 3, 4)).astype(np.int32)


def general(note: str, expected: Any, x: Array, shape: Any, dims: int, **inputs: Any) -> Case:
    outputs = ("int32",) if x.dtype == np.int32 else ("fp32",)
    return Case("resize", {"x": x, "shape": shape, "resized_dims": dims, **inputs}, expected, opset="ios17", note=note, outputs=outputs)


PICK = {"interpolation_mode": "NEAREST_NEIGHBOR"}
CUBE = X[:, :2, :4, :4]

RESIZE = [
    *[
        general(mode.lower(), lambda mode=mode: onnx_resize(X, [4, 9], MODES[mode]), X, [1, 4, 9], 2, sampling_mode=mode)
        for mode in MODES
    ],
    general("align_corners", lambda: X[:, :, 2:3], X, [1, 7], 2, sampling_mode="ALIGN_CORNERS"),
    general("offset_corners", lambda: whole_roi_align(X, 4, 9), X, [4, 9], 2, sampling_mode="OFFSET_CORNERS"),
    general("shape_at_run_time", lambda: onnx_resize(X, [8, 3], "asymmetric"), X, np.array([6, 8, 3], np.int32), 2),
    general("sizes_kept", lambda: onnx_resize(X, [5, 3], "asymmetric"), X, [1, 0, 3], 2),
    general("one_dimension", lambda: onnx_resize(X, [4], "asymmetric"), X, [9, 4], 1),
    general(
        "one_dimension_unaligned", lambda: onnx_resize(X, [5, 4], "half_pixel"), X, [9, 4], 1, sampling_mode="UNALIGN_CORNERS"
    ),
    general("three_dimensions", lambda: onnx_resize(CUBE[:, None], [3, 6, 2], "asymmetric")[:, 0], CUBE, [3, 6, 2], 3),
    general("no_dimension", X, X, [4, 9], 0),
    general("example", line(0, 0.4, 0.8, 1, 1)[0], PAIR[0], [1, 1, 5], 2),
    general("nearest", lambda: onnx_nearest(X, [12, 5], centers=True), X, [12, 5], 2, **PICK),
    general("nearest_of_integers", lambda: INTEGERS[:, [0, 0, 1, 1, 2, 2]][:, :, [1, 3]], INTEGERS, [6, 2], 2, **PICK),
    general(
        "nearest_unaligned", lambda: onnx_nearest(X, [12, 5], centers=True), X, [12, 5], 2, **PICK, sampling_mode="UNALIGN_CORNERS"
    ),
    general(
        "nearest_aligned", lambda: onnx_resize(X, [11, 5], "align_corners", "nearest", nearest_mode="round_prefer_ceil"),
        X, [11, 5], 2, **PICK, sampling_mode="STRICT_ALIGN_CORNERS",
    ),
    general(
        "nearest_example", np.array([-6.174, -6.174, 9.371, 9.371, 9.371, 9.371]).reshape(1, 1, 1, 3, 2),
        np.array([-6.174, 9.371], np.float32).reshape(1, 1, 1, 2, 1), [1, 1, 3, 2], 2, **PICK,
    ),
    general("linear_of_integers", np.array([[0, 4, 8, 10, 10]]), np.array([[0, 10]], np.int32), [1, 5], 2),
]  # fmt: skip

PLANE = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)


def onnx_crops(x: Array, boxes: Array, batch: list[int], height: int, width: int, pad: float = 0.0) -> Array:
    """TensorFlow's crop_and_resize in ONNX Runtime, a box at a time. Boxes are normalized (h, w, h, w)."""
    sizes = np.array([1, x.shape[1], height, width], np.int64)
    options: dict[str, Any] = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": pad, "mode": "linear"}
    crops = []
    for image, (top, left, bottom, right) in zip(batch, boxes, strict=True):
        roi = np.array([0, 0, top, left, 1, 1, bottom, right], np.float32)
        crops.append(onnx_run("Resize", x[image : image + 1], roi, None, sizes, **options))
    return np.concatenate(crops)


def rois(boxes: Any, batch: list[int] | None = None) -> Array:
    """Boxes as the older opsets want them."""
    array = np.asarray(boxes, np.float32)
    array = array if batch is None else np.concatenate([np.array(batch, np.float32)[:, None], array], 1)
    return array.reshape(len(array), 1, -1, 1, 1)


def cropped(note: str, expected: Any, opset: str = "ios15", x: Array = X, **inputs: Any) -> Case:
    sizes = {"target_height": 4, "target_width": 3} | {
        name: inputs.pop(name) for name in ("target_height", "target_width") if name in inputs
    }
    return Case("crop_resize", {"x": x, **inputs, **sizes}, expected, opset=opset, note=note, tolerance=2e-5)


BOXES = np.array([[0.1, 0.2, 0.9, 0.7], [0.8, 0.3, 0.2, 1.0], [-0.2, 0.1, 0.5, 1.2]], np.float32)
PIXELS = np.array([[1, 2, 3, 6], [0, 1, 4, 3]], np.float32)
EXAMPLE = np.array([[0.1, 0.3, 1.3, 1], [0.5, 1.8, 1.0, 0.3], [0, 0.4, 0.6, 0.7]], np.float32)
SAMPLED = np.array([3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3])
ALIGN: dict[str, Any] = {"sampling_mode": "ALIGN_CORNERS"}
TWO: dict[str, Any] = {"target_height": 2, "target_width": 2}
SWAPPED = [1, 0, 3, 2]


def cut_out(transformation: str) -> Callable[[], Array]:
    """Boxes whose corners are whole pixels, cut out with NumPy and resized with ONNX Runtime."""
    cuts = [X[0:1, :, 1:4, 2:7], X[1:2, :, 0:5, 1:4]]
    return lambda: np.concatenate([onnx_resize(cut, [4, 3], transformation) for cut in cuts])


def centered(boxes: Array) -> Array:
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


CROP_RESIZE = [
    *[
        cropped(f"{mode.lower()}", cut_out(transformation), "ios17", boxes=PIXELS, sampling_mode=mode)
        for mode, transformation in MODES.items()
    ],
    cropped(
        "offset_corners", lambda: onnx_roi_align(X, PIXELS[:, SWAPPED], np.array([1, 0]), 4, 3, 0.5), "ios17",
        boxes=PIXELS, box_indices=np.array([1, 0], np.int32), spatial_scale=0.5, sampling_mode="OFFSET_CORNERS",
    ),
    cropped(
        "align_corners", lambda: onnx_crops(X, BOXES, [1, 0, 1], 4, 3, -5.0), "ios17", normalized_coordinates=True,
        boxes=BOXES, box_indices=np.array([1, 0, 1], np.int32), pad_value=-5.0, **ALIGN,
    ),
    cropped(
        "middle", lambda: onnx_crops(X, BOXES, [1, 0, 1], 1, 1), "ios17", normalized_coordinates=True, target_height=1, target_width=1,
        boxes=BOXES, box_indices=np.array([1, 0, 1], np.int32), **ALIGN,
    ),
    cropped("integer_boxes", cut_out("align_corners"), "ios17", boxes=PIXELS.astype(np.uint16), **ALIGN),
    cropped("width_first", cut_out("align_corners"), "ios17", boxes=PIXELS[:, SWAPPED], box_coordinate_mode="CORNERS_WIDTH_FIRST", **ALIGN),
    cropped(
        "center_size", cut_out("align_corners"), "ios17", boxes=centered(PIXELS), box_coordinate_mode="CENTER_SIZE_HEIGHT_FIRST", **ALIGN
    ),
    cropped(
        "center_size_width_first", cut_out("align_corners"), "ios17", boxes=centered(PIXELS[:, SWAPPED]),
        box_coordinate_mode="CENTER_SIZE_WIDTH_FIRST", **ALIGN,
    ),
    cropped("every_image", lambda: np.stack([onnx_crops(X, np.stack([box, box]), [0, 1], 4, 3) for box in BOXES]),
            roi=rois(BOXES), normalized_coordinates=True, **ALIGN),
    cropped("named_image", lambda: onnx_crops(X, BOXES, [1, 0, 1], 4, 3)[:, None],
            roi=rois(BOXES, [1, 0, 1]), normalized_coordinates=True, **ALIGN),
    cropped("padded", lambda: onnx_crops(X, BOXES, [1, 0, 1], 4, 3, 7.0)[:, None], "ios16",
            roi=rois(BOXES, [1, 0, 1]), normalized_coordinates=True, pad_value=7.0, **ALIGN),
    cropped("example", SAMPLED.reshape(3, 1, 2, 2), "ios17", x=PLANE, normalized_coordinates=True,
            boxes=EXAMPLE, box_indices=np.zeros(3, np.int32), pad_value=10.0, **ALIGN, **TWO),
    cropped("example_backward", np.array([11, 10, 7, 6]).reshape(1, 1, 1, 2, 2), x=PLANE, roi=rois([[2, 2, 1, 1]]), **ALIGN, **TWO),
    cropped("example_backward_unaligned", np.array([3.5, 5.5, 11.5, 13.5]).reshape(1, 1, 1, 2, 2), x=PLANE, roi=rois([[2, 2, 1, 1]]),
            normalized_coordinates=True, sampling_mode="UNALIGN_CORNERS", **TWO),
    cropped("no_box", np.zeros((0, 3, 4, 3), np.float32), "ios17", boxes=np.zeros((0, 4), np.float32)),
]  # fmt: skip

POINTS = RNG.uniform(-2.5, 2.5, (2, 4, 3, 2)).astype(np.float32)
SIZE = np.array([7, 5], np.float32)


def grid_sample(points: Array, mode: str, padding: str, align_corners: bool) -> Array:
    return onnx_run(
        "GridSample",
        X,
        points,
        opset=20,
        mode={"bilinear": "linear"}.get(mode, mode),
        padding_mode=padding,
        align_corners=int(align_corners),
    )


def sampled(
    note: str, expected: Any, points: Array, mode: str, padding: str, coordinates: str, align: bool, value: float = 0.0, **case: Any
) -> Case:
    """``points`` are normalized from -1 to 1 and given to the operation in the coordinates asked for."""
    x = case.pop("x", X)
    inputs = {"x": x, "coordinates": points, "sampling_mode": mode, "padding_mode": padding, "padding_value": value}
    fp16 = None if mode == "nearest" else 2e-2
    return Case("resample", {**inputs, "coordinates_mode": coordinates, "align_corners": align}, expected, note=note, fp16=fp16, **case)


def every_way(mode: str, padding: str, align: bool) -> list[Case]:
    """One set of points, in each of the three kinds of coordinates."""
    onnx = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}[padding]
    share = (POINTS + 1) / 2
    pixels = share * (SIZE - 1) if align else share * SIZE - 0.5
    note = f"{mode}_{padding}_{'aligned' if align else 'edges'}"
    kinds: dict[str, Array] = {"normalized_minus_one_to_one": POINTS, "normalized_zero_to_one": share, "unnormalized": pixels}
    return [
        sampled(f"{note}_{kind}", lambda: grid_sample(POINTS, mode, onnx, align), points, mode, padding, kind, align, tolerance=1e-4)
        for kind, points in kinds.items()
    ]


PLUS = np.array([11.0, 22.0, 33.0, 44.0], np.float32).reshape(1, 1, 2, 2)
CORNERS = np.array([-1.0, -2.0, -3.7, -1.0, 0.0, 0.0, 3.5, 1.2], np.float32).reshape(1, 2, 2, 2)
WHOLE = np.array([0, 0, 1, 1, 0, 0, 1, 1]).reshape(1, 2, 2, 2)
RESAMPLE_EXAMPLES: list[tuple[str, str, str, bool, float, list[float], list[float]]] = [
    ("bilinear", "constant", "normalized_minus_one_to_one", True, 6.17, [8.585, 6.17, 27.5, 6.17], [27.5, 44, 27.5, 44]),
    ("nearest", "border", "unnormalized", False, -1.0, [11, 11, 11, 44], [11, 44, 11, 44]),
    ("bilinear", "reflection", "normalized_zero_to_one", True, -1.0, [22, 36.3, 11, 34.1], [11, 44, 11, 44]),
    ("nearest", "symmetric", "normalized_zero_to_one", False, -1.0, [22, 33, 11, 33], [11, 44, 11, 44]),
]


def square(values: list[float]) -> Array:
    return np.array(values, np.float32).reshape(1, 1, 2, 2)


RESAMPLE = [
    *[case for mode in ("bilinear", "nearest") for padding in ("constant", "border") for align in (True, False)
      for case in every_way(mode, padding, align)],
    *[case for mode in ("bilinear", "nearest") for case in every_way(mode, "reflection", True) + every_way(mode, "symmetric", False)],
    *[sampled(f"example_{mode}_{padding}", square(values), CORNERS, mode, padding, kind, align, value, x=PLUS)
      for mode, padding, kind, align, value, values, _ in RESAMPLE_EXAMPLES],
    *[sampled(f"example_{dtype}_{mode}_{padding}", square(values), WHOLE.astype(dtype), mode, padding, kind, align, value,
              x=PLUS, opset=opset)
      for mode, padding, kind, align, value, _, values in RESAMPLE_EXAMPLES
      for dtype, opset in (("int32", "ios15"), ("float16", "ios16"), ("int8", "ios17"), ("uint8", "ios17"), ("int16", "ios17"),
                           ("uint16", "ios17"))],
    sampled("nearest_constant_value", [[[[-3.0, 22.0]]]], np.array([[[[-0.6, 0], [1.4, 0.2]]]], np.float32), "nearest", "constant",
            "unnormalized", True, -3.0, x=PLUS),
    sampled("one_pixel_reflected", [[[[5.0, 5.0]]]], np.array([[[[-3, 0.4], [1.4, 9]]]], np.float32), "bilinear", "reflection",
            "unnormalized", True, x=np.full((1, 1, 1, 1), 5, np.float32)),
]  # fmt: skip

MATRICES = np.array([[0.8, -0.3, 0.1, 0.2, 1.1, -0.2], [-1, 0.1, 0.3, 0.4, 0.7, 0]], np.float32)
COMMON = {
    "sampling_mode": "bilinear",
    "padding_mode": "constant",
    "padding_value": 0.0,
    "coordinates_mode": "normalized_minus_one_to_one",
    "align_corners": True,
}


def warped(x: Array, matrices: Array, height: int, width: int) -> Array:
    """Each output pixel on its own, with SciPy's interpolation of an image in a plane of zeros."""
    xs, ys = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    result = np.zeros((*x.shape[:2], height, width))
    for b, (a0, a1, a2, b0, b1, b2) in enumerate(np.broadcast_to(matrices, (len(x), 6))):
        columns = (a0 * xs + a1 * ys + a2 + 1) / 2 * (x.shape[3] - 1)
        rows = (b0 * xs + b1 * ys + b2 + 1) / 2 * (x.shape[2] - 1)
        for c in range(x.shape[1]):
            result[b, c] = ndimage.map_coordinates(x[b, c], [rows, columns], order=1, mode="grid-constant")
    return result


def affine(note: str, expected: Any, x: Array, matrices: Array, height: int, width: int) -> Case:
    inputs = {"x": x, "transform_matrix": matrices, "output_height": height, "output_width": width, **COMMON}
    return Case("affine", inputs, expected, note=note)


EXAMPLE_MATRIX = np.array([[-1.0, -2.0, -3.7, -1.0, 3.5, 1.2]], np.float32)

AFFINE = [
    affine("a_matrix_each", lambda: warped(X, MATRICES, 6, 4), X, MATRICES, 6, 4),
    affine("one_matrix", lambda: warped(X, MATRICES[:1], 3, 9), X, MATRICES[:1], 3, 9),
    affine("example", np.array([10.7525, 2.5025, 0, 1.98, 0, 0, 0, 0, 0]).reshape(1, 1, 3, 3), PLUS, EXAMPLE_MATRIX, 3, 3),
]

CROP = [
    Case("crop", {"x": X, "crop_height": [0, 1], "crop_width": [2, 3]}, X[:, :, :4, 2:4]),
    Case("crop", {"x": X[0], "crop_height": Fixed(np.array([2, 0], np.int32)), "crop_width": [0, 0]}, X[0, :, 2:], note="rank3"),
]

CASES = NEAREST + BILINEAR + RESIZE + CROP + CROP_RESIZE + RESAMPLE + AFFINE
