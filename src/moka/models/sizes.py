"""Ranges of sizes, as flexible shapes and image sizes state them."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Range", "range_text", "size_range", "within"]

Range: TypeAlias = tuple[int, int | None]
"""The smallest and the largest size; None where there is no largest."""


def size_range(message: Any) -> Range:
    """A ``SizeRange`` message as a range."""
    return int(message.lowerBound), None if message.upperBound < 0 else int(message.upperBound)


def within(size: int, bounds: Range) -> bool:
    """Whether the range holds the size."""
    low, high = bounds
    return low <= size and (high is None or size <= high)


def range_text(bounds: Range) -> str:
    """A range in words: ``8``, ``1 to 64``, ``1 to any``."""
    low, high = bounds
    return str(low) if low == high else f"{low} to {'any' if high is None else high}"
