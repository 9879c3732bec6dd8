"""ONNX Runtime as an engine: the fastest for small networks, with the most execution providers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from moka.engines.base import Segment
from moka.engines.onnx.graph import Array, Packed, Target, onnx_dtype
from moka.engines.onnx.lower import Lowered, Port, lower, reasons, taken
from moka.engines.onnx.states import joined, parted, states_of
from moka.engines.onnx.times import ort_times
from moka.engines.times import SegmentTimes, durations
from moka.ir.program import Operation

__all__ = ["OnnxRuntimeEngine", "OnnxRuntimeExecutable"]


_UNFAITHFUL = ["WeightBiasQuantization"]
"""What ONNX Runtime would do on its own: weights in 8 bits wherever activations are."""


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


class OrtState:
    """A state as values of ONNX Runtime, one or one a row: a run takes them and gives the next ones, and neither are copied."""

    __slots__ = ("values",)

    def __init__(self, arrays: Iterable[np.ndarray[Any, Any]]) -> None:
        self.values = [_ort_value(array) for array in arrays]

    @property
    def tensor(self) -> torch.Tensor:
        return joined([value.numpy() for value in self.values])

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self.values = [_ort_value(array) for array in parted(value, len(self.values), self.values[0].numpy().dtype)]


class OnnxRuntimeExecutable:
    """A segment as a session of ONNX Runtime."""

    def __init__(self, lowered: Lowered, providers: tuple[str, ...], threads: int) -> None:
        self.lowered = lowered
        self._inputs = [(port.value.name, port.operand.name, port.operand.dtype) for port in lowered.inputs]
        self._outputs = [port.value.name for port in lowered.outputs]
        self._results = [port.operand.name for port in lowered.outputs]
        self._states = tuple(lowered.states)
        self._in_place = _updated_in_place(lowered)
        self._settings = providers, threads
        self._session = _session(lowered, providers, threads)

    def run(self, inputs: Mapping[str, Any], state: Mapping[str, OrtState] | None = None) -> dict[str, Any]:
        feed = {name: np.asarray(inputs[key], dtype) for key, name, dtype in self._inputs}
        if self._states:
            return self._run_with(feed, states_of(self._states, state))
        return dict(zip(self._outputs, self._session.run(self._results, feed), strict=True))

    def _run_with(self, feed: dict[str, Any], states: list[OrtState]) -> dict[str, Any]:
        results, after = self._bound(self._session, feed, [value for state in states for value in state.values])
        left = iter(after)
        for state in states:
            state.values = [next(left) for _ in state.values]
        return {name: value.numpy() for name, value in zip(self._outputs, results, strict=True)}

    def _bound(self, session: Any, feed: Mapping[str, Any], states: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """Runs with states, each written to where it lies if it may be; gives the results and the states after the run."""
        binding = session.io_binding()
        for name, array in feed.items():
            binding.bind_ortvalue_input(name, _ort_value(array))
        for name in self._results:
            binding.bind_output(name)
        for (before, after), value in zip(self.lowered.state_ports, states, strict=True):
            binding.bind_ortvalue_input(before.operand.name, value)
            if before.operand.name in self._in_place:
                binding.bind_ortvalue_output(after.operand.name, value)
            else:
                binding.bind_output(after.operand.name)
        session.run_with_iobinding(binding)
        given = binding.get_outputs()
        count = len(self._results)
        kept = [before.operand.name in self._in_place for before, _ in self.lowered.state_ports]
        return given[:count], [old if same else new for same, old, new in zip(kept, states, given[count:], strict=True)]

    def times(self, inputs: Mapping[str, Any], runs: int) -> tuple[SegmentTimes, ...]:
        whole = durations(functools.partial(self.run, inputs, self.new_state()), runs)
        feed = {name: np.asarray(inputs[key], dtype) for key, name, dtype in self._inputs}
        states = [_ort_value(_zeros(before)) for before, _ in self.lowered.state_ports]
        providers, threads = self._settings
        device = "cpu" if providers[0] == "CPUExecutionProvider" else "gpu"
        start = functools.partial(_session, self.lowered, providers, threads)
        return (ort_times(self.lowered, start, lambda session: self._bound(session, feed, states), device, whole),)

    def new_state(self) -> dict[str, OrtState]:
        return {name: OrtState(_zeros(before) for before, _ in pairs) for name, pairs in self.lowered.states.items()}


def _updated_in_place(lowered: Lowered) -> frozenset[str]:
    """Inputs of states that nothing reads but the scatter that makes the state's output of it: it may write to where the state lies."""
    graph = lowered.model.graph
    readers = Counter(name for node in graph.node for name in taken(node))
    scattered = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ScatterND"}
    names = ((before.operand.name, after.operand.name) for before, after in lowered.state_ports)
    return frozenset(before for before, after in names if scattered.get(after) == before and readers[before] == 1)


def _zeros(port: Port) -> np.ndarray[Any, Any]:
    return np.zeros(port.operand.static_shape, port.operand.dtype)


def _ort_value(array: np.ndarray[Any, Any]) -> Any:
    """An array as a value of ONNX Runtime, over the same memory."""
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(array)


def _session(lowered: Lowered, providers: tuple[str, ...], threads: int, trace: Path | None = None) -> Any:
    """A session; it writes a trace of its nodes, and the graph as it runs it, into the folder ``trace``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if trace is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(trace / "trace")
        options.optimized_model_filepath = str(trace / "model.onnx")
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "weights.bin")
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.weights.items():
        model.graph.initializer.append(_outside(name, array))
    if lowered.weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in lowered.weights.values()]
        options.add_external_initializers(list(lowered.weights), values)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, list(providers), disabled_optimizers=_UNFAITHFUL)


def _outside(name: str, array: Array | Packed) -> onnx.TensorProto:
    """A constant whose data is given to the session in memory; the format wants the name of a file all the same."""
    tensor = onnx.TensorProto(name=name, dims=array.shape, data_type=onnx_dtype(array.dtype), data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="memory")
    return tensor
