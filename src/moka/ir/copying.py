"""Copies of functions, for rewriting what others keep."""

from __future__ import annotations

from collections.abc import Iterable

from moka.ir.program import Argument, Block, Function, Operation, Value

__all__ = ["copied"]


def copied(function: Function) -> Function:
    """The function with operations and results of its own. Inputs of the function and of blocks, constants and notes are shared.

    An input that an operation outside the function gives, as one of a segment does, becomes a value of the same name that nothing gives:
    rules look back at what values are made of, and must not look out of the function.
    """
    made = {value: Value(value.name, value.type) for value in function.inputs if value.producer is not None}
    body = _block(function.body, made)
    return Function(function.name, [made.get(value, value) for value in function.inputs], function.opset, body, function.attributes)


def _block(block: Block, made: dict[Value, Value]) -> Block:
    operations = [_operation(operation, made) for operation in block.operations]
    return Block(list(block.inputs), operations, [made.get(value, value) for value in block.outputs], block.attributes)


def _operation(operation: Operation, made: dict[Value, Value]) -> Operation:
    inputs = {name: _arguments(arguments, made) for name, arguments in operation.inputs.items()}
    blocks = [_block(block, made) for block in operation.blocks]
    copy = Operation(operation.type, inputs, [], operation.attributes, blocks, operation.origin)
    copy.outputs = [Value(value.name, value.type, copy) for value in operation.outputs]
    made.update(zip(operation.outputs, copy.outputs, strict=True))
    return copy


def _arguments(arguments: Iterable[Argument], made: dict[Value, Value]) -> tuple[Argument, ...]:
    return tuple(made.get(item, item) if isinstance(item, Value) else item for item in arguments)
