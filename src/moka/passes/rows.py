"""States of several rows, such as one that holds the caches of all layers, taken apart: then an update of one row copies that row alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from moka.formats import dtypes
from moka.ir.program import Argument, Constant, Function, Operation, Value
from moka.ir.types import StateType, TensorType
from moka.passes.matching import constant, made_by

__all__ = ["row_count", "split_states"]

_MOST = 1024
"""Rows up to which a state is taken apart."""

_PLACES = {
    "read_state": {"input"},
    "write_state": {"input", "data"},
    "coreml_update_state": {"state", "value"},
    "slice_update": {"x"},
    "slice_by_index": {"x"},
}
"""Where an operation may take a state or its content."""


def split_states(function: Function) -> dict[Value, list[Value]]:
    """Takes apart, in place, every state of which each operation uses one row, one entry of its first axis, and no row is without use.

    Returns:
        For each such state the states that stand for it, one a row, with a first axis of size 1.
    """
    split = {}
    for state in function.states:
        count = _count(state)
        chosen = _chosen_rows(function, state, count) if count else None
        if chosen is not None:
            split[state] = _Splitter(state, count, chosen).states(function)
    function.inputs = [row for value in function.inputs for row in split.get(value, [value])]
    return split


def row_count(operation: Operation) -> int:
    """Of how many rows an operation updates one, if it updates a state that can be taken apart as far as it goes; else 1."""
    content = operation.inputs.get("x", (None,))[0]
    update = made_by(content, "slice_update")
    while update is not None:
        content = update.inputs["x"][0]
        update = made_by(content, "slice_update")
    read = made_by(content, "read_state", "coreml_update_state")
    state = next((value for value in read.arguments() if isinstance(value.type, StateType)), None) if read is not None else None
    count = _count(state) if isinstance(state, Value) else 0
    return count if count and operation.type == "slice_update" and _row(operation, count) is not None else 1


def _count(state: Value) -> int:
    """How many rows a state has; 0 where it is not to be taken apart."""
    wrapped = state.type.wrapped if isinstance(state.type, StateType) else None
    shape = wrapped.static_shape if isinstance(wrapped, TensorType) else None
    return shape[0] if shape is not None and len(shape) > 1 and 1 < shape[0] <= _MOST else 0


def _chosen_rows(function: Function, state: Value, count: int) -> dict[Operation, int] | None:
    """The row that each slicing operation on the state's content is about; None if anything else is done with the content."""
    chosen: dict[Operation, int] = {}
    contents: set[Argument] = {state}
    for operation in function.body.operations:
        if any(not contents.isdisjoint(inner.arguments()) for block in operation.blocks for inner in block.walk()):
            return None
        places = {name for name, arguments in operation.inputs.items() if not contents.isdisjoint(arguments)}
        if not places:
            continue
        if places != _PLACES.get(operation.type):
            return None
        if operation.type.startswith("slice"):
            row = _row(operation, count)
            if row is None:
                return None
            chosen[operation] = row
        if operation.type != "slice_by_index":
            contents.update(operation.outputs)
    whole = len(set(chosen.values())) < count or not contents.isdisjoint(function.outputs)
    return None if whole else chosen


def _row(operation: Operation, count: int) -> int | None:
    """The only entry of the first axis that a slicing operation is about, if that can be told."""
    flags = {name: _first(operation, name) or 0 for name in ("begin_mask", "end_mask", "squeeze_mask")}
    first, last, step = _first(operation, "begin"), _first(operation, "end"), _first(operation, "stride")
    if first is None or flags["begin_mask"] or flags["end_mask"]:
        return None
    row = first + count if first < 0 else first
    one = flags["squeeze_mask"] or (step in (None, 1) and last is not None and (last + count if last < 0 else last) == row + 1)
    return row if one and 0 <= row < count else None


def _first(operation: Operation, name: str) -> int | None:
    """The first number of a list that an operation takes, where it is a constant, whether or not the others are."""
    (argument,) = operation.inputs.get(name, (None,))
    joined = made_by(argument, "concat")
    known = constant(argument if joined is None else joined.inputs["values"][0])
    numbers = [] if known is None else np.asarray(known.value).reshape(-1).tolist()
    return int(numbers[0]) if numbers else None


class _Splitter:
    """Puts operations on rows in the place of operations on a state's content."""

    def __init__(self, state: Value, count: int, chosen: Mapping[Operation, int]) -> None:
        assert isinstance(state.type, StateType)
        shape = state.type.wrapped.shape
        assert shape is not None
        self._type = replace(state.type.wrapped, shape=(1, *shape[1:]))
        self._rank = len(shape)
        self._state = state
        self._states = [Value(f"{state.name}.{row}", StateType(self._type)) for row in range(count)]
        self._chosen = chosen
        self._held: list[Value] = []
        """What the rows' states hold, once they have been read or written."""
        self._rows: dict[Argument, list[Value]] = {}
        """The rows of every value that is the whole content."""

    def states(self, function: Function) -> list[Value]:
        """Rewrites the function's body; gives the rows' states."""
        function.body.operations = [made for operation in function.body.operations for made in self._made(operation)]
        return self._states

    def _made(self, operation: Operation) -> Iterator[Operation]:
        """What stands for an operation."""
        if self._state in operation.arguments():
            yield from self._moved(operation)
        elif operation in self._chosen:
            yield self._sliced(operation)
        else:
            yield operation

    def _moved(self, operation: Operation) -> Iterator[Operation]:
        """Reads the rows, or writes those that are others than the rows' states hold."""
        if not self._held:
            reads = [_like(operation, "read_state", input=(state,)) for state in self._states]
            self._held = [_result(read, f"{self._state.name}.{row}.read", self._type) for row, read in enumerate(reads)]
            yield from reads
        for name in {"write_state": ["data"], "coreml_update_state": ["value"]}.get(operation.type, []):
            rows = self._rows[operation.inputs[name][0]]
            for row, (new, old) in enumerate(zip(rows, self._held, strict=True)):
                if new is not old:
                    yield _like(operation, "write_state", input=(self._states[row],), data=(new,))
            self._held = rows
        self._rows.update((output, self._held) for output in operation.outputs)

    def _sliced(self, operation: Operation) -> Operation:
        """The operation on the only row that it is about, of which it takes the first axis whole."""
        content, row = operation.inputs["x"][0], self._chosen[operation]
        rows = self._rows[content]
        masks = {name: _opened(operation, name, self._rank) for name in ("begin_mask", "end_mask")}
        inputs = {**operation.inputs, **masks, "x": (rows[row],)}
        made = Operation(operation.type, inputs, operation.outputs, operation.attributes, [], operation.origin)
        for output in made.outputs:
            output.producer = made
            if operation.type == "slice_update":
                self._rows[output] = [*rows[:row], output, *rows[row + 1 :]]
                output.type = self._type
        return made


def _like(old: Operation, kind: str, **inputs: tuple[Argument, ...]) -> Operation:
    """An operation with the name of the one that it stands for, together with others."""
    name = Constant(TensorType(dtypes.STRING, ()), old.name)
    return Operation(kind, inputs, [], {"name": name}, [], old.origin)


def _result(operation: Operation, name: str, type: TensorType) -> Value:
    value = Value(name, type, operation)
    operation.outputs = [value]
    return value


def _opened(operation: Operation, name: str, rank: int) -> tuple[Constant]:
    """A mask with its first axis open."""
    stated = constant(operation.inputs.get(name, (None,))[0])
    flags = np.zeros(rank, bool) if stated is None else np.array(stated.value, bool)
    flags[0] = True
    return (Constant(TensorType(dtypes.BOOL, (rank,)), flags),)
