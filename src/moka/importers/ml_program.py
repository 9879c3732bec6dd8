"""ML Program messages (``MIL.proto``) to the program."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from moka.errors import FormatError, ProgramError
from moka.formats import dtypes
from moka.formats.source import ModelSource
from moka.formats.weights import unpack
from moka.ir.program import Argument, Block, Constant, Function, Operation, Program, Value
from moka.ir.types import DictionaryType, Dimension, ListType, StateType, TensorType, TupleType, Type

__all__ = ["import_program", "import_type", "import_value"]

_NUMBER_FIELDS = {"floats", "doubles", "ints", "longInts", "bools"}


def import_program(source: ModelSource) -> Program:
    """The program in ``source.specification.mlProgram``; weights are read from its files when they are first used.

    Raises:
        FormatError: a value's type or bytes break the format.
        ProgramError: an operation uses a name that nothing before it defines.
    """
    message = source.specification.mlProgram
    return Program(
        functions={name: _function(name, body, source) for name, body in sorted(message.functions.items())},
        attributes={name: import_value(value, source) for name, value in message.attributes.items()},
        version=message.version,
        doc=message.docString,
    )


def _function(name: str, message: Any, source: ModelSource) -> Function:
    blocks = message.block_specializations
    if message.opset not in blocks:
        raise ProgramError(f"function {name!r}: its opset {message.opset!r} has no block; there is {', '.join(sorted(blocks)) or 'none'}")
    inputs = [Value(item.name, import_type(item.type)) for item in message.inputs]
    body = _block(blocks[message.opset], {value.name: value for value in inputs}, source, f"function {name!r}")
    attributes = {key: import_value(value, source) for key, value in message.attributes.items()}
    return Function(name, inputs, message.opset, body, attributes)


def _block(message: Any, outer: dict[str, Value], source: ModelSource, where: str) -> Block:
    scope = dict(outer)
    inputs = [Value(item.name, import_type(item.type)) for item in message.inputs]
    scope.update((value.name, value) for value in inputs)
    operations = [_operation(item, scope, source) for item in message.operations]
    return Block(
        inputs=inputs,
        operations=operations,
        outputs=[_output(scope, name, where) for name in message.outputs],
        attributes={key: import_value(value, source) for key, value in message.attributes.items()},
    )


def _operation(message: Any, scope: dict[str, Value], source: ModelSource) -> Operation:
    operation = Operation(message.type)
    for name, argument in message.inputs.items():
        operation.inputs[name] = _arguments(argument.arguments, scope, source, message, name)
    for name, value in message.attributes.items():
        operation.attributes[name] = import_value(value, source)
    for block in message.blocks:
        operation.blocks.append(_block(block, scope, source, f"block of {message.type} {_label(message)!r}"))
    for item in message.outputs:
        value = Value(item.name, import_type(item.type), operation)
        operation.outputs.append(value)
        scope[item.name] = value
    return operation


def _label(message: Any) -> str:
    return str(message.outputs[0].name if message.outputs else message.type)


def _arguments(bindings: Iterable[Any], scope: dict[str, Value], source: ModelSource, message: Any, parameter: str) -> tuple[Argument, ...]:
    return tuple([_argument(binding, scope, source, message, parameter) for binding in bindings])


def _argument(binding: Any, scope: dict[str, Value], source: ModelSource, message: Any, parameter: str) -> Argument:
    if binding.WhichOneof("binding") != "name":
        return import_value(binding.value, source)
    value = scope.get(binding.name)
    if value is None:
        raise _undefined(f"input {parameter!r} of {message.type} {_label(message)!r}", binding.name)
    return value


def _output(scope: dict[str, Value], name: str, where: str) -> Value:
    value = scope.get(name)
    if value is None:
        raise _undefined(f"output of {where}", name)
    return value


def _undefined(user: str, name: str) -> ProgramError:
    return ProgramError(f"{user}: {name!r} is not defined before it is used")


def import_type(message: Any) -> Type:
    """A ``ValueType`` message as a type."""
    kind = message.WhichOneof("type")
    if kind == "tensorType":
        return _tensor_type(message.tensorType)
    if kind == "stateType":
        wrapped = import_type(message.stateType.wrappedType)
        if not isinstance(wrapped, TensorType):
            raise ProgramError(f"a state of type {wrapped}: states hold tensors only")
        return StateType(wrapped)
    if kind == "listType":
        return ListType(import_type(message.listType.type), _dimension(message.listType.length))
    if kind == "tupleType":
        return TupleType(tuple(map(import_type, message.tupleType.types)))
    if kind == "dictionaryType":
        return DictionaryType(import_type(message.dictionaryType.keyType), import_type(message.dictionaryType.valueType))
    raise ProgramError("a value without a type: expected tensorType, listType, tupleType, dictionaryType or stateType")


def _tensor_type(message: Any) -> TensorType:
    dtype = dtypes.BY_MIL.get(message.dataType)
    if dtype is None:
        raise ProgramError(f"data type {message.dataType} is none that the Core ML schema defines")
    shape = [_dimension(item) for item in message.dimensions]
    if message.rank < 0 or (None in shape and any(item.unknown.variadic for item in message.dimensions)):
        return TensorType(dtype, None)
    return TensorType(dtype, tuple(shape))


def _dimension(message: Any) -> Dimension:
    return int(message.constant.size) if message.WhichOneof("dimension") == "constant" else None


def import_value(message: Any, source: ModelSource) -> Constant:
    """A ``Value`` message as a constant."""
    value_type = import_type(message.type)
    if message.WhichOneof("value") == "blobFileValue":
        return _blob(value_type, message.blobFileValue, source)
    return Constant(value_type, _immediate(value_type, message.immediateValue, source))


def _blob(value_type: Type, message: Any, source: ModelSource) -> Constant:
    if not isinstance(value_type, TensorType) or value_type.static_shape is None:
        raise FormatError(message.fileName, f"a value of type {value_type} can't be in a weight file: expected a tensor of constant shape")
    dtype, shape = value_type.dtype, value_type.static_shape
    name, offset = message.fileName, int(message.offset)
    file = source.weights(name)  # held, so that a loaded model outlives its files
    file.record_for(offset, dtype, shape)
    return Constant(value_type, load=lambda: file.read(offset, dtype, shape), file=(name, offset))


def _immediate(value_type: Type, message: Any, source: ModelSource) -> Any:
    kind = message.WhichOneof("value")
    if isinstance(value_type, TensorType) and kind == "tensor":
        return _tensor(value_type, message.tensor)
    if isinstance(value_type, ListType) and kind == "list":
        return [import_value(item, source).value for item in message.list.values]
    if isinstance(value_type, TupleType) and kind == "tuple":
        return tuple(import_value(item, source).value for item in message.tuple.values)
    if isinstance(value_type, DictionaryType) and kind == "dictionary":
        items = message.dictionary.values
        return {_key(import_value(item.key, source).value): import_value(item.value, source).value for item in items}
    raise ProgramError(f"an immediate value of type {value_type} holds {kind or 'nothing'}")


def _key(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray) else value


def _tensor(tensor_type: TensorType, message: Any) -> Any:
    field = message.WhichOneof("value")
    shape = tensor_type.static_shape
    if shape is None:
        raise ProgramError(f"an immediate value of type {tensor_type}: expected a constant shape")
    count = math.prod(shape)
    values = b"" if field is None else getattr(message, field).values
    dtype = tensor_type.dtype
    if field == "bytes" or field is None:
        return _from_bytes(tensor_type, bytes(values), count).reshape(shape)
    if len(values) != count:
        raise ProgramError(f"an immediate value of type {tensor_type} holds {len(values)} elements; expected {count}")
    if field == "strings":
        texts = [text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for text in values]
        return texts[0] if shape == () else np.array(texts, dtype=object).reshape(shape)
    if field not in _NUMBER_FIELDS or dtype == dtypes.STRING:
        raise ProgramError(f"an immediate value of type {tensor_type} holds {field}")
    return np.fromiter(values, dtype.numpy, count).reshape(shape)


def _from_bytes(tensor_type: TensorType, data: bytes, count: int) -> Any:
    dtype = tensor_type.dtype
    needed = (count * dtype.bits + 7) // 8
    if len(data) != needed:
        raise ProgramError(f"an immediate value of type {tensor_type} holds {len(data)} bytes; expected {needed}")
    if dtype.is_sub_byte:
        return unpack(np.frombuffer(data, np.uint8), dtype, count)
    return np.frombuffer(data, dtype.numpy)
