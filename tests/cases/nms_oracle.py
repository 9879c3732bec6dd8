"""Core ML's non-maximum suppression, put together from ONNX Runtime's, which suppresses within each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.cases.onnx_oracle import onnx_run

Array = np.ndarray[Any, Any]
NEVER = np.float32(-1e9)


def suppressed(
    boxes: Array, scores: Array, iou_threshold: float, score_threshold: float, max_boxes: int, per_class: bool
) -> tuple[Array, Array, Array, Array]:
    """Boxes, scores, indices and counts as iOS 15's operation gives them, padded with 0 and -1; boxes are (n, boxes, 4).

    A box has its best class. Without ``per_class`` there is one class only; and the best box stays even if its score is too low.
    """
    chosen_boxes = np.zeros((len(boxes), max_boxes, 4), np.float32)
    chosen_scores = np.zeros((len(boxes), max_boxes, scores.shape[2]), np.float32)
    chosen, counts = np.full((len(boxes), max_boxes), -1), np.zeros(len(boxes), int)
    for i, score in enumerate(scores):
        best = score.max(1)
        classes = np.where(score == best[:, None], score, NEVER) if per_class else best[:, None]
        kept = _selected(boxes[i], classes, iou_threshold, score_threshold)
        order = kept[np.argsort(-best[kept])][:max_boxes] if len(kept) else best.argmax(keepdims=True)
        counts[i] = count = len(order)
        chosen[i, :count], chosen_boxes[i, :count], chosen_scores[i, :count] = order, boxes[i][order], score[order]
    return chosen_boxes, chosen_scores, chosen, counts


def _selected(boxes: Array, classes: Array, iou_threshold: float, score_threshold: float) -> Array:
    """The boxes of one image that ONNX Runtime keeps, for classes of shape (boxes, classes)."""
    floor = np.maximum(score_threshold, NEVER / 2)
    limits: list[Array] = [np.array([len(boxes)], np.int64), np.array([iou_threshold], np.float32), np.array([floor], np.float32)]
    rows = onnx_run("NonMaxSuppression", boxes[None], classes.T[None].copy(), *limits, center_point_box=1, result=TensorProto.INT64)
    return rows[:, 2]
