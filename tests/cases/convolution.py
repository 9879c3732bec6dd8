"""Cases of the convolutions: beside PyTorch's modules, ONNX Runtime, and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

RNG = np.random.default_rng(1)
Array = np.ndarray[Any, Any]


def normal(*shape: int) -> Array:
    return RNG.normal(0, 1, shape).astype(np.float32)


X1, X2, X3 = normal(2, 4, 11), normal(2, 4, 7, 8), normal(1, 2, 5, 6, 4)
W1, W2, W3, GROUPED = normal(3, 4, 3), normal(3, 4, 3, 2), normal(3, 2, 2, 3, 2), normal(6, 2, 3, 3)
BIAS, DEPTHWISE = normal(3), normal(8, 1, 3, 3)


def same(x: Array, weight: Array, auto_pad: str, **attributes: Any) -> Array:
    return onnx_run("Conv", x, weight, auto_pad=auto_pad, **attributes)


def padded(x: Array, weight: Array, pad: list[int], **options: Any) -> torch.Tensor:
    """Zeros put around x by NumPy, then PyTorch's module."""
    amounts = [(0, 0), (0, 0), *zip(pad[::2], pad[1::2], strict=True)]
    return module(torch.nn.Conv2d, np.pad(x, amounts), weight, **options)


def module(kind: Any, x: Array, weight: Array, bias: Array | None = None, *, groups: int = 1, **options: Any) -> torch.Tensor:
    """One of PyTorch's convolution modules with given weights."""
    c_in, c_out = (weight.shape[1] * groups, weight.shape[0])
    if "Transpose" in kind.__name__:
        c_in, c_out = weight.shape[0], weight.shape[1] * groups
    layer = kind(c_in, c_out, weight.shape[2:], groups=groups, bias=bias is not None, **options)
    layer.weight.data = torch.from_numpy(weight)
    if bias is not None:
        layer.bias.data = torch.from_numpy(bias)
    result: torch.Tensor = layer(torch.from_numpy(x))
    return result


def gradient(x: Array, weight: Array, shape: tuple[int, ...], auto_pad: str, strides: list[int]) -> Array:
    """What a transposed convolution is by definition: <conv(e), x> for every unit image e of ``shape``, with ONNX Runtime's convolution."""
    unit = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)
    columns = onnx_run("Conv", unit, weight, auto_pad=auto_pad, strides=strides)
    product: Array = np.tensordot(columns.reshape(len(unit), -1), x.reshape(len(x), -1), axes=(1, 1)).T.reshape(len(x), *shape)
    return product


T1, T2, T3 = normal(4, 3, 3), normal(4, 3, 3, 2), normal(2, 3, 2, 3, 2)
T2G = normal(4, 3, 3, 3)

CONV = [
    Case("conv", {"x": X1, "weight": W1, "bias": BIAS}, lambda: module(torch.nn.Conv1d, X1, W1, BIAS), note="1d"),
    Case("conv", {"x": X2, "weight": Fixed(W2), "bias": BIAS}, lambda: module(torch.nn.Conv2d, X2, W2, BIAS), note="2d"),
    Case("conv", {"x": X3, "weight": W3}, lambda: module(torch.nn.Conv3d, X3, W3), note="3d"),
    Case(
        "conv",
        {"x": X2, "weight": Fixed(GROUPED), "groups": 2, "strides": [2, 1], "dilations": [1, 2]},
        lambda: module(torch.nn.Conv2d, X2, GROUPED, groups=2, stride=(2, 1), dilation=(1, 2)),
        note="groups_strides_dilations",
    ),
    Case(
        "conv",
        {"x": X2, "weight": Fixed(DEPTHWISE), "groups": 4, "pad_type": "custom", "pad": [1, 1, 1, 1]},
        lambda: module(torch.nn.Conv2d, X2, DEPTHWISE, groups=4, padding=1),
        note="depthwise",
    ),
    Case(
        "conv",
        {"x": X2, "weight": Fixed(W2), "pad_type": "custom", "pad": [1, 2, 0, 3], "strides": [2, 2]},
        lambda: padded(X2, W2, [1, 2, 0, 3], stride=2),
        note="asymmetric",
    ),
    Case(
        "conv", {"x": X2, "weight": Fixed(W2), "pad_type": "valid", "pad": [1, 1, 1, 1]}, lambda: padded(X2, W2, [0, 0, 0, 0]), note="valid"
    ),
    Case("conv", {"x": X1, "weight": W1, "pad_type": "same"}, lambda: same(X1, W1, "SAME_UPPER"), note="same_1d"),
    Case(
        "conv",
        {"x": X2, "weight": W2, "pad_type": "same", "strides": [2, 3]},
        lambda: same(X2, W2, "SAME_UPPER", strides=[2, 3]),
        note="same",
    ),
    Case(
        "conv",
        {"x": X2, "weight": W2, "pad_type": "same_lower", "strides": [2, 3]},
        lambda: same(X2, W2, "SAME_LOWER", strides=[2, 3]),
        opset="ios16",
        note="same_lower",
    ),
    Case(
        "conv",
        {"x": X2, "weight": Fixed(W2), "pad_type": "same", "dilations": [2, 3]},
        lambda: padded(X2, W2, [2, 2, 1, 2], dilation=(2, 3)),
        note="same_dilated",
    ),
    Case(
        "conv",
        {"x": X2, "weight": Fixed(W2.astype(np.float16)), "bias": BIAS.astype(np.float16)},
        lambda: module(torch.nn.Conv2d, X2, W2.astype(np.float16).astype(np.float32), BIAS.astype(np.float16).astype(np.float32)),
        opset="ios17",
        note="fp16_weight",
    ),
    Case("conv", {"x": X2[:0], "weight": W2}, np.zeros((0, 3, 5, 7), np.float32), note="empty"),
]

CODES = RNG.integers(0, 256, (3, 4, 3, 2)).astype(np.uint8)
SCALES, OFFSETS = np.array([0.01, 0.02, 0.005], np.float32), np.array([-1, 0.5, -0.2], np.float32)

QUANTIZED = [
    Case(
        "conv_quantized",
        {"x": X2, "weight": Fixed(CODES), "quantization_type": "linear", "quant_scale": Fixed(SCALES), "quant_bias": Fixed(OFFSETS)},
        lambda: module(torch.nn.Conv2d, X2, np.stack([CODES[i] * SCALES[i] + OFFSETS[i] for i in range(3)])),
        note="per_channel",
        tolerance=1e-4,
    ),
    Case(
        "conv_quantized",
        {
            "x": X2,
            "weight": Fixed(CODES % 16),
            "quantization_type": "linear",
            "nbits": 4,
            "quant_scale": 0.125,
            "quant_bias": -1.0,
            "pad_type": "same",
        },
        lambda: same(X2, ((CODES % 16).astype(np.float32) - 8) / 8, "SAME_UPPER"),
        note="one_scale",
    ),
]

TRANSPOSED = [
    Case("conv_transpose", {"x": X1, "weight": Fixed(T1), "bias": BIAS}, lambda: module(torch.nn.ConvTranspose1d, X1, T1, BIAS), note="1d"),
    Case("conv_transpose", {"x": X2, "weight": Fixed(T2)}, lambda: module(torch.nn.ConvTranspose2d, X2, T2), note="2d"),
    Case(
        "conv_transpose",
        {"x": X3, "weight": Fixed(T3), "bias": Fixed(BIAS), "strides": [2, 1, 3]},
        lambda: module(torch.nn.ConvTranspose3d, X3, T3, BIAS, stride=(2, 1, 3)),
        note="3d",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": T2G, "groups": 2, "strides": [2, 3], "dilations": [2, 1], "pad_type": "custom", "pad": [1, 1, 2, 2]},
        lambda: module(torch.nn.ConvTranspose2d, X2, T2G, groups=2, stride=(2, 3), dilation=(2, 1), padding=(1, 2)),
        opset="ios17",
        note="groups_dilations_custom",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": Fixed(T2), "strides": [2, 2], "pad_type": "custom", "pad": [0, 2, 1, 0]},
        lambda: module(torch.nn.ConvTranspose2d, X2, T2, stride=2)[:, :, :-2, 1:],
        note="asymmetric",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": Fixed(T2), "strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 0, 0], "output_shape": [2, 3, 14, 16]},
        lambda: module(torch.nn.ConvTranspose2d, X2, T2, stride=2, padding=(1, 0), output_padding=(1, 0)),
        note="output_shape_custom",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": Fixed(T2), "bias": Fixed(BIAS), "strides": [3, 3], "pad_type": "same"},
        lambda: gradient(X2, T2, (3, 21, 24), "SAME_UPPER", [3, 3]) + BIAS[:, None, None],
        note="same_kernel_below_stride",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": Fixed(T2), "strides": [1, 1], "pad_type": "same"},
        lambda: gradient(X2, T2, (3, 7, 8), "SAME_UPPER", [1, 1]),
        note="same",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": Fixed(T2), "strides": [2, 1], "pad_type": "same_lower"},
        lambda: gradient(X2, T2, (3, 14, 8), "SAME_LOWER", [2, 1]),
        opset="ios16",
        note="same_lower",
    ),
    Case(
        "conv_transpose",
        {"x": X2, "weight": Fixed(T2), "strides": [2, 2], "pad_type": "same", "output_shape": [2, 3, 13, 15]},
        lambda: gradient(X2, T2, (3, 13, 15), "SAME_UPPER", [2, 2]),
        note="output_shape_same",
    ),
    Case(
        "conv_transpose",
        {"x": X1, "weight": Fixed(T1), "strides": [2], "pad_type": "valid", "output_shape": [2, 3, 24]},
        lambda: module(torch.nn.ConvTranspose1d, X1, T1, stride=2, output_padding=1),
        note="output_shape_valid",
    ),
]

CASES = CONV + QUANTIZED + TRANSPOSED
