"""Type rules: whether an operation of a program is one that its record in the table allows.

Files written by coremltools and other converters deviate from coremltools' own domains in places; where Core ML runs them, they pass here:
what is allowed beyond a record's domains stands in this file, with its reason.
"""

from __future__ import annotations

import functools
import itertools
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from moka.errors import ProgramError, UnknownOperationError
from moka.formats.dtypes import DType
from moka.ir.program import Argument, Constant, Operation, Program
from moka.ir.types import ListType, StateType, TensorType, Type
from moka.ops.table import Kind, OperationRecord, Parameter, TypeVariable, lookup

__all__ = ["check", "check_program"]

_KINDS: dict[Kind, tuple[type, str]] = {
    Kind.TENSOR: (TensorType, "a tensor"),
    Kind.STATE: (StateType, "a state"),
    Kind.LIST: (ListType, "a list"),
}


def check_program(program: Program) -> None:
    """Checks every operation of every function.

    Raises:
        ProgramError: with every problem that there is, one a line.
    """
    found = [
        f"function {function.name!r}: {problem}"
        for function in program.functions.values()
        for operation in function.body.walk()
        for problem in check(operation, function.opset)
    ]
    if found:
        count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ProgramError("\n  ".join([f"the program has {count}:", *found]))


def check(operation: Operation, opset: str) -> list[str]:
    """What is wrong with an operation for ``opset``: each with the operation, the input, what was found and what was expected."""
    if operation.type == "const":
        return []
    try:
        record = lookup(operation.type, opset)
    except UnknownOperationError as error:
        return [str(error)]
    return [f"operation {operation}: {problem}" for problem in _problems(operation, record)]


def _problems(operation: Operation, record: OperationRecord) -> Iterator[str]:
    given = {name: (value,) for name, value in operation.attributes.items() if name != "name"} | operation.inputs
    takes = [name for name, parameter in record.parameters.items() if parameter.kind is not Kind.BLOCK]
    for name in given.keys() - set(takes):
        yield f"input {name!r} is unknown; expected {', '.join(takes) or 'none'}"
    bound: dict[str, tuple[DType, str]] = {}
    for name in takes:
        parameter = record.parameters[name]
        if name not in given:
            if parameter.required:
                yield f"input {name!r} is missing"
            continue
        yield from (f"input {name!r}: {problem}" for problem in _input(parameter, given[name]))
        yield from _variable(f"input {name!r}", parameter.variable, given[name], record, bound)
    yield from _outputs(operation, record, bound)


def _input(parameter: Parameter, arguments: tuple[Argument, ...]) -> Iterator[str]:
    if parameter.kind in _KINDS:
        kind, expected = _KINDS[parameter.kind]
        if len(arguments) != 1:
            yield f"found {len(arguments)} arguments; expected 1"
        yield from (f"found {item.type}; expected {expected}" for item in arguments if not isinstance(item.type, kind))
    elif parameter.kind is Kind.ATTRIBUTE:
        yield from _attribute(parameter, [_stated(item) for item in arguments])


def _stated(argument: Argument) -> Constant | None:
    """The constant behind an argument; None if it is computed."""
    if isinstance(argument, Constant):
        return argument
    return argument.producer.attributes.get("val") if argument.producer is not None and argument.producer.type == "const" else None


def _attribute(parameter: Parameter, stated: list[Constant | None]) -> Iterator[str]:
    """A constant attribute must be of the kernel's type and among its choices; of a computed one nothing is known."""
    constants = [item for item in stated if item is not None and item.file is None]
    if len(constants) < len(stated) or parameter.convert is None:
        return
    try:
        value = parameter.convert(constants[0].value if len(constants) == 1 else [item.value for item in constants])
    except (TypeError, ValueError):
        yield f"found {', '.join(map(repr, constants))}; expected a value like {parameter.default!r}"
        return
    if parameter.choices and value not in parameter.choices:
        yield f"found {value!r}; expected one of {', '.join(parameter.choices)}"


def _variable(
    what: str, variable: str | None, arguments: tuple[Argument, ...], record: OperationRecord, bound: dict[str, tuple[DType, str]]
) -> Iterator[str]:
    """Arguments of a type variable: of its domain, and like those before, which ``bound`` remembers."""
    for argument in arguments if variable is not None else ():
        dtype = _dtype(argument.type)
        if dtype is None or variable is None:
            continue
        domain = record.domains.get(variable)
        if domain is not None and dtype not in domain:
            yield f"{what} has type {dtype}; expected one of {', '.join(sorted(map(str, domain)))}"
        elif variable not in bound:
            bound[variable] = (dtype, what)
        elif bound[variable][0] != dtype:
            first, owner = bound[variable]
            yield f"{what} has type {dtype}; expected {first}, that of {owner}"


def _dtype(type: Type) -> DType | None:
    while isinstance(type, (StateType, ListType)):
        type = type.wrapped if isinstance(type, StateType) else type.element
    return type.dtype if isinstance(type, TensorType) else None


def _outputs(operation: Operation, record: OperationRecord, bound: dict[str, tuple[DType, str]]) -> Iterator[str]:
    count = len(operation.outputs)
    alternatives = _results(record.kernel)
    fitting = [variables for varies, variables in alternatives if varies or len(variables) == count]
    if not fitting:
        yield f"has {count} outputs; expected {' or '.join(str(len(variables)) for _, variables in alternatives)}"
        return
    mixed = {dtype for dtype, _ in bound.values()}
    for value, variable in zip(operation.outputs, itertools.cycle(fitting[0])):
        if len(mixed) > 1 and _dtype(value.type) in mixed:
            continue  # converters state either type as the result's where inputs mix two: a product of int32 and fp16 is fp16
        yield from _variable(f"output {value}", variable, (value,), record, bound)


@functools.cache
def _results(kernel: Callable[..., Any]) -> list[tuple[bool, tuple[str | None, ...]]]:
    """What a kernel may return: whether the number of results varies, and the type variable of each, None where any type will do."""
    hint = typing.get_type_hints(kernel, include_extras=True).get("return", Any)
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return [_alternative(item) for item in (typing.get_args(hint) if union else [hint])]


def _alternative(hint: Any) -> tuple[bool, tuple[str | None, ...]]:
    if typing.get_origin(hint) is not tuple:
        return hint is Any, (_name(hint),)
    parts = typing.get_args(hint)
    return Ellipsis in parts, tuple(_name(part) for part in parts if part is not Ellipsis)


def _name(hint: Any) -> str | None:
    notes = [note for note in getattr(hint, "__metadata__", ()) if isinstance(note, TypeVariable)]
    return notes[0].name if notes else None
