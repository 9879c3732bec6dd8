"""Pooling beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import both, check, noise


def pooled(
    builder: Any, kind: str, padding: str, *, kernel: tuple[int, int] = (3, 3), stride: tuple[int, int] = (2, 2), **options: Any
) -> None:
    builder.add_pooling("p", *kernel, *stride, kind, padding, "x", "y", **options)


@pytest.mark.parametrize(
    ("padding", "options", "pads"),
    [
        ("VALID", {}, (0, 0, 0, 0)),
        ("VALID", {"padding_top": 1, "padding_bottom": 2, "padding_left": 0, "padding_right": 1}, (0, 1, 1, 2)),
        ("SAME", {}, (1, 1, 0, 1)),
        ("SAME", {"same_padding_asymmetry_mode": "TOP_LEFT_HEAVY"}, (1, 1, 1, 0)),
    ],
    ids=["valid", "padded", "same", "same-top-left"],
)
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "AVERAGE-EXCLUDED", "L2"])
def test_pooling(kind: str, padding: str, options: dict[str, Any], pads: tuple[int, ...]) -> None:
    x = noise(2, 3, 8, 9)
    tensor, ones = torch.tensor(x), torch.ones(2, 3, 8, 9)
    if kind == "MAX":
        expected = functional.max_pool2d(functional.pad(tensor, pads, value=-np.inf), 3, 2)
    elif kind == "L2":
        expected = functional.lp_pool2d(functional.pad(tensor, pads), 2, 3, 2)
    else:
        expected = functional.avg_pool2d(functional.pad(tensor, pads), 3, 2)
        if kind == "AVERAGE-EXCLUDED":
            expected = expected / functional.avg_pool2d(functional.pad(ones, pads), 3, 2)
    excluded = kind == "AVERAGE-EXCLUDED"
    both(x, lambda builder: pooled(builder, kind.split("-")[0], padding, exclude_pad_area=excluded, **options), expected)


@pytest.mark.parametrize("size", [(7, 8), (8, 9), (9, 7), (10, 10)])
@pytest.mark.parametrize("pad", [(1, 1), (0, 1), (1, 0)])
@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "AVERAGE-EXCLUDED"])
def test_the_last_pixel_is_included(kind: str, pad: tuple[int, int], size: tuple[int, int]) -> None:
    """PyTorch's ceil_mode is Caffe's rule, which the format took over: windows may overhang, but none starts in the padding after x."""
    x = noise(1, 2, *size)
    tensor = torch.tensor(x)
    if kind == "MAX":
        expected = functional.max_pool2d(tensor, 3, 2, pad, ceil_mode=True)
    else:
        expected = functional.avg_pool2d(tensor, 3, 2, pad, True, kind == "AVERAGE")
    options: dict[str, Any] = {"padding_top": pad[0], "padding_bottom": pad[0], "padding_left": pad[1], "padding_right": pad[1]}
    excluded = kind == "AVERAGE-EXCLUDED"
    both(x, lambda builder: pooled(builder, kind.split("-")[0], "INCLUDE_LAST_PIXEL", exclude_pad_area=excluded, **options), expected)


def test_padding_of_one_axis_leaves_out_late_windows_of_the_other() -> None:
    x = noise(1, 1, 5, 6)
    window: dict[str, Any] = {"kernel": (1, 2), "stride": (3, 2)}
    tensor = torch.tensor(x)
    alone = tensor[:, :, ::3].unfold(3, 2, 2).amax(-1)
    assert alone.shape[2] == 2
    beside = functional.pad(tensor, (1, 1), value=-np.inf)[:, :, ::3].unfold(3, 2, 2).amax(-1)

    def build(builder: Any) -> None:
        pooled(builder, "MAX", "INCLUDE_LAST_PIXEL", padding_left=1, padding_right=1, **window)

    check({"x": x}, build, beside, exact=True)


@pytest.mark.parametrize("kind", ["MAX", "AVERAGE", "L2"])
def test_global_pooling(kind: str) -> None:
    x = noise(2, 3, 4, 5)
    tensor = torch.tensor(x).flatten(2)
    expected = {"MAX": tensor.amax(-1), "AVERAGE": tensor.mean(-1), "L2": torch.linalg.vector_norm(tensor, dim=-1)}[kind]
    both(x, lambda builder: pooled(builder, kind, "VALID", is_global=True), expected[..., None, None])
