"""One case of one operation: its inputs and what an independent oracle says it gives. Many tests are fed from these tables.

A family's table is a list `CASES` in `tests/cases/<family>.py`:

    Case("relu", {"x": np.array([-1.0, 2.0], np.float32)}, [0.0, 2.0])
    Case("split", {"x": X, "num_splits": 2, "axis": 1}, lambda: np.split(X, 2, 1), outputs=("fp32", "fp32"))

Arrays (and lists of arrays, for variadic inputs) reach the operation while it runs; Python values are constants of the program,
and so is an array inside `Fixed`. An input may also be `Made` by another operation, or be a state (`Buffer`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from moka.engines.base import Segment
from moka.engines.torch_engine import TorchEngine
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME
from moka.ir.program import Argument, Constant, Operation, Value
from moka.ir.types import ListType, OpaqueType, StateType, TensorType
from moka.ops.table import Kind, State, lookup


@dataclass(frozen=True)
class Fixed:
    """An array that is a constant of the program; ``dtype`` is the declared type where NumPy has none of that name (``int4``)."""

    array: Any
    dtype: str | None = None


@dataclass(frozen=True)
class Made:
    """What another operation gives, as an input; ``output`` is its declared type, None for a list."""

    operation: str
    inputs: dict[str, Any]
    output: str | None = "fp32"


@dataclass(frozen=True)
class Buffer:
    """A state, with what it holds before the run. What it holds after comes after the outputs in a case's expected values."""

    content: Any


@dataclass(frozen=True)
class Case:
    """One operation with inputs and expected outputs.

    Attributes:
        expected: the outputs, or a function that computes them: an array, or one for each output. The oracle is never Moka.
        outputs: declared element type of each output. Types that differ from fp32 stay as they are when the case runs in fp16.
        fp16: tolerance of the fp16 run, relative to the largest expected value; None where the operation has no fp16 form.
        meta: why the kernel can't run on the meta device; empty if it can.
    """

    operation: str
    inputs: dict[str, Any]
    expected: Any
    outputs: tuple[str, ...] = ("fp32",)
    opset: str = "ios15"
    tolerance: float = 1e-5
    fp16: float | None = 1e-2
    meta: str = ""
    note: str = ""
    blocks: Callable[[], list[Any]] | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        return f"{self.operation}-{self.opset}-{self.note}" if self.note else f"{self.operation}-{self.opset}"

    @property
    def operations(self) -> set[str]:
        """Names of all operations that the case runs."""
        inner = self.blocks() if self.blocks else []
        return {self.operation} | _made(self.inputs) | {operation.type for block in inner for operation in block.walk()}

    def results(self) -> list[np.ndarray[Any, Any]]:
        """What the oracle says, one array an output."""
        expected = self.expected() if callable(self.expected) else self.expected
        buffers = sum(isinstance(item, Buffer) for item in self.inputs.values())
        expected = list(expected) if len(self.outputs) + buffers > 1 else [expected]
        return [item.detach().numpy() if isinstance(item, torch.Tensor) else np.asarray(item) for item in expected]


def all_cases() -> list[Case]:
    """The cases of every family."""
    import tests.cases as package

    modules = [importlib.import_module(f"tests.cases.{item.name}") for item in pkgutil.iter_modules(package.__path__)]
    return [case for module in modules for case in getattr(module, "CASES", [])]


def constant(value: Any) -> Constant:
    """A Python value or array as a constant, with the type that a converter would declare."""
    if isinstance(value, Fixed):
        array = np.asarray(value.array)
        return Constant(TensorType(BY_NAME[value.dtype or _name(array)], array.shape), array)
    if callable(value):
        return Constant(OpaqueType(str(value)), value)
    if isinstance(value, str):
        return Constant(TensorType(dtypes.STRING, ()), value)
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
        return Constant(ListType(TensorType(dtypes.STRING, ()), len(value)), list(value))
    array = np.asarray(value)
    array = array.astype({"f": np.float32, "i": np.int32, "b": np.bool_}[array.dtype.kind])
    return Constant(TensorType(BY_NAME[_name(array)], array.shape), array)


def _name(array: np.ndarray[Any, Any]) -> str:
    return {"float16": "fp16", "float32": "fp32", "object": "string"}.get(array.dtype.name, array.dtype.name)


def run(case: Case, *, half: bool = False, fold: bool = False, engine: Any = None) -> list[Any]:
    """Runs the case as a program of one operation; ``half`` declares fp16 for fp32, ``fold`` makes every input a constant."""
    program = _CaseProgram(half, fold)
    operation = Operation(case.operation, program.arguments(case.inputs), blocks=case.blocks() if case.blocks else [])
    operation.outputs = [Value(f"out{i}", TensorType(_dtype(name, half), None), operation) for i, name in enumerate(case.outputs)]
    segment = Segment((*program.given, *program.states), (*program.operations, operation), tuple(operation.outputs), case.opset)
    executable = (engine or TorchEngine()).compile(segment)
    state = executable.new_state()
    for value, content in program.states.items():
        state[value.name].tensor = torch.as_tensor(content).to(state[value.name].tensor)
    results = executable.run({value.name: item for value, item in program.given.items()}, state)
    return [results[value.name] for value in operation.outputs] + [state[value.name].tensor for value in program.states]


class _CaseProgram:
    """What stands around a case's operation: the program's inputs, its states, and operations that make inputs."""

    def __init__(self, half: bool, fold: bool) -> None:
        self.half = half
        self.fold = fold
        self.given: dict[Value, Any] = {}
        self.states: dict[Value, Any] = {}
        self.operations: list[Operation] = []

    def arguments(self, inputs: dict[str, Any]) -> dict[str, tuple[Argument, ...]]:
        return {name: tuple(map(self.argument, item)) if _variadic(item) else (self.argument(item),) for name, item in inputs.items()}

    def argument(self, item: Any) -> Argument:
        if isinstance(item, Made):
            return self._made(item)
        if isinstance(item, Buffer):
            content = np.asarray(item.content)
            value = Value(f"state{len(self.states)}", StateType(TensorType(_dtype(_name(content), self.half), content.shape)))
            self.states[value] = content
            return value
        if not isinstance(item, np.ndarray) or self.fold:
            return _halved(constant(Fixed(item) if isinstance(item, np.ndarray) else item), self.half)
        value = Value(f"in{len(self.given)}", TensorType(_dtype(_name(item), self.half), item.shape))
        self.given[value] = item
        return value

    def _made(self, item: Made) -> Value:
        operation = Operation(item.operation, self.arguments(item.inputs))
        tensor = TensorType(_dtype(item.output or "fp32", self.half), None)
        value = Value(f"made{len(self.operations)}", tensor if item.output else ListType(tensor), operation)
        operation.outputs = [value]
        self.operations.append(operation)
        return value


def _made(inputs: dict[str, Any]) -> set[str]:
    made = [item for item in inputs.values() if isinstance(item, Made)]
    return {item.operation for item in made}.union(*(_made(item.inputs) for item in made))


def _variadic(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and bool(item) and isinstance(item[0], (np.ndarray, Fixed, Made))


def _dtype(name: str, half: bool) -> dtypes.DType:
    return dtypes.FP16 if half and name == "fp32" else BY_NAME[name]


def _halved(item: Constant, half: bool) -> Constant:
    if half and isinstance(item.type, TensorType) and item.type.dtype == dtypes.FP32:
        return Constant(TensorType(dtypes.FP16, item.type.shape), item.value.astype(np.float16))
    return item


def run_on_meta(case: Case) -> list[tuple[int, ...]]:
    """Shapes that the kernel gives with float tensors on the meta device and all others in memory."""
    arguments = _on_meta(case.operation, case.inputs, case.opset)
    results = lookup(case.operation, case.opset).kernel(**arguments)
    held = [item.tensor for item in arguments.values() if isinstance(item, State)]
    return [tuple(result.shape) for result in (*(results if len(case.outputs) != 1 else [results]), *held)]


def _on_meta(operation: str, inputs: dict[str, Any], opset: str) -> dict[str, Any]:
    """A kernel's arguments, with float tensors on the meta device."""

    def place(item: Any) -> Any:
        if isinstance(item, Made):
            return lookup(item.operation, opset).kernel(**_on_meta(item.operation, item.inputs, opset))
        if isinstance(item, Buffer):
            return State(place(np.asarray(item.content)))
        array = np.asarray(item.array if isinstance(item, Fixed) else item)
        tensor = torch.as_tensor(array.astype(np.int32) if array.dtype == np.uint16 else array)
        return tensor.to("meta") if tensor.is_floating_point() else tensor

    parameters = lookup(operation, opset).parameters
    arguments: dict[str, Any] = {}
    for name, item in inputs.items():
        parameter = parameters[name]
        if parameter.kind is Kind.ATTRIBUTE:
            value = [part.array for part in item] if _variadic(item) else item.array if isinstance(item, Fixed) else item
            arguments[name] = parameter.convert(torch.as_tensor(value) if isinstance(value, np.ndarray) else value)
        else:
            arguments[name] = tuple(map(place, item)) if parameter.kind is Kind.TENSORS else place(item)
    return arguments
