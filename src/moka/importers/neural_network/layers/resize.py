"""Layers that change height and width: crop, padding, upsampling, resizing, boxes cut out of images."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._shapes import borders, pair
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value

_SAMPLING = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS")
"""By number of ``SamplingMode.Method``."""

_BOXES = ("CORNERS_HEIGHT_FIRST", "CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")
"""By number of ``BoxCoordinatesMode.Coordinates``."""


@layer("crop")
def crop(net: NetworkBuilder, params: Any, x: Value, like: Value | None = None) -> Value:
    """Less rows and columns at each side, or the part at an offset that has the size of a second blob."""
    if like is None:
        top, bottom, left, right = borders(net, params.cropAmounts, "cropAmounts")
    else:
        top, left = pair(net, params.offset, 0, "offset")
        (height, width), (rows, columns) = net.static_shape(x)[-2:], net.static_shape(like)[-2:]
        bottom, right = height - top - rows, width - left - columns
        if bottom < 0 or right < 0:
            raise ProgramError(f"{net.origin}: offset {[top, left]} puts {[rows, columns]} outside an input of {[height, width]}")
    return net.emit("crop", x=x, crop_height=[top, bottom], crop_width=[left, right])


_PADDING = {"constant": "constant", "reflection": "reflect", "replication": "replicate"}


@layer("padding")
def padding(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """More rows and columns at each side: a constant, the mirrored blob, or its border."""
    kind = params.WhichOneof("PaddingType") or "constant"
    amounts = borders(net, params.paddingAmounts, "paddingAmounts")
    return net.emit("pad", x=x, pad=amounts, mode=_PADDING[kind], constant_val=params.constant.value)


_CORNERS: tuple[dict[str, Any], ...] = (
    {"align_corners": False, "half_pixel_centers": False},
    {"align_corners": True, "half_pixel_centers": False},
    {"align_corners": False, "half_pixel_centers": True},
)
"""By number of ``LinearUpsampleMode``: DEFAULT, ALIGN_CORNERS_TRUE, ALIGN_CORNERS_FALSE."""


@layer("upsample")
def upsample(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Height and width times a factor each, by nearest neighbour or bilinear interpolation."""
    factors = params.fractionalScalingFactor or params.scalingFactor
    rows, columns = pair(net, factors, 1, "scalingFactor")
    scales: dict[str, Any] = {"scale_factor_height": float(rows), "scale_factor_width": float(columns)}
    if params.mode == 0:
        return net.emit("upsample_nearest_neighbor", x=x, **scales)
    return net.emit("upsample_bilinear", x=x, **scales, **_CORNERS[params.linearUpsampleMode])


@layer("resizeBilinear")
def resize_bilinear(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Height and width of a target size, by bilinear interpolation."""
    height, width = pair(net, params.targetSize, 1, "targetSize")
    mode = _SAMPLING[params.mode.samplingMethod]
    return net.emit("resize_bilinear", x=x, target_size_height=height, target_size_width=width, sampling_mode=mode)


@layer("cropResize")
def crop_resize(net: NetworkBuilder, params: Any, x: Value, boxes: Value) -> Value:
    """Boxes of images at a target size: each box of all images, or, where a box has five numbers, of the image that the first one names.

    x: [1, B, C, H, W] or [B, C, H, W]; boxes: [N, 1, 4, 1, 1] or [N, 1, 5, 1, 1]; result: [N, B or 1, C, height, width].
    """
    images = net.emit("squeeze", x=x, axes=[0]) if net.rank(x) == 5 else x
    count, batch, numbers = net.static_shape(boxes)[0], net.static_shape(images)[0], net.static_shape(boxes)[2]
    height, width = pair(net, params.targetSize, 1, "targetSize")
    places = net.emit("reshape", x=boxes, shape=[count, 1, numbers])
    indices: Any
    if numbers == 5:
        first, places = net.emit_all("split", 2, x=places, axis=-1, split_sizes=[1, 4])
        indices, batch = net.cast(net.emit("reshape", x=first, shape=[count]), "int32"), 1
    else:
        places = net.emit("tile", x=places, reps=[1, batch, 1])
        indices = np.tile(np.arange(batch), count)
    result = net.emit(
        "crop_resize",
        x=images,
        boxes=net.emit("reshape", x=places, shape=[count * batch, 4]),
        box_indices=indices,
        target_height=height,
        target_width=width,
        normalized_coordinates=params.normalizedCoordinates,
        spatial_scale=params.spatialScale or 1.0,
        box_coordinate_mode=_BOXES[params.boxIndicesMode.boxMode],
        sampling_mode=_SAMPLING[params.mode.samplingMethod],
    )
    return net.emit("reshape", x=result, shape=[count, batch, *net.static_shape(result)[1:]])
