"""Convolution, inner product and embedding beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import both, check, noise


def convolved(builder: Any, weight: Any, bias: Any = None, **options: Any) -> None:
    """Adds a convolution; ``weight`` is in PyTorch's order, [out, in / groups, height, width]."""
    settings = {"stride_height": 1, "stride_width": 1, "border_mode": "valid", "groups": 1} | options
    builder.add_convolution(
        "c",
        kernel_channels=weight.shape[1],
        output_channels=weight.shape[0],
        height=weight.shape[2],
        width=weight.shape[3],
        W=weight.transpose(2, 3, 1, 0),
        b=bias,
        has_bias=bias is not None,
        input_name="x",
        output_name="y",
        **settings,
    )


@pytest.mark.parametrize(
    ("options", "pads", "keywords"),
    [
        ({}, (0, 0, 0, 0), {}),
        ({"padding_top": 1, "padding_bottom": 2, "padding_left": 0, "padding_right": 3}, (0, 3, 1, 2), {}),
        ({"border_mode": "same"}, (1, 2, 1, 1), {}),
        ({"border_mode": "same", "same_padding_asymmetry_mode": "TOP_LEFT_HEAVY"}, (2, 1, 1, 1), {}),
        ({"border_mode": "same", "stride_height": 2, "stride_width": 3}, (0, 1, 1, 1), {"stride": (2, 3)}),
        (
            {"border_mode": "same", "stride_height": 2, "stride_width": 3, "same_padding_asymmetry_mode": "TOP_LEFT_HEAVY"},
            (1, 0, 1, 1),
            {"stride": (2, 3)},
        ),
        ({"dilation_factors": [2, 1]}, (0, 0, 0, 0), {"dilation": (2, 1)}),
        ({"dilation_factors": [2, 1], "border_mode": "same"}, (1, 2, 2, 2), {"dilation": (2, 1)}),
    ],
    ids=["valid", "padded", "same", "same-top-left", "same-stride", "same-stride-top-left", "dilated", "dilated-same"],
)
def test_convolution(options: dict[str, Any], pads: tuple[int, ...], keywords: dict[str, Any]) -> None:
    x, weight, bias = noise(2, 3, 7, 9), noise(5, 3, 3, 4), noise(5)
    padded = functional.pad(torch.tensor(x), pads)
    expected = functional.conv2d(padded, torch.tensor(weight), torch.tensor(bias), **keywords)
    both(x, lambda builder: convolved(builder, weight, bias, **options), expected)


@pytest.mark.parametrize("groups", [2, 4])
def test_convolution_in_groups(groups: int) -> None:
    x, weight = noise(2, 4, 6, 6), noise(8, 4 // groups, 3, 3)
    expected = functional.conv2d(torch.tensor(x), torch.tensor(weight), groups=groups)
    both(x, lambda builder: convolved(builder, weight, groups=groups), expected)


def test_convolution_of_sequences_of_batches() -> None:
    x, weight = noise(3, 2, 4, 6, 5), noise(2, 4, 3, 3)
    expected = torch.stack([functional.conv2d(torch.tensor(batch), torch.tensor(weight)) for batch in x])
    check({"x": x}, lambda builder: convolved(builder, weight), expected)
    check({"x": x}, lambda builder: convolved(builder, weight), expected, exact=True)


def test_convolution_with_weights_from_a_blob() -> None:
    x, weight = noise(2, 3, 6, 6), noise(4, 3, 3, 3)

    def build(builder: Any) -> None:
        builder.add_convolution("c", 3, 4, 3, 3, 1, 1, "valid", 1, None, None, False, input_name=["x", "w"], output_name="y")

    check({"x": x, "w": weight}, build, functional.conv2d(torch.tensor(x), torch.tensor(weight)), exact=True)


@pytest.mark.parametrize(
    ("options", "window"),
    [
        ({}, (slice(None), slice(None))),
        ({"padding_top": 1, "padding_bottom": 2, "padding_left": 0, "padding_right": 3}, (slice(1, -2), slice(0, -3))),
        ({"border_mode": "same"}, (slice(0, 10), slice(0, 15))),
        ({"border_mode": "same", "same_padding_asymmetry_mode": "TOP_LEFT_HEAVY"}, (slice(1, 11), slice(1, 16))),
        ({"border_mode": "valid", "output_shape": (9, 14)}, (slice(0, 9), slice(0, 14))),
    ],
    ids=["valid", "cropped", "same", "same-top-left", "output-shape"],
)
@pytest.mark.parametrize("groups", [1, 2])
def test_deconvolution(options: dict[str, Any], window: tuple[slice, slice], groups: int) -> None:
    x, weight, bias = noise(2, 4, 5, 5), noise(4, 6 // groups, 3, 4), noise(6)

    def build(builder: Any) -> None:
        settings: dict[str, Any] = {"border_mode": "valid"} | options
        kernels = weight.transpose(2, 3, 0, 1)
        strides = {"stride_height": 2, "stride_width": 3}
        builder.add_convolution(
            "c", 4, 6, 3, 4, **strides, groups=groups, W=kernels, b=bias, has_bias=True, is_deconv=True,
            input_name="x", output_name="y", **settings,
        )  # fmt: skip

    whole = functional.conv_transpose2d(torch.tensor(x), torch.tensor(weight), torch.tensor(bias), (2, 3), groups=groups)
    assert whole.shape[2:] == (11, 16)
    both(x, build, whole[:, :, window[0], window[1]].contiguous())


def test_dilated_deconvolution() -> None:
    x, weight = noise(2, 4, 5, 5), noise(4, 6, 3, 2)

    def build(builder: Any) -> None:
        kernels = weight.transpose(2, 3, 0, 1)
        builder.add_convolution(
            "c",
            4,
            6,
            3,
            2,
            2,
            1,
            "valid",
            1,
            kernels,
            None,
            False,
            is_deconv=True,
            input_name="x",
            output_name="y",
            dilation_factors=[2, 3],
        )

    both(x, build, functional.conv_transpose2d(torch.tensor(x), torch.tensor(weight), stride=(2, 1), dilation=(2, 3)))


def multiplied(builder: Any, weight: Any, bias: Any) -> None:
    builder.add_inner_product("ip", weight, bias, weight.shape[1], weight.shape[0], bias is not None, "x", "y")


@pytest.mark.parametrize("shape", [(12,), (5, 12), (2, 3, 12), (4, 2, 3, 2), (3, 2, 2, 3, 2)])
@pytest.mark.parametrize("biased", [True, False])
def test_inner_product_of_every_rank(shape: tuple[int, ...], biased: bool) -> None:
    x, weight = noise(*shape), noise(7, 12)
    bias = noise(7) if biased else None
    rows = torch.tensor(x) if len(shape) < 4 else torch.tensor(x).flatten(-3)
    expected = functional.linear(rows, torch.tensor(weight), None if bias is None else torch.tensor(bias))
    expected = expected if len(shape) < 4 else expected[..., None, None]
    check({"x": x}, lambda builder: multiplied(builder, weight, bias), expected, exact=True)


def test_inner_product_of_a_vector() -> None:
    x, weight, bias = noise(12), noise(7, 12), noise(7)
    expected = functional.linear(torch.tensor(x), torch.tensor(weight), torch.tensor(bias))
    check({"x": x}, lambda builder: multiplied(builder, weight, bias), expected[None, None, :, None, None])


def test_inner_product_of_a_sequence_of_images() -> None:
    x, weight = noise(3, 2, 2, 3, 2), noise(7, 12)
    expected = functional.linear(torch.tensor(x).flatten(2), torch.tensor(weight))
    check({"x": x}, lambda builder: multiplied(builder, weight, None), expected[..., None, None])


def test_inner_product_that_rounds_its_input_is_close_to_the_exact_one() -> None:
    x, codes, scale = noise(4, 12), np.random.default_rng(1).integers(-127, 128, (7, 12)).astype(np.int8), 0.02

    def build(builder: Any) -> None:
        builder.add_inner_product(
            "ip", codes.tobytes(), None, 12, 7, False, "x", "y",
            int_8_dynamic_quantize=True, is_quantized_weight=True, quantization_type="linear", nbits=8, quant_scale=np.array([scale]),
        )  # fmt: skip

    check({"x": x}, build, torch.tensor(x) @ torch.tensor(codes * np.float32(scale)).T, exact=True)


@pytest.mark.parametrize("shape", [(6, 1, 1, 1), (4, 3, 1, 1, 1)])
@pytest.mark.parametrize("biased", [True, False])
def test_embedding(shape: tuple[int, ...], biased: bool) -> None:
    weight, bias = noise(5, 9), noise(5) if biased else None
    x = np.random.default_rng(2).integers(0, 9, shape).astype(np.float32)
    table = torch.nn.functional.embedding(torch.tensor(x).long().reshape(shape[:-3]), torch.tensor(weight.T.copy()))
    expected = (table if bias is None else table + torch.tensor(bias))[..., None, None]

    def build(builder: Any) -> None:
        builder.add_embedding("e", weight, bias, 9, 5, biased, "x", "y")

    check({"x": x}, build, expected, exact=True)
    if len(shape) == 5:
        check({"x": x}, build, expected)
