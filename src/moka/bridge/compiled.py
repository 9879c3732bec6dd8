"""Compiled models as the bridge makes them: a ``.mlmodelc`` folder that holds a copy of the source, not Apple's format.

NAME_xxxxxxxx.mlmodelc/source.mlpackage/...      of a package
NAME_xxxxxxxx.mlmodelc/source.mlmodel            of a file, beside it the weight files that it names

coremltools moves, copies and deletes such folders, so they refer to nothing outside themselves.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from moka.errors import FormatError, InputError
from moka.formats.mlmodel import parse_specification
from moka.formats.mlpackage import relative_path_problem
from moka.formats.source import is_package, open_source

__all__ = ["SUFFIX", "compile_copy", "compile_from_memory", "delete", "existing", "is_compiled", "model_in"]

SUFFIX = ".mlmodelc"
_PACKAGE = "source.mlpackage"
_FILE = "source.mlmodel"


def is_compiled(path: Path) -> bool:
    """Whether a path is a compiled model's folder, by its name, as Core ML decides it."""
    return path.suffix == SUFFIX and path.is_dir()


def model_in(path: Path) -> Path:
    """What to load for a path that coremltools gives: the source inside a folder of the bridge's, else the path itself."""
    if is_compiled(path):
        for name in (_PACKAGE, _FILE):
            if (path / name).exists():
                return path / name
    return path


def compile_copy(source: Path) -> Path:
    """A new temporary ``.mlmodelc`` folder with a copy of the source, which is read and checked first.

    Raises:
        FormatError: the source is no Core ML model.
    """
    opened = open_source(source)
    folder = _new_folder(source.stem)
    try:
        if is_package(source):
            shutil.copytree(source, folder / _PACKAGE)
        else:
            shutil.copyfile(opened.model_file, folder / _FILE)
    except BaseException:
        delete(folder)
        raise
    return folder


def compile_from_memory(specification: bytes, blobs: Mapping[str, bytes]) -> Path:
    """A new temporary ``.mlmodelc`` folder from a serialized ``Model`` message and its weight files.

    Args:
        blobs: content by path relative to the model, which a program calls ``@model_path``: ``weights/weight.bin``.

    Raises:
        FormatError: the bytes are no Core ML model.
        InputError: a path is not relative, or leaves the folder.
    """
    parse_specification(specification, "the model in memory")
    for name in blobs:
        if problem := relative_path_problem(name):
            raise InputError(f"blob mapping: {problem}")
    folder = _new_folder("model")
    try:
        for name, content in {**blobs, _FILE: specification}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except BaseException:
        delete(folder)
        raise
    return folder


def existing(path: Path) -> Path:
    """The path of an existing compiled model's folder; FormatError for anything else."""
    if not is_compiled(path):
        raise FormatError(path, f"expected the folder of a compiled model, its name ending in {SUFFIX}")
    return path


def delete(folder: Path) -> None:
    """Removes a folder, or what of it is there."""
    with suppress(OSError):
        shutil.rmtree(folder)


def _new_folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{name}_", suffix=SUFFIX))
