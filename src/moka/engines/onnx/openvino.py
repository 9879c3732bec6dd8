"""OpenVINO as an engine: the fastest on CPUs for anything large, and the way to Intel's GPUs and NPUs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper

from moka.engines.base import Segment
from moka.engines.onnx.graph import Target, onnx_dtype
from moka.engines.onnx.lower import Lowered, lower, reasons
from moka.engines.onnx.states import ArrayState, new_states, states_of
from moka.ir.program import Operation

__all__ = ["OpenVinoEngine", "OpenVinoExecutable"]


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


class OpenVinoExecutable:
    """A segment compiled by OpenVINO. Each thread that predicts takes an infer request of its own from a pool."""

    def __init__(self, lowered: Lowered, engine: OpenVinoEngine) -> None:
        self.lowered = lowered
        self._lock = threading.Lock()
        self._compiled = _compile(lowered, engine)
        self._idle: list[Any] = []
        places = {name: index for index, port in enumerate(self._compiled.inputs) for name in port.names}
        self._inputs = [
            (places[port.operand.name], port.value.name, port.operand.dtype) for port in lowered.inputs if port.operand.name in places
        ]
        results = {name: index for index, port in enumerate(self._compiled.outputs) for name in port.names}
        self._outputs = [(port.value.name, results[port.operand.name]) for port in lowered.outputs]
        self._states = [(places.get(before.operand.name), results[after.operand.name]) for before, after in lowered.states]

    def run(self, inputs: Mapping[str, Any], state: Any = None) -> dict[str, Any]:
        feed = {place: np.asarray(inputs[key], dtype) for place, key, dtype in self._inputs}
        states = states_of(self.lowered, state) if self.lowered.states else []
        feed.update((place, buffer.array) for (place, _), buffer in zip(self._states, states, strict=True) if place is not None)
        request = self._take()
        try:
            results = request.infer(feed, share_inputs=True)
            outputs = {name: np.array(results[index]) for name, index in self._outputs}
            for (_, index), buffer in zip(self._states, states, strict=True):
                buffer.array = np.array(results[index])
        finally:
            self._idle.append(request)
        return outputs

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._compiled.create_infer_request()

    def new_state(self) -> dict[str, ArrayState]:
        return new_states(self.lowered)


@cache
def _core() -> Any:
    import openvino

    return openvino.Core()


def _compile(lowered: Lowered, engine: OpenVinoEngine) -> Any:
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    if not engine.low_precision:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    if engine.threads and engine.device == "CPU":
        settings["INFERENCE_NUM_THREADS"] = str(engine.threads)
    return _core().compile_model(_network(lowered), engine.device, settings)


def _network(lowered: Lowered) -> Any:
    """OpenVINO's model. Large constants enter as inputs of the graph and are then replaced by constants over the same memory."""
    import openvino

    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.weights.items():
        model.graph.input.append(helper.make_tensor_value_info(name, onnx_dtype(array.dtype), array.shape))
    network = openvino.convert_model(model) if not hasattr(_core(), "read_model") else _core().read_model(model.SerializeToString())
    parameters = {parameter.get_friendly_name(): parameter for parameter in network.get_parameters()}
    for name, array in lowered.weights.items():
        constant = openvino.op.Constant(array, shared_memory=True)
        constant.set_friendly_name(name)
        parameters[name].output(0).replace(constant.output(0))
        network.remove_parameter(parameters[name])
    network.validate_nodes_and_infer_types()
    return network
