"""Programs as text for people: one operation a line, nested blocks indented, large constants in short."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from moka.ir.program import Argument, Block, Constant, Function, Operation, Program, Value

__all__ = ["constant_text", "operation_text", "text"]

_ITEMS = 8
_CHARACTERS = 60


def text(program: Program, *, constants: bool = False) -> str:
    """The whole program, for reading; nothing reads it back.

    Args:
        constants: whether const operations have lines of their own; else their values stand where they are used.
    """
    return "\n\n".join("\n".join(_function(function, constants)) for function in program.functions.values()) + "\n"


def operation_text(operation: Operation, *, constants: bool = False) -> str:
    """One operation without its nested blocks, values before constants: ``%y: tensor<fp32, [2]> = add(x=%a, y=[1.0, 2.0])``."""
    outputs = ", ".join(f"{value}: {value.type}" for value in operation.outputs)
    inputs = [f"{name}={_arguments(arguments, constants)}" for name, arguments in sorted(operation.inputs.items(), key=_place)]
    attributes = [f"{name}={constant_text(value)}" for name, value in operation.attributes.items() if name != "name"]
    call = f"{operation.type}({', '.join(inputs + attributes)})"
    return f"{outputs} = {call}" if outputs else call


def constant_text(constant: Constant) -> str:
    """A constant's value; for one in a weight file, its type and place: ``tensor<fp16, [64, 3]> @ weight.bin+64``."""
    if constant.file is not None:
        name, offset = constant.file
        return f"{constant.type} @ {name.rpartition('/')[2]}+{offset}"
    return _value(constant.value)


def _value(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return _value(value.item()) if value.ndim == 0 else _array(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _CHARACTERS else value[: _CHARACTERS - 3] + "...")
    if isinstance(value, dict):
        return "{" + _shortened([f"{_value(key)}: {_value(item)}" for key, item in list(value.items())[:_ITEMS]], len(value)) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + _shortened([_value(item) for item in value[:_ITEMS]], len(value)) + "]"
    return f"{value:.7g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _array(array: np.ndarray[Any, Any]) -> str:
    """A vector by its first numbers; what has more axes in full if it is small, else by its shape and first numbers."""
    if array.ndim > 1 and array.size <= _ITEMS:
        return "[" + ", ".join(_array(row) for row in array) + "]"
    first = [_value(item) for item in array.reshape(-1)[:_ITEMS].tolist()]
    shape = "" if array.ndim == 1 else f"{list(array.shape)} of "
    return f"{shape}[{_shortened(first, array.size)}]"


def _shortened(first: Sequence[str], count: int) -> str:
    return ", ".join(first) + (f", ... {count} in all" if count > len(first) else "")


def _place(item: tuple[str, tuple[Argument, ...]]) -> tuple[bool, str]:
    """Sorts inputs by whether they are constants, then by name: files have them in any order."""
    return all(_stated(argument) is not None for argument in item[1]), item[0]


def _stated(argument: Argument) -> Constant | None:
    """The constant that an argument is, or that a const operation gives; None if it is computed."""
    if isinstance(argument, Constant):
        return argument
    return argument.producer.attributes.get("val") if argument.producer is not None and argument.producer.type == "const" else None


def _argument(argument: Argument, constants: bool) -> str:
    stated = None if constants and isinstance(argument, Value) else _stated(argument)
    return str(argument) if stated is None else constant_text(stated)


def _arguments(arguments: tuple[Argument, ...], constants: bool) -> str:
    texts = [_argument(item, constants) for item in arguments]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


def _function(function: Function, constants: bool) -> Iterator[str]:
    yield f"function {function.name}[{function.opset}]({_typed(function.inputs)}) {{"
    yield from _body(function.body, constants, "  ")
    yield "}"


def _typed(values: Sequence[Value]) -> str:
    return ", ".join(f"{value}: {value.type}" for value in values)


def _body(block: Block, constants: bool, indent: str) -> Iterator[str]:
    for operation in block.operations:
        if operation.type == "const" and not constants:
            continue
        line = indent + operation_text(operation, constants=constants)
        for inner in operation.blocks:
            yield f"{line} block({_typed(inner.inputs)}) {{"
            yield from _body(inner, constants, indent + "  ")
            line = f"{indent}}}"
        yield line
    yield f"{indent}return {', '.join(_argument(value, constants) for value in block.outputs)}"
