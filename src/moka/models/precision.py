"""The types that a model's numbers are stored and computed in, under the names that ``metadata.json`` has for them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from moka.formats.dtypes import DType
from moka.ir.program import Argument, Constant, Function, Operation
from moka.ir.types import ListType, StateType, TensorType, Type

__all__ = [
    "compute_types",
    "constants",
    "has_other_weights",
    "mixed",
    "network_types",
    "network_weights",
    "storage_types",
    "stored_numbers",
    "weight_bytes",
]

_NETWORK_BITS = {"floatValue": ("fp32", 32), "float16Value": ("fp16", 16), "int8RawValue": ("int8", 8)}
_PREFIXES = {"fp": "Float", "bf": "BFloat", "uint": "UInt", "int": "Int"}


def mixed(types: set[str]) -> str:
    """Several types in one text: ``Float16``, ``Mixed (Float16, Int32)``; empty for none."""
    return f"Mixed ({', '.join(sorted(types))})" if len(types) > 1 else "".join(types)


def storage_types(function: Function) -> set[str]:
    """How an ML Program's function stores its weights: the types of what is in weight files.

    A table of n values counts as ``Palettized (log2(n) bits)``, zeros left out as ``Sparse``. The indices and masks of iOS 16,
    which are bits packed into bytes, count as nothing else.
    """
    found = set()
    for operation in function.body.walk():
        compressed = operation.type.startswith("constexpr_")
        for name, constant in constants(operation):
            packed = compressed and name in operation.attributes and name in ("indices", "mask")
            if constant.file is not None and not packed:
                found |= _names(constant.type)
        if compressed and "lut" in operation.type:
            found.add(f"Palettized ({_table_bits(operation)} bits)")
        if compressed and "sparse" in operation.type:
            found.add("Sparse")
    return found


def compute_types(function: Function) -> set[str]:
    """The types of numbers that the operations of a function take and give; what is inside compressed constants does not count."""
    found = set()
    for operation in function.body.walk():
        taken: Iterator[Argument] = iter(()) if operation.type.startswith("constexpr_") else operation.arguments()
        for value in (*taken, *operation.outputs):
            found |= _names(value.type)
    return found


def constants(operation: Operation) -> Iterator[tuple[str, Constant]]:
    """The constants that the file states at an operation itself: attributes, and arguments that are no names."""
    yield from operation.attributes.items()
    for name, arguments in operation.inputs.items():
        yield from ((name, argument) for argument in arguments if isinstance(argument, Constant))


def _table_bits(operation: Operation) -> int:
    """Bits that an index into the whole look-up table needs; since iOS 18 a table's last axis holds the parts of a vector."""
    table: Any = operation.attributes.get("lut") or next(iter(operation.inputs.get("lut", ())), None)
    shape = table.type.shape if table is not None and isinstance(table.type, TensorType) else ()
    sizes = [size for size in shape or () if isinstance(size, int)]
    entries = math.prod(sizes[:-1] if len(sizes) > 1 else sizes)
    return max(entries - 1, 0).bit_length()


def _names(value_type: Type) -> set[str]:
    """The name of a type's numbers; none for truth values and text."""
    if isinstance(value_type, StateType):
        return _names(value_type.wrapped)
    if isinstance(value_type, ListType):
        return _names(value_type.element)
    if isinstance(value_type, TensorType) and (value_type.dtype.is_float or value_type.dtype.is_int):
        return {_name(value_type.dtype)}
    return set()


def _name(dtype: DType) -> str:
    prefix = next(prefix for prefix in _PREFIXES if dtype.name.startswith(prefix))
    return _PREFIXES[prefix] + dtype.name.removeprefix(prefix)


def network_weights(network: Any) -> Iterator[Any]:
    """Every ``WeightParams`` message of a neural network that holds anything, those of nested networks too."""
    for layer in network.layers:
        kind = layer.WhichOneof("layer")
        if kind is not None:
            yield from _weights(getattr(layer, kind))


def _weights(message: Any) -> Iterator[Any]:
    if message.DESCRIPTOR.name == "WeightParams":
        if any(weight_bytes(message).values()):
            yield message
        return
    if message.DESCRIPTOR.name == "NeuralNetwork":
        yield from network_weights(message)
        return
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in value if hasattr(value, "__len__") else (value,):
                yield from _weights(item)


def weight_bytes(weights: Any) -> dict[str, int]:
    """Bytes in each of the fields that a ``WeightParams`` message may hold its numbers in."""
    return {
        "floatValue": 4 * len(weights.floatValue),
        "float16Value": len(weights.float16Value),
        "rawValue": len(weights.rawValue),
        "int8RawValue": len(weights.int8RawValue),
    }


def stored_numbers(weights: Any) -> Iterator[tuple[str, int, int]]:
    """(type, bits, elements) of the numbers in a ``WeightParams`` message."""
    for field, size in weight_bytes(weights).items():
        bits = max(weights.quantization.numberOfBits, 1)
        dtype, width = _NETWORK_BITS.get(field, (f"uint{bits}", bits))
        if size:
            yield dtype, width, size * 8 // width


def has_other_weights(network: Any) -> bool:
    """Whether a network has weights that are not float32."""
    return any(not weights.floatValue for weights in network_weights(network))


def network_types(network: Any) -> set[str]:
    """How a network stores its weights; only float32 has been seen in metadata."""
    return {"Float32" for weights in network_weights(network) if weights.floatValue}
