"""Core ML models inside ExecuTorch programs.

A payload is a folder (`moka.formats.inmemoryfs`) with ``model.mlpackage`` or ``model.mlmodelc`` and ``metadata.json``, which names the
model's inputs and outputs in the order of the delegate's arguments. Methods that share a model have in its place ``CMJR`` and a JSON
text with the key of the program's named data where it is, and the function that the method runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moka.cache import Cache, Key
from moka.errors import FormatError
from moka.formats.inmemoryfs import unpack_files, write_files
from moka.formats.pte import Delegate, Method, ProgramFile, read_program

__all__ = ["BACKEND", "CoreMLPayload", "coreml_payload", "extract"]

BACKEND = "CoreMLBackend"
"""What ExecuTorch calls its Core ML backend."""

PRODUCT = "executorch"
"""What unpacked models are called in the cache."""

_REFERENCE = b"CMJR"
_METADATA = "metadata.json"
_MODELS = ("model.mlpackage", "model.mlmodelc")
_LARGEST_TEXT = 2**24


@dataclass(frozen=True)
class CoreMLPayload:
    """A Core ML model of a program.

    Attributes:
        model: ``model.mlpackage`` or ``model.mlmodelc``.
        identifier: the name that ExecuTorch gave it.
        inputs: names of its inputs, in the order of the delegate's arguments.
        outputs: names of its outputs, which follow the inputs there.
        function: the function that the method runs; None for the default one.
        files: all files by path, not copied from the program.
    """

    model: str
    identifier: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: str | None
    files: Mapping[str, memoryview] = field(repr=False)

    def unpacked(self) -> Path:
        """The model on disk, unpacked into Moka's cache if it is not there yet; for reading only."""
        digest = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            digest.update(f"{name}\0{len(content)}\0".encode())
            digest.update(content)
        key = Key(PRODUCT, self.identifier, {"files": digest.hexdigest()})
        return Cache().get(key, lambda folder: write_files(self.files, folder)) / self.model


def coreml_payload(program: ProgramFile, method: Method, delegate: Delegate) -> CoreMLPayload:
    """The Core ML model of a delegate.

    Raises:
        FormatError: the payload is not what ExecuTorch's Core ML backend writes.
    """
    where = f"{program.path}: method {method.name!r}: Core ML payload"
    blob, function = delegate.payload, None
    if blob[: len(_REFERENCE)] == _REFERENCE:
        reference = _json(blob[len(_REFERENCE) :], where)
        key, function = _text(reference, "key", where), _text(reference, "functionName", where)
        if key not in program.named_data:
            raise FormatError(where, f"refers to named data {key!r}; the program has {', '.join(program.named_data) or 'none'}")
        blob = program.named_data[key]
    files = unpack_files(blob, where)
    models = [name for name in _MODELS if any(file.startswith(f"{name}/") for file in files)]
    if len(models) != 1 or _METADATA not in files:
        raise FormatError(where, f"holds {', '.join(sorted(files)[:8])}; expected {_METADATA} and one of {', '.join(_MODELS)}")
    metadata = _json(files[_METADATA], f"{where}: {_METADATA}")
    names = metadata
    if function is not None and isinstance(metadata.get("methods"), dict):
        names = metadata["methods"].get(method.name, {})
    inputs, outputs = (_names(names, kind, where) for kind in ("inputNames", "outputNames"))
    return CoreMLPayload(models[0], _text(metadata, "identifier", where), inputs, outputs, function, files)


def extract(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Path]:
    """Takes the Core ML models out of a program: ``FOLDER/METHOD-0/model.mlpackage`` and so on, in the order of their delegates.

    Raises:
        FormatError: the program, or a payload in it, is damaged.
        FileExistsError: a folder is there already.
    """
    program, found = read_program(path), []
    for method in program.methods:
        delegates = [delegate for delegate in method.delegates if delegate.backend == BACKEND]
        for index, delegate in enumerate(delegates):
            payload = coreml_payload(program, method, delegate)
            name = "".join(c if c.isalnum() or c in "_-" else "_" for c in method.name)
            target = Path(folder) / f"{name}-{index}"
            target.mkdir(parents=True)
            write_files(payload.files, target)
            found.append(target / payload.model)
    return found


def _json(text: memoryview, where: str) -> dict[str, Any]:
    try:
        if len(text) > _LARGEST_TEXT:
            raise ValueError(f"{len(text)} bytes, allowed are {_LARGEST_TEXT}")
        found = json.loads(bytes(text))
    except (ValueError, RecursionError) as error:
        raise FormatError(where, f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise FormatError(where, f"is a JSON {type(found).__name__}, expected an object")
    return found


def _text(found: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(found.get(name), str):
        raise FormatError(where, f"{name} is {found.get(name)!r}, expected a text")
    return str(found[name])


def _names(found: Any, kind: str, where: str) -> tuple[str, ...]:
    names = found.get(kind) if isinstance(found, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise FormatError(where, f"{kind} is {names!r}, expected a list of names")
    return tuple(names)
