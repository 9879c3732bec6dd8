"""OpenVINO as an engine: the fastest on CPUs for anything large, and the way to Intel's GPUs and NPUs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper

from moka.engines.base import Segment
from moka.engines.conversion import convert
from moka.engines.onnx.graph import Array, Packed, Target, Unlowerable, onnx_dtype
from moka.engines.onnx.lower import Lowered, Port, lower, reasons, taken
from moka.engines.onnx.requests import Request
from moka.engines.onnx.states import joined, parted, states_of
from moka.engines.onnx.times import name_after_operations, openvino_times
from moka.engines.times import SegmentTimes, durations
from moka.formats.dtypes import FP16
from moka.ir.program import Operation, Value
from moka.ir.types import TensorType

__all__ = ["OpenVinoEngine", "OpenVinoExecutable", "device_kinds"]


@dataclass(frozen=True)
class OpenVinoEngine:
    """Runs programs with OpenVINO.

    Args:
        device: OpenVINO's name: ``CPU``, ``GPU``, ``NPU``.
        threads: how many threads one prediction may use; 0 for as many as there are cores.
        low_precision: whether values declared fp16 may be computed in bf16 or fp16 where the device is fast at it.
    """

    device: str = "CPU"
    threads: int = 0
    low_precision: bool = False
    target: Target = field(default=Target("openvino"))
    name: str = "openvino"

    def reasons(self, operation: Operation, opset: str) -> tuple[str, ...]:
        return reasons(operation, opset, self.target)

    def compile(self, segment: Segment) -> OpenVinoExecutable:
        return OpenVinoExecutable(lower(segment, self.target), self)


class OpenVinoState:
    """A state as variables, one or one a row, of the infer request that keeps them."""

    __slots__ = ("request", "variables")

    def __init__(self, request: Request, variables: Sequence[Any]) -> None:
        self.request = request
        self.variables = variables

    @property
    def tensor(self) -> torch.Tensor:
        return joined([np.array(variable.state.data) for variable in self.variables])

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        import openvino

        dtype = self.variables[0].state.data.dtype
        for variable, array in zip(self.variables, parted(value, len(self.variables), dtype), strict=True):
            variable.state = openvino.Tensor(array)


class OpenVinoExecutable:
    """A segment compiled by OpenVINO. Each thread that predicts takes an infer request of its own from a pool; each state keeps one."""

    def __init__(self, lowered: Lowered, engine: OpenVinoEngine) -> None:
        self.lowered = lowered
        self._engine = engine
        self._compiled, names = _compile(lowered, engine)
        self._idle: list[Request] = []
        ports = {port.operand.name: port for port in lowered.inputs}
        self._inputs = [ports[name] for name in names]
        results = {name: index for index, port in enumerate(self._compiled.outputs) for name in port.names}
        self._outputs = [(port.value.name, results[port.operand.name]) for port in lowered.outputs]
        half = [index for port, (_, index) in zip(lowered.outputs, self._outputs, strict=True) if _is_half(port.value)]
        self._narrowed = frozenset(half if engine.low_precision else ())
        self._states = tuple(lowered.states)

    def run(self, inputs: Mapping[str, Any], state: Mapping[str, OpenVinoState] | None = None) -> dict[str, Any]:
        feed = [np.asarray(inputs[port.value.name], port.operand.dtype) for port in self._inputs]
        if self._states:
            return self._run(states_of(self._states, state)[0].request, feed)
        try:
            request = self._idle.pop()
        except IndexError:
            request = Request(self._compiled, self._narrowed)
        try:
            return self._run(request, feed)
        finally:
            self._idle.append(request)

    def _run(self, request: Request, feed: Sequence[Any]) -> dict[str, Any]:
        request.infer(feed)
        return {name: request.output(index) for name, index in self._outputs}

    def times(self, inputs: Mapping[str, Any], runs: int) -> tuple[SegmentTimes, ...]:
        whole = durations(functools.partial(self.run, inputs, self.new_state()), runs)
        compiled, _ = _compile(self.lowered, self._engine, counters=True)
        request = Request(compiled)
        run = functools.partial(request.infer, [np.asarray(inputs[port.value.name], port.operand.dtype) for port in self._inputs])
        return (openvino_times(self.lowered, compiled, request.request, run, self._engine.device, whole),)

    def new_state(self) -> dict[str, OpenVinoState]:
        if not self._states:
            return {}
        request = Request(self._compiled, self._narrowed)
        variables = {variable.name: variable for variable in request.request.query_state()}
        for variable in variables.values():
            variable.reset()
        return {
            name: OpenVinoState(request, [variables[before.operand.name + after.operand.name] for before, after in pairs])
            for name, pairs in self.lowered.states.items()  # variables are named so by the transformation that makes them
        }


def _is_half(value: Value) -> bool:
    return isinstance(value.type, TensorType) and value.type.dtype is FP16


_COMPUTED_ALIKE = ({"f16", "f32", "f64"}, {"i32", "i64"})
"""Element types that OpenVINO computes in the same type on CPUs."""


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


@cache
def device_kinds() -> frozenset[str]:
    """Kinds of devices that OpenVINO finds on this machine: ``CPU``, ``GPU``, ``NPU``."""
    return frozenset(name.partition(".")[0] for name in _core().available_devices)


def _compile(lowered: Lowered, engine: OpenVinoEngine, counters: bool = False) -> tuple[Any, list[str]]:
    """OpenVINO's compiled model, and the names of its inputs, in whose place it may have put those of operators that it left out.

    With ``counters`` it times its nodes, which are named after the program's operations.
    """
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    if not engine.low_precision:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if engine.threads and engine.device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = str(engine.threads)
    network = _network(lowered, widened=engine.device == "CPU")
    if counters:
        settings["PERF_COUNT"] = "YES"
        name_after_operations(network, lowered)
    names = [parameter.get_friendly_name() for parameter in network.get_parameters()]
    return _core().compile_model(network, engine.device, settings), names


def _network(lowered: Lowered, widened: bool) -> Any:
    """OpenVINO's model. Large constants enter as inputs of the graph and are then replaced by constants over the same memory.

    Those that nested graphs use are in the message: it takes others for values that change from step to step. With ``widened``
    fp16 ones are made float32 here: OpenVINO 2026.4 does the same on CPUs, where nothing computes in fp16, in three times the time.
    """

    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    nested = {name for node in model.graph.node for graph in _nested(node) for inner in graph.node for name in taken(inner)}
    inside = {name: array for name, array in lowered.weights.items() if name in nested and not isinstance(array, Packed)}
    shared = {name: _wide(array) if widened else array for name, array in lowered.weights.items() if name not in inside}
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in inside.items())
    for name, array in shared.items():
        model.graph.input.append(helper.make_tensor_value_info(name, onnx_dtype(array.dtype), array.shape))
    network = _core().read_model(model.SerializeToString())
    parameters = {parameter.get_friendly_name(): parameter for parameter in network.get_parameters()}
    for name, array in shared.items():
        constant = _constant(array)
        constant.set_friendly_name(name)
        parameters[name].output(0).replace(constant.output(0))
        network.remove_parameter(parameters[name])
    if lowered.states:
        _make_stateful(network, lowered.state_ports)
    if widened:
        _pass_through(network)
    network.validate_nodes_and_infer_types()
    return network


def _pass_through(network: Any) -> None:
    """Makes results of open shapes that are inputs behind conversions of no effect on CPUs the inputs themselves.

    OpenVINO 2026.4 leaves such conversions out, and then writes the results to where earlier runs had their inputs.
    """
    for result in network.get_results():
        source = result.input_value(0)
        kinds = {source.get_element_type().get_type_name()}
        while source.get_node().get_type_name() in ("Convert", "Identity"):
            source = source.get_node().input_value(0)
            kinds.add(source.get_element_type().get_type_name())
        alike = source.get_element_type() == result.get_element_type() and any(kinds <= same for same in _COMPUTED_ALIKE)
        if alike and source.get_node().get_type_name() == "Parameter" and source.get_partial_shape().is_dynamic:
            result.input(0).replace_source_output(source)


def _nested(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    return [attribute.g for attribute in node.attribute if attribute.HasField("g")]


def _wide(array: Array | Packed) -> Array | Packed:
    """The array in float32 if it is fp16, in memory of PyTorch's: the system gives it faster than the huge pages that NumPy asks for."""
    if isinstance(array, Packed) or array.dtype != np.float16:
        return array
    wide = torch.empty(array.shape, dtype=torch.float32).numpy()
    convert(np.ascontiguousarray(array), wide)
    return wide


def _constant(array: Array | Packed) -> Any:
    """A constant over the array's memory."""
    import openvino

    if not isinstance(array, Packed):
        return openvino.op.Constant(array, shared_memory=True)
    kind = openvino.Type.u4 if array.dtype.name == "uint4" else openvino.Type.i4
    return openvino.op.Constant(openvino.Tensor(array.data, openvino.Shape(array.shape), kind))


def _make_stateful(network: Any, states: Sequence[tuple[Port, Port]]) -> None:
    """Turns pairs of an input and an output into variables, which stay in the infer request from run to run."""
    from openvino import passes

    known = {name for item in network.get_parameters() for name in item.output(0).get_names()}
    if unread := [before.value.name for before, _ in states if before.operand.name not in known]:
        raise Unlowerable(f"state {unread[0]!r} is written and never read, which OpenVINO leaves out")
    manager = passes.Manager()
    manager.register_pass(passes.MakeStateful({before.operand.name: after.operand.name for before, after in states}))
    manager.run_passes(network)
