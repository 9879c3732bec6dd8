"""Cases of the random operations whose result does not depend on chance; tests/ops/test_random.py looks at the distributions."""

from __future__ import annotations

import numpy as np

from tests.cases.operations import Case

SHAPE = [2, 1, 3]
SURE = np.array([[[-1e4, 1e4, -1e4]], [[1e4, -1e4, -1e4]]], np.float32)

CASES = [
    Case("random_uniform", {"shape": SHAPE, "low": 1.5, "high": 1.5}, np.full(SHAPE, 1.5, np.float32)),
    Case(
        "random_uniform",
        {"shape": np.array(SHAPE, np.int32), "low": -2.0, "high": -2.0, "seed": 3},
        np.full(SHAPE, -2, np.float32),
        note="dynamic",
    ),
    Case("random_normal", {"shape": SHAPE, "mean": 1.0, "stddev": 0.0}, np.ones(SHAPE, np.float32)),
    Case("random_normal", {"shape": np.array([3], np.int32), "stddev": 0.0}, np.zeros(3, np.float32), note="dynamic"),
    Case("random_bernoulli", {"shape": SHAPE, "prob": 1.0}, np.ones(SHAPE, np.float32)),
    Case("random_bernoulli", {"shape": np.array(SHAPE, np.int32), "prob": 0.0, "seed": 0}, np.zeros(SHAPE, np.float32), note="dynamic"),
    Case("random_categorical", {"x": SURE}, np.array([[[1]], [[0]]], np.float32)),
    Case("random_categorical", {"x": SURE, "mode": "logits", "size": 4, "seed": 1}, np.float32([[[1] * 4], [[0] * 4]]), note="logits"),
    Case(
        "random_categorical",
        {"x": np.array([0.0, 0.0, 5.0, 0.0], np.float32), "mode": "probs", "size": 3},
        np.float32([2, 2, 2]),
        note="probs",
    ),
]
