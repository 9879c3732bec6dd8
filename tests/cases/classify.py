"""Cases of `classify`. Expected values are worked out by hand."""

from __future__ import annotations

import numpy as np

from tests.cases.operations import Case

P = np.array([[0.25, 0.625, 0.125]], np.float32)
ON_META = "the label is data, not shape"

CASES = [
    Case(
        "classify",
        {"probabilities": P, "classes": ["cat", "dog", "é\0"]},
        [np.array("dog", object), np.array({"cat": 0.25, "dog": 0.625, "é\0": 0.125})],
        outputs=("string", "string"),
        fp16=None,
        meta=ON_META,
    ),
    Case(
        "classify",
        {"probabilities": P[0, ::-1].copy(), "classes": [-7, 2, 5]},
        [np.array(2), np.array({-7: 0.125, 2: 0.625, 5: 0.25})],
        outputs=("int64", "string"),
        fp16=None,
        meta=ON_META,
        note="int64",
    ),
    Case(
        "classify",
        {"probabilities": np.float32([0.5, 0.5]), "classes": ["a", "b"]},
        [np.array("a", object), np.array({"a": 0.5, "b": 0.5})],
        outputs=("string", "string"),
        fp16=None,
        meta=ON_META,
        note="tie",
    ),
]
