"""One case of one operation: its inputs and what an independent oracle says it gives. Many tests are fed from these tables.

A family's table is a list `CASES` in `tests/cases/<family>.py`:

    Case("relu", {"x": np.array([-1.0, 2.0], np.float32)}, [0.0, 2.0])
    Case("split", {"x": X, "num_splits": 2, "axis": 1}, lambda: np.split(X, 2, 1), outputs=("fp32", "fp32"))

Arrays (and lists of arrays, for variadic inputs) reach the operation while it runs; Python values are constants of the program,
and so is an array inside `Fixed`.
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
from moka.ir.types import ListType, TensorType
from moka.ops.table import Kind, lookup


@dataclass(frozen=True)
class Fixed:
    """An array that is a constant of the program; ``dtype`` is the declared type where NumPy has none of that name (``int4``)."""

    array: Any
    dtype: str | None = None


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

    def results(self) -> list[np.ndarray[Any, Any]]:
        """What the oracle says, one array an output."""
        expected = self.expected() if callable(self.expected) else self.expected
        expected = list(expected) if len(self.outputs) > 1 else [expected]
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
    values: list[Value] = []
    given: dict[str, Any] = {}

    def argument(item: Any) -> Argument:
        if not isinstance(item, np.ndarray) or fold:
            return _halved(constant(Fixed(item) if isinstance(item, np.ndarray) else item), half)
        value = Value(f"in{len(values)}", TensorType(_dtype(_name(item), half), item.shape))
        values.append(value)
        given[value.name] = item
        return value

    inputs = {name: tuple(argument(part) for part in item) if _variadic(item) else (argument(item),) for name, item in case.inputs.items()}
    operation = Operation(case.operation, inputs, blocks=case.blocks() if case.blocks else [])
    operation.outputs = [Value(f"out{i}", TensorType(_dtype(name, half), None), operation) for i, name in enumerate(case.outputs)]
    segment = Segment(tuple(values), (operation,), tuple(operation.outputs), case.opset)
    results = (engine or TorchEngine()).compile(segment).run(given)
    return [results[value.name] for value in operation.outputs]


def _variadic(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and bool(item) and isinstance(item[0], (np.ndarray, Fixed))


def _dtype(name: str, half: bool) -> dtypes.DType:
    return dtypes.FP16 if half and name == "fp32" else BY_NAME[name]


def _halved(item: Constant, half: bool) -> Constant:
    if half and isinstance(item.type, TensorType) and item.type.dtype == dtypes.FP32:
        return Constant(TensorType(dtypes.FP16, item.type.shape), item.value.astype(np.float16))
    return item


def run_on_meta(case: Case) -> list[tuple[int, ...]]:
    """Shapes that the kernel gives with float tensors on the meta device and all others in memory."""
    record = lookup(case.operation, case.opset)

    def place(item: Any) -> Any:
        item = item.array if isinstance(item, Fixed) else item
        tensor = torch.as_tensor(np.asarray(item))
        return tensor.to("meta") if tensor.is_floating_point() else tensor

    arguments: dict[str, Any] = {}
    for name, item in case.inputs.items():
        parameter = record.parameters[name]
        if parameter.kind is Kind.ATTRIBUTE:
            value = item.array if isinstance(item, Fixed) else item
            arguments[name] = parameter.convert(torch.as_tensor(value) if isinstance(value, np.ndarray) else value)
        else:
            arguments[name] = tuple(map(place, item)) if parameter.kind is Kind.TENSORS else place(item)
    results = record.kernel(**arguments)
    return [tuple(result.shape) for result in (results if len(case.outputs) > 1 else [results])]
