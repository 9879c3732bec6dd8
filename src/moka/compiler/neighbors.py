"""The folder of a nearest-neighbor classifier: its parameters in folders of their own, the rest in the root file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from moka.compiler.compilation import Compilation, Compiled
from moka.formats.mlmodelc.binary import u64
from moka.formats.mlmodelc.coremldata import ClassLabels, NeighborsBody
from moka.formats.mlmodelc.specification import NEIGHBORS_PARAMETER
from moka.formats.source import ModelSource

__all__ = ["compile_neighbors"]

_EMPTY_FOLDERS = ("modelParameters", "updateParameters")
"""Their own ``coremldata.bin`` holds one zero."""

_GUESSES: dict[str, Callable[[Any, Any], object]] = {
    "samples": lambda model, message: message.nearestNeighborsIndex.floatSamples,
    "integer labels": lambda model, message: message.WhichOneof("ClassLabels") != "stringClassLabels",
    "a k-d tree": lambda model, message: message.nearestNeighborsIndex.WhichOneof("IndexType") != "linearIndex",
    "no default label of text": lambda model, message: message.WhichOneof("DefaultClassLabel") != "defaultStringLabel",
    "uniform weights": lambda model, message: message.WhichOneof("WeightingScheme") != "inverseDistanceWeighting",
    "numbers of neighbors in no range": lambda model, message: message.numberOfNeighbors.WhichOneof("AllowedValues") != "range",
    "no updates": lambda model, message: not model.isUpdatable,
}
"""What the one real model does not have, and how to see whether a model has it."""


def compile_neighbors(source: ModelSource, folder: Path, compilation: Compilation) -> Compiled:
    """Writes the parameters."""
    model, message = source.specification, source.specification.kNearestNeighborsClassifier
    for what, has in _GUESSES.items():
        if has(model, message):
            compilation.guess(f"kNearestNeighborsClassifier with {what}")
    for name in _EMPTY_FOLDERS:
        _write(folder / name / "coremldata.bin", u64(0))
    _write(folder / NEIGHBORS_PARAMETER, message.numberOfNeighbors.SerializeToString(deterministic=True))
    return Compiled("notreesyet", compilation.version(source, "notreesyet"), _body(model.description, message))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _body(description: Any, message: Any) -> NeighborsBody:
    integers = message.WhichOneof("ClassLabels") == "int64ClassLabels"
    default = message.WhichOneof("DefaultClassLabel")
    return NeighborsBody(
        description,
        message.nearestNeighborsIndex.numberOfDimensions,
        [list(sample.vector) for sample in message.nearestNeighborsIndex.floatSamples],
        ClassLabels(list((message.int64ClassLabels if integers else message.stringClassLabels).vector), integers),
        getattr(message, default) if default else None,
        message.WhichOneof("WeightingScheme") == "inverseDistanceWeighting",
    )
