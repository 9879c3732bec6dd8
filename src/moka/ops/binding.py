"""An operation of a program bound to its record: the kernel as a function of the operands that flow while the program runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

from moka.errors import ProgramError
from moka.ir.program import Argument, Block, Operation
from moka.ops.table import Kind, OperationRecord, Parameter

__all__ = ["Call", "bind"]

Call: TypeAlias = Callable[..., Any]
Known: TypeAlias = Callable[[Argument], bool]
Content: TypeAlias = Callable[[Argument], Any]
Prepare: TypeAlias = Callable[[Block], tuple[Call, tuple[Argument, ...]]]


def bind(operation: Operation, record: OperationRecord, known: Known, content: Content, prepare: Prepare) -> tuple[Call, list[Argument]]:
    """The kernel with its constant attributes bound, as a function of flat operands, and the operands.

    Args:
        known: whether an argument's value is known ahead.
        content: the value of a known argument: as a file has it, or a tensor.
        prepare: makes a nested block callable; gives it with the values of outer blocks that it takes after its own inputs.

    Raises:
        ProgramError: an input is missing or unknown, or an attribute has a value that is not allowed.
    """
    stated = _inputs(operation)
    if unknown := stated.keys() - record.parameters.keys():
        raise ProgramError(f"operation {operation} has no input {', '.join(sorted(unknown))}; it takes {', '.join(record.parameters)}")
    fixed: dict[str, Any] = {}
    flowing: list[tuple[Parameter, int]] = []
    operands: list[Argument] = []
    blocks = iter(operation.blocks)
    for name, parameter in record.parameters.items():
        arguments = stated.get(name)
        if parameter.kind is Kind.BLOCK:
            fixed[name], arguments = prepare(_next(blocks, operation, parameter))
        elif arguments is None:
            if parameter.required:
                raise ProgramError(f"operation {operation} lacks its input {name!r}")
            continue
        elif parameter.kind is Kind.ATTRIBUTE and all(map(known, arguments)):
            fixed[name] = _attribute(operation, parameter, [content(argument) for argument in arguments])
            continue
        flowing.append((parameter, len(arguments)))
        operands += arguments
    return _call(record, fixed, flowing), operands


def _inputs(operation: Operation) -> dict[str, tuple[Argument, ...]]:
    """Inputs, and the attributes that are inputs in all but place: the older constexpr operations keep theirs there."""
    attributes: dict[str, tuple[Argument, ...]] = {name: (value,) for name, value in operation.attributes.items() if name != "name"}
    return {**attributes, **operation.inputs}


def _next(blocks: Any, operation: Operation, parameter: Parameter) -> Block:
    block = next(blocks, None)
    if not isinstance(block, Block):
        raise ProgramError(f"operation {operation} lacks the block {parameter.name.lstrip('_')!r}; it has {len(operation.blocks)}")
    return block


def _attribute(operation: Operation, parameter: Parameter, values: list[Any]) -> Any:
    assert parameter.convert is not None
    try:
        value = parameter.convert(values[0] if len(values) == 1 else values)
    except (TypeError, ValueError) as error:
        raise ProgramError(f"operation {operation}: {parameter.name} is {values!r:.80}: {error}") from error
    if parameter.choices and value not in parameter.choices:
        raise ProgramError(f"operation {operation}: {parameter.name} is {value!r}; expected one of {', '.join(parameter.choices)}")
    return value


def _call(record: OperationRecord, fixed: dict[str, Any], flowing: list[tuple[Parameter, int]]) -> Call:
    """The kernel as a function of flat operands: as it is where they are its first parameters, else through a small rearrangement."""
    names = [parameter.name for parameter, _ in flowing]
    plain = all(parameter.kind in (Kind.TENSOR, Kind.STATE, Kind.LIST) for parameter, _ in flowing)
    if plain and names == list(record.parameters)[: len(names)]:
        return functools.partial(record.kernel, **fixed) if fixed else record.call or record.kernel
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


def _closure(code: Call, captured: tuple[Any, ...]) -> Call:
    return lambda *values: code(*values, *captured)
