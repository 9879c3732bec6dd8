"""ONNX Runtime as an engine: the fastest for small networks, with the most execution providers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from moka.engines.base import Segment
from moka.engines.onnx.graph import Target, onnx_dtype
from moka.engines.onnx.lower import Lowered, lower, reasons
from moka.engines.onnx.states import ArrayState, new_states, states_of
from moka.ir.program import Operation

__all__ = ["OnnxRuntimeEngine", "OnnxRuntimeExecutable"]


@dataclass(frozen=True)
class OnnxRuntimeEngine:
    """Runs programs with ONNX Runtime.

    Args:
        providers: execution providers by ONNX Runtime's names, the preferred one first.
        threads: how many threads one prediction may use; 0 for as many as there are cores.
    """

    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    threads: int = 0
    target: Target = field(default=Target("onnxruntime"))
    name: str = "onnxruntime"

    def reasons(self, operation: Operation, opset: str) -> tuple[str, ...]:
        return reasons(operation, opset, self.target)

    def compile(self, segment: Segment) -> OnnxRuntimeExecutable:
        return OnnxRuntimeExecutable(lower(segment, self.target), self.providers, self.threads)


class OnnxRuntimeExecutable:
    """A segment as a session of ONNX Runtime."""

    def __init__(self, lowered: Lowered, providers: tuple[str, ...], threads: int) -> None:
        self.lowered = lowered
        self._inputs = [(port.value.name, port.operand.name, port.operand.dtype) for port in lowered.inputs]
        self._outputs = [port.value.name for port in lowered.outputs]
        self._results = [port.operand.name for port in lowered.outputs] + [after.operand.name for _, after in lowered.states]
        self._lock = threading.Lock()
        self._session = _session(lowered, providers, threads)

    def run(self, inputs: Mapping[str, Any], state: Any = None) -> dict[str, Any]:
        feed = {name: np.asarray(inputs[key], dtype) for key, name, dtype in self._inputs}
        states = states_of(self.lowered, state) if self.lowered.states else []
        for (before, _), buffer in zip(self.lowered.states, states, strict=True):
            feed[before.operand.name] = buffer.array
        results = self._session.run(self._results, feed)
        for buffer, result in zip(states, results[len(self._outputs) :], strict=True):
            buffer.array = result
        return dict(zip(self._outputs, results, strict=False))

    def new_state(self) -> dict[str, ArrayState]:
        return new_states(self.lowered)


def _session(lowered: Lowered, providers: tuple[str, ...], threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.weights.items():
        model.graph.initializer.append(_outside(name, array))
    if lowered.weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in lowered.weights.values()]
        options.add_external_initializers(list(lowered.weights), values)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=list(providers))


def _outside(name: str, array: np.ndarray[Any, Any]) -> onnx.TensorProto:
    """A constant whose data is given to the session in memory; the format wants the name of a file all the same."""
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=onnx_dtype(array.dtype), data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="memory")
    return tensor
