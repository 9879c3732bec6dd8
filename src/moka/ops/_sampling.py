"""Where an image is sampled: the grids of Core ML's sampling modes, linear interpolation along axes and at points.

All grids are computed in fp32, whatever the image's own type: half precision can't tell neighbouring pixels of a large image apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["SamplingMode", "at_points", "grid", "picked", "resized", "resized_nearest"]

SamplingMode: TypeAlias = Literal["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]

_INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}


def grid(mode: str, last: Tensor, count: int) -> Tensor:
    """Points at which ``count`` samples are taken of an interval from 0 to ``last``, the index of its last pixel.

    With size = last + 1:

    ==================== ====================================================
    STRICT_ALIGN_CORNERS i * last / (count - 1); 0 for a single sample
    ALIGN_CORNERS        the same, but last / 2 for a single sample
    DEFAULT              i * size / count
    OFFSET_CORNERS       (i + 0.5) * max(1, last) / count
    UNALIGN_CORNERS      (i + 0.5) * size / count - 0.5
    ==================== ====================================================

    All are held inside the interval. ``last``: [*], and negative for a box that runs backwards; result: [*, count].
    """
    last = last.float().unsqueeze(-1)
    steps = torch.arange(count, dtype=torch.float32, device=last.device)
    if mode == "ALIGN_CORNERS" and count == 1:
        return last / 2
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = steps * (last / max(1, count - 1))
    elif mode == "DEFAULT":
        points = steps * ((last + 1) / count)
    elif mode == "OFFSET_CORNERS":
        points = (steps + 0.5) * (last.clamp(min=1) / count)
    else:
        points = (steps + 0.5) * ((last + 1) / count) - 0.5
    return points.clamp(last.clamp(max=0), last.clamp(min=0))


def _axis_grid(mode: str, size: int, count: int, device: torch.device) -> Tensor:
    return grid(mode, torch.tensor(size - 1, device=device), count)


def resized(x: Tensor, sizes: Sequence[int], mode: str) -> Tensor:
    """The last ``len(sizes)`` dimensions resized with linear interpolation on the grid of ``mode``, computed in floating point."""
    rank = len(sizes)
    x = x if x.is_floating_point() else x.float()
    aligned = mode == "STRICT_ALIGN_CORNERS" or (mode == "ALIGN_CORNERS" and 1 not in sizes)
    if rank in _INTERPOLATION and (aligned or mode == "UNALIGN_CORNERS"):
        flat = x.reshape(1, -1, *x.shape[-rank:])
        result = functional.interpolate(flat, tuple(sizes), mode=_INTERPOLATION[rank], align_corners=aligned)
        return result.reshape(*x.shape[:-rank], *sizes)
    for axis, count in enumerate(sizes, start=x.dim() - rank):
        if x.shape[axis] != count or mode == "OFFSET_CORNERS":  # the other grids of as many points as pixels are the pixels
            x = _along(x, axis, _axis_grid(mode, x.shape[axis], count, x.device))
    return x


def _along(x: Tensor, axis: int, points: Tensor) -> Tensor:
    """Linear interpolation at ``points`` of one axis."""
    low = points.long()
    high = (low + 1).clamp(max=x.shape[axis] - 1)
    weight = (points - low).to(x.dtype).reshape(-1, *[1] * (x.dim() - 1 - axis))
    return x.index_select(axis, low).lerp(x.index_select(axis, high), weight)


def resized_nearest(x: Tensor, sizes: Sequence[int], mode: str) -> Tensor:
    """The last ``len(sizes)`` dimensions resized by picking pixels.

    ``corners`` picks floor(i * size / count) and ``centers`` floor((i + 0.5) * size / count); a sampling mode picks the pixel nearest
    to its grid, the later of two that are equally near.
    """
    rank = len(sizes)
    if x.is_floating_point() and rank in _INTERPOLATION and mode in ("corners", "centers"):
        flat = x.reshape(1, -1, *x.shape[-rank:])
        result = functional.interpolate(flat, tuple(sizes), mode="nearest" if mode == "corners" else "nearest-exact")
        return result.reshape(*x.shape[:-rank], *sizes)
    for axis, count in enumerate(sizes, start=x.dim() - rank):
        if x.shape[axis] != count:
            x = x.index_select(axis, picked(mode, x.shape[axis], count, x.device))
    return x


def picked(mode: str, size: int, count: int, device: torch.device) -> Tensor:
    if mode not in ("corners", "centers"):
        return (_axis_grid(mode, size, count, device) + 0.5).long().clamp(max=size - 1)
    steps = torch.arange(count, device=device)
    return steps * size // count if mode == "corners" else (2 * steps + 1) * size // (2 * count)


def at_points(x: Tensor, batch: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Bilinear interpolation of images at any points inside them.

    x: [b, c, h, w]; batch (which image), rows and columns broadcast to [*, i, j]; result: [*, c, i, j].
    """
    top, left = rows.long(), columns.long()
    bottom, right = (top + 1).clamp(max=x.shape[-2] - 1), (left + 1).clamp(max=x.shape[-1] - 1)
    down, across = ((points - points.floor()).to(x.dtype).unsqueeze(-1) for points in (rows, columns))
    pixels = x.permute(0, 2, 3, 1)
    upper = pixels[batch, top, left].lerp(pixels[batch, top, right], across)
    lower = pixels[batch, bottom, left].lerp(pixels[batch, bottom, right], across)
    return upper.lerp(lower, down).movedim(-1, -3)
