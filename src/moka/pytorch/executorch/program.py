"""Running ExecuTorch programs: what was delegated to Core ML with Moka, other operators with PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch

from moka.errors import ExecutionError, FormatError, InputError, UnsupportedError
from moka.formats.pte import Call, Delegate, ProgramFile, TensorValue, read_program
from moka.formats.pte import Method as FileMethod
from moka.models.configuration import EngineName
from moka.models.model import load as load_model
from moka.pytorch.executorch.kernels import Kernel, constant, find_kernel
from moka.pytorch.executorch.payload import BACKEND, coreml_payload
from moka.pytorch.segments import Port, Ports, Segment

__all__ = ["Method", "Program", "load"]

_COMPUTE_UNITS = "compute_units"


class Program:
    """A program; methods are loaded one by one, as ExecuTorch's own runtime has it."""

    def __init__(self, file: ProgramFile, compute_units: str | None, engine: EngineName) -> None:
        self.file = file
        self._compute_units = compute_units
        self._engine = engine

    @property
    def method_names(self) -> tuple[str, ...]:
        """The program's methods."""
        return tuple(method.name for method in self.file.methods)

    def load_method(self, name: str = "forward") -> Method:
        """Loads a method, with fresh states.

        Raises:
            InputError: there is none of that name.
            UnsupportedError: parts of it are neither for Core ML nor operators that PyTorch runs; the message names them.
            FormatError: a Core ML model in it is damaged.
        """
        for method in self.file.methods:
            if method.name == name:
                return Method(self.file, method, self._compute_units, self._engine)
        raise InputError(f"method {name!r}: the program has {', '.join(self.method_names) or 'none'}")

    def __repr__(self) -> str:
        return f"<Program {self.file.path.name!r}: {', '.join(self.method_names)}>"


class Method:
    """A loaded method. What it changes (key-value caches, say) stays in the Core ML models' states, from one call to the next."""

    def __init__(self, file: ProgramFile, method: FileMethod, compute_units: str | None, engine: EngineName) -> None:
        _check_runs(file, method)
        self.name = method.name
        self._method = method
        self._steps = [_step(file, method, call, compute_units, engine) for call in method.calls]
        self._values = list(map(constant, method.values))

    @property
    def inputs(self) -> list[Any]:
        """What the method takes: a `moka.formats.pte.TensorValue` for each tensor, the value itself for what was fixed at export."""
        return [self._method.values[index] for index in self._method.inputs]

    def execute(self, inputs: Sequence[Any]) -> list[Any]:
        """The outputs for a list of inputs, both in the order of the program.

        Raises:
            InputError: another number of inputs, or a tensor of another type or shape than the program takes.
            ExecutionError: an operation failed.
        """
        method = self._method
        if len(inputs) != len(method.inputs):
            raise InputError(f"method {self.name!r}: {len(inputs)} inputs are given; it takes {len(method.inputs)}")
        values = list(self._values)
        for number, (index, value) in enumerate(zip(method.inputs, inputs, strict=True)):
            _check_input(f"method {self.name!r}: input {number}", method.values[index], value)
            values[index] = value
        for call, step in zip(method.calls, self._steps, strict=True):
            step(values, call.arguments)
        return [values[index] for index in method.outputs]

    def __call__(self, *inputs: Any) -> list[Any]:
        return self.execute(inputs)


def load(path: str | os.PathLike[str], *, compute_units: str | None = None, engine: EngineName = "auto") -> Program:
    """Loads an ExecuTorch program that was delegated to Core ML, in full or in parts.

    Args:
        path: a ``.pte`` file.
        compute_units: what the Core ML models may run on; by default what each was lowered with.
        engine: what runs them, as for `moka.load`.

    Raises:
        FormatError: the file is no ExecuTorch program, or is damaged.
    """
    return Program(read_program(path), compute_units, engine)


def _check_runs(file: ProgramFile, method: FileMethod) -> None:
    """Raises UnsupportedError for what only ExecuTorch's own runtime does."""
    where, advice = f"{file.path}: method {method.name!r}", "run it with ExecuTorch's runtime, or lower more of it with CoreMLPartitioner"
    called = dict.fromkeys(method.operators[call.index] for call in method.calls if call.kind == "kernel")
    if unknown := [name for name in called if find_kernel(name) is None]:
        raise UnsupportedError(f"{where}: {', '.join(unknown)} need ExecuTorch's kernels; {advice}")
    others = dict.fromkeys(delegate.backend for delegate in method.delegates if delegate.backend != BACKEND)
    if others:
        raise UnsupportedError(f"{where}: has parts for {', '.join(others)}; Moka runs those of {BACKEND}; {advice}")
    if any(call.kind == "jump" for call in method.calls):
        raise UnsupportedError(f"{where}: branches on its data outside of Core ML; {advice}")
    known = {*method.inputs, *(index for call in method.calls for index in call.arguments)}
    for index in method.outputs:
        value = method.values[index]
        if isinstance(value, TensorValue) and value.data is None and index not in known:
            raise UnsupportedError(f"{where}: gives a buffer of its own that changes; {advice}")


def _step(file: ProgramFile, method: FileMethod, call: Call, compute_units: str | None, engine: EngineName) -> Kernel:
    """What one instruction does to a method's values."""
    if call.kind == "delegate":
        return _delegate_step(_segment(file, method, call, compute_units, engine))
    if call.kind == "kernel":
        kernel = find_kernel(method.operators[call.index])
        assert kernel is not None  # as _check_runs made sure
        return _checked(f"method {method.name!r}: {method.operators[call.index]}", kernel)
    return _move if call.kind == "move" else _free


def _delegate_step(segment: Segment) -> Kernel:
    taken = len(segment.ports.inputs)

    def run(values: list[Any], indices: Sequence[int]) -> None:
        results = segment(*(values[index] for index in indices[:taken]))
        for index, result in zip(indices[taken:], results, strict=True):
            values[index] = result

    return run


def _checked(where: str, kernel: Kernel) -> Kernel:
    """A kernel that gives a name to a file's nonsense, such as too few arguments."""

    def run(values: list[Any], indices: Sequence[int]) -> None:
        try:
            kernel(values, indices)
        except (AttributeError, TypeError, ValueError, IndexError) as error:
            raise ExecutionError(f"{where}: {error}") from error

    return run


def _move(values: list[Any], indices: Sequence[int]) -> None:
    values[indices[1]] = values[indices[0]]


def _free(values: list[Any], indices: Sequence[int]) -> None:
    """Memory is Python's business."""


def _segment(file: ProgramFile, method: FileMethod, call: Call, compute_units: str | None, engine: EngineName) -> Segment:
    """A loaded Core ML model with what ExecuTorch says about its arguments."""
    delegate = method.delegates[call.index]
    payload = coreml_payload(file, method, delegate)
    names = (*payload.inputs, *payload.outputs)
    if len(call.arguments) != len(names):
        raise FormatError(
            f"{file.path}: method {method.name!r}",
            f"a delegate has {len(call.arguments)} arguments, its model {len(names)} inputs and outputs",
        )
    ports = [_port(name, method.values[index]) for name, index in zip(names, call.arguments, strict=True)]
    units = compute_units or _compute_units(delegate)
    model = load_model(payload.unpacked(), compute_units=units, function=payload.function, engine=engine)
    taken = len(payload.inputs)
    described = Ports(tuple(ports[:taken]), tuple(ports[taken:]), tuple(model.function.states))
    return Segment(model, described, torch.device("cpu"))


def _port(name: str, value: Any) -> Port:
    if isinstance(value, TensorValue):
        return Port(name, value.dtype, value.sizes == ())
    return Port(name, "int64", True)


def _compute_units(delegate: Delegate) -> str:
    stated = delegate.compile_specs.get(_COMPUTE_UNITS)
    return "ALL" if stated is None else stated.decode("utf-8", "replace").upper()


def _check_input(where: str, expected: Any, value: Any) -> None:
    if not isinstance(expected, TensorValue):
        if value != expected:
            raise InputError(f"{where} is {value!r}; the program was exported for {expected!r} alone: export it again")
        return
    if not isinstance(value, torch.Tensor):
        raise InputError(f"{where} is a {type(value).__name__}; expected a tensor of {expected.dtype}")
    if str(value.dtype) != f"torch.{expected.dtype}":
        raise InputError(f"{where} has dtype {value.dtype}; the program takes {expected.dtype}: convert it first")
    pairs = zip(value.shape, expected.sizes, strict=False)
    fits = {"static": lambda size, limit: size == limit, "bounded": lambda size, limit: size <= limit}.get(expected.dynamism)
    if len(value.shape) != len(expected.sizes) or (fits and not all(fits(size, limit) for size, limit in pairs)):
        most = "at most " if expected.dynamism == "bounded" else ""
        raise InputError(
            f"{where} has shape {list(value.shape)}; the program takes {most}{list(expected.sizes)}: export it with dynamic shapes"
        )
