"""Convolutions, products, pooling, padding and resampling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  PyTorch's own abbreviation

from tests.formats.espresso_cases.case import RANDOM, WIDE, Case, X, noise, positive
from tests.formats.espresso_networks import Array, layer

PADS = {"pad_t": 0, "pad_b": 0, "pad_l": 0, "pad_r": 0, "pad_mode": 0, "pad_fill_mode": 0, "pad_value": 0}
CONV = {
    **PADS,
    "C": 4,
    "K": 6,
    "Nx": 3,
    "Ny": 2,
    "n_groups": 1,
    "n_parallel": 1,
    "has_batch_norm": 0,
    "has_biases": 1,
    "fused_relu": 0,
    "fused_tanh": 0,
    "blob_biases": 1,
    "blob_weights": 3,
}
BIAS, KERNEL = noise(4), noise(4, 6, 2, 3)
POOL = {**PADS, "size_x": 3, "size_y": 2, "stride_x": 2, "stride_y": 2, "top_shape_style": 0, "average_count_exclude_padding": 1}
DENSE = {"nB": 5, "nC": 3, "has_biases": 1, "has_relu": 0, "has_tanh": 0, "has_prelu": 0, "blob_biases": 1, "blob_weights": 3}


def conv(x: Any, weights: Array = KERNEL, bias: Array | None = BIAS, pads: Sequence[int] = (0, 0, 0, 0), **options: Any) -> Any:
    """PyTorch's convolution with padding left, right, above and below."""
    return F.conv2d(F.pad(x, list(pads)), torch.tensor(weights), None if bias is None else torch.tensor(bias), **options)


def spread(values: Array) -> Array:
    """Numbers with room for four each, the rest zeros."""
    return np.concatenate([values, np.zeros(3 * values.size, np.float32)])


def convolutions() -> list[Case]:
    half, grouped, codes = KERNEL.astype(np.float16), noise(4, 3, 2, 3), RANDOM.integers(0, 256, KERNEL.shape, dtype=np.uint8)
    scale, offset, transposed = positive(4), noise(4), noise(6, 4, 2, 3)
    quantized = codes * scale[:, None, None, None] + offset[:, None, None, None]
    by_codes = {name: value for name, value in CONV.items() if name != "blob_weights"}
    table = {"W_U8": 3, "per_ch_qscale": 5, "per_ch_qbias": 7}
    halves = {**by_codes, "blob_weights_f16": 3}
    pads = {"pad_l": 1, "pad_r": 2, "pad_t": 0, "pad_b": 1}

    def case(name: str, attributes: dict[str, Any], expected: Callable[..., Any], blobs: Sequence[Array] = (BIAS, KERNEL)) -> Case:
        return Case(name, layer(attributes.pop("type", "convolution"), **attributes), {"x": X}, expected, blobs)

    return [
        case("plain", {**CONV}, lambda x: conv(x)),
        case("relu", {**CONV, "fused_relu": 1}, lambda x: conv(x).relu()),
        case("tanh", {**CONV, "fused_tanh": 1}, lambda x: conv(x).tanh()),
        case("pads", {**CONV, **pads}, lambda x: conv(x, pads=(1, 2, 0, 1))),
        case("same", {**CONV, "pad_mode": 1}, lambda x: conv(x, pads=(1, 1, 0, 1))),
        case("same above and left", {**CONV, "pad_mode": 4}, lambda x: conv(x, pads=(1, 1, 1, 0))),
        case("valid", {**CONV, "pad_mode": 2}, lambda x: conv(x)),
        case("stride", {**CONV, "stride_x": 3, "stride_y": 2}, lambda x: conv(x, stride=(2, 3))),
        case("dilation", {**CONV, "dilation_x": 2, "dilation_y": 3}, lambda x: conv(x, dilation=(3, 2))),
        case("groups", {**CONV, "n_groups": 2}, lambda x: conv(x, grouped, groups=2), (BIAS, grouped)),
        case("no biases", {**CONV, "has_biases": 0, "blob_biases": 0}, lambda x: conv(x, bias=None)),
        case("wide biases", {**CONV}, lambda x: conv(x), (spread(BIAS), KERNEL)),
        case("half precision", halves, lambda x: conv(x, half.astype(np.float32)), (BIAS, half)),
        case("codes", {**by_codes, "weights": table}, lambda x: conv(x, quantized), (BIAS, codes, scale, offset)),
        case(
            "transposed",
            {**CONV, "type": "deconvolution", "stride_x": 2, "stride_y": 3, "pad_l": 1, "pad_r": 2, "pad_b": 1},
            lambda x: F.conv_transpose2d(x, torch.tensor(transposed), torch.tensor(BIAS), stride=(3, 2))[:, :, :-1, 1:-2],
            (BIAS, transposed),
        ),
        case(
            "transposed in groups",
            {**CONV, "type": "deconvolution", "n_groups": 2},
            lambda x: F.conv_transpose2d(x, torch.tensor(transposed[:, :2].copy()), torch.tensor(BIAS), groups=2),
            (BIAS, transposed[:, :2].copy()),
        ),
        case(
            "transposed to a size",
            {**CONV, "type": "deconvolution", "stride_x": 2, "stride_y": 2, "deconv_out_height": 14, "deconv_out_width": 17},
            lambda x: F.conv_transpose2d(x, torch.tensor(transposed), torch.tensor(BIAS), stride=2),
            (BIAS, transposed),
        ),
    ]


def products() -> list[Case]:
    bias, weights, x = noise(3), noise(3, 5), noise(5)
    rows, codes, scale, offset = noise(2, 5), RANDOM.integers(0, 256, (3, 5), dtype=np.uint8), positive(3), noise(3)
    quantized = torch.tensor(codes * scale[:, None] + offset[:, None])
    by_codes = {name: value for name, value in DENSE.items() if name != "blob_weights"}
    lookup = {**DENSE, "has_biases": 0, "blob_biases": 0, "is_lookup": 1}
    table = {"W_U8": 3, "per_ch_qscale": 5, "per_ch_qbias": 7}

    def dense(x: Any, kernel: Any = weights) -> Any:
        return F.linear(x.flatten(1), torch.as_tensor(kernel), torch.tensor(bias))[..., None, None]

    return [
        Case("plain", layer("inner_product", **DENSE), {"x": x}, dense, (spread(bias), weights)),
        Case("relu", layer("inner_product", **{**DENSE, "has_relu": 1}), {"x": x}, lambda x: dense(x).relu(), (bias, weights)),
        Case("tanh", layer("inner_product", **{**DENSE, "has_tanh": 1}), {"x": x}, lambda x: dense(x).tanh(), (bias, weights)),
        Case(
            "rows",
            layer("inner_product", **DENSE),
            {"x": rows},
            lambda x: F.linear(x, torch.tensor(weights), torch.tensor(bias)),
            (bias, weights),
            exact=True,
        ),
        Case(
            "codes",
            layer("inner_product", **{**by_codes, "weights": table, "quantization_mode": 1}),
            {"x": x},
            lambda x: dense(x, quantized),
            (bias, codes, scale, offset),
        ),
        Case(
            "lookup",
            layer("inner_product", **{**lookup, "nd_mode": True}),
            {"x": np.array([[4], [0], [2]], np.float32)},
            lambda x: F.embedding(x[:, 0].long(), torch.tensor(weights.T.copy())),
            (bias, weights),
            exact=True,
        ),
        Case(
            "lookup of one",
            layer("inner_product", **lookup),
            {"x": np.array([3], np.float32)},
            lambda x: torch.tensor(weights[:, 3][:, None, None]),
            (bias, weights),
        ),
    ]


def pools() -> list[Case]:
    def case(name: str, attributes: dict[str, Any], expected: Callable[[Any], Any], x: Array = X) -> Case:
        return Case(name, layer("pool", **{**POOL, **attributes}), {"x": x}, expected)

    one = {"pad_t": 1, "pad_b": 1, "pad_l": 1, "pad_r": 1}
    square, tall = (2, 2), (2, 3)

    def averaged(x: Any, *, counted: bool) -> Any:
        return F.avg_pool2d(x, tall, square, padding=(1, 1), count_include_pad=counted)

    return [
        case("max", {"avg_or_max": 1}, lambda x: F.max_pool2d(x, tall, square)),
        case("max, valid", {"avg_or_max": 1, "pad_mode": 2}, lambda x: F.max_pool2d(x, tall, square)),
        case("max, padded", {"avg_or_max": 1, **one}, lambda x: F.max_pool2d(x, tall, square, padding=1)),
        case("max, rounded up", {"avg_or_max": 1, "top_shape_style": 2}, lambda x: F.max_pool2d(x, tall, square, ceil_mode=True)),
        case(
            "max, same",
            {"avg_or_max": 1, "pad_mode": 1},
            lambda x: F.max_pool2d(F.pad(x, [0, 1, 0, 1], value=-np.inf), tall, square),
        ),
        case("average", {"avg_or_max": 0}, lambda x: F.avg_pool2d(x, tall, square)),
        case("average without padding", {"avg_or_max": 0, **one}, lambda x: averaged(x, counted=False)),
        case("average with padding", {"avg_or_max": 0, "average_count_exclude_padding": 0, **one}, lambda x: averaged(x, counted=True)),
        case("norm", {"avg_or_max": 2}, lambda x: F.lp_pool2d(x.abs(), 2, tall, square)),
        case("average of all", {"avg_or_max": 0, "is_global": 1}, lambda x: x.mean((2, 3), keepdim=True)),
        case("largest of all", {"avg_or_max": 1, "is_global": 1, "pad_mode": 2}, lambda x: x.amax((2, 3), keepdim=True)),
    ]


def padded() -> list[Case]:
    edges = {"pad_t": 1, "pad_b": 2, "pad_l": 3, "pad_r": 0, "pad_fill_mode": 0}
    amounts = {f"pads_{index}": 0 for index in range(64)}
    return [
        Case(
            "number",
            layer("general_padding", pad_pad_mode=0, pad_value=2.5, **edges),
            {"x": X},
            lambda x: F.pad(x, [3, 0, 1, 2], value=2.5),
        ),
        Case("mirrored", layer("general_padding", pad_pad_mode=1, **edges), {"x": X}, lambda x: F.pad(x, [3, 0, 1, 2], mode="reflect")),
        Case("repeated", layer("general_padding", pad_pad_mode=2, **edges), {"x": X}, lambda x: F.pad(x, [3, 0, 1, 2], mode="replicate")),
        Case(
            "any axis",
            layer("tensor_zero_pad", nd_mode=True, value=-1, **{**amounts, "pads_3": 4, "pads_6": 2}),
            {"x": WIDE},
            lambda x: F.pad(x, [2, 0, 0, 0, 0, 4], value=-1),
            exact=True,
        ),
        Case("crop", layer("crop", t=1, b=2, l=0, r=3), {"x": X}, lambda x: x[:, :, 1:-2, :-3]),
    ]


def resampled() -> list[Case]:
    twice = {"scaling_factor_x": 3, "scaling_factor_y": 2}
    by = {"use_fractional_scale_factors": 1, "fractional_scaling_factor_x": 1.5, "fractional_scaling_factor_y": 2.0}
    bilinear = {"mode": "bilinear", "scale_factor": (2, 3)}
    return [
        Case("nearest", layer("upsample", mode=0, **twice), {"x": X}, lambda x: F.interpolate(x, scale_factor=(2, 3))),
        Case(
            "bilinear",
            layer("upsample", mode=1, align_corners=0, is_legacy_mode=0, use_fractional_scale_factors=0, **twice),
            {"x": X},
            lambda x: F.interpolate(x, align_corners=False, **bilinear),
        ),
        Case(
            "bilinear, corners aligned",
            layer("upsample", mode=1, align_corners=1, is_legacy_mode=0, **twice),
            {"x": X},
            lambda x: F.interpolate(x, align_corners=True, **bilinear),
        ),
        Case(
            "bilinear by fractions",
            layer("upsample", mode=1, align_corners=0, is_legacy_mode=0, **by, **twice),
            {"x": X},
            lambda x: F.interpolate(x, scale_factor=(2, 1.5), mode="bilinear", align_corners=False),
        ),
        Case(
            "resize",
            layer("crop_and_resize", target_size_h=9, target_size_w=5, mode=1, grid_sampling_mode=0, spatial_scale=1, crop_index_mode=0),
            {"x": X},
            lambda x: F.interpolate(x, (9, 5), mode="bilinear", align_corners=True),
        ),
    ]
