"""Blobs joined, taken apart, picked from, and given another shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812  PyTorch's own abbreviation

from tests.formats.espresso_cases.case import WIDE, Case, X, noise
from tests.formats.espresso_networks import Layer, layer


def joined() -> list[Case]:
    y, constant = noise(2, 7, 8), noise(2, 3)
    begins = {f"begin_{index}": 0 for index in range(128)}
    uneven = {**begins, "begin_1": 2, "begin_2": 3}
    return [
        Case("concat", layer("concat", "x,y"), {"x": X, "y": y}, lambda x, y: torch.cat([x, y], 1)),
        Case("concat with an axis", layer("concat", "x,y", axis=1), {"x": X, "y": y}, lambda x, y: torch.cat([x, y], 1)),
        Case(
            "general concat",
            layer("general_concat", "x,y", axis=2, nd_mode=True),
            {"x": WIDE, "y": noise(2, 3, 6, 5)},
            lambda x, y: torch.cat([x, y], 2),
            exact=True,
        ),
        Case("stack", layer("stack_nd", "x,y", nd_axis=-1), {"x": WIDE, "y": WIDE + 1}, lambda x, y: torch.stack([x, y], -1), exact=True),
        Case(
            "split",
            layer("split_nd", top="y0,y1", nd_axis=2, **begins),
            {"x": WIDE},
            lambda x: torch.split(x, 2, 2),
            exact=True,
        ),
        Case("split of channels", layer("split_nd", top="y0,y1,y2", nd_axis=-3, **begins), {"x": X}, lambda x: torch.split(x, 2, 1)),
        Case(
            "uneven split",
            layer("split_nd", top="y0,y1,y2", nd_axis=-1, **uneven),
            {"x": WIDE},
            lambda x: torch.split(x, [2, 1, 2], -1),
            exact=True,
        ),
    ] + [
        Case(
            f"constant of rank {rank}",
            layer("load_constant", "", n=1, k=1, h=2, w=3, nd_rank=rank, constant_blob=1),
            {"x": noise(1)},
            lambda x, rank=rank: torch.tensor(constant).reshape([1] * (rank - 2) + [2, 3]),
            (constant,),
            exact=True,
        )
        for rank in (2, 3, 4)
    ]


def reshaped() -> list[Case]:
    def order(**axes: int) -> dict[str, int]:
        return {**{f"axis_{axis}": number for number, axis in enumerate(("w", "h", "k", "n", "seq"))}, **axes}

    to = {"dst_seq": 1, "dst_n": 0, "dst_k": 8, "dst_h": -1, "dst_w": 2}
    static = {**to, "dst_n": 1, "dst_k": 4, "dst_nd_rank": 3, "dynamic_shape": False, "version": 1}
    last = {"dst_seq": 1, "dst_n": 0, "dst_k": 4, "dst_h": 2, "dst_w": 42}
    return [
        Case("reshape", layer("reshape", mode=0, version=1, **to), {"x": X}, lambda x: x.reshape(1, 8, 21, 2)),
        Case(
            "reshape, channels last",
            layer("reshape", mode=1, **last),
            {"x": X},
            lambda x: x.permute(0, 2, 3, 1).reshape(1, 2, 42, 4).permute(0, 3, 1, 2),
        ),
        Case("reshape to a rank", layer("reshape", mode=0, **static), {"x": WIDE}, lambda x: x.reshape(4, -1, 2), exact=True),
        Case("flatten", layer("flatten", mode=0, nd_axis=0), {"x": X}, lambda x: x.reshape(1, -1, 1, 1)),
        Case("flatten, channels last", layer("flatten", mode=1), {"x": X}, lambda x: x.permute(0, 2, 3, 1).reshape(1, -1, 1, 1)),
        Case("flatten to two", layer("flatten", mode=0, nd_axis=2), {"x": WIDE}, lambda x: x.reshape(6, 20), exact=True),
        Case(
            "permute",
            layer("transpose", **order(axis_k=1, axis_h=0, axis_w=2)),
            {"x": X},
            lambda x: x.permute(0, 2, 3, 1),
        ),
        Case(
            "transpose",
            layer("transpose", **order(axis_h=2, axis_w=1, axis_k=0)),
            {"x": WIDE},
            lambda x: x.permute(0, 3, 1, 2),
            exact=True,
        ),
        Case(
            "transpose of the first axis",
            layer("transpose", **order(axis_n=0, axis_w=3)),
            {"x": WIDE},
            lambda x: x.permute(3, 1, 2, 0),
            exact=True,
        ),
        Case(
            "squeeze",
            layer("squeeze", size_of_axes=2, axes_0=0, axes_1=2, nd_axis=0, version=1),
            {"x": noise(1, 3, 1, 2)},
            lambda x: x[0, :, 0],
            exact=True,
        ),
        Case(
            "squeeze all",
            layer("squeeze", size_of_axes=0, squeeze_all=True, nd_axis=0),
            {"x": noise(1, 3, 1, 2)},
            lambda x: x.squeeze(),
            exact=True,
        ),
        Case(
            "expand",
            layer("expand_dims", size_of_axes=2, axes_0=0, axes_1=-1, nd_axis=0),
            {"x": noise(3, 2)},
            lambda x: x[None, ..., None],
            exact=True,
        ),
        Case("tile", layer("tile", dst_k=2, dst_w=3), {"x": noise(2, 3, 4)}, lambda x: x.tile(2, 1, 3), exact=True),
        Case("copy", layer("copy"), {"x": X}, lambda x: x),
        Case("shape", layer("get_shape"), {"x": WIDE}, lambda x: torch.tensor(x.shape).float(), exact=True),
        Case("space to depth", layer("space_to_depth", block_size=2, reverse=0), {"x": noise(2, 4, 6)}, space_to_depth),
        Case("depth to space", layer("space_to_depth", block_size=2, reverse=1), {"x": noise(8, 2, 3)}, depth_to_space),
        Case(
            "pixel shuffle",
            layer("space_to_depth", block_size=2, reverse=1, pixel_shuffle=1),
            {"x": noise(8, 2, 3)},
            lambda x: F.pixel_shuffle(x, 2),
        ),
    ]


def space_to_depth(x: Any) -> Any:
    """Blocks of two by two to channels, the place in the block before the channel."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4).reshape(n, 4 * c, h // 2, w // 2)


def depth_to_space(x: Any) -> Any:
    """The other way round."""
    n, c, h, w = x.shape
    return x.reshape(n, 2, 2, c // 4, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c // 4, 2 * h, 2 * w)


def picked() -> list[Case]:
    def slices(**options: Any) -> Layer:
        each = {"begin": 0, "end": 1, "stride": 1, "begin_mask": False, "end_mask": False, "squeeze_mask": False, "static_sizes": 0}
        named = {f"{name}_{axis}": value for axis in ("w", "h", "k", "n", "seq") for name, value in each.items()}
        return layer("general_slice", use_static_sizes=False, **{**named, **options})

    some = slices(begin_w=1, end_w=2, begin_h=-2, end_mask_h=True, end_k=4, stride_k=2, begin_mask_n=True, begin_n=3, end_n=4)
    dropped = slices(begin_w=3, end_w=4, squeeze_mask_w=True, end_mask_h=True)
    rows = noise(5, 4)
    top = {"num_k": 2, "axis": 1, "single_axis_topk": True}
    return [
        Case("slice of channels", layer("slice", axis=2, start=1, end=4), {"x": X}, lambda x: x[:, 1:4]),
        Case("slice of rows", layer("slice", axis=1, start=2, end=-1), {"x": X}, lambda x: x[:, :, 2:-1]),
        Case("slice of columns", layer("slice", axis=0, start=1, end=7, stride=2), {"x": X}, lambda x: x[..., 1:7:2]),
        Case("slice of all axes", some, {"x": WIDE}, lambda x: x[1:2, -2:, 0:4:2, :4], exact=True),
        Case(
            "slice that drops an axis",
            dropped,
            {"x": rows},
            lambda x: x[3],
            exact=True,
        ),
        Case("top", layer("topk", top="y0,y1", **top), {"x": rows}, lambda x: largest(x, largest=True), exact=True),
        Case("bottom", layer("topk", top="y0,y1", do_bottomk=True, **top), {"x": rows}, lambda x: largest(x, largest=False), exact=True),
        Case(
            "gather",
            layer("gather_nd", "x,i", mode=0, axis=1, batch_dims=0, allow_negative_indices=True, validate_indices=False),
            {"x": WIDE, "i": np.float32([2, 0])},
            lambda x, i: x[:, i.long()],
            exact=True,
        ),
        Case(
            "product",
            layer("batch_matmul", "x,y", channel_mode=False),
            {"x": noise(2, 3, 4), "y": noise(2, 4, 5)},
            torch.matmul,
            exact=True,
        ),
    ]


def largest(x: Any, *, largest: bool) -> tuple[Any, Any]:
    """Values and indices of the two largest or smallest of each row."""
    values, indices = x.topk(2, dim=1, largest=largest)
    return values, indices.float()
