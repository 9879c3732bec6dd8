"""Compiled models on this machine: made when they are first asked for, and found again in the cache (Core ML's ``compileModel(at:)``)."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import moka
from moka.cache import Cache, Key
from moka.cache.sources import Source
from moka.errors import FormatError, InputError
from moka.formats.mlmodel import read_specification
from moka.formats.mlmodelc.folder import is_compiled
from moka.formats.mlpackage import read_package
from moka.formats.references import blob_values, programs
from moka.formats.source import MODEL_PATH, is_package, resolve_model_path

__all__ = ["PRODUCT", "compile_model"]

PRODUCT = "mlmodelc"
"""What compiled models are called in the cache."""

_SUFFIX = ".mlmodelc"
_ATTEMPTS = 3


def compile_model(path: str | os.PathLike[str], *, name: str | None = None, unverified: bool = True, cache: Cache | None = None) -> Path:
    """The compiled form of a model, from the cache if it was compiled before: the path of a ``.mlmodelc`` folder, for reading only.

    An entry is found by the content of the model's files, its name, the options and the compiler's own code; weights that have not
    changed since they were last compiled are not read. The folder stays for ten minutes at least after each call: copy it to keep it.

    Args:
        path: a ``.mlmodel`` file or an ``.mlpackage`` folder.
        name: what the folder is called, without its suffix; by default as the model is.
        unverified: compile also what no real compiled model has shown; such a model runs in Moka, is marked in its ``metadata.json``, and
            is not meant for Apple's devices. Models for those are made by `moka.compile`.
        cache: another cache than the default one.

    Raises:
        FormatError: the model is not what its format demands, or changes all the time.
        UnsupportedError: a kind of model, or with ``unverified=False`` a feature, whose compiled form is not known.
        InputError: the model is compiled already, or ``name`` is no name of a folder.
        CacheError: no space is left.
    """
    path, cache = Path(path), Cache() if cache is None else cache
    name = path.resolve().stem if name is None else name
    if name in ("", "..") or Path(name).name != name:
        raise InputError(f"name {name!r}: expected the name of a folder, without a path")
    for _ in range(_ATTEMPTS):
        source = _source(path, cache)
        making = _Making(path, name, unverified, source, cache)
        parts = {"source": source.digest, "name": name, "compiler": _compiler_version(), "unverified": unverified}
        try:
            return cache.get(Key(PRODUCT, path.name, parts), making, _copies(path, name, source)) / f"{name}{_SUFFIX}"
        except _ChangedError:
            continue
    raise FormatError(path, "keeps changing while it is compiled")


class _ChangedError(Exception):
    """The source was edited after it was hashed, so what was made belongs to another key."""


@dataclass(frozen=True)
class _Making:
    """Compiles a model into a folder, provided that it still is the source that was hashed when that is done."""

    path: Path
    name: str
    unverified: bool
    source: Source
    cache: Cache

    def __call__(self, folder: Path) -> None:
        from moka.compiler.compile import compile  # takes long to import, and what was compiled before needs none of it

        made = compile(self.path, folder, unverified=self.unverified)
        os.rename(made, folder / f"{self.name}{_SUFFIX}")
        if _source(self.path, self.cache) != self.source:
            raise _ChangedError


def _source(path: Path, cache: Cache) -> Source:
    """All files that the compiled model is made from: those of a package, or a file and the weight files that it names."""
    if is_package(path):
        return cache.facts.source({file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()})
    if is_compiled(path):
        raise InputError(f"{path}: is compiled already; give an .mlmodel or .mlpackage")
    names = cache.facts.of(path, "weight files", _weight_files)
    return cache.facts.source({"": path, **{name: resolve_model_path(name, path.parent, path.parent) for name in names}})


def _copies(path: Path, name: str, source: Source) -> dict[str, str]:
    """Hashes of the weight files, which the compiled model has where the source has them beside its model file."""
    folder = f"{read_package(path).root_model.parent.relative_to(path).as_posix()}/" if is_package(path) else MODEL_PATH
    return {f"{name}{_SUFFIX}/{file.removeprefix(folder)}": content for file, content in source.hashes.items() if file.startswith(folder)}


def _weight_files(path: Path) -> list[str]:
    """The names of the weight files that the programs in a ``.mlmodel`` file refer to."""
    found = {value.blobFileValue.fileName for program, _ in programs(read_specification(path)) for _, value in blob_values(program)}
    return sorted(found)


@once
def _compiler_version() -> str:
    """Moka's version and a hash of its code, so that a changed compiler is another one, released or not."""
    root, code = Path(moka.__file__).parent, hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        code.update(f"{file.relative_to(root).as_posix()}\n".encode() + file.read_bytes())
    return f"{moka.__version__}+{code.hexdigest()[:16]}"
