"""Non-maximum suppression."""

from __future__ import annotations

from typing import Any

from moka.formats import dtypes
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value
from moka.ir.types import TensorType

_LIMITS = (("iou_threshold", "iouThreshold", "fp32"), ("score_threshold", "scoreThreshold", "fp32"), ("max_boxes", "maxBoxes", "int32"))
"""What a third, fourth and fifth blob overrides: MIL's name, the layer's, and the type."""


@layer("NonMaximumSuppression")
def non_maximum_suppression(
    net: NetworkBuilder,
    params: Any,
    boxes: Value,
    scores: Value,
    iou_threshold: Value | None = None,
    score_threshold: Value | None = None,
    max_boxes: Value | None = None,
) -> list[Value]:
    """The best boxes of each image, their scores, their indices, and how many there are. Limits may be blobs."""
    inputs: dict[str, Any] = {name: getattr(params, field) for name, field, _ in _LIMITS}
    for (name, _, kind), blob in zip(_LIMITS, (iou_threshold, score_threshold, max_boxes), strict=True):
        if blob is not None:
            inputs[name] = net.cast(blob, kind)
    results = net.emit_all(
        "nn_non_maximum_suppression", 4, boxes=boxes, scores=scores, **inputs, per_class_suppression=params.perClassSuppression
    )
    count = None if max_boxes is not None else params.maxBoxes
    batch, classes = net.shape(boxes)[0], net.shape(scores)[-1]
    shapes = ((batch, count, 4), (batch, count, classes), (batch, count), (batch,))
    for value, shape, dtype in zip(results, shapes, (dtypes.FP32, dtypes.FP32, dtypes.INT32, dtypes.INT32), strict=True):
        value.type = TensorType(dtype, shape)  # the count of boxes does not depend on data: what is left over is padding
        net.shapes.enter(value)
    return [net.cast(value, "fp32") for value in results]
