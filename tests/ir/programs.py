"""Programs made by hand, for tests of what reads and changes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.formats import dtypes
from moka.ir.program import Argument, Block, Constant, Function, Operation, Program, Value
from moka.ir.types import TensorType, Type

FP32, INT32, FLAG = TensorType(dtypes.FP32, (2, 3)), TensorType(dtypes.INT32, ()), TensorType(dtypes.BOOL, ())


def const(name: str, value: Any) -> Operation:
    array = np.asarray(value)
    dtype = {"f": dtypes.FP32, "i": dtypes.INT32, "b": dtypes.BOOL}[array.dtype.kind]
    type = TensorType(dtype, array.shape)
    return operation("const", name, type=type, attributes={"val": Constant(type, array)})


def operation(kind: str, *names: str, type: Type = FP32, blocks: Any = (), attributes: Any = None, **inputs: Any) -> Operation:
    """An operation with outputs of these names; inputs are operations (their first output), values, or lists of them."""
    made = Operation(kind, {name: _arguments(item) for name, item in inputs.items()}, [], attributes or {}, list(blocks))
    made.outputs = [Value(name, type, made) for name in names]
    return made


def _arguments(item: Any) -> tuple[Argument, ...]:
    items = item if isinstance(item, (list, tuple)) else [item]
    return tuple(part.outputs[0] if isinstance(part, Operation) else part for part in items)


def function(inputs: list[Value], operations: list[Operation], outputs: list[Any], opset: str = "CoreML7") -> Function:
    return Function("main", inputs, opset, Block([], operations, list(_arguments(outputs))))


def program(inputs: list[Value], operations: list[Operation], outputs: list[Any]) -> Program:
    return Program({"main": function(inputs, operations, outputs)})
