"""The PyTorch engine: runs every operation of the table with its kernel. It is the definition of what a program means."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from moka.engines.arithmetic import Arithmetic, Numerics
from moka.engines.base import Segment
from moka.engines.prepare import Code, prepare
from moka.engines.times import SegmentTimes, absorbed, durations, own_operations, typical
from moka.errors import InputError, UnknownOperationError
from moka.ir.program import Operation, Value
from moka.ir.types import StateType
from moka.ops.table import State, lookup
from moka.passes.rows import split_states

__all__ = ["TorchEngine", "TorchExecutable"]


@dataclass(frozen=True)
class TorchEngine:
    """Runs operations with their PyTorch kernels.

    Args:
        device: where: ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        numerics: ``fast`` computes declared-fp16 values in what is fastest and at least as wide; ``device`` rounds every result to its
            declared type, with float32 inside an operation, as Apple's fp16 units do.
        threads: how many threads an operation may use; 0 for as many as PyTorch is set to.
    """

    device: str = "cpu"
    numerics: Numerics = "fast"
    threads: int = 0
    name: str = "torch"

    def reasons(self, operation: Operation, opset: str) -> tuple[str, ...]:
        if operation.type == "const":
            return ()
        try:
            lookup(operation.type, opset)
        except UnknownOperationError as error:
            return (str(error),)
        return ()

    def compile(self, segment: Segment) -> TorchExecutable:
        return TorchExecutable(segment, Arithmetic(torch.device(self.device), self.numerics), self.threads)


class RowStates:
    """A state of several rows as a state for each of them."""

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[State]) -> None:
        self.rows = rows

    @property
    def tensor(self) -> torch.Tensor:
        return torch.cat([row.tensor for row in self.rows])

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        for row, part in zip(self.rows, torch.split(value, 1), strict=True):
            row.tensor = part.clone()


class TorchExecutable:
    """A segment on PyTorch. Constants are prepared at the first run, once, so that a loaded model costs no memory before."""

    def __init__(self, segment: Segment, arithmetic: Arithmetic, threads: int = 0) -> None:
        self.segment = segment
        self.arithmetic = arithmetic
        self.threads = threads
        self._split, self._rows = _by_rows(segment)
        self._code: Code | None = None
        self._lock = threading.Lock()

    @property
    def code(self) -> Code:
        """The steps that a run takes."""
        with self._lock:
            if self._code is None:
                segment = self._split
                with torch.inference_mode():
                    self._code = prepare(segment.inputs, segment.operations, segment.outputs, segment.opset, self.arithmetic)
            return self._code

    def run(self, inputs: Mapping[str, Any], state: Mapping[str, Any] | None = None) -> dict[str, Any]:
        code = self._code or self.code
        with torch.inference_mode(), _limited(self.threads):
            results = code(*self._values(inputs, state))
        return {value.name: result for value, result in zip(self.segment.outputs, results, strict=True)}

    def _values(self, inputs: Mapping[str, Any], state: Mapping[str, Any] | None) -> list[Any]:
        """What the code takes: tensors, and states, of which each row may be one."""
        found: list[Any] = []
        for value in self.segment.inputs:
            if isinstance(value.type, StateType):
                if state is None or value.name not in state:
                    missing = f"state {value.name!r} is missing"
                    raise InputError(f"{missing}: make one with make_state() and pass it to predict(..., state=state)")
                found += state[value.name].rows if value in self._rows else [state[value.name]]
            elif value.name in inputs:
                found.append(self.arithmetic.tensor(inputs[value.name], value.type))
            else:
                raise InputError(f"input {value.name!r} ({value.type}) is missing; given are {', '.join(inputs) or 'none'}")
        return found

    def new_state(self) -> dict[str, State | RowStates]:
        return {value.name: self._new_state(value, value.type) for value in self.segment.inputs if isinstance(value.type, StateType)}

    def _new_state(self, value: Value, kind: StateType) -> State | RowStates:
        if value not in self._rows:
            return State(self._zeros(kind))
        return RowStates([State(self._zeros(row.type)) for row in self._rows[value] if isinstance(row.type, StateType)])

    def _zeros(self, state: StateType) -> torch.Tensor:
        shape = state.wrapped.static_shape
        if shape is None:
            raise InputError(f"a state of type {state.wrapped} has no constant shape")
        return torch.zeros(shape, dtype=self.arithmetic.held[state.wrapped.dtype], device=self.arithmetic.device)

    def times(self, inputs: Mapping[str, Any], runs: int) -> tuple[SegmentTimes, ...]:
        code, state, device = self.code, self.new_state(), self.arithmetic.device
        whole = durations(lambda: (self.run(inputs, state), _finished(device)), runs)
        with torch.inference_mode(), _limited(self.threads):
            values = self._values(inputs, state)
            rounds = [code.timed(lambda: _finished(device), *values) for _ in range(runs)]
        means = typical(rounds)
        seconds: dict[str, float] = defaultdict(float)
        for step, mean in zip(code.steps, means, strict=True):
            seconds[step.operation.name] += mean
        own = own_operations(self.segment)
        names = tuple(operation.name for operation in own)
        return (SegmentTimes("torch", device.type, names, whole, sum(means), seconds, absorbed(own, seconds)),)


def _by_rows(segment: Segment) -> tuple[Segment, Mapping[Value, Sequence[Value]]]:
    """A segment whose states of several rows are taken apart where they can be, and their rows."""
    if not any(isinstance(value.type, StateType) for value in segment.inputs):
        return segment, {}
    function = segment.function()
    rows = split_states(function)
    return (Segment.of(function), rows) if rows else (segment, {})


def _limited(threads: int) -> AbstractContextManager[None]:
    return _threads(threads) if threads else nullcontext()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Sets how many threads PyTorch uses for operations that this thread starts; others keep their own number."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _finished(device: torch.device) -> float:
    """The time when the device has done what it was given."""
    if device.type in ("cuda", "mps"):
        getattr(torch, device.type).synchronize()
    return time.perf_counter()
