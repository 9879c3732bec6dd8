"""From a segment of the program to an ONNX model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import helper

from moka.engines.base import Segment
from moka.engines.onnx.graph import Graph, Operand, Target, Unlowerable, Weights
from moka.engines.onnx.registry import UNLOWERED, Lowering, find
from moka.engines.torch_engine import TorchEngine
from moka.errors import MokaError
from moka.ir.program import Argument, Block, Constant, Operation, Value
from moka.ir.types import StateType, TensorType, Type
from moka.ops.table import Kind, OperationRecord, Parameter, lookup
from moka.passes.pipelines import simplify
from moka.passes.rows import split_states

__all__ = ["Lowered", "Port", "lower", "reasons", "taken"]

_IR_VERSION = 10

_DEPTH = 16
"""How far back constants are looked for; operations in order find theirs one step back."""


@dataclass(frozen=True, slots=True)
class Port:
    """A value of the program where it enters or leaves the model, under the name that it has there."""

    value: Value
    operand: Operand


@dataclass(frozen=True, slots=True)
class Lowered:
    """A segment as an ONNX model.

    Attributes:
        model: the message, without the large constants, which are initializers by name in no other place than ``weights``.
        states: by the state's name, its inputs and outputs in pairs: one, or where a state is taken apart one for each row.
    """

    model: onnx.ModelProto
    weights: Weights
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: Mapping[str, tuple[tuple[Port, Port], ...]]
    segment: Segment

    @property
    def state_ports(self) -> list[tuple[Port, Port]]:
        """The inputs and outputs of all states, one state after the other."""
        return [pair for pairs in self.states.values() for pair in pairs]


def lower(segment: Segment, target: Target) -> Lowered:
    """Lowers a segment.

    Raises:
        Unlowerable: an operation has no form in ONNX; the message names it and says why.
    """
    function = segment.function()
    simplify(function)
    rows = {} if target.name == "onnx" else split_states(function)
    return _Lowerer(segment.opset, target).segment(segment, Segment.of(function), rows)


def reasons(operation: Operation, opset: str, target: Target) -> tuple[str, ...]:
    """Why an operation can't be lowered; empty if it can."""
    if operation.type == "const":
        return ()
    lowerer = _Lowerer(opset, target)
    try:
        lowerer.alone(operation)
    except (Unlowerable, MokaError) as reason:
        return (str(reason),)
    return ()


class _Lowerer:
    """What is known while a program is lowered: its constants, and the operand of each of its values."""

    def __init__(self, opset: str, target: Target) -> None:
        self.opset = opset
        self.target = target
        self.graph = Graph(target)
        self.graph.block = self._block
        self.constants: dict[Value, Constant] = {}
        self.operands: dict[Value, Operand] = {}
        self._computed: set[Operation] = set()
        """Operations that can't be computed ahead, so that a chain of them is not walked for each of its members."""
        self._given: set[str] = set()
        """Names of outputs that states have."""
        self.uses: dict[Value, set[str]] = {}
        """Where each value goes, as ``linear.weight``, or ``linear.weight of quantized`` where it meets quantized activations."""

    def segment(self, stated: Segment, segment: Segment, rows: Mapping[Value, Sequence[Value]]) -> Lowered:
        """Lowers a segment in its simpler form, in which states of several ``rows`` may have been taken apart."""
        inputs = [Port(value, self._enter(value)) for value in segment.inputs if not isinstance(value.type, StateType)]
        states = {value: Port(value, self._enter(value)) for value in segment.inputs if isinstance(value.type, StateType)}
        self.uses = _uses(segment)
        self._operations(segment.operations, self.graph)
        outputs = [Port(value, self._output(result)) for value, result in zip(stated.outputs, segment.outputs, strict=True)]
        written = {value: Port(value, self._written(value)) for value in states}
        taken_in, given_out = (*inputs, *states.values()), (*outputs, *written.values())
        graph = self.graph.message("moka", [port.operand for port in taken_in], [port.operand for port in given_out])
        versions = {"": self.target.opset, "com.microsoft": 1}
        used = {node.domain for node in _nodes(graph)}
        imports = [helper.make_opsetid(domain, version) for domain, version in versions.items() if domain in used or not domain]
        model = helper.make_model(graph, producer_name="moka", opset_imports=imports, ir_version=_IR_VERSION)
        pairs = {
            value.name: tuple((states[part], written[part]) for part in rows.get(value, [value]))
            for value in stated.inputs
            if isinstance(value.type, StateType)
        }
        return Lowered(model, _drop_unused(model.graph, self.graph.weights), tuple(inputs), tuple(outputs), pairs, stated)

    def alone(self, operation: Operation) -> None:
        """Lowers one operation, with whatever it takes as inputs of the graph; the results are thrown away."""
        if operation.type.startswith("constexpr_"):  # computed ahead at the latest, which would take long here
            return
        for value in _free_values(operation):
            if self._resolve(value) is None:
                self._enter(value)
        self._operation(operation, self.graph)

    def _resolve(self, argument: Argument, depth: int = _DEPTH) -> Constant | None:
        """The constant behind an argument, computed if it is one that constants alone determine, in at most ``depth`` steps."""
        if isinstance(argument, Constant):
            return argument
        producer = argument.producer
        unknown = argument not in self.constants and argument not in self.operands
        if unknown and producer is not None and producer not in self._computed and not self._fold(producer, depth):
            self._computed.add(producer)
        return self.constants.get(argument)

    def _fold(self, operation: Operation, depth: int = _DEPTH) -> bool:
        """Computes an operation ahead if it can be; says whether."""
        if operation.type == "const":
            self.constants[operation.outputs[0]] = operation.attributes["val"]
            return True
        record = lookup(operation.type, self.opset)
        if not depth or not record.folds or operation.blocks or any(isinstance(value.type, StateType) for value in _values(operation)):
            return False
        known = {name: tuple(self._resolve(item, depth - 1) for item in arguments) for name, arguments in operation.inputs.items()}
        if any(constant is None for constants in known.values() for constant in constants):
            return False
        stated = replace(operation, inputs={name: tuple(item for item in items if item is not None) for name, items in known.items()})
        segment = Segment((), (stated,), tuple(operation.outputs), self.opset)
        results = TorchEngine().compile(segment).run({})
        self.constants.update((value, _constant(value.type, results[value.name])) for value in operation.outputs)
        return True

    def _enter(self, value: Value) -> Operand:
        """An input of the graph for a value of the program."""
        tensor = value.type.wrapped if isinstance(value.type, StateType) else value.type
        if not isinstance(tensor, TensorType):
            raise Unlowerable(f"{value.name!r} is of type {tensor}")
        operand = Operand(self.graph.fresh(value.name), self.target.carried(tensor.dtype), tensor.shape, tensor.dtype)
        self._refuse_empty(operand)
        if isinstance(value.type, StateType):
            self.graph.states[value] = operand
        else:
            self.operands[value] = operand
        return operand

    def _output(self, value: Value) -> Operand:
        operand = self._operand(value)
        self._refuse_empty(operand)
        given = replace(operand, shape=value.type.shape if isinstance(value.type, TensorType) else None)
        return self._named(given, value.name)

    def _written(self, state: Value) -> Operand:
        """What a state holds in the end: the very result of a node, so that a runtime may write it to where the state lies."""
        operand = self.graph.states[state]
        if operand.name in self._given or not any(operand.name in node.output for node in self.graph.nodes):
            operand = self._named(operand, f"{state.name}_out")
        self._given.add(operand.name)
        return operand

    def _named(self, operand: Operand, name: str) -> Operand:
        """The operand under a name of its own, as outputs need one."""
        node = self.graph.node("Identity", operand, shape=operand.shape)
        name = self.graph.fresh(name)
        self.graph.nodes[-1].output[0] = name
        return replace(node, name=name)

    def _operations(self, operations: Iterable[Operation], graph: Graph) -> None:
        for operation in operations:
            lowering = find(operation.type)
            if not self._stays_compressed(operation, lowering) and self._fold(operation):
                continue
            self._operation(operation, graph)

    def _stays_compressed(self, operation: Operation, lowering: Lowering | None) -> bool:
        if lowering is None or not lowering.compressed:
            return False
        uses = {use for value in operation.outputs for use in self.uses.get(value, ("nothing",))}
        return self.target.name == "onnx" or uses <= lowering.compressed

    def _operation(self, operation: Operation, graph: Graph) -> None:
        lowering = find(operation.type)
        if lowering is None:
            reason = UNLOWERED.get(operation.type, "it is unknown")
            raise Unlowerable(f"operation {operation.type!r} has no form in ONNX: {reason}")
        record = lookup(operation.type, self.opset)
        graph.operation, graph.version = operation.name, record.opset
        try:
            result = lowering.function(graph, **self._arguments(operation, record, lowering))
        except Unlowerable as reason:
            raise Unlowerable(f"operation {operation}: {reason}") from reason
        if result is None and lowering.compressed and self._fold(operation):
            return
        results = [result] if isinstance(result, Operand) else list(result or ())
        for value, operand in zip(operation.outputs, results, strict=True):
            self.operands[value] = self._declared(value, operand, graph)

    def _declared(self, value: Value, operand: Operand, graph: Graph) -> Operand:
        """What an operation gave as a value of the type that the program declares for it."""
        if not isinstance(value.type, TensorType):
            raise Unlowerable(f"{value.name!r} is of type {value.type}")
        operand = graph.cast(operand, self.target.carried(value.type.dtype))
        shape = value.type.shape if value.type.shape is not None else operand.shape
        operand = replace(operand, shape=shape, declared=value.type.dtype)
        self._refuse_empty(operand)
        return operand

    def _refuse_empty(self, operand: Operand) -> None:
        """OpenVINO 2026.4 ends the process where some operators meet a tensor without elements."""
        if self.target.name == "openvino" and operand.shape is not None and 0 in operand.shape:
            raise Unlowerable(f"{operand.name!r} has no elements, which OpenVINO can't compute with")

    def _arguments(self, operation: Operation, record: OperationRecord, lowering: Lowering) -> dict[str, Any]:
        blocks = iter(operation.blocks)
        stated = {name: (value,) for name, value in operation.attributes.items() if name != "name"} | operation.inputs
        return {
            name.lstrip("_"): next(blocks) if parameter.kind is Kind.BLOCK else self._argument(operation, parameter, stated, lowering)
            for name, parameter in record.parameters.items()
        }

    def _argument(self, operation: Operation, parameter: Parameter, stated: dict[str, Any], lowering: Lowering) -> Any:
        arguments = stated.get(parameter.name)
        if arguments is None:
            return parameter.default
        if parameter.kind is Kind.TENSORS:
            return tuple(map(self._operand, arguments))
        if parameter.kind is Kind.STATE:
            return arguments[0]
        if parameter.kind is not Kind.ATTRIBUTE:
            return self._operand(arguments[0])
        constants = [self._resolve(argument) for argument in arguments]
        values = [constant.value for constant in constants if constant is not None]
        if len(values) == len(constants):
            assert parameter.convert is not None
            return parameter.convert(values[0] if len(values) == 1 else values)
        if parameter.name in lowering.computed:
            return self._operand(arguments[0])
        raise Unlowerable(f"its {parameter.name!r} is computed while the program runs")

    def _operand(self, argument: Argument) -> Operand:
        if isinstance(argument, Value) and argument in self.operands:
            return self.operands[argument]
        constant = self._resolve(argument)
        if constant is None:
            name = argument.name if isinstance(argument, Value) else "?"
            raise Unlowerable(f"{name!r} is used but nothing defines it")
        if not isinstance(constant.type, TensorType):
            raise Unlowerable(f"a constant of type {constant.type}")
        return self.graph.weight(constant, argument.name if isinstance(argument, Value) else "constant")

    def _block(self, block: Block, inputs: Sequence[Operand], graph: Graph) -> list[Operand]:
        self.operands.update(zip(block.inputs, inputs, strict=True))
        before = dict(self.graph.states)
        self._operations(block.operations, graph)
        if self.graph.states != before:
            raise Unlowerable("a nested block writes a state")
        return [self._operand(value) for value in block.outputs]


def _constant(value_type: Type, result: Any) -> Constant:
    """A folded result as a constant; the shape is the result's own."""
    array = result.numpy() if hasattr(result, "numpy") else result
    if not isinstance(value_type, TensorType) or not isinstance(array, np.ndarray):
        return Constant(value_type, array)
    return Constant(TensorType(value_type.dtype, array.shape), array)


def _values(operation: Operation) -> list[Value]:
    return [argument for argument in operation.arguments() if isinstance(argument, Value)]


def _uses(segment: Segment) -> dict[Value, set[str]]:
    """Where the values of a segment go, nested blocks included."""
    uses: dict[Value, set[str]] = {value: {"output"} for value in segment.outputs}
    for operation in _walk(segment.operations):
        for block in operation.blocks:
            for value in block.outputs:
                uses.setdefault(value, set()).add("output")
        quantized = " of quantized" if any(_makes(item, "dequantize") for item in operation.inputs.get("x", ())) else ""
        for name, arguments in operation.inputs.items():
            for argument in arguments:
                if isinstance(argument, Value):
                    uses.setdefault(argument, set()).add(f"{operation.type}.{name}{quantized}")
    return uses


def _makes(argument: Argument, kind: str) -> bool:
    return isinstance(argument, Value) and argument.producer is not None and argument.producer.type == kind


def _walk(operations: Iterable[Operation]) -> Iterator[Operation]:
    for operation in operations:
        yield operation
        for block in operation.blocks:
            yield from block.walk()


def _drop_unused(graph: onnx.GraphProto, weights: Weights) -> Weights:
    """Removes nodes and constants that no output depends on, such as weights that others were made of. Gives the weights that are left."""
    used = {output.name for output in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not used.isdisjoint(node.output):
            kept.append(node)
            used.update(taken(node))
    initializers = [item for item in graph.initializer if item.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(reversed(kept))
    graph.initializer.extend(initializers)
    return {name: array for name, array in weights.items() if name in used}


def _free_values(operation: Operation) -> list[Value]:
    """Every value that an operation and its blocks take from outside."""
    made = {value for block in operation.blocks for inner in block.walk() for value in inner.outputs}
    made |= {value for block in operation.blocks for value in block.inputs}
    made |= {value for block in operation.blocks for inner in block.walk() for nested in inner.blocks for value in nested.inputs}
    used = [*_values(operation), *(value for block in operation.blocks for inner in block.walk() for value in _values(inner))]
    used += [value for block in operation.blocks for value in block.outputs]
    return [value for value in dict.fromkeys(used) if value not in made]


def taken(node: onnx.NodeProto) -> Iterator[str]:
    """Every name that a node and its nested graphs use."""
    yield from node.input
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield from (output.name for output in attribute.g.output)
            for inner in attribute.g.node:
                yield from taken(inner)


def _nodes(graph: onnx.GraphProto) -> Iterable[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
