"""A program on several engines: segments that run one after the other, each on its own."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from moka.engines.base import Engine, Executable, Segment
from moka.engines.times import SegmentTimes
from moka.errors import UnknownOperationError
from moka.ir.program import Function, Operation, Value
from moka.ir.types import StateType
from moka.ops.table import lookup

__all__ = ["HybridExecutable", "constant_operations", "split", "used_values"]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Stage:
    segment: Segment
    executable: Executable
    dropped: tuple[str, ...]


class HybridExecutable:
    """Segments that run in order; what a segment gives goes to the later ones that take it, and no further.

    Tensors pass as they are: engines take each other's without a copy where they live in the same memory.
    """

    def __init__(self, segments: Sequence[tuple[Engine, Segment]], outputs: Sequence[Value]) -> None:
        last = {value.name: index for index, (_, segment) in enumerate(segments) for value in segment.inputs}
        kept = {value.name for value in outputs}
        self.outputs = [value.name for value in outputs]
        self.stages = [
            _Stage(segment, engine.compile(segment), tuple(name for name in last if last[name] == index and name not in kept))
            for index, (engine, segment) in enumerate(segments)
        ]

    def run(self, inputs: Mapping[str, Any], state: Any = None) -> dict[str, Any]:
        values = dict(inputs)
        for stage in self.stages:
            values.update(stage.executable.run(values, state))
            for name in stage.dropped:
                values.pop(name, None)
        return {name: np.array(values[name]) if name in inputs else values[name] for name in self.outputs}

    def new_state(self) -> dict[str, Any]:
        return {name: buffer for stage in self.stages for name, buffer in stage.executable.new_state().items()}

    def times(self, inputs: Mapping[str, Any], runs: int) -> tuple[SegmentTimes, ...]:
        state = self.new_state()
        values, _ = self._timed(inputs, state)
        rounds = [self._timed(inputs, state)[1] for _ in range(runs)]
        found = [times for stage in self.stages for times in stage.executable.times(values, runs)]
        return tuple(replace(times, runs=stage) for times, stage in zip(found, zip(*rounds, strict=True), strict=True))

    def _timed(self, inputs: Mapping[str, Any], state: Any) -> tuple[dict[str, Any], list[float]]:
        """Runs once: every value between segments, and the seconds of each segment."""
        values, marks = dict(inputs), [time.perf_counter()]
        for stage in self.stages:
            values.update(stage.executable.run(values, state))
            marks.append(time.perf_counter())
        return values, [end - start for start, end in itertools.pairwise(marks)]


def split(function: Function, place: Callable[[Operation], K]) -> list[tuple[K, Segment]]:
    """The function as few segments as a simple order gives: each goes on as long as an operation of its place is ready.

    Operations on constants alone, which are computed ahead, belong to every segment that uses what they give. Operations on a state keep
    their order.

    Args:
        place: where an operation is to run; not asked for operations on constants alone.
    """
    constant = constant_operations(function)
    operations = [operation for operation in function.body.operations if operation not in constant]
    runs = _schedule(operations, {operation: place(operation) for operation in operations})
    if any(value.producer in constant for value in function.outputs):
        runs = runs or [(place(function.body.operations[0]), [])]
    return [(key, _segment(function, run, constant, last=index == len(runs) - 1)) for index, (key, run) in enumerate(runs)]


def constant_operations(function: Function) -> set[Operation]:
    """Those that are computed ahead, and constants themselves."""
    found: set[Operation] = set()
    for operation in function.body.operations:
        if operation.type == "const" or (_folds(operation, function.opset) and all(v.producer in found for v in used_values(operation))):
            found.add(operation)
    return found


def _folds(operation: Operation, opset: str) -> bool:
    try:
        return not operation.blocks and lookup(operation.type, opset).folds
    except UnknownOperationError:
        return False


def _schedule(operations: Sequence[Operation], places: Mapping[Operation, K]) -> list[tuple[K, list[Operation]]]:
    waiting, users = _dependencies(operations)
    rank = {operation: index for index, operation in enumerate(operations)}
    ready: dict[K, list[Operation]] = defaultdict(list)
    for operation in operations:
        if not waiting[operation]:
            ready[places[operation]].append(operation)
    runs: list[tuple[K, list[Operation]]] = []
    while any(ready.values()):
        key = min((key for key in ready if ready[key]), key=lambda key: min(rank[operation] for operation in ready[key]))
        run: list[Operation] = []
        while ready[key]:
            operation = ready[key].pop(0)
            run.append(operation)
            for user in users[operation]:
                waiting[user] -= 1
                if not waiting[user]:
                    ready[places[user]].append(user)
        runs.append((key, sorted(run, key=rank.__getitem__)))
    return runs


def _dependencies(operations: Sequence[Operation]) -> tuple[dict[Operation, int], dict[Operation, list[Operation]]]:
    """How many operations each waits for, and which wait for it."""
    own = set(operations)
    waiting: dict[Operation, int] = {}
    users: dict[Operation, list[Operation]] = defaultdict(list)
    touched: dict[Value, Operation] = {}
    for operation in operations:
        values = used_values(operation)
        before = {value.producer for value in values if value.producer in own}
        for value in values:
            if isinstance(value.type, StateType):
                before |= {touched[value]} if value in touched else set()
                touched[value] = operation
        waiting[operation] = len(before)
        for producer in before:
            assert producer is not None
            users[producer].append(operation)
    return waiting, users


def _segment(function: Function, run: Sequence[Operation], constant: set[Operation], last: bool) -> Segment:
    """Operations with the constants that they use; the last segment gives the outputs that are constants, too."""
    given_constants = [value for value in function.outputs if value.producer in constant] if last else []
    needed = _with_constants([*run, *(value.producer for value in given_constants if value.producer is not None)], constant)
    operations = tuple(operation for operation in function.body.operations if operation in needed)
    made = {value for operation in operations for value in operation.outputs}
    taken = dict.fromkeys(value for operation in operations for value in used_values(operation) if value not in made)
    outside = {value for operation in function.body.operations if operation not in needed for value in used_values(operation)}
    outside |= set(function.outputs)
    given = [value for operation in run for value in operation.outputs if value in outside]
    return Segment(tuple(taken), operations, tuple(dict.fromkeys([*given, *given_constants])), function.opset)


def _with_constants(run: Sequence[Operation], constant: set[Operation]) -> set[Operation]:
    needed = set(run)
    stack = list(run)
    while stack:
        for value in used_values(stack.pop()):
            if value.producer in constant and value.producer not in needed:
                assert value.producer is not None
                needed.add(value.producer)
                stack.append(value.producer)
    return needed


def used_values(operation: Operation) -> list[Value]:
    """Values that an operation and its nested blocks take from outside, each once."""
    if not operation.blocks:
        return list(dict.fromkeys(argument for argument in operation.arguments() if isinstance(argument, Value)))
    inner = [item for block in operation.blocks for item in block.walk()]
    blocks = [block for item in (operation, *inner) for block in item.blocks]
    made = {value for item in inner for value in item.outputs} | {value for block in blocks for value in block.inputs}
    used = [argument for item in (operation, *inner) for argument in item.arguments() if isinstance(argument, Value)]
    used += [value for block in blocks for value in block.outputs]
    return [value for value in dict.fromkeys(used) if value not in made]
