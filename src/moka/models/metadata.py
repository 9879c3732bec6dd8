"""What Apple's compiler tells about a model in ``metadata.json``, derived from the source model.

The rules were read off compiled models that came with their sources, and off published metadata files. Releases of the
compiler differ: where they do, this is what the newest one seen writes. Two things that no real file at hand shows are not guessed:
the precision of a network whose weights are not float32 throughout, and the parameters of an updatable network.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from moka.errors import FormatError, UnsupportedError
from moka.formats.files import read_bytes
from moka.formats.source import ModelSource, open_source
from moka.models.description import Metadata, ModelDescription
from moka.models.features import parse_features
from moka.models.labels import class_labels
from moka.models.metadata_names import layer_type, operation_type
from moka.models.metadata_schema import feature_entry, state_entry
from moka.models.parts import Part, parts, stages
from moka.models.precision import compute_types, has_other_weights, mixed, network_types, storage_types

__all__ = ["KNOWN_VERSIONS", "availability", "metadata", "model_metadata"]

_LARGEST_JSON = 64 * 2**20

_PLATFORMS = ("iOS", "macCatalyst", "macOS", "tvOS", "visionOS", "watchOS")
_AVAILABILITY = {
    1: ("11.0", "11.0", "10.13", "11.0", "1.0", "4.0"),
    2: ("11.2", "11.2", "10.13.2", "11.2", "1.0", "4.2"),
    3: ("12.0", "12.0", "10.14", "12.0", "1.0", "5.0"),
    4: ("13.0", "13.0", "10.15", "13.0", "1.0", "6.0"),
    5: ("14.0", "14.0", "11.0", "14.0", "1.0", "7.0"),
    6: ("15.0", "15.0", "12.0", "15.0", "1.0", "8.0"),
    7: ("16.0", "16.0", "13.0", "16.0", "1.0", "9.0"),
    8: ("17.0", "17.0", "14.0", "17.0", "1.0", "10.0"),
    9: ("18.0", "18.0", "15.0", "18.0", "2.0", "11.0"),
    10: ("26.0", "26.0", "26.0", "26.0", "26.0", "26.0"),
}
"""The releases that a specification version needs, in the order of ``_PLATFORMS``."""

KNOWN_VERSIONS = range(min(_AVAILABILITY), max(_AVAILABILITY) + 1)
"""Specification versions that there are."""


def metadata(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The content of ``metadata.json`` as Apple's compiler would write it for a model: a list of one dict.

    Args:
        path: a ``.mlmodel``, an ``.mlpackage``, or a ``.mlmodelc``, whose own ``metadata.json`` is returned.

    Raises:
        FormatError: the file is not what its format demands.
        ProgramError: an operation uses a name that nothing before it defines.
        UnsupportedError: a compiled model without metadata, an updatable network, or a specification version that is unknown.
    """
    path = Path(path)
    if path.is_dir() and (path.suffix == ".mlmodelc" or (path / "coremldata.bin").exists()):
        return _compiled(path)
    return [model_metadata(open_source(path))]


def model_metadata(source: ModelSource, guess: Callable[[str], object] | None = None) -> dict[str, Any]:
    """The one entry of ``metadata.json`` for an opened model; the errors are those of `metadata`.

    Args:
        source: the model.
        guess: called with what no real file shows and is left out of the entry, in place of the error about it.
    """
    return _entry(source, guess or partial(_refuse, source))


def _refuse(source: ModelSource, what: str) -> None:
    raise UnsupportedError(f"{source.path}: metadata of {what} has been seen in no real file, so it is not guessed")


def _compiled(path: Path) -> list[dict[str, Any]]:
    file = path / "metadata.json"
    if not file.exists():
        raise UnsupportedError(f"{path}: has no metadata.json; compilers before 2020 wrote none, so ask for its source's metadata")
    try:
        content = json.loads(read_bytes(file, _LARGEST_JSON, "metadata of real models has a few kilobytes"))
    except (ValueError, RecursionError) as error:
        raise FormatError(file, f"is not JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise FormatError(file, "expected a list of objects")
    return content


def _entry(source: ModelSource, guess: Callable[[str], object]) -> dict[str, Any]:
    specification = source.specification
    description = ModelDescription.parse(specification.description)
    models = parts(source)
    networks = [part.network for part in models if part.network is not None]
    if any(network.updateParams.ByteSize() for network in networks):  # coremltools leaves empty ones in classifiers
        guess("an updatable network")
    # The release of 2021 that the only known files of half-precision networks come from wrote no precisions, and empty texts.
    bare = any(map(has_other_weights, networks))
    entry: dict[str, Any] = {
        "metadataOutputVersion": "3.0",
        "method": "predict",
        "generatedClassName": re.sub(r"\W", "_", Path(os.path.abspath(source.path)).stem, flags=re.ASCII),
        "specificationVersion": specification.specificationVersion,
        "availability": _availability(source),
        "modelType": _model_type(source),
        "isUpdatable": "1" if specification.isUpdatable else "0",
        "modelParameters": [parameter for part in models for parameter in _model_parameters(part)],
        "userDefinedMetadata": dict(description.metadata.user_defined),
        **_texts(description.metadata, keep_empty=bare),
        **_functions(models, description, named=bool(specification.description.functions)),
        **({} if bare else _precisions(models, description.default_function)),
    }
    if networks:
        entry["neuralNetworkLayerTypeHistogram"] = dict(Counter(layer_type(layer) for network in networks for layer in network.layers))
    labels = class_labels(models)
    if labels is not None:
        entry["classLabels"] = list(labels)
    if specification.isUpdatable:
        training = parse_features(specification.description.trainingInput)
        entry |= {"trainingInputSchema": list(map(feature_entry, training.values())), "updateParameters": []}
    return entry


def _availability(source: ModelSource) -> dict[str, str]:
    version = source.specification.specificationVersion
    if version not in _AVAILABILITY:
        raise UnsupportedError(f"{source.path}: specification version {version} is unknown; known are 1 to {max(_AVAILABILITY)}")
    return availability(version)


def availability(version: int) -> dict[str, str]:
    """The oldest release of each of Apple's systems that reads a specification version; empty for an unknown version."""
    return dict(zip(_PLATFORMS, _AVAILABILITY.get(version, ()), strict=False))


def _model_type(source: ModelSource) -> dict[str, Any]:
    name = {"name": f"MLModelType_{source.specification.WhichOneof('Type')}"}
    inner = stages(source)
    return name | {"structure": [_model_type(stage) for stage in inner.values()]} if inner else name


def _texts(info: Metadata, keep_empty: bool) -> dict[str, str]:
    texts = {"shortDescription": info.description, "version": info.version, "author": info.author, "license": info.license}
    return {key: text for key, text in texts.items() if text or keep_empty}


def _model_parameters(part: Part) -> list[dict[str, str]]:
    """The one parameter of a nearest-neighbour model; ``scope`` is the stage of the pipeline that it is in."""
    if part.kind != "kNearestNeighborsClassifier" or not part.body.HasField("numberOfNeighbors"):
        return []
    parameter = part.body.numberOfNeighbors
    entry = {
        "name": "numberOfNeighbors",
        "shortDescription": "Number of neighbors to use for prediction",
        "dataType": "Int64",
        "defaultValue": str(parameter.defaultValue),
    }
    if parameter.HasField("range"):
        entry["allowedRange"] = str([parameter.range.minValue, parameter.range.maxValue])
    return [entry | {"scope": part.name} if part.name else entry]


def _functions(models: Sequence[Part], description: ModelDescription, named: bool) -> dict[str, Any]:
    """Schemas and operations: those of the default function, and those of each where the model describes several by name."""
    entry = _function(models, description, description.default_function)
    if not named:
        return entry
    # Named functions have been seen in no file that is at hand with its source.
    functions = [{"name": name} | _function(models, description, name) | _precisions(models, name) for name in description.functions]
    return entry | {"functions": functions, "defaultFunctionName": description.default_function}


def _function(models: Sequence[Part], description: ModelDescription, name: str) -> dict[str, Any]:
    function = description.function(name)
    entry: dict[str, Any] = {
        "inputSchema": list(map(feature_entry, function.inputs.values())),
        "outputSchema": list(map(feature_entry, function.outputs.values())),
        "stateSchema": list(map(state_entry, function.states.values())),
    }
    if any(part.program is not None for part in models):
        histogram: Counter[str] = Counter()
        for body in (body for part in models for body in part.functions(name)):
            histogram.update(operation_type(item.type, body.opset) for item in body.body.walk() if item.type != "const")
        entry["mlProgramOperationTypeHistogram"] = dict(histogram)
    return entry


def _precisions(models: Sequence[Part], function: str) -> dict[str, str]:
    bodies = [body for part in models for body in part.functions(function)]
    networks = [part.network for part in models if part.network is not None]
    storage: set[str] = set().union(*map(storage_types, bodies), *map(network_types, networks))
    compute: set[str] = set().union(*map(compute_types, bodies), {"Float16"} if networks else set())
    stated = {"storagePrecision": mixed(storage), "computePrecision": mixed(compute)}
    return {key: text for key, text in stated.items() if text}
