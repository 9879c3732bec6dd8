"""The seam between a program and what executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from moka.ir.copying import copied
from moka.ir.program import Block, Function, Operation, Value

if TYPE_CHECKING:
    from moka.engines.times import SegmentTimes

__all__ = ["Engine", "Executable", "Segment"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of operations for one engine, with the values that cross its borders.

    ``inputs`` has the states that the operations use among them; ``opset`` is that of the function they come from.
    """

    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]
    opset: str

    @classmethod
    def of(cls, function: Function) -> Segment:
        """A whole function as one segment."""
        return cls(tuple(function.inputs), tuple(function.body.operations), tuple(function.outputs), function.opset)

    def function(self) -> Function:
        """The segment as a function of its own, for rewriting."""
        return copied(Function("segment", list(self.inputs), self.opset, Block([], list(self.operations), list(self.outputs))))


class Executable(Protocol):
    """A segment made ready to run. Runs may happen on several threads at once, each with its own state."""

    def run(self, inputs: Mapping[str, Any], state: Any = None) -> dict[str, Any]:
        """Runs once.

        Args:
            inputs: by name: tensors (PyTorch's, or NumPy arrays), strings for string inputs.
            state: what `new_state` gave; changed by the run. Needed only where the segment has states.

        Returns:
            The outputs by name: NumPy arrays, which are the caller's own; PyTorch tensors, which may share memory with inputs and
            constants; strings, lists or dicts.
        """
        ...

    def new_state(self) -> Any:
        """Fresh buffers for every state of the segment, filled with zeros."""
        ...

    def times(self, inputs: Mapping[str, Any], runs: int) -> tuple[SegmentTimes, ...]:
        """How long its segments and their operations take, measured now, with states of its own."""
        ...


class Engine(Protocol):
    """What can execute operations."""

    @property
    def name(self) -> str:
        """What plans and messages call it."""
        ...

    def reasons(self, operation: Operation, opset: str) -> tuple[str, ...]:
        """Why this engine can't run the operation; empty if it can."""
        ...

    def compile(self, segment: Segment) -> Executable:
        """Makes a segment ready to run."""
        ...
