"""Cases of `moka.ops.neural_network`, with NumPy and ONNX Runtime as oracles."""

from __future__ import annotations

import numpy as np

from tests.cases.nms_oracle import suppressed
from tests.cases.operations import Case
from tests.cases.tensor_operation import BOXES, DETECTED, SCORES, SUPPRESSION

X = np.random.default_rng(3).normal(size=(2, 3, 5)).astype(np.float32)
EDGES = np.array([1.0, 1.5, 100.0, np.inf, 0.5, np.nan], np.float32)

CASES = [
    Case("nn_asinh", {"x": 10 * X}, lambda: np.arcsinh(10 * X)),
    Case("nn_asinh", {"x": np.array([0.0, -np.inf, np.nan], np.float32)}, [0.0, -np.inf, np.nan], note="extremes"),
    Case("nn_acosh", {"x": 1 + np.abs(X)}, lambda: np.arccosh(1 + np.abs(X))),
    Case("nn_acosh", {"x": EDGES}, lambda: [*np.arccosh(EDGES[:4]), np.nan, np.nan], note="extremes"),
    Case("nn_broadcast_to", {"x": X[:, :1], "shape": [4, 2, 3, 5]}, lambda: np.broadcast_to(X[:, :1], (4, 2, 3, 5))),
    Case("nn_broadcast_to", {"x": X[0, 0, :1], "shape": [0, 2]}, np.zeros((0, 2), np.float32), note="empty"),
    *[Case("nn_lower_triangle", {"x": X, "k": k}, lambda k=k: np.tril(X, k), note=f"k{k}") for k in (0, 2, -1, -9)],
    *[Case("nn_upper_triangle", {"x": X, "k": k}, lambda k=k: np.triu(X, k), note=f"k{k}") for k in (0, 2, -1, 9)],
    *[
        Case(
            "nn_non_maximum_suppression",
            {
                "boxes": BOXES,
                "scores": SCORES,
                "iou_threshold": 0.3,
                "score_threshold": least,
                "max_boxes": count,
                "per_class_suppression": per_class,
            },
            lambda least=least, count=count, per_class=per_class: suppressed(BOXES, SCORES, 0.3, least, count, per_class),
            outputs=DETECTED,
            meta=SUPPRESSION,
            note=note,
        )
        for note, least, count, per_class in (("few", 1.0, 4, False), ("padded", 4.0, 15, False), ("per_class", 1.0, 15, True))
    ],
]
