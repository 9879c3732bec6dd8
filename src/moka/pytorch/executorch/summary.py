"""What an ExecuTorch program is, without running it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from moka.formats.pte import Delegate, Method, ProgramFile, TensorValue, read_program
from moka.pytorch.executorch.payload import BACKEND, coreml_payload

__all__ = ["CoreMLSummary", "DelegateSummary", "MethodSummary", "ProgramSummary", "inspect"]


@dataclass(frozen=True)
class CoreMLSummary:
    """A Core ML model in a program: ``kind`` is ``mlpackage`` or ``mlmodelc``, ``files`` are sizes by path."""

    kind: str
    identifier: str
    function: str | None
    inputs: Sequence[str]
    outputs: Sequence[str]
    files: Mapping[str, int]


@dataclass(frozen=True)
class DelegateSummary:
    """A part that a backend runs: ``size`` is that of its payload in bytes; ``coreml`` is None for other backends."""

    backend: str
    size: int
    compile_specs: Mapping[str, str]
    coreml: CoreMLSummary | None


@dataclass(frozen=True)
class MethodSummary:
    """A method: its inputs and outputs as text, how many instructions of each kind, and how often each operator is called."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    instructions: Mapping[str, int]
    operators: Mapping[str, int]
    delegates: Sequence[DelegateSummary]


@dataclass(frozen=True)
class ProgramSummary:
    """A program: ``size`` is that of the file, ``named_data`` are sizes of data that methods share, by key."""

    path: Path
    version: int
    size: int
    methods: Sequence[MethodSummary]
    named_data: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data for JSON."""
        return asdict(self) | {"path": str(self.path)}


def inspect(path: str | os.PathLike[str]) -> ProgramSummary:
    """Says what an ExecuTorch program is: its methods, and what they delegate to which backend.

    Raises:
        FormatError: the file is no ExecuTorch program, or something in it is damaged.
    """
    program = read_program(path)
    methods = tuple(_method(program, method) for method in program.methods)
    named = {key: len(data) for key, data in program.named_data.items()}
    return ProgramSummary(program.path, program.version, program.path.stat().st_size, methods, named)


def _method(program: ProgramFile, method: Method) -> MethodSummary:
    return MethodSummary(
        name=method.name,
        inputs=[_value(method.values[index]) for index in method.inputs],
        outputs=[_value(method.values[index]) for index in method.outputs],
        instructions=dict(Counter(call.kind for call in method.calls)),
        operators=dict(Counter(method.operators[call.index] for call in method.calls if call.kind == "kernel")),
        delegates=tuple(_delegate(program, method, delegate) for delegate in method.delegates),
    )


def _delegate(program: ProgramFile, method: Method, delegate: Delegate) -> DelegateSummary:
    specs = {key: value.decode("utf-8", "backslashreplace") for key, value in delegate.compile_specs.items()}
    return DelegateSummary(delegate.backend, len(delegate.payload), specs, _coreml(program, method, delegate))


def _coreml(program: ProgramFile, method: Method, delegate: Delegate) -> CoreMLSummary | None:
    if delegate.backend != BACKEND:
        return None
    payload = coreml_payload(program, method, delegate)
    files = {name: len(content) for name, content in sorted(payload.files.items())}
    kind = payload.model.rpartition(".")[2]
    return CoreMLSummary(kind, payload.identifier, payload.function, payload.inputs, payload.outputs, files)


def _value(value: Any) -> str:
    if not isinstance(value, TensorValue):
        return repr(value)
    most = {"static": "", "bounded": "at most ", "unbounded": "any, at first "}[value.dynamism]
    return f"{value.dtype} {most}[{', '.join(map(str, value.sizes))}]"
