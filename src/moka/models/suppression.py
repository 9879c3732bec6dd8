"""Non-maximum suppression of bounding boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Array, Feature, MultiArrayFeature
from moka.models.model import Model, ModelState
from moka.models.rows import Row
from moka.models.sizes import Range

__all__ = ["NonMaximumSuppression"]


class NonMaximumSuppression(Model):
    """Keeps the most confident of boxes that overlap.

    Boxes whose largest confidence is below the confidence threshold are dropped. Then, in the order of that confidence, a box is kept and
    all whose intersection over union with it is above the threshold are dropped; with ``perClass`` only boxes of the same class, the most
    confident one, drop each other. Rows of zeros fill the outputs where the description has more.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        message: Any = source.specification.nonMaximumSuppression
        self._message = message
        for names, features, what in (
            ((message.confidenceInputFeatureName, message.coordinatesInputFeatureName), self.function.inputs, "input"),
            ((message.confidenceOutputFeatureName, message.coordinatesOutputFeatureName), self.function.outputs, "output"),
        ):
            if missing := [name for name in names if not isinstance(features.get(name), MultiArrayFeature)]:
                raise FormatError(self.path, f"{what} {missing[0]!r} of the suppression is no multi-array of the description")
        self._rows = self._row_limits()

    def _absent(self, feature: Feature) -> Any:
        return None

    def _row_limits(self) -> Range:
        """The smallest and the largest number of boxes that the outputs have."""
        low, high = 0, None
        for feature in self.function.outputs.values():
            bounds = _first_axis(feature) if isinstance(feature, MultiArrayFeature) else (0, None)
            low = max(low, bounds[0])
            high = bounds[1] if high is None else min(high, bounds[1] if bounds[1] is not None else high)
        return low, high

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        message = self._message
        confidence = np.asarray(inputs[message.confidenceInputFeatureName])
        coordinates = np.asarray(inputs[message.coordinatesInputFeatureName])
        if confidence.ndim != 2 or coordinates.shape != (len(confidence), 4):
            raise InputError(
                f"input {message.coordinatesInputFeatureName!r} has shape {list(coordinates.shape)} and "
                f"{message.confidenceInputFeatureName!r} {list(confidence.shape)}; expected [boxes, 4] and [boxes, classes]"
            )
        threshold = self._threshold(inputs, message.confidenceThresholdInputFeatureName, message.confidenceThreshold)
        overlap = self._threshold(inputs, message.iouThresholdInputFeatureName, message.iouThreshold)
        kept = suppress(confidence.astype(np.float64), coordinates.astype(np.float64), threshold, overlap, message.pickTop.perClass)
        kept = kept[: self._rows[1]]
        padding = ((0, max(0, self._rows[0] - len(kept))), (0, 0))
        results = {
            message.confidenceOutputFeatureName: np.pad(confidence[kept], padding),
            message.coordinatesOutputFeatureName: np.pad(coordinates[kept], padding),
        }
        return {name: feature.present(results[name]) for name, feature in self.function.outputs.items()}

    def _threshold(self, inputs: Row, name: str, default: float) -> float:
        value = inputs.get(name)
        return default if value is None else float(np.reshape(value, -1)[0])


def suppress(confidence: Array, coordinates: Array, threshold: float, overlap: float, per_class: bool) -> Array:
    """Indices of the boxes that are kept, the most confident first.

    Args:
        confidence: [boxes, classes].
        coordinates: [boxes, (x of the center, y of the center, width, height)].
        threshold: the smallest confidence that counts.
        overlap: the largest intersection over union that two kept boxes may have.
        per_class: whether only boxes of the same class drop each other.
    """
    best = confidence.max(axis=1, initial=0)
    order = np.argsort(-best, kind="stable")
    order = order[best[order] >= threshold]
    classes = confidence.argmax(axis=1) if per_class and confidence.size else np.zeros(len(confidence), np.int64)
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        close = (intersection_over_union(coordinates[first], coordinates[rest]) > overlap) & (classes[rest] == classes[first])
        order = rest[~close]
    return np.array(kept, np.int64)


def intersection_over_union(box: Array, boxes: Array) -> Array:
    """Of one box with each of several, given as centers and sizes; 0 where both are empty."""
    low = np.maximum(box[:2] - box[2:] / 2, boxes[:, :2] - boxes[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    shared = np.maximum(high - low, 0).prod(axis=1)
    union = box[2:].prod() + boxes[:, 2:].prod(axis=1) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _first_axis(feature: MultiArrayFeature) -> Range:
    if feature.ranges:
        return feature.ranges[0]
    sizes = [shape[0] for shape in feature.shapes or (feature.shape,) if shape]
    return (min(sizes), max(sizes)) if sizes and min(sizes) > 0 else (0, None)
