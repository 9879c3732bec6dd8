"""The rules that every program keeps, whatever its operations mean: scopes, names, blocks, and types that must agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.ir.program import Argument, Block, Function, Operation, Program, Value
from moka.ir.types import ListType, StateType, TensorType, Type, compatible_shapes

__all__ = ["compatible_types", "problems", "verify"]

_BLOCKS = {"cond": 2, "while_loop": 2}


def verify(program: Program) -> None:
    """Checks a program's structure.

    Raises:
        ProgramError: with every problem that there is, one a line.
    """
    found = problems(program)
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ProgramError("\n  ".join([f"the program has {count}:", *found]))


def problems(program: Program) -> list[str]:
    """What is wrong with a program's structure, each with the function and the operation; empty if nothing is."""
    return [f"function {name!r}: {problem}" for name, function in program.functions.items() for problem in _function(function)]


def compatible_types(a: Type, b: Type) -> bool:
    """Whether one value may have both types: equal but for sizes that one of them leaves open."""
    if isinstance(a, TensorType) and isinstance(b, TensorType):
        return a.dtype == b.dtype and compatible_shapes(a.shape, b.shape)
    if isinstance(a, ListType) and isinstance(b, ListType):
        return compatible_types(a.element, b.element)
    return a == b


def _function(function: Function) -> Iterator[str]:
    for value in function.inputs:
        if not isinstance(value.type, (TensorType, StateType)):
            yield f"input {value} has type {value.type}; expected a tensor or a state"
    yield from _defined_twice(function.inputs, set(), "input")
    yield from _block(function.body, set(function.inputs), "the body")
    for value in function.outputs:
        if isinstance(value.type, StateType):
            yield f"output {value} is a state; expected a value read from it"


def _block(block: Block, visible: set[Value], where: str) -> Iterator[str]:
    """Problems of a block in which the values ``visible`` are defined already."""
    names = {value.name for value in visible}
    yield from _defined_twice(block.inputs, names, f"input of {where}")
    visible = visible | set(block.inputs)
    for operation in block.operations:
        yield from (f"operation {operation}: {problem}" for problem in _operation(operation, visible))
        yield from _defined_twice(operation.outputs, names, f"operation {operation}: output")
        visible |= set(operation.outputs)
    for value in block.outputs:
        if value not in visible:
            yield f"output {value} of {where} is not defined in it"


def _defined_twice(values: Iterable[Value], names: set[str], what: str) -> Iterator[str]:
    """Names among ``values`` that ``names``, which grows, has already."""
    for value in values:
        if value.name in names:
            yield f"{what} {value}: the name is taken already"
        names.add(value.name)


def _operation(operation: Operation, visible: set[Value]) -> Iterator[str]:
    for name, arguments in operation.inputs.items():
        for argument in arguments:
            if isinstance(argument, Value) and argument not in visible:
                yield f"input {name!r}: {argument} is not defined before it is used"
    for value in operation.outputs:
        if value.producer is not operation:
            yield f"output {value} names another operation as its producer"
        if isinstance(value.type, StateType):
            yield f"output {value} is a state; states are inputs of functions only"
    for index, block in enumerate(operation.blocks):
        yield from _block(block, visible, f"block {index}")
    if operation.type == "const":
        yield from _const(operation)
    expected = _BLOCKS.get(operation.type, 0)
    if len(operation.blocks) != expected:
        yield f"has {len(operation.blocks)} blocks; expected {expected}"
    elif operation.type == "cond":
        yield from _cond(operation)
    elif operation.type == "while_loop":
        yield from _while_loop(operation)


def _const(operation: Operation) -> Iterator[str]:
    value = operation.attributes.get("val")
    if value is None:
        yield "attribute 'val' is missing"
    elif len(operation.outputs) != 1:
        yield f"has {len(operation.outputs)} outputs; expected 1"
    elif not compatible_types(value.type, operation.outputs[0].type):
        yield f"attribute 'val' has type {value.type}; expected {operation.outputs[0].type}, that of the output"


def _cond(operation: Operation) -> Iterator[str]:
    for name, block in zip(("true", "false"), operation.blocks, strict=True):
        if block.inputs:
            yield f"the {name} block takes {len(block.inputs)} inputs; expected none"
        yield from _agree(f"outputs of the {name} block", block.outputs, "the operation's outputs", operation.outputs)


def _while_loop(operation: Operation) -> Iterator[str]:
    condition, body = operation.blocks
    variables = operation.inputs.get("loop_vars", ())
    yield from _agree("inputs of the condition", condition.inputs, "the loop variables", variables)
    yield from _agree("inputs of the body", body.inputs, "the loop variables", variables)
    yield from _agree("outputs of the body", body.outputs, "the inputs of the body", body.inputs)
    yield from _agree("outputs", operation.outputs, "the outputs of the body", body.outputs)
    answers = [str(value.type) for value in condition.outputs]
    if len(answers) != 1 or not _is_flag(condition.outputs[0].type):
        yield f"the condition gives {', '.join(answers) or 'nothing'}; expected one tensor<bool, []>"


def _is_flag(type: Type) -> bool:
    return isinstance(type, TensorType) and type.dtype == dtypes.BOOL and type.shape in (None, (), (1,), (None,))


def _agree(what: str, found: Sequence[Argument], other: str, expected: Sequence[Argument]) -> Iterator[str]:
    """Two sequences that stand for the same values must have the same number of members, of the same types."""
    if len(found) != len(expected):
        yield f"{what}: found {len(found)}; expected {len(expected)}, as many as {other}"
        return
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        if not compatible_types(a.type, b.type):
            yield f"{what}: number {index} has type {a.type}; expected {b.type}, as in {other}"
