"""What convolution and pooling share: sizes by axis, and padding."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.registry import Attributes
from moka.errors import ProgramError

__all__ = ["EXPLICIT", "SAME", "borders", "padding", "pair"]

EXPLICIT = 0
SAME = {0: 1, 1: 4}
"""``pad_mode`` of layers whose padding keeps the size, by ``asymmetryMode``: bottom and right get more, or top and left do."""


def pair(values: Any, default: int, where: str) -> tuple[int, int]:
    """A field of two numbers, height and width."""
    numbers = [int(value) for value in values] or [default, default]
    if len(numbers) != 2:
        raise ProgramError(f"{where}: has {len(numbers)} numbers; expected 2, height and width")
    return numbers[0], numbers[1]


def borders(message: Any, where: str) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a ``BorderAmounts`` message; zeros where it is empty."""
    edges = message.borderAmounts
    if len(edges) not in (0, 2):
        raise ProgramError(f"{where}: has {len(edges)} borderAmounts; expected 2, height and width")
    if not edges:
        return 0, 0, 0, 0
    height, width = edges
    return height.startEdgeSize, height.endEdgeSize, width.startEdgeSize, width.endEdgeSize


def padding(mode: int, amounts: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Attributes:
    """The attributes that say how a layer pads."""
    top, bottom, left, right = map(int, amounts)
    return {"pad_mode": mode, "pad_t": top, "pad_b": bottom, "pad_l": left, "pad_r": right, "pad_fill_mode": 0, "pad_value": 0}
