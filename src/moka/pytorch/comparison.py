"""PyTorch against Core ML, or Core ML against Core ML: outputs, and layer by layer down to the first operation that differs."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.export import ExportedProgram

from moka.errors import InputError, UnsupportedError
from moka.ir.program import Function, Value
from moka.models.configuration import Configuration, EngineName
from moka.models.images import ImageFeature
from moka.models.model import Model, load, load_configured
from moka.models.network_model import NetworkModel
from moka.models.program_model import ProgramModel
from moka.models.values import random_inputs
from moka.pytorch.convert import in_evaluation, load_exported
from moka.pytorch.frontend import quiet
from moka.pytorch.matching import Layer, judge, judge_output, match, with_sources, without_coincidences
from moka.pytorch.recording import NUMERICS, CompareNumerics, Kept, function_of, plain_name, record_function, record_program

__all__ = ["Comparison", "compare"]

Tensors: TypeAlias = dict[str, Tensor]

_TOLERANCE, _HALF_TOLERANCE = 1e-4, 2e-2
"""Errors allowed where everything is fp32, and where anything is fp16, weights among it."""

_SAME = 1e-5
"""Values of two programs that are no further apart may be taken for the same one, however small the tolerance."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found. Printed, it is a table of what differs.

    Attributes:
        reference, model: what was compared, in words.
        layers: every operation's values in the order of the program; empty where an engine ran the model, which shows outputs alone.
        unmatched: nodes or values of the reference that no value of the model was found for.
    """

    reference: str
    model: str
    tolerance: float
    outputs: tuple[Layer, ...]
    layers: tuple[Layer, ...]
    unmatched: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether all outputs do, and no value overflows or becomes NaN on the way."""
        return all(item.agrees for item in self.outputs) and not any(item.status in ("overflow", "nan") for item in self.layers)

    @property
    def first(self) -> Layer | None:
        """The first operation that differs, overflows or gives NaN; None where all agree."""
        return next((item for item in (*self.layers, *self.outputs) if not item.agrees), None)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as what JSON can hold."""
        made = {**dataclasses.asdict(self), "agrees": self.agrees}
        made["first"] = None if self.first is None else {**dataclasses.asdict(self.first), "sentence": self.first.sentence()}
        for item in filter(None, (*made["outputs"], *made["layers"], made["first"])):
            item["error"] = None if item["error"] == math.inf else item["error"]  # which JSON has no number for
        return made

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def rows(self, *, layers: bool = False) -> list[tuple[str, str, str, str, str, str]]:
        """Operation, type, reference, error, status and source: of outputs, and of layers that differ (or of all of them)."""
        shown = [item for item in self.layers if layers or not item.agrees] + list(self.outputs)
        return [
            (item.operation, item.type, item.reference, "" if item.error is None else f"{item.error:.1e}", item.status, item.source)
            for item in shown
        ]

    def summary(self) -> str:
        """The result in words."""
        lines = [f"{self.model} against {self.reference}: {'agrees' if self.agrees else 'differs'} (tolerance {self.tolerance:g})"]
        if self.first is not None:
            lines.append(f"first: {self.first.sentence()}")
        if self.layers:
            lone = sum(item.status == "unmatched" for item in self.layers)
            text = f"{len(self.layers) - lone} of {len(self.layers)} values compared"
            lines.append(text + (f"; not found in the model: {', '.join(self.unmatched)}" if self.unmatched else ""))
        return "\n".join(lines)

    def __str__(self) -> str:
        rows = [("operation", "type", "reference", "error", "status", "source"), *self.rows()]
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[5]]).rstrip() for row in rows]
        return "\n".join([*lines, "", self.summary()])


def compare(
    reference: torch.nn.Module | ExportedProgram | Model | str | os.PathLike[str],
    model: Model | str | os.PathLike[str] | None = None,
    inputs: Mapping[str, Any] | None = None,
    *,
    numerics: CompareNumerics = "device",
    engine: EngineName | None = None,
    allow_low_precision: bool = False,
    tolerance: float | None = None,
    seed: int = 0,
) -> Comparison:
    """Compares a Core ML model with a PyTorch program, with another Core ML model, or with itself in float32.

    Values are matched by the names that coremltools keeps, then by being equal when both sides compute in float32. What has no match in a
    PyTorch program is compared with the model's own float32 run, which finds overflow and loss of precision, but no mistake of conversion.

    Args:
        reference: an exported program or its path (``.pt2``), a module, or a Core ML model, which is computed in float32.
        model: the Core ML model; None where ``reference`` is one, to compare it with itself.
        inputs: the model's inputs by name; None for the exported program's example inputs, or for random ones.
        numerics: ``fp32`` rounds nothing; ``fp16`` computes and holds every value in fp16; ``device`` computes in float32 and rounds each
            operation's result to its declared type, as Apple's fp16 units do.
        engine: compares only the outputs, as this engine computes them.
        allow_low_precision: the same in bf16, where `load` would compute in it: what that costs in precision.
        tolerance: the error allowed; None for 1e-4 where everything is fp32, and 2e-2 where anything is fp16, weights among it.
        seed: of random inputs.

    Raises:
        InputError: an argument has a value that it can't have, or an input is missing.
        UnsupportedError: a model is no ML Program and no neural network, or PyTorch can't export the module.
    """
    if numerics not in NUMERICS:
        raise InputError(f"numerics is {numerics!r}; expected one of {', '.join(NUMERICS)}")
    program = _program(reference)
    subject = _network(reference if model is None and program is None else model)
    arrays = _arrays(subject, program, inputs, seed)
    tensors = {name: torch.as_tensor(array) for name, array in arrays.items()}
    plain = _run(subject, tensors, "fp32")
    half = numerics == "fp16" or any(item.half for item in plain.kept)
    bound = tolerance if tolerance is not None else _HALF_TOLERANCE if half else _TOLERANCE
    against = _reference(reference, program, subject, tensors, plain)
    matches = match(plain.kept, against.kept, max(bound, _SAME))
    if against is not plain:
        matches = without_coincidences(matches, function_of(subject, tensors), max(bound, _SAME))
    if engine is None and not allow_low_precision:
        run = plain if numerics == "fp32" else _run(subject, tensors, numerics)
        layers = with_sources([judge(item, own, matches.get(own), bound) for item, own in zip(run.kept, plain.kept, strict=True)])
        found, how = run.outputs, f"in {numerics}"
    else:
        configuration = Configuration(
            function=subject.configuration.function, engine=engine or "auto", allow_low_precision=allow_low_precision
        )
        found = load_configured(subject.path, configuration, subject.sections).predict(arrays)
        layers, how = [], f"with {engine or 'the engine of its plan'}" + (", low precision allowed" if allow_low_precision else "")
    outputs = [judge_output(name, found[name], value, bound) for name, value in against.outputs.items() if name in found]
    matched = {id(item) for item in matches.values()}
    lone = tuple(item.name for item in against.kept if id(item) not in matched)
    return Comparison(against.name, f"{subject.path.name} {how}", bound, tuple(outputs), tuple(layers), lone)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What was computed on one side; outputs under the names that the model has for them."""

    name: str
    kept: list[Kept]
    outputs: dict[str, Any]


def _program(reference: Any) -> ExportedProgram | None:
    """The exported program that is the reference; None where it is something else."""
    if isinstance(reference, str | os.PathLike) and os.fspath(reference).endswith(".pt2"):
        reference = load_exported(reference)
    return _decomposed(reference) if isinstance(reference, ExportedProgram) else None


def _network(model: Any) -> ProgramModel | NetworkModel:
    if model is None or isinstance(model, torch.nn.Module):
        raise InputError("model is missing: give the Core ML model that PyTorch is compared with")
    loaded = model.opened() if isinstance(model, Model) else load(model)
    if not isinstance(loaded, ProgramModel | NetworkModel):
        raise UnsupportedError(f"{loaded.path}: models of kind {loaded.kind} are not compared; expected an ML Program or a neural network")
    return loaded


def _arrays(model: Model, program: ExportedProgram | None, inputs: Mapping[str, Any] | None, seed: int) -> dict[str, Any]:
    """The model's inputs as arrays: those given, or the program's examples, or random ones."""
    features = model.function.inputs
    if inputs is None and program is not None and program.example_inputs is not None:
        examples = torch.utils._pytree.tree_leaves(program.example_inputs)
        if len(examples) == len(features) and not any(isinstance(feature, ImageFeature) for feature in features.values()):
            names = [name for name in program.graph_signature.user_inputs if name in features]
            inputs = dict(zip(names if len(names) == len(features) else features, examples, strict=True))
    inputs = random_inputs(features, seed) if inputs is None else inputs
    if missing := [name for name, feature in features.items() if name not in inputs and not feature.optional]:
        raise InputError(f"input {missing[0]!r} ({features[missing[0]].summary()}) is missing; given are {', '.join(inputs) or 'none'}")
    return {name: feature.coerce(inputs[name]) if name in inputs else feature.absent() for name, feature in features.items()}


def _run(model: ProgramModel | NetworkModel, tensors: Tensors, numerics: str) -> _Run:
    kept, outputs = record_function(function_of(model, tensors), tensors, numerics)
    return _Run(f"{model.path.name} in {numerics}", kept, outputs)


def _reference(reference: Any, program: ExportedProgram | None, model: ProgramModel | NetworkModel, tensors: Tensors, plain: _Run) -> _Run:
    """What the model is compared with."""
    function = function_of(model, tensors)
    seen = {name: _seen(function, name, tensor, plain.kept) for name, tensor in tensors.items()}
    if isinstance(reference, torch.nn.Module):
        program = _captured(reference, tuple(seen.values()))
    if program is not None:
        kept, results = record_program(program, _program_inputs(program, seen))
        return _Run("PyTorch", kept, _by_order(plain.outputs, results))
    other = _network(reference)
    if other.path == model.path and other.function.name == model.function.name:
        return plain
    names = other.function.inputs
    given = tensors if names.keys() == tensors.keys() else dict(zip(names, tensors.values(), strict=False))
    run = _run(other, given, "fp32")
    outputs = run.outputs if run.outputs.keys() == plain.outputs.keys() else _by_order(plain.outputs, list(run.outputs.values()))
    return _Run(run.name, run.kept, outputs)


def _by_order(outputs: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    if len(outputs) != len(results):
        raise InputError(f"the reference gives {len(results)} outputs, the model {len(outputs)}: {', '.join(outputs)}")
    return dict(zip(outputs, results, strict=True))


def _captured(module: torch.nn.Module, inputs: tuple[Tensor, ...]) -> ExportedProgram:
    with in_evaluation(module), torch.no_grad(), quiet():
        try:
            return _decomposed(torch.export.export(module, inputs))
        except Exception as error:
            raise UnsupportedError(f"{type(module).__name__}: torch.export can't capture it: {error}") from error


def _decomposed(program: ExportedProgram) -> ExportedProgram:
    with quiet():
        decomposed: ExportedProgram = program.run_decompositions({})
    return decomposed


def _program_inputs(program: ExportedProgram, tensors: Tensors) -> list[Tensor]:
    """The program's inputs from the model's, by name or else in order, in the types and shapes that it takes."""
    names = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    if len(names) != len(tensors):
        raise InputError(f"the program takes {', '.join(names)}, the model {', '.join(tensors)}: the inputs differ in number")
    values = {node.name: node.meta["val"] for node in program.graph.find_nodes(op="placeholder")}
    given = []
    for name, own in zip(names, names if set(names) == set(tensors) else tensors, strict=True):
        tensor = tensors[own].to(values[name].dtype)
        given.append(tensor.reshape(()) if values[name].dim() == 0 else tensor)
    return given


def _seen(function: Function, name: str, tensor: Tensor, kept: Sequence[Kept]) -> Tensor:
    """An input as the network sees it: of an image, what coremltools' scale and bias make of the pixels."""
    values, seen = {item.name: item.tensor for item in kept}, {name}
    for operation in function.body.operations:
        taken = any(isinstance(item, Value) and item.name in seen for item in operation.arguments())
        if taken and plain_name(operation.outputs[0].name).endswith(("__scaled__", "__biased__")):
            tensor = values[operation.outputs[0].name]
            seen.add(operation.outputs[0].name)
    return tensor
