"""Pooling: one number for each window, over one, two or three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional

from moka.ops._common import memoized
from moka.ops._windows import Pads, PadType, explicit_pads, flat, overhang, per_dimension
from moka.ops.table import FLOATS, Ints, T, operation

_AVERAGE: dict[int, Callable[..., Any]] = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_MAXIMUM: dict[int, Callable[..., Any]] = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


@dataclass(frozen=True, slots=True)
class _Windows:
    """Where the windows lie.

    Attributes:
        pads: padding as the program states it.
        overhang: elements that the last window reaches past the padding in each dimension, under ``ceil_mode``.
        symmetric: the padding, where PyTorch's own argument can say it: the same on both sides, at most half a window, no overhang.
    """

    kernel: Sequence[int]
    strides: Sequence[int]
    pads: Pads
    overhang: Sequence[int]
    symmetric: list[int] | None

    def padded(self, x: Tensor, value: float) -> Tensor:
        """``x`` with everything around it that a window touches."""
        pads = [(before, after + extra) for (before, after), extra in zip(self.pads, self.overhang, strict=True)]
        return functional.pad(x, flat(pads), value=value)


@memoized
def _windows(sizes: Ints, kernel: Ints, strides: Ints | None, pad_type: str, pad: Ints | None, ceil_mode: bool) -> _Windows:
    steps = per_dimension(strides, len(sizes))
    pads = explicit_pads(pad_type, pad, sizes, kernel, steps)
    past = [overhang(*item) if ceil_mode else 0 for item in zip(sizes, kernel, steps, pads, strict=True)]
    fits = all(before == after >= 0 and 2 * before <= size for (before, after), size in zip(pads, kernel, strict=True))
    symmetric = [before for before, _ in pads] if fits and not any(past) else None
    return _Windows(kernel, steps, pads, past, symmetric)


@operation("ios15", T=FLOATS)
def max_pool(
    x: T, *, kernel_sizes: Ints, strides: Ints | None = None, pad_type: PadType, pad: Ints | None = None, ceil_mode: bool = False
) -> T:
    """Maximum of each window; padding never wins.

    x: [n, c, *d]; result: [n, c, *d_out] with d_out = floor((d + pad_before + pad_after - kernel) / stride) + 1, or the ceiling of the
    quotient with `ceil_mode`, less a window that would start in the padding after x.
    """
    windows = _windows(x.shape[2:], kernel_sizes, strides, pad_type, pad, ceil_mode)
    pool, padding = _MAXIMUM[x.dim() - 2], windows.symmetric
    if padding is None:
        x, padding = windows.padded(x, -math.inf), [0] * (x.dim() - 2)
    result: Tensor = pool(x, kernel_sizes, windows.strides, padding)
    return result


@operation("ios15", T=FLOATS)
def avg_pool(
    x: T,
    *,
    kernel_sizes: Ints,
    strides: Ints | None = None,
    pad_type: PadType,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> T:
    """Mean of each window, padding counted as zeros or, with `exclude_padding_from_average`, not counted.

    Shapes as for `max_pool`. What `ceil_mode` reaches beyond the padding is never counted.
    """
    windows = _windows(x.shape[2:], kernel_sizes, strides, pad_type, pad, ceil_mode)
    pool, padding = _AVERAGE[x.dim() - 2], windows.symmetric
    if padding is not None:
        fast: Tensor = pool(x, kernel_sizes, windows.strides, padding, False, not exclude_padding_from_average)
        return fast
    counted = functional.pad(x.new_ones((1, 1, *x.shape[2:])), flat(windows.pads), value=float(not exclude_padding_from_average))
    counted = functional.pad(counted, flat([(0, extra) for extra in windows.overhang]))
    share = pool(counted, kernel_sizes, windows.strides).clamp(min=1 / math.prod(kernel_sizes))
    mean: Tensor = pool(windows.padded(x, 0), kernel_sizes, windows.strides) / share
    return mean


@operation("ios15", T=FLOATS)
def l2_pool(
    x: T, *, kernel_sizes: Ints, strides: Ints | None = None, pad_type: PadType, pad: Ints | None = None, ceil_mode: bool = False
) -> T:
    """Euclidean norm of each window: sqrt(sum(x ** 2)), padding counted as zeros. Shapes as for `max_pool`."""
    windows = _windows(x.shape[2:], kernel_sizes, strides, pad_type, pad, ceil_mode)
    squares = windows.padded(x, 0).float().square()
    mean: Tensor = _AVERAGE[x.dim() - 2](squares, kernel_sizes, windows.strides)
    return (mean * math.prod(kernel_sizes)).sqrt().to(x.dtype)
