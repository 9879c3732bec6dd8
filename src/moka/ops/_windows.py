"""Arithmetic of sliding windows, which convolutions and pooling share: how far each `pad_type` pads each spatial dimension."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

__all__ = ["PadType", "Pads", "explicit_pads", "extents", "flat", "overhang", "per_dimension", "split"]

PadType: TypeAlias = Literal["valid", "same", "same_lower", "custom"]

Pads: TypeAlias = list[tuple[int, int]]
"""Elements added before and after each spatial dimension."""


def per_dimension(values: Sequence[int] | None, rank: int, default: int = 1) -> tuple[int, ...]:
    """An attribute that has one value for each of ``rank`` dimensions, or its default in all of them."""
    return tuple(values) if values else (default,) * rank


def extents(kernel: Iterable[int], dilations: Iterable[int]) -> tuple[int, ...]:
    """How many elements a dilated kernel spans: (k - 1) * d + 1."""
    return tuple((size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True))


def split(total: int, *, lower: bool) -> tuple[int, int]:
    """Padding in two parts, the odd element at the end, or with ``lower`` at the start."""
    small, large = total // 2, total - total // 2
    return (large, small) if lower else (small, large)


def explicit_pads(pad_type: str, pad: Sequence[int] | None, sizes: Sequence[int], extent: Sequence[int], strides: Sequence[int]) -> Pads:
    """The pads that ``pad_type`` stands for.

    ``same`` and ``same_lower`` pad so that ceil(size / stride) windows fit: max(0, (ceil(size / stride) - 1) * stride + extent - size).
    """
    if pad_type == "custom" and pad:
        return [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    if pad_type in ("valid", "custom"):
        return [(0, 0)] * len(sizes)
    totals = [max(0, (-(-size // s) - 1) * s + e - size) for size, e, s in zip(sizes, extent, strides, strict=True)]
    return [split(total, lower=pad_type == "same_lower") for total in totals]


def overhang(size: int, kernel: int, stride: int, pads: tuple[int, int]) -> int:
    """How far windows reach past the padding if their number is rounded up. One that would start in the padding after x is left out."""
    total = size + sum(pads)
    count = -(-(total - kernel) // stride) + 1
    if (count - 1) * stride >= size + sum(pads) / 2 and sum(pads) > 0:
        count -= 1
    return max(0, (count - 1) * stride + kernel - total)


def flat(pads: Pads) -> list[int]:
    """Pads in the order of `torch.nn.functional.pad`: last dimension first."""
    return [amount for pair in reversed(pads) for amount in pair]
