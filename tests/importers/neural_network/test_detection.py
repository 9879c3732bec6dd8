"""Non-maximum suppression beside ONNX Runtime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases.nms_oracle import suppressed
from tests.importers.neural_network.networks import Array, noise, run

OUTPUTS = ("y", "scores", "indices", "count")


def boxes_and_scores(classes: int) -> tuple[Array, Array]:
    """Two images with 20 boxes each around a few places."""
    random = np.random.default_rng(11)
    places = random.uniform(0, 20, (2, 4, 2)).repeat(5, 1)
    boxes = np.concatenate([places + random.uniform(-1, 1, places.shape), random.uniform(3, 6, places.shape)], -1)
    return boxes.astype(np.float32), np.abs(noise(2, 20, classes))


def compare(results: list[Array], expected: tuple[Array, ...]) -> None:
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-6)


@pytest.mark.parametrize("per_class", [False, True], ids=["together", "per_class"])
@pytest.mark.parametrize("classes", [1, 3])
def test_stated_limits(classes: int, per_class: bool) -> None:
    boxes, scores = boxes_and_scores(classes)

    def build(builder: Any) -> None:
        builder.add_nms("n", ["b", "s"], OUTPUTS, 0.3, 0.4, 6, per_class)

    compare(run({"b": boxes, "s": scores}, build, OUTPUTS, exact=True), suppressed(boxes, scores, 0.3, 0.4, 6, per_class))


def test_no_score_is_high_enough() -> None:
    boxes, scores = boxes_and_scores(2)
    results = run({"b": boxes, "s": scores}, lambda builder: builder.add_nms("n", ["b", "s"], OUTPUTS, 0.3, 99.0, 3), OUTPUTS, exact=True)
    compare(results, suppressed(boxes, scores, 0.3, 99.0, 3, False))


def test_limits_from_blobs() -> None:
    boxes, scores = boxes_and_scores(2)
    limits = {"iou": 0.2, "least": 0.5, "most": 4}
    inputs = {"b": boxes, "s": scores} | {name: np.array([limit], np.float32) for name, limit in limits.items()}

    def build(builder: Any) -> None:
        builder.add_nms("n", list(inputs), OUTPUTS, 0.9, 0.0, 9)

    compare(run(inputs, build, OUTPUTS, exact=True), suppressed(boxes, scores, 0.2, 0.5, 4, False))
