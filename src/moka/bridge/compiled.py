"""Compiled models as coremltools handles them: folders of its own, which it moves, copies and deletes.

They are copies of what `moka.compiler.cache.compile_model` keeps, in Apple's format. What can't be compiled, because a compiled network
has no place for it, is kept as it is in a folder that only Moka reads:

NAME_xxxxxxxx.mlmodelc/source.mlpackage/...      of a package
NAME_xxxxxxxx.mlmodelc/source.mlmodel            of a file
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from moka.compiler.cache import compile_model
from moka.compiler.files import copy_file
from moka.errors import FormatError, InputError, UnsupportedError
from moka.formats.mlmodel import parse_specification
from moka.formats.mlmodelc.folder import is_compiled
from moka.formats.mlpackage import relative_path_problem
from moka.formats.source import is_package

__all__ = ["SUFFIX", "compile_source", "delete", "existing", "keep_file", "model_in", "write_model"]

SUFFIX = ".mlmodelc"
_PACKAGE = "source.mlpackage"
_FILE = "source.mlmodel"

_RANDOM_NAME = re.compile(r"tmp[a-z0-9_]{8}")
"""What Python calls temporary files, and so coremltools the models that have no path yet."""


def model_in(path: Path) -> Path:
    """What to load for a path that coremltools gives: the source inside a folder that could not be compiled, else the path itself."""
    if path.suffix == SUFFIX:
        for name in (_PACKAGE, _FILE):
            if (path / name).exists():
                return path / name
    return path


def compile_source(source: Path) -> Path:
    """A new temporary ``.mlmodelc`` folder, compiled from a source or copied from the cache.

    Features that no real compiled model has shown are compiled in Moka's own reading, for the result is to run here; ``metadata.json``
    says so. `moka.compile` is for models that go to Apple's devices.

    Raises:
        FormatError: the source is no Core ML model.
    """
    name = "model" if _RANDOM_NAME.fullmatch(source.stem) else source.stem
    folder = _new_folder(name)
    try:
        try:
            found = compile_model(source, name=name)
        except UnsupportedError:
            _keep(source, folder)
        else:
            shutil.copytree(found, folder, copy_function=_copy, dirs_exist_ok=True)
    except BaseException:
        delete(folder)
        raise
    return folder


def keep_file(source: Path) -> Path:
    """A copy of a ``.mlmodel`` file in a new temporary folder: coremltools deletes the ones it makes as soon as they are loaded."""
    folder = Path(tempfile.mkdtemp(prefix="moka_"))
    shutil.copyfile(source, folder / source.name)
    return folder / source.name


def write_model(specification: bytes, blobs: Mapping[str, bytes]) -> Path:
    """A ``.mlmodel`` file in a new temporary folder, from a serialized ``Model`` message and its weight files.

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
    folder = Path(tempfile.mkdtemp(prefix="moka_"))
    try:
        for name, content in {**blobs, _FILE: specification}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except BaseException:
        delete(folder)
        raise
    return folder / _FILE


def existing(path: Path) -> Path:
    """The path of an existing compiled model's folder; FormatError for anything else."""
    if path.suffix != SUFFIX or not is_compiled(path):
        raise FormatError(path, f"expected the folder of a compiled model, its name ending in {SUFFIX}")
    return path


def delete(folder: Path) -> None:
    """Removes a folder, or what of it is there."""
    with suppress(OSError):
        shutil.rmtree(folder)


def _keep(source: Path, folder: Path) -> None:
    if is_package(source):
        shutil.copytree(source, folder / _PACKAGE)
    else:
        shutil.copyfile(source, folder / _FILE)


def _copy(source: str, target: str) -> None:
    copy_file(Path(source), Path(target))


def _new_folder(name: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{name}_", suffix=SUFFIX))
