"""A function of a program as Python code: an FX graph that calls the operations' kernels, with its constants in a module's attributes."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import keyword
import linecache
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, fx

from moka.engines.arithmetic import Arithmetic
from moka.engines.prepare import prepare
from moka.errors import ProgramError
from moka.formats import dtypes
from moka.ir.program import Argument, Block, Constant, Function, Operation, Value
from moka.ir.types import StateType, TensorType
from moka.ops.binding import Call, bind
from moka.ops.table import COMPUTED, Kind, OperationRecord, State, lookup

__all__ = ["ANCHOR", "Forward", "Store", "is_float", "write_forward"]

Forward: TypeAlias = Callable[..., tuple[Any, ...]]

ANCHOR = "_anchor"
"""Name of the module's empty tensor that shows which device and floating-point type it computes with."""

_WEIGHTS = re.compile(r"(input_)?(weight|bias|gamma|beta|alpha|peephole)(_ih|_hh)?(_back)?")
"""Parameters of operations that training changes."""

_FACTORS = {"gather": ("x",), "matmul": ("x", "y"), "einsum": ("values",)}
"""Parameters that hold weights where they are constants: embeddings and matrices."""

_PER_CHANNEL = ("add", "sub", "mul", "real_div")
"""Operations by which converters write scales and shifts; a constant of theirs with one long axis is a weight."""

_SUFFIXES = re.compile(r"(?<=.)(_to_fp16|_cast_fp16|_quantized|_palettized|_sparsified)+$")
"""What coremltools adds to names when it changes types and compresses."""

_ANCHOR_VALUE = Value(ANCHOR, TensorType(dtypes.FP32, (0,)))

_files = itertools.count()


class Store(Protocol):
    """Where constants go: a module, which gives each an attribute."""

    def place(self, name: str, value: Any, *, trainable: bool) -> str:
        """Keeps a tensor or another constant; gives the attribute's name, which need not be the one proposed."""
        ...


def is_float(value_type: Any) -> bool:
    """Whether values of the type are held in the module's floating-point type."""
    return isinstance(value_type, TensorType) and value_type.dtype in (dtypes.FP16, dtypes.FP32, dtypes.BF16)


def write_forward(function: Function, store: Store, *, decompress: bool, prefix: str | None = None) -> tuple[Forward, str]:
    """A Python function ``forward(module, *inputs)`` that does what a program's function does, and its text.

    Args:
        store: gets the constants; also the module that ``forward`` is called with.
        decompress: whether weights that are compressed are decompressed now; else at each call.
        prefix: what the names of all constants begin with that were parameters; None where names tell nothing.

    Raises:
        UnknownOperationError, ProgramError: as in `moka.engines.prepare.prepare`.
    """
    writer = _Writer(function.opset, store, decompress, prefix)
    writer.function(function)
    code = writer.graph.python_code("self")
    return _compiled(code.src, code.globals, function.name), code.src


def _compiled(source: str, names: dict[str, Any], name: str) -> Forward:
    """The function that a source defines; tracebacks show its lines."""
    file = f"<moka {name} {next(_files)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = dict(names)
    exec(compile(source, file, "exec"), scope)
    return scope["forward"]  # type: ignore[no-any-return]


def settle(x: Tensor, anchor: Tensor) -> Tensor:
    """A floating-point result in the module's type, on its device."""
    return x if x.dtype == anchor.dtype and x.device == anchor.device else x.to(anchor.device, anchor.dtype)


def settle_as(x: Tensor, anchor: Tensor, dtype: torch.dtype) -> Tensor:
    """An integer or boolean result in the type that it is held in, on the module's device."""
    return x if x.dtype == dtype and x.device == anchor.device else x.to(anchor.device, dtype)


def take_state(buffer: Tensor) -> State:
    """A state that starts with what the buffer holds. A copy: writing back must not change what a gradient needs."""
    return State(buffer.clone())


def keep_state(buffer: Tensor, state: State) -> None:
    """The buffer holds what the state held at the end."""
    buffer.copy_(state.tensor.detach())


def label(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """``classify`` in tensors: the index of the largest probability, and the probabilities in the order of the labels."""
    flat = probabilities.reshape(-1)
    return torch.argmax(flat), flat


class _Writer:
    """Writes one block. Constants are the outermost block's attributes; nested blocks get them as they get any value from outside."""

    def __init__(self, opset: str, store: Store, decompress: bool, prefix: str | None, outer: _Writer | None = None) -> None:
        self.opset, self.store, self.decompress, self.prefix, self.outer = opset, store, decompress, prefix, outer
        self.graph = fx.Graph()
        self.nodes: dict[Argument, Any] = {}
        self.constants: dict[Value, Constant] = {} if outer is None else outer.constants
        self.captured: list[Argument] = []

    def function(self, function: Function) -> None:
        """Writes the whole function; states are read from the module's buffers at the start and written to them at the end."""
        states = []
        for value in function.inputs:
            if not isinstance(value.type, StateType):
                self._placeholder(value)
        for value in function.states:
            name = self.store.place(_identifier(value.name), torch.zeros(_state_shape(value), dtype=_state_dtype(value)), trainable=False)
            buffer = self.graph.get_attr(name)
            self.nodes[value] = self.graph.call_function(take_state, (buffer,))
            states.append((buffer, self.nodes[value]))
        self._operations(function.body.operations)
        outputs = tuple(self._node(value) for value in function.outputs)
        for pair in states:
            self.graph.call_function(keep_state, pair)
        self.graph.output(outputs)

    def block(self, block: Block) -> Forward:
        """A nested block as a function of its inputs and of the values that it captures, which are then in ``captured``."""
        for value in block.inputs:
            self.nodes[value] = self.graph.placeholder(_identifier(value.name))
        self._operations(block.operations)
        outputs = tuple(self._node(value) for value in block.outputs)
        self.graph.output(outputs)
        code = self.graph.python_code("self")
        return functools.partial(_compiled(code.src, code.globals, "block"), None)

    def _placeholder(self, value: Value) -> None:
        node = self.graph.placeholder(_identifier(value.name))
        self.nodes[value] = self._settled(value, node)

    def _operations(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            if operation.type == "const":
                self.constants[operation.outputs[0]] = operation.attributes["val"]
            elif not (self._is_cast(operation) or self._is_known_shape(operation) or self._fold(operation)):
                self._operation(operation)

    def _is_cast(self, operation: Operation) -> bool:
        """A cast between floating-point types, which all are the module's one type, gives its input."""
        (value,) = operation.inputs.get("x", (None,))
        if (
            operation.type != "cast"
            or value is None
            or self._known(value)
            or not (is_float(value.type) and is_float(operation.outputs[0].type))
        ):
            return False
        self.nodes[operation.outputs[0]] = self._node(value)
        return True

    def _is_known_shape(self, operation: Operation) -> bool:
        """The shape of a value whose type states it is a constant, so that what converters compute from it is one as well."""
        (value,) = operation.inputs.get("x", (None,))
        if operation.type != "shape" or value is None or not isinstance(value.type, TensorType) or value.type.static_shape is None:
            return False
        shape = torch.tensor(value.type.static_shape, dtype=torch.int32)
        self.constants[operation.outputs[0]] = _constant(operation.outputs[0], shape)
        return True

    def _known(self, argument: Argument) -> bool:
        return isinstance(argument, Constant) or argument in self.constants

    def _content(self, argument: Argument) -> Any:
        return (argument if isinstance(argument, Constant) else self.constants[argument]).value

    def _fold(self, operation: Operation) -> bool:
        """Computes an operation whose inputs are constants; says whether it did."""
        if operation.type.startswith("constexpr_") and not self.decompress:
            return False
        record = lookup(operation.type, self.opset)
        tensors = all(isinstance(value.type, TensorType) for value in operation.outputs)
        if not tensors or not record.folds or operation.blocks or not all(map(self._known, operation.arguments())):
            return False
        inputs: dict[str, tuple[Argument, ...]] = {
            name: tuple(item if isinstance(item, Constant) else self.constants[item] for item in items)
            for name, items in operation.inputs.items()
        }
        stated = dataclasses.replace(operation, inputs=inputs)
        with torch.no_grad():
            results = prepare((), (stated,), operation.outputs, self.opset, Arithmetic(torch.device("cpu")))()
        self.constants.update((value, _constant(value, result)) for value, result in zip(operation.outputs, results, strict=True))
        return True

    def _operation(self, operation: Operation) -> None:
        record = lookup(operation.type, self.opset)
        result = self._classified(operation) if operation.type == "classify" else self._call(operation, record)
        results = [result] if len(operation.outputs) == 1 else [result[index] for index in range(len(operation.outputs))]
        for value, node in zip(operation.outputs, results, strict=True):
            node = node.node if isinstance(node, fx.Proxy) else node
            node._rename(_identifier(value.name))
            self.nodes[value] = node if self._keeps_type(operation, record) else self._settled(value, node)

    def _classified(self, operation: Operation) -> Any:
        (probabilities,) = operation.inputs["probabilities"]
        return fx.Proxy(self.graph.call_function(label, (self._node(probabilities),)))

    def _keeps_type(self, operation: Operation, record: OperationRecord) -> bool:
        """Whether a bare PyTorch function, which keeps the element type of its inputs, is declared to do so."""
        held = {is_float(item.type) or getattr(item.type, "dtype", None) for item in (*operation.arguments(), *operation.outputs)}
        return operation.type == "classify" or (record.call is not None and len(held) == 1)

    def _call(self, operation: Operation, record: OperationRecord) -> Any:
        """The call of the kernel as a node: with attributes as keywords where they are plain, else with a function that has them bound."""
        computed = any(
            record.parameters[name].kind is Kind.ATTRIBUTE and not all(map(self._known, items))
            for name, items in _arguments(operation).items()
            if name in record.parameters
        )
        if computed or operation.blocks:
            return self._bound(operation, record)

        @functools.wraps(record.kernel)
        def recorder(*args: Any, **attributes: Any) -> Any:
            if all(isinstance(item, fx.Node | tuple) or _is_plain(item) for item in attributes.values()):
                return fx.Proxy(self.graph.call_function(record.kernel, args, attributes))
            return self._bound(operation, record)

        call, operands = bind(operation, dataclasses.replace(record, kernel=recorder, call=None), self._known, self._content, _no_block)
        return call(*(self._operand(operation, operand) for operand in operands))

    def _bound(self, operation: Operation, record: OperationRecord) -> Any:
        """A call of a function that is the kernel with everything bound that does not flow."""
        call, operands = bind(operation, record, self._known, self._content, self._block)
        nodes = tuple(self._operand(operation, operand) for operand in operands)
        return fx.Proxy(self.graph.call_function(_named(call, record.name), nodes))

    def _block(self, block: Block) -> tuple[Call, tuple[Argument, ...]]:
        inner = _Writer(self.opset, self.store, self.decompress, self.prefix, self)
        code = inner.block(block)
        return code, tuple(inner.captured)

    def _operand(self, operation: Operation, argument: Argument) -> Any:
        """The node of an operand; a constant that is a weight of the operation becomes a parameter."""
        if argument in self.nodes or not self._known(argument):
            return self._node(argument)
        parameter = next(name for name, items in _arguments(operation).items() if argument in items)
        constant = argument if isinstance(argument, Constant) else self.constants[argument]
        name = argument.name if isinstance(argument, Value) else f"{operation.name}_{parameter}"
        stated = self.prefix is not None and name.startswith(self.prefix) and is_float(constant.type)
        return self._attribute(argument, constant, name, stated or _is_weight(operation.type, parameter, constant))

    def _node(self, argument: Argument) -> Any:
        """The node of a value of this block, or of one that it captures from outside."""
        if argument in self.nodes:
            return self.nodes[argument]
        if self._known(argument):
            constant = argument if isinstance(argument, Constant) else self.constants[argument]
            return self._attribute(argument, constant, argument.name if isinstance(argument, Value) else "constant", False)
        assert isinstance(argument, Value)
        if self.outer is not None:
            return self._capture(argument)
        if argument is not _ANCHOR_VALUE:
            raise ProgramError(f"value {argument.name!r} is used but nothing defines it")
        self.nodes[argument] = self.graph.get_attr(ANCHOR)
        return self.nodes[argument]

    def _attribute(self, argument: Argument, constant: Constant, name: str, trainable: bool) -> Any:
        if self.outer is not None:
            self.outer.attribute(argument, constant, name, trainable)
            return self._capture(argument)
        value = Arithmetic(torch.device("cpu")).constant(constant)
        value = value.clone() if isinstance(value, Tensor) else value
        self.nodes[argument] = self.graph.get_attr(self.store.place(_identifier(name), value, trainable=trainable))
        return self.nodes[argument]

    def attribute(self, argument: Argument, constant: Constant, name: str, trainable: bool) -> None:
        """Makes a constant that a nested block uses an attribute."""
        if argument not in self.nodes:
            self._attribute(argument, constant, name, trainable)

    def _capture(self, argument: Argument) -> fx.Node:
        self.captured.append(argument)
        self.nodes[argument] = self.graph.placeholder(_identifier(argument.name if isinstance(argument, Value) else "constant"))
        return self.nodes[argument]  # type: ignore[no-any-return]

    def _settled(self, value: Value, node: Any) -> Any:
        """The node, or one after it that gives the result the type that the value is held in."""
        if not isinstance(value.type, TensorType) or value.type.dtype not in COMPUTED:
            return node
        if is_float(value.type):
            return self.graph.call_function(settle, (node, self._node(_ANCHOR_VALUE)))
        return self.graph.call_function(settle_as, (node, self._node(_ANCHOR_VALUE), COMPUTED[value.type.dtype]))


def _arguments(operation: Operation) -> dict[str, tuple[Argument, ...]]:
    """What an operation takes by parameter: inputs, and the attributes that are inputs in all but place."""
    return {name: (value,) for name, value in operation.attributes.items() if name != "name"} | operation.inputs


def _is_weight(kind: str, parameter: str, constant: Constant) -> bool:
    """Whether training changes a constant that is this parameter of an operation of this kind."""
    if not is_float(constant.type) or not constant.type.shape:  # type: ignore[union-attr]
        return False
    if _WEIGHTS.fullmatch(parameter) or parameter in _FACTORS.get(kind, ()):
        return True
    return kind in _PER_CHANNEL and sum(size != 1 for size in constant.type.shape) == 1  # type: ignore[union-attr]


def _constant(value: Value, result: Any) -> Constant:
    """A folded result as a constant of its own shape."""
    assert isinstance(value.type, TensorType)
    content = result.numpy() if isinstance(result, Tensor) else result
    return Constant(TensorType(value.type.dtype, tuple(getattr(content, "shape", ()))), content)


def _state_shape(value: Value) -> tuple[int, ...]:
    assert isinstance(value.type, StateType)
    shape = value.type.wrapped.static_shape
    if shape is None:
        raise ProgramError(f"state {value.name!r} of type {value.type.wrapped} has no constant shape")
    return shape


def _state_dtype(value: Value) -> torch.dtype:
    assert isinstance(value.type, StateType)
    return torch.float32 if is_float(value.type.wrapped) else COMPUTED[value.type.wrapped.dtype]


def _is_plain(value: Any) -> bool:
    """Whether a value can stand in Python code as it is."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _named(call: Call, name: str) -> Callable[..., Any]:
    """A bound call under the operation's name, as generated code wants functions."""

    def named(*operands: Any) -> Any:
        return call(*operands)

    named.__name__ = named.__qualname__ = name
    return named


def _no_block(block: Block) -> tuple[Call, tuple[Argument, ...]]:
    raise ProgramError("an operation without nested blocks has one")


def _identifier(name: str) -> str:
    """The name of a value as one that Python allows."""
    name = re.sub(r"\W", "_", _SUFFIXES.sub("", name)) or "value"
    return f"_{name}" if name[0].isdigit() or keyword.iskeyword(name) or name == "self" else name
