"""From the operations of a block to steps that run: attributes bound, constants folded, every value dropped after its last use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from moka.engines.arithmetic import Arithmetic, Settle
from moka.errors import ExecutionError, MokaError, ProgramError
from moka.ir.program import Argument, Block, Constant, Operation, Value
from moka.ops.table import Kind, OperationRecord, Parameter, lookup

__all__ = ["Code", "prepare"]

Call: TypeAlias = Callable[..., Any]


@dataclass(slots=True)
class Step:
    """One operation, ready to run.

    Attributes:
        call: the kernel with its constant attributes bound, as a function of the operands alone.
        operands: slots of what it reads.
        results: slots of what it defines.
        settle: for each result, what makes it a value of the declared type; None where nothing is to be done.
        dropped: slots that no later step reads.
    """

    operation: Operation
    call: Call
    operands: tuple[int, ...]
    results: tuple[int, ...]
    settle: tuple[Settle | None, ...]
    dropped: tuple[int, ...] = ()


class Code:
    """A block made ready: a template of slots with the constants in place, and the steps that read and write slots."""

    def __init__(self, template: list[Any], inputs: Sequence[int], steps: list[Step], outputs: Sequence[int]) -> None:
        self.template = template
        self.inputs = tuple(inputs)
        self.steps = steps
        self.outputs = tuple(outputs)

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        slots = self.template.copy()
        for slot, value in zip(self.inputs, values, strict=True):
            slots[slot] = value
        for step in self.steps:
            operands = [slots[slot] for slot in step.operands]
            try:
                result = step.call(*operands)
                if len(step.results) == 1:
                    settle = step.settle[0]
                    slots[step.results[0]] = result if settle is None else settle(result)
                else:
                    for slot, settle, item in zip(step.results, step.settle, result, strict=True):
                        slots[slot] = item if settle is None else settle(item)
            except MokaError:
                raise
            except Exception as error:
                raise ExecutionError(_failure(step.operation, operands, error)) from error
            for slot in step.dropped:
                slots[slot] = None
        return tuple([slots[slot] for slot in self.outputs])


def _failure(operation: Operation, operands: list[Any], error: Exception) -> str:
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
        call, operands = self._bind(operation, record)
        settle = tuple(self.arithmetic.settle(value.type) for value in operation.outputs)
        if record.folds and not operation.blocks and all(self._is_constant(operand) for operand in operands):
            self._fold(operation, call, operands, settle)
            return None
        reads = tuple([self._slot(operand) for operand in operands])
        return Step(operation, call, reads, tuple([self._new_slot(value) for value in operation.outputs]), settle)

    def _fold(self, operation: Operation, call: Call, operands: list[Argument], settle: tuple[Settle | None, ...]) -> None:
        code = Code([self._constant(operand) for operand in operands], (), [], ())
        size = len(operands)
        results = tuple(range(size, size + len(operation.outputs)))
        code.template += [None] * len(results)
        code.steps.append(Step(operation, call, tuple(range(size)), results, settle))
        code.outputs = results
        self.constants.update(zip(operation.outputs, code(), strict=True))

    def _bind(self, operation: Operation, record: OperationRecord) -> tuple[Call, list[Argument]]:
        """The kernel as a function of its operands alone, and the operands."""
        stated = _inputs(operation)
        unknown = stated.keys() - record.parameters.keys()
        if unknown:
            raise ProgramError(f"operation {operation} has no input {', '.join(sorted(unknown))}; it takes {', '.join(record.parameters)}")
        fixed: dict[str, Any] = {}
        flowing: list[tuple[Parameter, int]] = []
        operands: list[Argument] = []
        blocks = iter(operation.blocks)
        for name, parameter in record.parameters.items():
            arguments = stated.get(name)
            if parameter.kind is Kind.BLOCK:
                code, arguments = self._block(next(blocks))
                flowing.append((parameter, len(arguments)))
                fixed[name] = code
                operands += arguments
            elif arguments is None:
                _check_optional(operation, parameter)
            elif parameter.kind is Kind.ATTRIBUTE and all(map(self._is_constant, arguments)):
                fixed[name] = _attribute(operation, parameter, [self._known(argument) for argument in arguments])
            else:
                flowing.append((parameter, len(arguments)))
                operands += arguments
        return _call(record, fixed, flowing), operands

    def _block(self, block: Block) -> tuple[Code, tuple[Value, ...]]:
        inner = _Preparation(self.opset, self.arithmetic, self.constants, self)
        code = inner.code(block.inputs, block.operations, block.outputs)
        return code, tuple(inner.captured)


def _stated(operation: Operation, name: str) -> Constant:
    if name not in operation.attributes:
        raise ProgramError(f"operation {operation} has no attribute {name!r}")
    return operation.attributes[name]


def _inputs(operation: Operation) -> dict[str, tuple[Argument, ...]]:
    """Inputs, and the attributes that are inputs in all but place: the older constexpr operations keep theirs there."""
    attributes = {name: (value,) for name, value in operation.attributes.items() if name != "name"}
    return {**attributes, **operation.inputs}


def _check_optional(operation: Operation, parameter: Parameter) -> None:
    if parameter.required:
        raise ProgramError(f"operation {operation} lacks its input {parameter.name!r}")


def _attribute(operation: Operation, parameter: Parameter, values: list[Any]) -> Any:
    assert parameter.convert is not None
    value = parameter.convert(values[0] if len(values) == 1 else values)
    if parameter.choices and value not in parameter.choices:
        raise ProgramError(f"operation {operation}: {parameter.name} is {value!r}; expected one of {', '.join(parameter.choices)}")
    return value


def _call(record: OperationRecord, fixed: dict[str, Any], flowing: list[tuple[Parameter, int]]) -> Call:
    """The kernel as a function of flat operands: as it is where they are its first parameters, else through a small rearrangement."""
    names = [parameter.name for parameter, _ in flowing]
    plain = all(parameter.kind in (Kind.TENSOR, Kind.STATE, Kind.LIST) for parameter, _ in flowing)
    if plain and names == list(record.parameters)[: len(names)]:
        return functools.partial(record.kernel, **fixed) if fixed else record.kernel
    return functools.partial(_rearranged, record.kernel, fixed, flowing)


def _rearranged(kernel: Call, fixed: dict[str, Any], flowing: list[tuple[Parameter, int]], *operands: Any) -> Any:
    keywords, start = dict(fixed), 0
    for parameter, count in flowing:
        part = operands[start : start + count]
        start += count
        if parameter.kind is Kind.BLOCK:
            keywords[parameter.name] = _closure(fixed[parameter.name], part)
        elif parameter.kind is Kind.TENSORS:
            keywords[parameter.name] = part
        elif parameter.kind is Kind.ATTRIBUTE:
            assert parameter.convert is not None
            keywords[parameter.name] = parameter.convert(part[0] if count == 1 else [item.tolist() for item in part])
        else:
            keywords[parameter.name] = part[0]
    return kernel(**keywords)


def _closure(code: Code, captured: tuple[Any, ...]) -> Call:
    return lambda *values: code(*values, *captured)


def _drop_after_last_use(steps: list[Step], keep: set[int]) -> None:
    seen = set(keep)
    for step in reversed(steps):
        last = {*step.operands, *step.results} - seen
        step.dropped = tuple(sorted(last))
        seen |= last
