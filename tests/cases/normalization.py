"""Cases of the normalizations: beside PyTorch's modules, ONNX Runtime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

RNG = np.random.default_rng(3)
Array = np.ndarray[Any, Any]
X = RNG.normal(1, 2, (2, 3, 4, 5)).astype(np.float32)
MEAN, VARIANCE, GAMMA, BETA = (RNG.uniform(0.5, 2, 3).astype(np.float32) for _ in range(4))
ZEROS, ONES = np.zeros(3, np.float32), np.ones(3, np.float32)


def halves(array: Array) -> Array:
    return array.astype(np.float16).astype(np.float32)


def layer_norm(x: Array, axes: tuple[int, ...], gamma: Any = None, beta: Any = None, epsilon: float = 1e-5) -> torch.Tensor:
    """`torch.nn.LayerNorm` on x with the normalized axes moved to its end."""
    tensor = torch.from_numpy(x).permute(*[i for i in range(x.ndim) if i not in axes], *axes)
    layer = torch.nn.LayerNorm(tensor.shape[x.ndim - len(axes) :], eps=epsilon)
    if gamma is not None:
        layer.weight.data = torch.from_numpy(gamma)
    if beta is not None:
        layer.bias.data = torch.from_numpy(beta)
    order = [*[i for i in range(x.ndim) if i not in axes], *axes]
    result: torch.Tensor = layer(tensor).permute(*np.argsort(order).tolist())
    return result


def norms(x: Array, epsilon: float) -> Array:
    """Each sample of x over its length, in double precision."""
    flat = x.reshape(-1, int(np.prod(x.shape[-3:]))).astype(np.float64)
    return np.stack([row / np.sqrt(np.dot(row, row) + epsilon) for row in flat]).reshape(x.shape)


def neighbours(x: Array, size: int, **options: float) -> torch.Tensor:
    result: torch.Tensor = torch.nn.LocalResponseNorm(size, **options)(torch.from_numpy(x))
    return result


PLANE, SCALE, SHIFT = X[0, 0], *(RNG.normal(0, 1, (4, 5)).astype(np.float32) for _ in range(2))
CHANNEL = RNG.normal(0, 1, 3).astype(np.float32)
STATISTICS = {"mean": Fixed(MEAN), "variance": Fixed(VARIANCE)}

EXAMPLE = np.array([[[1.0, -7.0], [5.0, -6.0], [-3.0, -5.0]]], np.float32)

CASES = [
    Case("batch_norm", {"x": X, **STATISTICS}, lambda: onnx_run("BatchNormalization", X, ONES, ZEROS, MEAN, VARIANCE)),
    Case(
        "batch_norm",
        {"x": X, **STATISTICS, "gamma": Fixed(GAMMA), "beta": Fixed(BETA), "epsilon": 0.1},
        lambda: onnx_run("BatchNormalization", X, GAMMA, BETA, MEAN, VARIANCE, epsilon=0.1),
        note="scaled",
    ),
    Case(
        "batch_norm",
        {"x": X[:, :, 0], **STATISTICS, "beta": Fixed(BETA)},
        lambda: onnx_run("BatchNormalization", X[:, :, 0], ONES, BETA, MEAN, VARIANCE),
        note="shift_alone_1d",
    ),
    Case(
        "batch_norm",
        {"x": X[..., None], **STATISTICS, "gamma": Fixed(GAMMA)},
        lambda: onnx_run("BatchNormalization", X[..., None], GAMMA, ZEROS, MEAN, VARIANCE),
        note="scale_alone_3d",
    ),
    Case(
        "batch_norm",
        {"x": X, "mean": Fixed(MEAN.astype(np.float16)), "variance": Fixed(VARIANCE.astype(np.float16))},
        lambda: onnx_run("BatchNormalization", X, ONES, ZEROS, halves(MEAN), halves(VARIANCE)),
        opset="ios17",
        note="fp16_statistics",
    ),
    Case("instance_norm", {"x": X}, lambda: onnx_run("InstanceNormalization", X, ONES, ZEROS)),
    Case(
        "instance_norm",
        {"x": X[:, :, 1], "gamma": Fixed(GAMMA), "beta": Fixed(BETA), "epsilon": 0.5},
        lambda: onnx_run("InstanceNormalization", X[:, :, 1], GAMMA, BETA, epsilon=0.5),
        note="scaled_1d",
    ),
    Case(
        "instance_norm",
        {"x": X, "beta": Fixed(BETA)},
        lambda: onnx_run("InstanceNormalization", X, ONES, BETA),
        opset="ios17",
        note="shift",
    ),
    Case(
        "instance_norm",
        {"x": X[:, :, :1, :1], "beta": Fixed(BETA)},
        np.broadcast_to(BETA[None, :, None, None], (2, 3, 1, 1)),
        note="one_element",
        tolerance=1e-3,
    ),
    Case("l2_norm", {"x": X}, lambda: norms(X, 1e-6)),
    Case("l2_norm", {"x": X[0], "epsilon": 0.1}, lambda: norms(X[0], 0.1), note="rank3"),
    Case("l2_norm", {"x": np.stack([X, X * 3]), "epsilon": 1.0}, lambda: norms(np.stack([X, X * 3]), 1.0), opset="ios17", note="rank5"),
    Case("l2_norm", {"x": np.zeros((1, 2, 2), np.float32)}, np.zeros((1, 2, 2)), note="zeros"),
    Case("l2_norm", {"x": np.full((1, 2, 2), 1000, np.float32)}, np.full((1, 2, 2), 0.5), note="large"),
    Case("layer_norm", {"x": PLANE}, lambda: layer_norm(PLANE, (0, 1)), note="all_axes"),
    Case(
        "layer_norm",
        {"x": X, "axes": [-2, -1], "gamma": Fixed(SCALE), "beta": Fixed(SHIFT), "epsilon": 0.01},
        lambda: onnx_run("LayerNormalization", X, SCALE, SHIFT, axis=-2, epsilon=0.01),
        note="last_axes",
    ),
    Case("layer_norm", {"x": X, "axes": [1], "gamma": Fixed(CHANNEL)}, lambda: layer_norm(X, (1,), CHANNEL), note="channels"),
    Case("layer_norm", {"x": X, "axes": [-1], "beta": Fixed(SHIFT[0])}, lambda: layer_norm(X, (3,), None, SHIFT[0]), note="shift_alone"),
    Case(
        "layer_norm",
        {"x": X, "axes": [3, 1], "gamma": Fixed(X[0, :, 0]), "beta": Fixed(X[1, :, 0])},
        lambda: layer_norm(X, (1, 3), X[0, :, 0], X[1, :, 0]),
        opset="ios17",
        note="axes_apart",
        tolerance=1e-5,
    ),
    Case("local_response_norm", {"x": X, "size": 1, "alpha": 0.3, "k": 2.0}, lambda: neighbours(X, 1, alpha=0.3, k=2.0), note="size1"),
    Case("local_response_norm", {"x": X, "size": 3}, lambda: onnx_run("LRN", X, size=3)),
    Case(
        "local_response_norm",
        {"x": X[0], "size": 5, "alpha": 0.5, "beta": 0.5, "k": 0.5},
        lambda: neighbours(X[:1], 5, alpha=0.5, beta=0.5, k=0.5)[0],
        opset="ios17",
        note="rank3",
    ),
    Case(
        "local_response_norm",
        {"x": EXAMPLE, "size": 2},
        np.array([[[0.99996257, -6.98716545], [4.99531746, -5.99191284], [-2.99898791, -4.99531746]]]),
        note="example_of_coremltools_tests_size2",
    ),
    Case(
        "local_response_norm",
        {"x": EXAMPLE, "size": 3},
        np.array([[[0.99997497, -6.99143696], [4.99687672, -5.99460602], [-2.99932504, -4.99687672]]]),
        note="example_of_coremltools_tests_size3",
    ),
]
