"""Running a model or a PyTorch program while every value on the way is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from moka.engines.arithmetic import Arithmetic
from moka.engines.prepare import Step, prepare
from moka.errors import ExecutionError
from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.importers.neural_network import import_network
from moka.ir.program import Function, Operation, Value
from moka.ir.types import StateType, TensorType
from moka.models.network_model import NetworkModel
from moka.models.program_model import ProgramModel
from moka.ops.table import COMPUTED, State
from moka.pytorch.convert import source_line

__all__ = ["NUMERICS", "CompareNumerics", "Kept", "function_of", "plain_name", "record_function", "record_program"]

CompareNumerics: TypeAlias = Literal["fp32", "fp16", "device"]

NUMERICS = ("fp32", "fp16", "device")

_CPU = torch.device("cpu")

_SUFFIXES = re.compile(r"(?<=.)((_cast|_to)_(fp16|fp32|int32|bool)|_dtype_\d+)+$")


@dataclass(frozen=True, eq=False)
class Kept:
    """A value that was computed on the way.

    Attributes:
        name: of the value or node.
        kind: the operation's type, or PyTorch's operator.
        operation: the operation's own name.
        source: the line or layer that it comes from; empty where that is not known.
        half: whether the program declares it fp16.
    """

    name: str
    kind: str
    operation: str
    source: str
    tensor: Tensor
    half: bool = False


class _HalfArithmetic(Arithmetic):
    """Every floating-point value is computed and held in fp16, whatever type is declared."""

    @cached_property
    def held(self) -> dict[DType, torch.dtype]:
        return COMPUTED | dict.fromkeys((dtypes.FP16, dtypes.FP32, dtypes.BF16), torch.float16)


_ARITHMETIC: dict[str, Arithmetic] = {
    "fp32": Arithmetic(_CPU),
    "fp16": _HalfArithmetic(_CPU),
    "device": Arithmetic(_CPU, "device"),
}


def plain_name(name: str) -> str:
    """A value's name without what coremltools appends to it where it inserts casts: ``linear_cast_fp16`` is ``linear``."""
    return _SUFFIXES.sub("", name)


def function_of(model: ProgramModel | NetworkModel, inputs: Mapping[str, Tensor]) -> Function:
    """The function of the program that these inputs run."""
    if isinstance(model, ProgramModel):
        return model.program.functions[model.function.name]
    return import_network(model.network, {name: tuple(tensor.shape) for name, tensor in inputs.items()}).functions["main"]


def record_function(function: Function, inputs: Mapping[str, Tensor], numerics: str) -> tuple[list[Kept], dict[str, Any]]:
    """Runs a function, with fresh states; gives every tensor that its operations made, in order, and the outputs by name.

    ``fp32`` rounds nothing to fp16, not even where the program casts to it; ``fp16`` computes and holds everything in fp16; ``device``
    computes in float32 and rounds every result to its declared type.

    Raises:
        ExecutionError: an operation failed.
    """
    arithmetic = _ARITHMETIC[numerics]
    with torch.inference_mode():
        code = prepare(function.inputs, function.body.operations, function.outputs, function.opset, arithmetic)
        slots = code.template.copy()
        for slot, value in zip(code.inputs, function.inputs, strict=True):
            slots[slot] = _input(value, inputs, arithmetic)
        kept = [item for step in code.steps for item in _run(step, slots, numerics)]
    return kept, {value.name: slots[slot] for value, slot in zip(function.outputs, code.outputs, strict=True)}


def _input(value: Value, inputs: Mapping[str, Tensor], arithmetic: Arithmetic) -> Any:
    if isinstance(value.type, StateType):
        return State(torch.zeros(value.type.wrapped.static_shape or (), dtype=arithmetic.held[value.type.wrapped.dtype]))
    return arithmetic.tensor(inputs[value.name], value.type)


def _run(step: Step, slots: list[Any], numerics: str) -> Iterator[Kept]:
    """Runs one step; gives the tensors among its results."""
    operands = [slots[slot] for slot in step.operands]
    try:
        result = operands[0] if numerics == "fp32" and _widens(step.operation) else step.call(*operands)
    except Exception as error:
        text = f"operation {step.operation} failed in {numerics}: {type(error).__name__}: {error}"
        raise ExecutionError(text) from error
    results = [result] if len(step.results) == 1 else result
    for slot, value, settle, item in zip(step.results, step.operation.outputs, step.settle, results, strict=True):
        slots[slot] = item if settle is None else settle(item)
        if isinstance(slots[slot], Tensor):
            half = isinstance(value.type, TensorType) and value.type.dtype == dtypes.FP16
            yield Kept(value.name, step.operation.type, step.operation.name, step.operation.origin, slots[slot], half)


def _widens(operation: Operation) -> bool:
    """Whether an operation is a cast between floating-point types."""
    types = [value.type for value in (*operation.inputs.get("x", ()), *operation.outputs)]
    return operation.type == "cast" and all(isinstance(item, TensorType) and item.dtype.name.startswith(("fp", "bf")) for item in types)


def record_program(program: ExportedProgram, inputs: Sequence[Tensor]) -> tuple[list[Kept], list[Any]]:
    """Runs an exported program on its inputs in order; gives every tensor that its nodes made, in order, and the outputs."""
    interpreter = _Recorder(program)
    with torch.no_grad():
        results = interpreter.run(*inputs, enable_io_processing=False)
    return interpreter.kept, list(results)


class _Recorder(fx.Interpreter):
    """An interpreter that keeps what each node gives."""

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program.module(check_guards=False))
        self.kept: list[Kept] = []

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and isinstance(result, Tensor):
            kind = getattr(n.target, "__name__", str(n.target))
            self.kept.append(Kept(n.name, kind, n.name, source_line(n), result.detach().clone()))
        return result
