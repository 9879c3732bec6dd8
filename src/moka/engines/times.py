"""How long the segments and operations of a program took: what engines measure and profiles show."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from moka.engines.base import Segment
from moka.ir.program import Operation, Value

__all__ = ["SegmentTimes", "absorbed", "durations", "own_operations", "traceless_before", "typical"]


@dataclass(frozen=True)
class SegmentTimes:
    """What one segment took.

    Attributes:
        engine, device: what ran it.
        names: its operations but constants, in order.
        runs: seconds of each run as predictions make it.
        profiled: seconds of a run while the engine timed its parts; more than without.
        operations: seconds of each operation that has a time of its own, in a profiled run.
        fused: operations without one, and those that the engine computes them with.
        other: seconds of what the engine does besides, such as changes of layout, by kind.
    """

    engine: str
    device: str
    names: tuple[str, ...]
    runs: tuple[float, ...]
    profiled: float
    operations: Mapping[str, float]
    fused: Mapping[str, str] = field(default_factory=dict)
    other: Mapping[str, float] = field(default_factory=dict)


def durations(call: Callable[[], object], runs: int) -> tuple[float, ...]:
    """Seconds of each of some calls."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return tuple(found)


def typical(rounds: Sequence[Sequence[float]]) -> list[float]:
    """Mean seconds of each part over the faster half of some rounds, so that the parts add up to what a round takes."""
    kept = sorted(rounds, key=sum)[: (len(rounds) + 1) // 2]
    return [sum(part) / len(kept) for part in zip(*kept, strict=True)]


def own_operations(segment: Segment) -> list[Operation]:
    """The operations of a segment but constants, without those nested in others."""
    return [operation for operation in segment.operations if operation.type != "const"]


def absorbed(operations: Iterable[Operation], timed: Iterable[str]) -> dict[str, str]:
    """For each operation without a time, the nearest one with a time that uses its results; where none does, the nearest that feeds it.

    Operations that neither lead to one nor come from one are left out: constants alone determine them.
    """
    operations = list(operations)
    makers = {value: operation for operation in operations for value in operation.outputs}
    before = {operation: [makers[value] for value in _taken(operation) if value in makers] for operation in operations}
    after: dict[Operation, list[Operation]] = defaultdict(list)
    for operation, producers in before.items():
        for producer in producers:
            after[producer].append(operation)
    known = set(timed)
    found: dict[str, str] = {}
    for operation in operations:
        if operation.name not in known:
            nearest = _nearest(operation, after, known) or _nearest(operation, before, known)
            found |= {operation.name: nearest} if nearest else {}
    return found


def traceless_before(operations: Iterable[Operation], name: str, traced: Container[str]) -> str | None:
    """The nearest operation without a trace in what an engine reports whose results the operation ``name`` takes; None if there is none."""
    operations = list(operations)
    makers = {value: operation for operation in operations for value in operation.outputs}
    taken = [value for operation in operations if operation.name == name for value in _taken(operation)]
    found = (maker for value in taken if (maker := makers.get(value)) is not None and maker.name not in traced)
    return next((maker.name for maker in found if any(item in makers or item.producer is None for item in _taken(maker))), None)


def _taken(operation: Operation) -> Iterator[Value]:
    inner = [item for block in operation.blocks for item in block.walk()]
    return (argument for item in (operation, *inner) for argument in item.arguments() if isinstance(argument, Value))


def _nearest(start: Operation, links: Mapping[Operation, list[Operation]], known: set[str]) -> str:
    """The first operation of those known, in breadth, that links lead to through unknown ones; empty if none."""
    seen, front = {start}, [start]
    while front:
        following = list(dict.fromkeys(item for operation in front for item in links.get(operation, ()) if item not in seen))
        for item in following:
            if item.name in known:
                return item.name
        seen.update(following)
        front = following
    return ""
