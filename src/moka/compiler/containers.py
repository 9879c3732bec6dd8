"""The folders of all kinds of model: root file, analytics, and the folders of a pipeline's models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from moka.compiler.compilation import Compilation, Compiled
from moka.compiler.evidence import KINDS
from moka.compiler.neighbors import compile_neighbors
from moka.compiler.networks import compile_network_model
from moka.compiler.program import compile_program
from moka.errors import FormatError
from moka.formats import schema
from moka.formats.files import read_bytes
from moka.formats.mlmodel import LARGEST_MESSAGE, serialize
from moka.formats.mlmodelc.analytics import ANALYTICS_FILE, Analytics, write_analytics
from moka.formats.mlmodelc.binary import text, u64
from moka.formats.mlmodelc.coremldata import (
    PIPELINES,
    ROOT_FILE,
    Body,
    Header,
    PipelineBody,
    ProgramBody,
    Root,
    SpecificationBody,
    write_root,
)
from moka.formats.mlmodelc.folder import MODEL_NAMES, STAGE
from moka.formats.source import ModelSource

__all__ = ["compile_container", "write_details"]

_DEEPEST = 16
"""Pipelines within pipelines."""

_UPDATES = "updateParameters/coremldata.bin"


def compile_container(source: ModelSource, folder: Path, compilation: Compilation, depth: int = 0) -> Compiled:
    """Writes everything about a model into an empty folder, but for metadata and analytics.

    Args:
        source: the model, of any kind.
        folder: exists and is empty.
        compilation: the options.
        depth: how many pipelines the model is inside of.
    """
    specification = source.specification
    kind = specification.WhichOneof("Type")
    if kind not in KINDS:
        compilation.guess(f"a model of kind {kind}")
    if kind in PIPELINES:
        compiled = _pipeline(source, folder, compilation, depth)
    elif kind in _COMPILERS:
        compiled = _COMPILERS[kind](source, folder, compilation)
    else:
        compiled = Compiled("spec", compilation.version(source, "spec"), _body(source, depth))
    header = Header(kind, compiled.container, compiled.version, specification.specificationVersion)
    body = compiled.body if depth else _with_metadata(compiled.body)
    (folder / ROOT_FILE).write_bytes(write_root(Root(header, body)))
    return compiled


def write_details(folder: Path, details: Analytics) -> None:
    """Writes the analytics of a model."""
    path = folder / ANALYTICS_FILE
    path.parent.mkdir()
    path.write_bytes(write_analytics(details))


def _program(source: ModelSource, folder: Path, compilation: Compilation) -> Compiled:
    compile_program(source, folder, compilation)
    # The counters of a network, all of them nothing.
    details = {"NeuralNetworkModelDetails": {"containsCustomLayer": "0", "modelDimension": "0"}}
    functions = len(source.specification.mlProgram.functions)
    return Compiled("generic", compilation.version(source, "generic"), ProgramBody(source.specification.description, functions), details)


def _with_metadata(body: Body) -> Body:
    """The root file of a program or a pipeline has metadata even where they are empty and the source leaves them out.

    Models in pipelines have none then, nor have networks in the real files of 2017 to 2021.
    """
    if not isinstance(body, ProgramBody | PipelineBody):
        return body
    description = schema.model().ModelDescription()
    description.CopyFrom(body.description)
    description.metadata.SetInParent()
    return replace(body, description=description)


def _body(source: ModelSource, depth: int) -> SpecificationBody:
    """The whole model: the bytes of its file, or of a pipeline's model its message."""
    if depth:
        return SpecificationBody(serialize(source.specification, source.model_file))
    return SpecificationBody(read_bytes(source.model_file, LARGEST_MESSAGE, "protobuf reads no message above 2 GiB"))


def _pipeline(source: ModelSource, folder: Path, compilation: Compilation, depth: int) -> Compiled:
    if depth >= _DEEPEST:
        raise FormatError(source.path, f"pipelines are nested deeper than {_DEEPEST} levels")
    kind = source.specification.WhichOneof("Type")
    body = getattr(source.specification, kind)
    pipeline = body if kind == "pipeline" else body.pipeline
    models = pipeline.models
    container = "generic"
    for index, message in enumerate(models):
        compiled = _stage(source.part(message), folder / STAGE.format(index), compilation, depth + 1)
        container += f".{STAGE.format(index)}v{'.'.join(map(str, compiled.version))}{compiled.container}"
    if pipeline.names:
        _write_names(folder / MODEL_NAMES, pipeline.names)
    if source.specification.isUpdatable:
        _write_updates(folder / _UPDATES, models, compilation)
    details = {"PipelineModelDetails": {"modelDimension": str(len(models))}}
    version = compilation.version(source, "pipeline")
    return Compiled(container, version, PipelineBody(source.specification.description, len(models)), details)


def _stage(source: ModelSource, folder: Path, compilation: Compilation, depth: int) -> Compiled:
    kind = source.specification.WhichOneof("Type")
    if kind is None:
        raise FormatError(source.path, f"the model of {folder.name} in the pipeline has no kind")
    if kind in _UNSEEN_IN_PIPELINES:
        compilation.guess(f"a model of kind {kind} in a pipeline")
    folder.mkdir()
    compiled = compile_container(source, folder, compilation, depth)
    if compiled.details:
        write_details(folder, compiled.details)
    return compiled


def _write_names(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir()
    path.write_bytes(u64(len(names)) + b"".join(map(text, names)))


def _write_updates(path: Path, models: Any, compilation: Compilation) -> None:
    """Which models of a pipeline learn: their number, and the index of each."""
    learning = [index for index, model in enumerate(models) if model.isUpdatable]
    if learning != [1]:
        compilation.guess("an updatable pipeline in which another model than the second learns")
    path.parent.mkdir()
    path.write_bytes(u64(len(learning), *learning))


_NETWORKS = ("neuralNetwork", "neuralNetworkClassifier", "neuralNetworkRegressor")
_UNSEEN_IN_PIPELINES = PIPELINES

_COMPILERS: dict[str, Callable[[ModelSource, Path, Compilation], Compiled]] = {
    "mlProgram": _program,
    "kNearestNeighborsClassifier": compile_neighbors,
    **dict.fromkeys(_NETWORKS, compile_network_model),
}
"""What writes the files of each kind of model that is not kept as it is."""
