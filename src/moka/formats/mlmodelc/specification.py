"""The specification of a compiled model: the ``Model`` message that its source held, as far as the folder still knows it.

What a compiled model no longer holds: comments and metadata of no meaning to it, layers that were fused into others, and whether
numbers that a network computes with came from a quantized source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from moka.errors import FormatError, UnsupportedError
from moka.formats import schema
from moka.formats.espresso import read_network
from moka.formats.files import read_bytes
from moka.formats.mil_text import parse_program
from moka.formats.mil_text.printer import BUILD_INFO
from moka.formats.mlmodel import parse_specification
from moka.formats.mlmodelc.coremldata import (
    PIPELINES,
    ROOT_FILE,
    ClassLabels,
    NeighborsBody,
    NetworkBody,
    SpecificationBody,
)
from moka.formats.mlmodelc.folder import PROGRAM_FILE, STAGE, CompiledFolder, open_folder
from moka.formats.references import blob_values, programs

__all__ = ["COMPILER_COMPONENTS", "NEIGHBORS_PARAMETER", "read_compiled"]

COMPILER_COMPONENTS = "coremlc-"
"""What those entries of a program's ``buildInfo`` begin with that the compiler added to the source's."""

NEIGHBORS_PARAMETER = "modelParameters/numberOfNeighbors/coremldata.bin"
"""The file of the number of neighbors: a serialized ``Int64Parameter`` message."""

_MODEL_PATH = "@model_path/"
_LARGEST_TEXT = 2**30
_LARGEST_PARAMETER = 2**20


def read_compiled(path: Path) -> Any:
    """The ``Model`` message of the compiled model in a folder.

    Raises:
        FormatError: a file of it is missing or breaks its format.
        UnsupportedError: a kind of model, or a layer, whose compiled form Moka does not know.
    """
    return _specification(open_folder(path))


def _specification(folder: CompiledFolder) -> Any:
    if isinstance(folder.root.body, SpecificationBody):
        return parse_specification(folder.root.body.data, folder.path / ROOT_FILE)
    kind = folder.header.kind
    if kind not in _READERS:
        raise UnsupportedError(f"{folder.path}: the compiled form of a {kind} has been seen in no real file")
    specification = schema.model().Model(specificationVersion=folder.header.specification_version)
    specification.description.CopyFrom(folder.root.body.description)
    specification.isUpdatable = bool(specification.description.trainingInput)
    _READERS[kind](folder, specification)
    return specification


def _program(folder: CompiledFolder, specification: Any) -> None:
    file = folder.file(PROGRAM_FILE)
    program = parse_program(read_bytes(file, _LARGEST_TEXT, "texts of real programs have a few megabytes"), file)
    _drop_compiler(program)
    specification.mlProgram.CopyFrom(program)


def _drop_compiler(program: Any) -> None:
    """Takes out of a program's ``buildInfo`` what the compiler added, and the whole attribute where nothing is left."""
    if BUILD_INFO not in program.attributes:
        return
    pairs = program.attributes[BUILD_INFO].immediateValue.dictionary.values
    kept = [type(pair).FromString(pair.SerializeToString()) for pair in pairs if not _names_compiler(pair.key)]
    if not kept:
        del program.attributes[BUILD_INFO]
    elif len(kept) < len(pairs):
        del pairs[:]
        pairs.extend(kept)


def _names_compiler(key: Any) -> bool:
    return any(text.startswith(COMPILER_COMPONENTS) for text in key.immediateValue.tensor.strings.values)


def _network(folder: CompiledFolder, specification: Any) -> None:
    body = folder.root.body
    assert isinstance(body, NetworkBody)
    specification.isUpdatable = False  # how a compiled network holds what its updates need has been seen in no real file
    network = read_network(folder.path, specification.description)
    message = getattr(specification, folder.header.kind)
    # The three kinds of network have the same fields under the same numbers; a classifier has its labels beside.
    message.ParseFromString(network.SerializeToString())
    if body.labels is not None:
        _set_labels(message, body.labels)
        message.labelProbabilityLayerName = body.probabilities


def _set_labels(message: Any, labels: ClassLabels) -> None:
    field = message.int64ClassLabels if labels.integers else message.stringClassLabels
    field.SetInParent()
    field.vector.extend(labels.values)


def _pipeline(folder: CompiledFolder, specification: Any) -> None:
    kind = folder.header.kind
    body = getattr(specification, kind)
    pipeline = body if kind == "pipeline" else body.pipeline
    models = pipeline.models
    getattr(specification, kind).SetInParent()
    pipeline.names.extend(folder.model_names())
    for index, stage in enumerate(folder.stages()):
        model = _specification(stage)
        _move_weights(model, f"{STAGE.format(index)}/")
        models.append(model)


def _move_weights(model: Any, folder: str) -> None:
    """Lets the programs of a pipeline's model name their weight files as seen from the pipeline's folder."""
    for program, where in programs(model):
        for _, value in blob_values(program, where):
            name = value.blobFileValue.fileName
            if name.startswith(_MODEL_PATH):
                value.blobFileValue.fileName = f"{_MODEL_PATH}{folder}{name.removeprefix(_MODEL_PATH)}"


def _neighbors(folder: CompiledFolder, specification: Any) -> None:
    """Nearest neighbors; that the index is linear and the distance Euclidean is what the format has besides nothing else."""
    body = folder.root.body
    assert isinstance(body, NeighborsBody)
    message = specification.kNearestNeighborsClassifier
    index = message.nearestNeighborsIndex
    index.numberOfDimensions = body.dimensions
    for sample in body.samples:
        index.floatSamples.add().vector.extend(sample)
    index.linearIndex.SetInParent()
    index.squaredEuclideanDistance.SetInParent()
    _set_labels(message, body.labels)
    if isinstance(body.default_label, str):
        message.defaultStringLabel = body.default_label
    elif body.default_label is not None:
        message.defaultInt64Label = body.default_label
    (message.inverseDistanceWeighting if body.inverse_weights else message.uniformWeighting).SetInParent()
    _read_parameter(folder.file(NEIGHBORS_PARAMETER), message.numberOfNeighbors)


def _read_parameter(file: Path, message: Any) -> None:
    try:
        message.ParseFromString(read_bytes(file, _LARGEST_PARAMETER, "a parameter has a few bytes"))
    except DecodeError as error:
        raise FormatError(file, f"is no {message.DESCRIPTOR.name} message: {error}") from error


def _readers() -> Iterator[tuple[str, Callable[[CompiledFolder, Any], None]]]:
    yield "mlProgram", _program
    yield "kNearestNeighborsClassifier", _neighbors
    yield from ((kind, _network) for kind in ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor"))
    yield from ((kind, _pipeline) for kind in PIPELINES)


_READERS = dict(_readers())
"""What fills in the message of each kind of model that is not kept as it is."""
