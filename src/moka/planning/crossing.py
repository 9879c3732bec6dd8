"""What it costs that values cross from one device to another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TypeAlias

from moka.ir.program import Function, Operation, Value
from moka.ir.types import TensorType
from moka.planning.devices import Speed, handover_seconds
from moka.planning.sizes import Sizes

__all__ = ["Crossing", "Place", "move_seconds"]

Place: TypeAlias = tuple[str, Speed]
"""A candidate's device, and how fast the engine is there."""


class Crossing:
    """The cost of changing the candidate between two operations: every value computed before and used from there on moves."""

    def __init__(self, function: Function, operations: Sequence[Operation], places: Sequence[Place], sizes: Sizes) -> None:
        self.places = places
        self.live = _live(function, operations, sizes)

    def seconds(self, index: int, before: int | None, after: int | None) -> float:
        """Seconds to go from one candidate to another, in front of the operation at ``index``; None is the host."""
        return move_seconds(self.places, before, after, *self.live[index])


def move_seconds(places: Sequence[Place], before: int | None, after: int | None, count: int, values: int = 1) -> float:
    """Seconds for values of ``count`` bytes in all from one candidate to another; through the host where neither is on it."""
    if before == after:
        return 0.0
    if before is not None and after is not None and places[before][0] == places[after][0]:
        return handover_seconds(count, values)
    return sum(places[place][1].transfer_seconds(count, values) for place in (before, after) if place is not None)


def _live(function: Function, operations: Sequence[Operation], sizes: Sizes) -> list[tuple[int, int]]:
    """Before each operation and after the last: bytes and number of the values that are there by then and used from then on."""
    changes = [[0, 0] for _ in range(len(operations) + 2)]
    for value, (start, end) in _spans(function, operations).items():
        count = sizes.bytes(value)
        for place, sign in ((start, 1), (end + 1, -1)):
            changes[place][0] += sign * count
            changes[place][1] += sign
    return list(accumulate(((count, values) for count, values in changes[:-1]), lambda x, y: (x[0] + y[0], x[1] + y[1])))


def _spans(function: Function, operations: Sequence[Operation]) -> dict[Value, tuple[int, int]]:
    """The first and last place that each tensor is live at."""
    from moka.engines.hybrid import used_values

    rank = {operation: index for index, operation in enumerate(operations)}
    last: dict[Value, int] = {}
    for index, operation in enumerate(operations):
        last.update(dict.fromkeys(used_values(operation), index))
    last.update(dict.fromkeys(function.outputs, len(operations)))
    start = dict.fromkeys(function.inputs, 0) | {value: rank[op] + 1 for op in operations for value in op.outputs}
    return {value: (start[value], end) for value, end in last.items() if value in start and isinstance(value.type, TensorType)}
