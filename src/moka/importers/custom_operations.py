"""Custom operations of ML Programs: ``custom_layer`` operations become those that run what users registered for the class."""

from __future__ import annotations

from typing import Any

from moka.errors import ProgramError
from moka.ir.program import Argument, Block, Constant, Function, Operation, Value
from moka.ir.types import OpaqueType
from moka.ops.custom import make_custom_layer

__all__ = ["bind_custom_operations"]

_CUSTOM = "custom_layer"


def bind_custom_operations(function: Function) -> None:
    """Replaces every ``custom_layer`` operation of a function, in place.

    Such an operation names its class and says which of its inputs flow (``input_order``), are constant parameters and are weights.

    Raises:
        UnsupportedError: nothing is registered for a class; the message shows how to.
        ProgramError: an input that the operation lists is missing, or is no constant where it has to be.
    """
    _bind(function.body)


def _bind(block: Block) -> None:
    for operation in block.operations:
        for inner in operation.blocks:
            _bind(inner)
        if operation.type == _CUSTOM:
            _replace(operation)


def _replace(operation: Operation) -> None:
    where = f"operation {operation}"
    class_name = str(_attribute(operation, "class_name", operation.name))
    inputs = [_argument(operation, name) for name in _names(operation, "input_order")]
    parameters = {name: _python(_constant(operation, name)) for name in _names(operation, "parameters") if name in operation.inputs}
    weights = [_constant(operation, name) for name in _names(operation, "weights")]
    layer = make_custom_layer(class_name, parameters, weights, len(inputs), len(operation.outputs), where)
    operation.type = "nn_custom"
    operation.attributes = {name: value for name, value in operation.attributes.items() if name == "name"}
    operation.inputs = {"layer": (Constant(OpaqueType(class_name), layer),)} | ({"inputs": tuple(inputs)} if inputs else {})


def _attribute(operation: Operation, name: str, default: Any) -> Any:
    return operation.attributes[name].value if name in operation.attributes else default


def _names(operation: Operation, attribute: str) -> list[str]:
    return [str(name) for name in _attribute(operation, attribute, [])]


def _argument(operation: Operation, name: str) -> Argument:
    arguments = operation.inputs.get(name, ())
    if len(arguments) != 1:
        raise ProgramError(f"operation {operation}: lists its input {name!r}, of which it has {len(arguments)}; expected 1")
    return arguments[0]


def _constant(operation: Operation, name: str) -> Any:
    """The content of an input that is constant."""
    argument = _argument(operation, name)
    if isinstance(argument, Value) and argument.producer is not None and argument.producer.type == "const":
        argument = argument.producer.attributes["val"]
    if not isinstance(argument, Constant):
        raise ProgramError(f"operation {operation}: its input {name!r} is computed; parameters and weights are constants")
    return argument.value


def _python(value: Any) -> Any:
    """A scalar as a Python value; arrays as they are."""
    return value.item() if getattr(value, "shape", None) == () else value
