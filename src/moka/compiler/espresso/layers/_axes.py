"""Axes of blobs as compiled networks name them: five, of which the last is the width.

exact shapes    [..., sequence, batch, channel, height, width], as many as there are, counted from the back
numbers         width 0, height 1, channel 2, batch 3, sequence 4
"""

from __future__ import annotations

from collections.abc import Sequence

from moka.errors import UnsupportedError

__all__ = ["CHANNEL", "NAMES", "by_axis", "permutation", "sizes"]

NAMES = ("w", "h", "k", "n", "seq")
"""Names of the axes by number."""

CHANNEL = 2

_LARGEST = 2**31 - 1


def by_axis(values: Sequence[int], rest: int = 1) -> dict[str, int]:
    """Numbers of the last axes by the axis's name; ``rest`` for the axes before them.

    Raises:
        UnsupportedError: there are more than five.
    """
    if len(values) > len(NAMES):
        raise UnsupportedError(f"shape {list(values)} has {len(values)} axes; a compiled network has at most {len(NAMES)}")
    numbers = [*reversed(values)] + [rest] * (len(NAMES) - len(values))
    return dict(zip(NAMES, numbers, strict=True))


def sizes(shape: Sequence[int]) -> dict[str, int]:
    """A shape as shape files hold it; the sequence is left out where it is 1.

    Raises:
        UnsupportedError: there are more than five axes, or a size is above 2³¹ - 1.
    """
    if any(size > _LARGEST for size in shape):
        raise UnsupportedError(f"shape {list(shape)} has a size above {_LARGEST}; a compiled network holds sizes of 31 bits")
    named = by_axis(shape)
    return {name: size for name, size in named.items() if name != "seq" or size != 1}


def permutation(axes: Sequence[int]) -> dict[str, int]:
    """For each axis of the result the number of the one of the operand that it is: ``axes`` counts the last axes from the front."""
    rank = len(axes)
    if sorted(axes) != list(range(rank)) or rank > len(NAMES):
        raise UnsupportedError(f"axes {list(axes)}: expected an order of at most {len(NAMES)} axes")
    moved = [rank - 1 - axes[rank - 1 - number] for number in range(rank)]
    return {f"axis_{name}": number for name, number in zip(NAMES, [*moved, *range(rank, len(NAMES))], strict=True)}
