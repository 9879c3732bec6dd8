"""Reads and writes the root ``coremldata.bin`` of a compiled model: what the model is, its description, and what its kind adds.

    u32       the kind: the field number of the model in ``Model.proto``
    3 x u64   the container's version
    text      the container's name; empty in files of 2017
    u64       the specification version, then two u64 zeros
    text      empty; in files of 2017 the container's name
    body      by the container's name:
      spec            the serialized ``Model`` message, to the end of the file
      generic         description, u64 kind; then for a network its outputs, for a classifier labels and outputs, for a program u64 0
      generic.model0vVERSIONname...   a pipeline: description, u64 number of models, u64 kind
      notreesyet      nearest neighbors: description, u32 dimensions, samples, labels, default label, u64

A description is a text that holds a serialized ``ModelDescription`` message. Read off compiled models of 2017 to 2026.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from moka.errors import FormatError, UnsupportedError
from moka.formats import schema
from moka.formats.files import read_bytes
from moka.formats.mlmodel import LARGEST_MESSAGE
from moka.formats.mlmodelc.binary import Reader, text, u64

__all__ = [
    "PIPELINES",
    "ROOT_FILE",
    "ClassLabels",
    "Header",
    "NeighborsBody",
    "NetworkBody",
    "PipelineBody",
    "ProgramBody",
    "Root",
    "SpecificationBody",
    "kind_name",
    "kind_number",
    "read_root",
    "write_root",
]

ROOT_FILE = "coremldata.bin"
PIPELINES = ("pipeline", "pipelineClassifier", "pipelineRegressor")

_LIMIT_REASON = "it holds a message of at most 2 GiB"
_STRINGS, _INTEGERS = 100, 101
"""Field numbers of string and integer class labels, in every kind of model that has labels."""
_LABEL_KINDS = {_STRINGS: "strings", _INTEGERS: "integers"}
_DEFAULT_STRING, _DEFAULT_INTEGER = 110, 111
_DEFAULT_KINDS = {0: "none", _DEFAULT_STRING: "a string", _DEFAULT_INTEGER: "an integer"}


@dataclass(frozen=True, slots=True)
class Header:
    """What every root file begins with.

    Attributes:
        kind: the model's kind as the format names it: ``mlProgram``.
        container: the container's name, which says what the body is.
        version: the container's version, such as ``(1, 2, 1)``.
        specification_version: the version of the format that the source stated.
        early: the layout of 2017, with the container's name in the second place.
    """

    kind: str
    container: str
    version: tuple[int, int, int]
    specification_version: int
    early: bool = False


@dataclass(frozen=True, slots=True)
class ClassLabels:
    """The labels of a classifier, in order: strings or 64-bit integers."""

    values: Sequence[str] | Sequence[int]
    integers: bool


@dataclass(frozen=True, slots=True)
class SpecificationBody:
    """The whole model as its serialized message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ProgramBody:
    """An ML Program; the program itself is in ``model.mil``. ``functions`` is how many it has, each with an entry at the file's end."""

    description: Any
    functions: int = 1


@dataclass(frozen=True, slots=True)
class NetworkBody:
    """A neural network; its layers are in files of their own.

    Attributes:
        description: the ``ModelDescription`` message.
        outputs: the names of its output blobs, in the order of the file.
        labels: of a classifier; None for what is none.
        probabilities: the blob of a classifier's probabilities.
    """

    description: Any
    outputs: Sequence[str]
    labels: ClassLabels | None = None
    probabilities: str = ""


@dataclass(frozen=True, slots=True)
class PipelineBody:
    """A pipeline, whose models are in folders ``model0``, ``model1``, ..."""

    description: Any
    models: int


@dataclass(frozen=True, slots=True)
class NeighborsBody:
    """Nearest neighbors. No real file at hand has samples: their layout is Moka's own reading, as is what the last number means.

    Attributes:
        dimensions: of a sample.
        samples: points, float32.
        labels: one for each sample.
        default_label: the label of what has no neighbors; None where none is stated.
        inverse_weights: the last number: whether nearer neighbors weigh more.
    """

    description: Any
    dimensions: int
    samples: Sequence[Sequence[float]]
    labels: ClassLabels
    default_label: str | int | None
    inverse_weights: bool


Body: TypeAlias = SpecificationBody | ProgramBody | NetworkBody | PipelineBody | NeighborsBody


@dataclass(frozen=True, slots=True)
class Root:
    """The content of a root ``coremldata.bin``."""

    header: Header
    body: Body


def kind_number(kind: str) -> int:
    """The field number of a kind of model in ``Model.proto``."""
    return int(schema.model().Model.DESCRIPTOR.fields_by_name[kind].number)


def kind_name(number: int, where: object) -> str:
    """The kind of model with a field number of ``Model.proto``; FormatError for a number that is no kind's."""
    field = schema.model().Model.DESCRIPTOR.fields_by_number.get(number)
    if field is None or field.containing_oneof is None:
        raise FormatError(f"{where}: kind", f"found {number}, which Model.proto names no kind of model for")
    return str(field.name)


def read_root(path: Path) -> Root:
    """The root file at ``path``.

    Raises:
        FormatError: missing, truncated, longer than 2 GiB, a kind or container that is unknown, or bytes behind the last field.
        UnsupportedError: a kind of model whose container no real file has shown.
    """
    reader = Reader(read_bytes(path, LARGEST_MESSAGE, _LIMIT_REASON), path)
    header = _read_header(reader, path)
    return Root(header, _read_body(header, reader, path))


def _read_header(reader: Reader, path: Path) -> Header:
    kind = kind_name(int.from_bytes(reader.take(4, "kind"), "little"), path)
    version = (reader.u64("container version"), reader.u64("container version"), reader.u64("container version"))
    name = reader.text("container name")
    specification_version = reader.u64("specification version")
    reader.take(16, "specification version")
    second = reader.text("container name")
    if not (name or second):
        raise FormatError(f"{path}: container name", "is empty")
    return Header(kind, name or second, version, specification_version, early=not name)


def _read_body(header: Header, reader: Reader, path: Path) -> Body:
    if header.container == "spec":
        return SpecificationBody(reader.take(reader.left, "model"))
    description = _read_description(reader, path)
    if header.container == "notreesyet":
        body: Body = _read_neighbors(reader, description)
    elif header.kind in PIPELINES:
        body = PipelineBody(description, reader.u64("number of models"))
        _check_kind(reader, header, path)
    elif header.container == "generic":
        _check_kind(reader, header, path)
        body = _read_generic(header, reader, description, path)
    else:
        raise FormatError(f"{path}: container name", f"found {header.container!r:.80}, known are spec, generic and notreesyet")
    reader.end()
    return body


def _read_description(reader: Reader, path: Path) -> Any:
    message = schema.model().ModelDescription()
    try:
        message.ParseFromString(reader.blob("description"))
    except (DecodeError, RecursionError) as error:
        raise FormatError(f"{path}: description", f"is no ModelDescription message: {error}") from error
    return message


def _check_kind(reader: Reader, header: Header, path: Path) -> None:
    found = kind_name(reader.u64("kind"), path)
    if found != header.kind:
        raise FormatError(f"{path}: kind", f"found {found} behind the description, but {header.kind} in front")


def _read_generic(header: Header, reader: Reader, description: Any, path: Path) -> ProgramBody | NetworkBody:
    if header.kind == "mlProgram":
        reader.expect("last field of a function", {0: "nothing"})
        functions = 1
        while reader.left >= 16:
            _check_kind(reader, header, path)
            reader.expect("last field of a function", {0: "nothing"})
            functions += 1
        return ProgramBody(description, functions)
    if header.kind == "neuralNetworkClassifier":
        labels = _read_labels(reader)
        probabilities = reader.text("probability output")
        return NetworkBody(description, _read_names(reader), labels, probabilities)
    if header.kind in ("neuralNetwork", "neuralNetworkRegressor"):
        return NetworkBody(description, _read_names(reader))
    raise UnsupportedError(
        f"{path}: the compiled form of a {header.kind} in a container {header.container!r} has been seen in no real file"
    )


def _read_names(reader: Reader) -> list[str]:
    return [reader.text("name of an output") for _ in range(reader.count("number of outputs"))]


def _read_labels(reader: Reader) -> ClassLabels:
    integers = reader.expect("kind of labels", _LABEL_KINDS) == _INTEGERS
    count = range(reader.count("number of labels"))
    return ClassLabels([reader.i64("label") for _ in count] if integers else [reader.text("label") for _ in count], integers)


def _read_neighbors(reader: Reader, description: Any) -> NeighborsBody:
    dimensions = int.from_bytes(reader.take(4, "number of dimensions"), "little")
    samples = [_read_floats(reader) for _ in range(reader.count("number of samples"))]
    labels = _read_labels(reader)
    default = _read_default(reader)
    weights = reader.expect("last field", {0: "uniform weights", 1: "inverse distances"})
    return NeighborsBody(description, dimensions, samples, labels, default, weights == 1)


def _read_default(reader: Reader) -> str | int | None:
    kind = reader.expect("kind of default label", _DEFAULT_KINDS)
    if kind == _DEFAULT_STRING:
        return reader.text("default label")
    return reader.i64("default label") if kind == _DEFAULT_INTEGER else None


def _read_floats(reader: Reader) -> Sequence[float]:
    count = reader.count("number of values", entry_size=4)
    return struct.unpack(f"<{count}f", reader.take(4 * count, "sample"))


def write_root(root: Root) -> bytes:
    """The bytes of a root file."""
    return _header_bytes(root.header) + _body_bytes(root.header, root.body)


def _header_bytes(header: Header) -> bytes:
    names = (text(""), text(header.container)) if header.early else (text(header.container), text(""))
    kind = kind_number(header.kind).to_bytes(4, "little")
    return kind + u64(*header.version) + names[0] + u64(header.specification_version, 0, 0) + names[1]


def _body_bytes(header: Header, body: Body) -> bytes:
    if isinstance(body, SpecificationBody):
        return body.data
    description, kind = text(body.description.SerializeToString(deterministic=True)), u64(kind_number(header.kind))
    if isinstance(body, ProgramBody):
        return description + (kind + u64(0)) * max(1, body.functions)
    if isinstance(body, PipelineBody):
        return description + u64(body.models) + kind
    if isinstance(body, NeighborsBody):
        return description + _neighbors_bytes(body)
    labels = b"" if body.labels is None else _label_bytes(body.labels) + text(body.probabilities)
    return description + kind + labels + u64(len(body.outputs)) + b"".join(map(text, body.outputs))


def _label_bytes(labels: ClassLabels) -> bytes:
    entries = [u64(label) if isinstance(label, int) else text(label) for label in labels.values]
    return u64(_INTEGERS if labels.integers else _STRINGS, len(entries)) + b"".join(entries)


def _neighbors_bytes(body: NeighborsBody) -> bytes:
    samples = [u64(len(sample)) + struct.pack(f"<{len(sample)}f", *sample) for sample in body.samples]
    head = body.dimensions.to_bytes(4, "little") + u64(len(samples)) + b"".join(samples)
    return head + _label_bytes(body.labels) + _default_bytes(body.default_label) + u64(body.inverse_weights)


def _default_bytes(label: str | int | None) -> bytes:
    if label is None:
        return u64(0)
    return u64(_DEFAULT_INTEGER, label) if isinstance(label, int) else u64(_DEFAULT_STRING) + text(label)
