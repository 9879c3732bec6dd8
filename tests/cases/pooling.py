"""Cases of pooling: beside ONNX Runtime (padding kinds), PyTorch's modules (ceil mode), and coremltools' own examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case

RNG = np.random.default_rng(2)
Array = np.ndarray[Any, Any]
X1, X2, X3 = (RNG.normal(0, 1, shape).astype(np.float32) for shape in ((2, 3, 10), (2, 3, 7, 9), (1, 2, 5, 6, 7)))
COUNT = np.arange(1, 9, dtype=np.float32)


def pool(operation: str, x: Array, note: str, expected: Any, opset: str = "ios15", **inputs: Any) -> Case:
    return Case(operation, {"x": x, **inputs}, expected, opset=opset, note=note)


def moka_pad(pads: list[int]) -> list[int]:
    """From ONNX's order (all starts, all ends) to Core ML's (start and end of each dimension)."""
    half = len(pads) // 2
    return [amount for pair in zip(pads[:half], pads[half:], strict=True) for amount in pair]


def both(x: Array, note: str, kernel: list[int], strides: list[int], **onnx: Any) -> list[Case]:
    """The maximum, both means and the norm (which has no 3-dimensional form), beside ONNX Runtime."""
    kinds = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
    inputs: dict[str, Any] = {"kernel_sizes": kernel, "strides": strides, "pad_type": "valid"}
    if "auto_pad" in onnx:
        inputs["pad_type"] = kinds[onnx["auto_pad"]]
    if "pads" in onnx:
        inputs |= {"pad_type": "custom", "pad": moka_pad(onnx["pads"])}
    opset = "ios16" if inputs["pad_type"] == "same_lower" else "ios15"
    shape: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, **onnx}
    cases = [
        pool("max_pool", x, note, lambda: onnx_run("MaxPool", x, **shape), opset, **inputs),
        pool("avg_pool", x, note, lambda: onnx_run("AveragePool", x, count_include_pad=1, **shape), opset, **inputs),
        pool(
            "avg_pool",
            x,
            f"{note}_excluding",
            lambda: onnx_run("AveragePool", x, count_include_pad=0, **shape),
            opset,
            exclude_padding_from_average=True,
            **inputs,
        ),
    ]
    if x.ndim < 5:
        cases.append(pool("l2_pool", x, note, lambda: onnx_run("LpPool", x, p=2, **shape), opset, **inputs))
    return cases


def ceiling(x: Array, note: str, kernel: int, stride: int, padding: int) -> list[Case]:
    """`ceil_mode` is PyTorch's, so its modules are the oracle."""
    rank, tensor = x.ndim - 2, torch.from_numpy(x)
    modules: Any = torch.nn
    inputs: dict[str, Any] = {"kernel_sizes": [kernel] * rank, "strides": [stride] * rank, "ceil_mode": True, "pad_type": "custom"}
    inputs["pad"] = [padding] * (2 * rank)
    average, maximum = getattr(modules, f"AvgPool{rank}d"), getattr(modules, f"MaxPool{rank}d")
    return [
        pool("max_pool", x, note, lambda: maximum(kernel, stride, padding, ceil_mode=True)(tensor), **inputs),
        pool("avg_pool", x, note, lambda: average(kernel, stride, padding, True, True)(tensor), **inputs),
        pool(
            "avg_pool",
            x,
            f"{note}_excluding",
            lambda: average(kernel, stride, padding, True, False)(tensor),
            exclude_padding_from_average=True,
            **inputs,
        ),
    ]


SAME_LOWER: dict[str, Any] = {"pad_type": "same_lower", "kernel_sizes": [2, 2], "opset": "ios16"}
SMALL = COUNT[:4].reshape(1, 1, 2, 2)

EXAMPLES = [
    pool("avg_pool", SMALL, "example", np.array([[[[0.25, 0.75], [1, 2.5]]]]), **SAME_LOWER),
    pool("max_pool", SMALL, "example", SMALL, **SAME_LOWER),
    pool("l2_pool", SMALL, "example", np.array([[[[1, 2.236068], [3.162278, 5.477226]]]]), **SAME_LOWER),
    pool(
        "avg_pool", COUNT.reshape(1, 1, 2, 2, 2), "example_3d",
        np.array([0.125, 0.375, 0.5, 1.25, 0.75, 1.75, 2, 4.5]).reshape(1, 1, 2, 2, 2),
        opset="ios16", pad_type="same_lower", kernel_sizes=[2, 2, 2],
    ),
    pool(
        "l2_pool", COUNT[:7].reshape(1, 1, 7), "example_1d", np.array([[[2.236068, 7.071068, 9.219544]]]),
        pad_type="same", kernel_sizes=[3], strides=[3],
    ),
    pool(
        "max_pool", np.array([[[1, np.nan, 3, np.inf]]], np.float32), "nan", [[[np.nan, np.nan, np.inf]]],
        kernel_sizes=[2], pad_type="valid",
    ),
    pool("max_pool", X2[:0], "empty", np.zeros((0, 3, 6, 8), np.float32), kernel_sizes=[2, 2], pad_type="valid"),
    pool(
        "l2_pool", COUNT[:5].reshape(1, 1, 1, 5), "ceil", [[[[5**0.5, 5, 5]]]],
        kernel_sizes=[1, 2], strides=[1, 2], pad_type="valid", ceil_mode=True,
    ),
    pool(
        "avg_pool", COUNT[:5].reshape(1, 1, 5), "ceil_beyond_the_end", [[[1.0, 4.0, 0.0]]],
        kernel_sizes=[1], strides=[3], pad_type="valid", ceil_mode=True,
    ),
    pool(
        "avg_pool", COUNT[:4].reshape(1, 1, 4), "wide_padding", [[[0.0, 0.5, 1.5, 2.5, 3.5, 2.0, 0.0]]],
        kernel_sizes=[2], pad_type="custom", pad=[2, 2],
    ),
]  # fmt: skip

CASES = [
    *both(X1, "1d", [3], [2]),
    *both(X1, "1d_same", [4], [3], auto_pad="SAME_UPPER"),
    *both(X2, "2d", [2, 3], [1, 2]),
    *both(X2, "2d_same", [2, 3], [1, 2], auto_pad="SAME_UPPER"),
    *both(X2, "2d_same_lower", [2, 4], [2, 3], auto_pad="SAME_LOWER"),
    *both(X2, "2d_custom", [3, 3], [2, 2], pads=[1, 1, 1, 1]),
    *both(X2, "2d_asymmetric", [3, 3], [2, 1], pads=[0, 2, 1, 1]),
    *both(X3, "3d", [2, 2, 3], [1, 2, 1]),
    *both(X3, "3d_same", [2, 2, 3], [2, 2, 2], auto_pad="SAME_UPPER"),
    *both(X3, "3d_same_lower", [2, 2, 3], [2, 2, 2], auto_pad="SAME_LOWER"),
    *both(X3, "3d_asymmetric", [2, 2, 3], [1, 2, 1], pads=[0, 1, 0, 1, 0, 2]),
    *ceiling(X1, "1d_ceil", 3, 2, 0),
    *ceiling(X2, "2d_ceil", 2, 2, 0),
    *ceiling(X2, "2d_ceil_padded", 3, 2, 1),
    *ceiling(X2, "2d_ceil_left_out", 2, 3, 1),
    *EXAMPLES,
]
