"""From the operations of a block to steps that run: attributes bound, constants folded, every value dropped after its last use."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from moka.engines.arithmetic import Arithmetic, Settle
from moka.errors import ExecutionError, MokaError, ProgramError
from moka.ir.program import Argument, Block, Constant, Operation, Value
from moka.ir.types import TensorType
from moka.ops.binding import Call, bind
from moka.ops.table import OperationRecord, lookup

__all__ = ["Code", "prepare"]


@dataclass(slots=True)
class Step:
    """One operation, ready to run.

    Attributes:
        call: the kernel with its constant attributes bound, as a function of the operands alone.
        operands: slots of what it reads.
        results: slots of what it defines, next to each other.
        settle: for each result, what makes it a value of the declared type; None where nothing is to be done.
        dropped: slots that no later step reads.
    """

    operation: Operation
    call: Call
    operands: tuple[int, ...]
    results: range
    settle: tuple[Settle | None, ...]
    dropped: tuple[int, ...] = ()


class Code:
    """A block made ready: a template of slots with the constants in place, and the steps that read and write slots."""

    def __init__(self, template: list[Any], inputs: Sequence[int], steps: list[Step], outputs: Sequence[int]) -> None:
        self.template = template
        self.inputs = tuple(inputs)
        self.steps = steps
        self.outputs = tuple(outputs)
        self._rows = [_row(step) for step in steps]

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        slots = self.template.copy()
        for slot, value in zip(self.inputs, values, strict=True):
            slots[slot] = value
        try:
            for step, call, read, store, held, settle, dropped in self._rows:  # noqa: B007  the handler names the step
                result = call(*read(slots))
                if settle is not None and (held is None or result.dtype is not held):
                    result = settle(result)
                slots[store] = result
                for slot in dropped:
                    slots[slot] = None
        except MokaError:
            raise
        except Exception as error:
            raise ExecutionError(_failure(step.operation, read(slots), error)) from error
        return tuple([slots[slot] for slot in self.outputs])

    def timed(self, clock: Callable[[], float], *values: Any) -> list[float]:
        """Seconds of each step in one run; ``clock`` tells the time when the device has finished its work."""
        slots = self.template.copy()
        for slot, value in zip(self.inputs, values, strict=True):
            slots[slot] = value
        marks = [clock()]
        for _, call, read, store, held, settle, dropped in self._rows:
            result = call(*read(slots))
            slots[store] = result if settle is None or (held is not None and result.dtype is held) else settle(result)
            for slot in dropped:
                slots[slot] = None
            marks.append(clock())
        return [end - start for start, end in itertools.pairwise(marks)]


def _row(step: Step) -> tuple[Any, ...]:
    """A step laid out for the loop that runs it: what to call, how to read operands, where to store what, when to settle, what to drop."""
    if len(step.results) == 1:
        (settle,) = step.settle
        held = None if settle is None else settle.enough
        return step, step.call, _reader(step.operands), step.results[0], held, settle, step.dropped
    store = slice(step.results.start, step.results.stop)
    return step, step.call, _reader(step.operands), store, None, functools.partial(_settle_all, step.settle), step.dropped


def _reader(operands: tuple[int, ...]) -> Callable[[list[Any]], tuple[Any, ...]]:
    """`itemgetter` gives a tuple for two and more only."""
    if len(operands) > 1:
        return operator.itemgetter(*operands)
    if not operands:
        return lambda slots: ()
    (slot,) = operands

    def one(slots: list[Any]) -> tuple[Any, ...]:
        return (slots[slot],)

    return one


def _settle_all(settles: tuple[Settle | None, ...], results: Sequence[Any]) -> list[Any]:
    return [item if settle is None else settle(item) for settle, item in zip(settles, results, strict=True)]


def _failure(operation: Operation, operands: Sequence[Any], error: Exception) -> str:
    found = ", ".join(str(tuple(item.shape)) if hasattr(item, "shape") else type(item).__name__ for item in operands)
    origin = f" (from {operation.origin})" if operation.origin else ""
    return f"operation {operation}{origin} failed on inputs of shape {found or 'none'}: {type(error).__name__}: {error}"


def prepare(inputs: Sequence[Value], operations: Iterable[Operation], outputs: Sequence[Value], opset: str, arithmetic: Arithmetic) -> Code:
    """Makes operations ready to run as a function from ``inputs`` to ``outputs``.

    Raises:
        UnknownOperationError: an operation has no record.
        ProgramError: a required input is missing, or a value is used that nothing defines.
    """
    return _Preparation(opset, arithmetic, {}).code(inputs, operations, outputs)


class _Preparation:
    """What is known while one block is made ready. ``constants`` is shared with the blocks around it and inside it."""

    def __init__(self, opset: str, arithmetic: Arithmetic, constants: dict[Value, Any], outer: _Preparation | None = None) -> None:
        self.opset = opset
        self.arithmetic = arithmetic
        self.constants = constants
        self.outer = outer
        self.template: list[Any] = []
        self.slots: dict[Argument, int] = {}
        self.captured: list[Value] = []

    def code(self, inputs: Sequence[Value], operations: Iterable[Operation], outputs: Sequence[Value]) -> Code:
        given = [self._new_slot(value) for value in inputs]
        steps = [step for operation in operations if (step := self._step(operation)) is not None]
        results = [self._slot(value) for value in outputs]
        given += [self.slots[value] for value in self.captured]
        _drop_after_last_use(steps, keep=set(results))
        return Code(self.template, given, steps, results)

    def _new_slot(self, argument: Argument, content: Any = None) -> int:
        self.slots[argument] = len(self.template)
        self.template.append(content)
        return self.slots[argument]

    def _slot(self, argument: Argument) -> int:
        """The slot of a constant, of a value of this block, or of one of the outer block, which is then passed in."""
        if argument in self.slots:
            return self.slots[argument]
        if self._is_constant(argument):
            return self._new_slot(argument, self._constant(argument))
        assert isinstance(argument, Value)
        if self.outer is None:
            raise ProgramError(f"value {argument.name!r} is used but nothing defines it")
        self.captured.append(argument)
        return self._new_slot(argument)

    def _is_constant(self, argument: Argument) -> bool:
        return isinstance(argument, Constant) or argument in self.constants

    def _known(self, argument: Argument) -> Any:
        """A constant's value as the file has it, or a folded tensor."""
        known = argument if isinstance(argument, Constant) else self.constants[argument]
        return known.value if isinstance(known, Constant) else known

    def _constant(self, argument: Argument) -> Any:
        """A constant as kernels take it."""
        known = argument if isinstance(argument, Constant) else self.constants[argument]
        if not isinstance(known, Constant):
            return known
        tensor = self.arithmetic.constant(known)
        if isinstance(argument, Value):
            self.constants[argument] = tensor
        return tensor

    def _step(self, operation: Operation) -> Step | None:
        if operation.type == "const":
            self.constants[operation.outputs[0]] = _stated(operation, "val")
            return None
        record = lookup(operation.type, self.opset)
        call, operands = bind(operation, record, self._is_constant, self._known, self._block)
        if record.folds and not operation.blocks and all(self._is_constant(operand) for operand in operands):
            self._fold(operation, call, operands)
            return None
        settle = self._settle(operation, record, operands)
        reads = tuple([self._slot(operand) for operand in operands])
        start = len(self.template)
        for value in operation.outputs:
            self._new_slot(value)
        return Step(operation, call, reads, range(start, len(self.template)), settle)

    def _settle(self, operation: Operation, record: OperationRecord, operands: list[Argument]) -> tuple[Settle | None, ...]:
        """What settles each result: nothing where a bare PyTorch function, which keeps the element type of its inputs, is declared to."""
        settles = tuple(self.arithmetic.settle(value.type) for value in operation.outputs)
        if record.call is not None and all(settle is not None and settle.enough for settle in settles):
            dtypes = {item.type.dtype if isinstance(item.type, TensorType) else None for item in (*operands, *operation.outputs)}
            return settles if len(dtypes) > 1 else (None,) * len(settles)
        return settles

    def _fold(self, operation: Operation, call: Call, operands: list[Argument]) -> None:
        settle = tuple(self.arithmetic.settle(value.type, constant=True) for value in operation.outputs)
        size = len(operands)
        results = range(size, size + len(operation.outputs))
        template = [self._constant(operand) for operand in operands] + [None] * len(results)
        code = Code(template, (), [Step(operation, call, tuple(range(size)), results, settle)], results)
        self.constants.update(zip(operation.outputs, code(), strict=True))

    def _block(self, block: Block) -> tuple[Call, tuple[Argument, ...]]:
        inner = _Preparation(self.opset, self.arithmetic, self.constants, self)
        code = inner.code(block.inputs, block.operations, block.outputs)
        return code, tuple(inner.captured)


def _stated(operation: Operation, name: str) -> Constant:
    if name not in operation.attributes:
        raise ProgramError(f"operation {operation} has no attribute {name!r}")
    return operation.attributes[name]


def _drop_after_last_use(steps: list[Step], keep: set[int]) -> None:
    seen = set(keep)
    for step in reversed(steps):
        last = {*step.operands, *step.results} - seen
        step.dropped = tuple(sorted(last))
        seen |= last
