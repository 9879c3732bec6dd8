"""What a model is, without running it: its description, its operations or layers, and how its weights are stored."""

from __future__ import annotations

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moka.formats.source import open_source
from moka.formats.updates import Loss, UpdateParameter, losses, neighbors_parameter, network_parameters, optimizer
from moka.ir.program import Constant, Function, Operation, Program, Value
from moka.ir.text import text
from moka.ir.types import TensorType
from moka.models.description import ModelDescription
from moka.models.features import Feature, parse_features
from moka.models.labels import class_labels
from moka.models.metadata import availability
from moka.models.metadata_names import layer_type
from moka.models.network_text import network_text
from moka.models.parts import Part, parts
from moka.models.precision import constants, network_weights, stored_numbers

__all__ = ["ModelSummary", "PartSummary", "UpdateSummary", "WeightGroup", "inspect"]


@dataclass(frozen=True)
class WeightGroup:
    """The stored numbers of one type: how many arrays, elements, and bytes in the file."""

    dtype: str
    arrays: int
    elements: int
    bytes: int


@dataclass(frozen=True)
class UpdateSummary:
    """How a model learns on the device.

    Attributes:
        layers: names of the layers that learn; empty for what is no network, as are the next two.
        losses: what is made small.
        optimizer: ``sgd`` or ``adam``.
        parameters: defaults, and the values that may be chosen instead.
    """

    layers: Sequence[str]
    losses: Sequence[Loss]
    optimizer: str
    parameters: Sequence[UpdateParameter]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "layers": list(self.layers),
            "losses": [dataclasses.asdict(loss) for loss in self.losses],
            "optimizer": self.optimizer,
            "parameters": [_parameter_data(parameter) for parameter in self.parameters],
        }


@dataclass(frozen=True)
class PartSummary:
    """One model of a pipeline, or the model itself.

    Attributes:
        name: of the stage in its pipeline; empty outside one.
        kind: the model's kind as the format names it.
        opsets: for an ML Program, the opset of each function, by name.
        operations: how often each operation of an ML Program occurs, or each type of layer of a neural network; constants left out.
        weights: by type; for an ML Program those of more than a handful of numbers, which are in weight files.
        compressed: how many constants each operation decompresses: ``{"constexpr_lut_to_dense": 12}``.
        parameters: numbers that the weights stand for, decompressed.
        update: how it learns; None for what is not updatable.
        program: the ML Program; None for other kinds.
        specification: the part's ``Model`` message.
    """

    name: str
    kind: str
    opsets: Mapping[str, str]
    operations: Mapping[str, int]
    weights: Sequence[WeightGroup]
    compressed: Mapping[str, int]
    parameters: int
    update: UpdateSummary | None = None
    program: Program | None = dataclasses.field(default=None, repr=False)
    specification: Any = dataclasses.field(default=None, repr=False)

    def program_text(self) -> str:
        """The ML Program for reading, one operation a line, or the neural network, one layer a line; empty for other kinds."""
        if self.program is not None:
            return text(self.program)
        if not self.kind.startswith("neuralNetwork"):
            return ""
        return network_text(getattr(self.specification, self.kind), self.specification.description)


@dataclass(frozen=True)
class ModelSummary:
    """What a model is.

    Attributes:
        path: the file or package.
        kind: as the format names it: ``mlProgram``, ``pipelineClassifier``.
        specification_version: the version of the format that the file states.
        availability: the oldest release of each of Apple's systems that reads that version.
        is_updatable: whether the model may be trained further on the device.
        training_inputs: what each sample of an update has; empty where the model is not updatable.
        description: metadata, and inputs, outputs and states of every function.
        class_labels: of a classifier; None for what is none, empty for one without labels.
        parts: the models of a pipeline, or the model itself.
    """

    path: Path
    kind: str
    specification_version: int
    availability: Mapping[str, str]
    is_updatable: bool
    training_inputs: Mapping[str, Feature]
    description: ModelDescription
    class_labels: Sequence[str] | Sequence[int] | None
    parts: Sequence[PartSummary]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data for JSON, without the program's text."""
        functions = {
            name: {
                "inputs": _features(function.inputs.values()),
                "outputs": _features(function.outputs.values()),
                "states": _features(function.states.values()),
            }
            for name, function in self.description.functions.items()
        }
        return {
            "path": str(self.path),
            "kind": self.kind,
            "specification_version": self.specification_version,
            "availability": dict(self.availability),
            "is_updatable": self.is_updatable,
            "training_inputs": _features(self.training_inputs.values()),
            "metadata": dataclasses.asdict(self.description.metadata),
            "default_function": self.description.default_function,
            "functions": functions,
            "class_labels": None if self.class_labels is None else list(self.class_labels),
            "parts": [_part_data(part) for part in self.parts],
        }


def inspect(path: str | os.PathLike[str]) -> ModelSummary:
    """Says what a model of any kind is; nothing is run and no weights are read.

    Raises:
        FormatError: the file is not what its format demands.
        ProgramError: an operation uses a name that nothing before it defines, or an updatable network has no loss or optimizer.
        UnsupportedError: a compiled model of a kind, or with a layer, whose compiled form Moka does not know.
    """
    source = open_source(path)
    specification = source.specification
    models = parts(source)
    return ModelSummary(
        path=source.path,
        kind=specification.WhichOneof("Type"),
        specification_version=specification.specificationVersion,
        availability=availability(specification.specificationVersion),
        is_updatable=specification.isUpdatable,
        training_inputs=parse_features(specification.description.trainingInput),
        description=ModelDescription.parse(specification.description),
        class_labels=class_labels(models),
        parts=tuple(map(_part, models)),
    )


def _features(features: Iterable[Any]) -> list[dict[str, Any]]:
    return [{"type": type(feature).__name__.removesuffix("Feature"), **dataclasses.asdict(feature)} for feature in features]


_LEFT_OUT = ("program", "specification")
"""Fields of parts that are no plain data."""


def _part_data(part: PartSummary) -> dict[str, Any]:
    shown = {field.name: _plain(getattr(part, field.name)) for field in dataclasses.fields(part) if field.name not in _LEFT_OUT}
    return shown | {"update": None if part.update is None else part.update.to_dict()}


def _parameter_data(parameter: UpdateParameter) -> dict[str, Any]:
    """As the model states it; ``minimum`` and ``maximum``, or ``allowed``, are null where there are no such limits."""
    return {
        "name": parameter.name,
        "type": parameter.kind.__name__,
        "default": parameter.default,
        "allowed": None if parameter.allowed is None else list(parameter.allowed),
        "minimum": parameter.low,
        "maximum": parameter.high,
    }


def _plain(value: Any) -> Any:
    return [dataclasses.asdict(item) for item in value] if isinstance(value, tuple) else value


def _part(part: Part) -> PartSummary:
    if part.program is not None:
        return _program(part, part.program)
    if part.network is not None:
        return _network(part, part.network)
    return PartSummary(part.name, part.kind, {}, {}, (), {}, 0, _update(part))


def _update(part: Part) -> UpdateSummary | None:
    if not part.source.specification.isUpdatable:
        return None
    if part.network is not None:
        learning = [layer.name for layer in part.network.layers if layer.isUpdatable]
        name = optimizer(part.network).removesuffix("Optimizer")
        return UpdateSummary(learning, losses(part.network), name, network_parameters(part.network))
    if part.kind == "kNearestNeighborsClassifier":
        return UpdateSummary((), (), "", [neighbors_parameter(part.body)])
    return None


def _program(part: Part, program: Program) -> PartSummary:
    operations = [operation for function in program.functions.values() for operation in function.body.walk()]
    stored = {constant.file: constant for operation in operations for _, constant in constants(operation) if constant.file is not None}
    groups = [(constant.type.dtype, constant.type.static_shape) for constant in stored.values() if isinstance(constant.type, TensorType)]
    sizes = [(dtype.name, dtype.bits, _count(shape)) for dtype, shape in groups]
    return PartSummary(
        name=part.name,
        kind=part.kind,
        opsets={name: function.opset for name, function in program.functions.items()},
        operations=_sorted(Counter(operation.type for operation in operations if operation.type != "const")),
        weights=_weight_groups(sizes),
        compressed=_sorted(Counter(operation.type for operation in operations if operation.type.startswith("constexpr_"))),
        parameters=_parameters(program.functions.values()),
        program=program,
    )


def _parameters(functions: Iterable[Function]) -> int:
    """Elements of all stored and decompressed constants; what several functions or operations share counts once.

    What feeds a decompression is left out, for its result counts.
    """
    inner: set[Value] = set()
    counted: dict[object, int] = {}
    for operation in (operation for function in functions for operation in function.body.walk()):
        if operation.type.startswith("constexpr_"):
            inner.update(argument for argument in operation.arguments() if isinstance(argument, Value))
    for operation in (operation for function in functions for operation in function.body.walk()):
        key = _weight_key(operation)
        if key is not None and not inner.intersection(operation.outputs):
            value_type = operation.outputs[0].type
            counted[key] = _count(value_type.static_shape) if isinstance(value_type, TensorType) else 0
    return sum(counted.values())


def _weight_key(operation: Operation) -> object | None:
    """What identifies the weight that an operation gives: the places of all that it is made of; None if it gives none."""
    if operation.type != "const" and not operation.type.startswith("constexpr_"):
        return None
    files = tuple(constant.file for constant in _inner_constants(operation) if constant.file is not None)
    return files or (operation if operation.type != "const" else None)


def _inner_constants(operation: Operation) -> Iterator[Constant]:
    yield from (constant for _, constant in constants(operation))
    for argument in operation.arguments():
        if isinstance(argument, Value) and argument.producer is not None:
            yield from _inner_constants(argument.producer)


def _network(part: Part, network: Any) -> PartSummary:
    sizes = [size for weights in network_weights(network) for size in stored_numbers(weights)]
    packed = [weights for weights in network_weights(network) if weights.rawValue]
    quantized = Counter(f"quantized to {weights.quantization.numberOfBits} bits" for weights in packed)
    return PartSummary(
        name=part.name,
        kind=part.kind,
        opsets={},
        operations=_sorted(Counter(map(layer_type, network.layers))),
        weights=_weight_groups(sizes),
        compressed=_sorted(quantized),
        parameters=sum(count for _, _, count in sizes),
        update=_update(part),
        specification=part.source.specification,
    )


def _weight_groups(sizes: Iterable[tuple[str, int, int]]) -> tuple[WeightGroup, ...]:
    """Groups by type, from (type, bits, elements) of each array; the largest first."""
    groups: dict[str, WeightGroup] = {}
    for dtype, bits, count in sizes:
        group = groups.get(dtype, WeightGroup(dtype, 0, 0, 0))
        groups[dtype] = WeightGroup(dtype, group.arrays + 1, group.elements + count, group.bytes + (count * bits + 7) // 8)
    return tuple(sorted(groups.values(), key=lambda group: (-group.bytes, group.dtype)))


def _count(shape: tuple[int, ...] | None) -> int:
    return 0 if shape is None else math.prod(shape)


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
