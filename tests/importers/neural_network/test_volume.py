"""Convolution and pooling over three axes beside PyTorch."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import check, noise

X = noise(2, 4, 6, 7, 8)
SIDES = ("front", "back", "top", "bottom", "left", "right")
PADS = (1, 0, 2, 1, 0, 3)
FOR_TORCH = (PADS[4], PADS[5], PADS[2], PADS[3], PADS[0], PADS[1])


def kernel(*size: int) -> dict[str, int]:
    return dict(zip(("depth", "height", "width"), size, strict=True))


def convolved(builder: Any, weight: Any, bias: Any, **options: Any) -> None:
    """Adds a convolution; ``weight`` has the output channels first."""
    builder.add_convolution3d(
        "c", 4, len(weight), **kernel(*weight.shape[2:]), W=weight, b=bias, has_bias=bias is not None,
        input_name="x", output_name="y", **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "pads", "keywords"),
    [
        ({}, (0,) * 6, {}),
        ({"padding_mode": "same"}, (1, 1, 0, 1, 1, 1), {}),
        ({"padding_mode": "custom", **{f"padding_{side}": size for side, size in zip(SIDES, PADS, strict=True)}}, FOR_TORCH, {}),
        ({"stride_depth": 2, "stride_height": 1, "stride_width": 3, "dilation_depth": 1, "dilation_height": 2, "dilation_width": 1},
         (0,) * 6, {"stride": (2, 1, 3), "dilation": (1, 2, 1)}),
    ],
    ids=["valid", "same", "custom", "strides"],
)  # fmt: skip
def test_convolution(options: dict[str, Any], pads: tuple[int, ...], keywords: dict[str, Any]) -> None:
    weight, bias = noise(6, 4, 3, 2, 3), noise(6)
    expected = functional.conv3d(functional.pad(torch.tensor(X), pads), torch.tensor(weight), torch.tensor(bias), **keywords)
    check({"x": X}, lambda builder: convolved(builder, weight, bias, **options), expected, exact=True)


def test_convolution_in_groups() -> None:
    weight = noise(6, 2, 3, 3, 3)
    expected = functional.conv3d(torch.tensor(X), torch.tensor(weight), groups=2)
    check({"x": X}, lambda builder: convolved(builder, weight, None, groups=2), expected, exact=True)


def deconvolved(builder: Any, weight: Any, bias: Any, outputs: int, **options: Any) -> None:
    """Adds a deconvolution; ``weight`` has the input channels first, as in PyTorch."""
    builder.add_convolution3d(
        "c", 4, outputs, **kernel(*weight.shape[2:]), W=weight.transpose(1, 0, 2, 3, 4), b=bias, has_bias=bias is not None,
        is_deconv=True, input_name="x", output_name="y", **options,
    )  # fmt: skip


@pytest.mark.parametrize("groups", [1, 2])
def test_deconvolution(groups: int) -> None:
    weight, bias = noise(4, 6 // groups, 2, 3, 3), noise(6)
    strides = {"stride_depth": 2, "stride_height": 1, "stride_width": 2}
    expected = functional.conv_transpose3d(torch.tensor(X), torch.tensor(weight), torch.tensor(bias), (2, 1, 2), groups=groups)
    check({"x": X}, lambda builder: deconvolved(builder, weight, bias, 6, groups=groups, **strides), expected, exact=True)


def test_deconvolution_to_a_stated_size() -> None:
    weight = noise(4, 5, 3, 3, 3)
    strides = {"stride_depth": 2, "stride_height": 2, "stride_width": 2}
    expected = functional.conv_transpose3d(torch.tensor(X), torch.tensor(weight), stride=2)[:, :, :13, :15, :17]
    check({"x": X}, lambda builder: deconvolved(builder, weight, None, 5, output_shape=(13, 15, 17), **strides), expected, exact=True)


def pooled(kind: str, mode: str, exclude: bool = False) -> Any:
    sizes = (3, 2, 3), (2, 1, 3)
    pads = dict(zip([f"custom_padding_{side}" for side in SIDES], (1, 1, 1, 1, 1, 1), strict=True)) if mode == "custom" else {}
    return lambda builder: builder.add_pooling3d(
        "p", "x", "y", kind, *sizes[0], *sizes[1], padding_mode=mode, average_pooling_count_excludes_padding=exclude, **pads
    )


@pytest.mark.parametrize(("mode", "pad"), [("valid", 0), ("custom", 1)])
def test_maximum_of_windows(mode: str, pad: int) -> None:
    expected = functional.max_pool3d(torch.tensor(X), (3, 2, 3), (2, 1, 3), pad)
    check({"x": X}, pooled("MAX", mode), expected, exact=True)


@pytest.mark.parametrize(("mode", "pad"), [("valid", 0), ("custom", 1)])
@pytest.mark.parametrize("exclude", [True, False], ids=["excluded", "counted"])
def test_mean_of_windows(mode: str, pad: int, exclude: bool) -> None:
    expected = functional.avg_pool3d(torch.tensor(X), (3, 2, 3), (2, 1, 3), pad, count_include_pad=not exclude)
    check({"x": X}, pooled("AVERAGE", mode, exclude), expected, exact=True)


def test_same_padding_of_windows() -> None:
    padded = functional.pad(torch.tensor(X), (0, 1, 0, 1, 0, 1), value=-torch.inf)
    expected = functional.max_pool3d(padded, (3, 2, 3), (2, 1, 3))
    check({"x": X}, pooled("MAX", "same"), expected, exact=True)


@pytest.mark.parametrize(("kind", "oracle"), [("MAX", functional.adaptive_max_pool3d), ("AVERAGE", functional.adaptive_avg_pool3d)])
def test_global_pooling(kind: str, oracle: Any) -> None:
    check({"x": X}, lambda builder: builder.add_global_pooling3d("p", "x", "y", kind), oracle(torch.tensor(X), 1), exact=True)
