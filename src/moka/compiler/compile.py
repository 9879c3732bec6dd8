"""Compiles a source model to a ``.mlmodelc`` folder, as Apple's compiler does."""

from __future__ import annotations

import json
import os
from pathlib import Path

from moka.compiler.compilation import Compilation, Progress
from moka.compiler.containers import compile_container, write_details
from moka.compiler.files import make_destination
from moka.compiler.targets import check_target
from moka.errors import InputError
from moka.formats.files import replacing_folder
from moka.formats.mlmodelc.analytics import file_hash
from moka.formats.mlmodelc.folder import METADATA_FILE
from moka.formats.source import ModelSource, is_package, open_source
from moka.models.metadata import model_metadata

__all__ = ["SUFFIX", "UNVERIFIED_KEY", "compile", "compile_into"]

SUFFIX = ".mlmodelc"
_SOURCE_SUFFIXES = (".mlmodel", ".mlpackage")

UNVERIFIED_KEY = "mokaUnverified"
"""The key of ``metadata.json`` under which stands what was written without a real file to go by."""


def compile(
    model: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    platform: str | None = None,
    deployment_target: str | None = None,
    container: str | None = None,
    unverified: bool = False,
    rank_info: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Compiles a model, as ``coremlc compile`` does: makes ``DESTINATION/NAME.mlmodelc``, and returns its path.

    A compiled model of that name is replaced once the new one is complete; where compiling fails, nothing changes.

    Args:
        model: a ``.mlmodel`` file or an ``.mlpackage`` folder.
        destination: a folder, made where there is none.
        platform: the system that it is for, such as ``ios``; what is written is the same for all of them.
        deployment_target: the oldest release of that system that must load it, such as ``16.0``.
        container: what the compiled model is packed into, ``bundle-resources`` or ``swift-package``; what is written is the same.
        unverified: write what no real compiled model has shown as well, by Moka's own reading; ``metadata.json`` then says what.
        rank_info: write ``model.rank.info.json`` beside networks: the rank of every blob.
        progress: called with what is being done.

    Raises:
        FormatError: the model is not what its format demands.
        UnsupportedError: a kind of model, a layer or an option that no real compiled model has shown, or a release that does not load it.
        InputError: the model is compiled already, the destination can't be written, or an argument has a value that is not allowed.
    """
    path = Path(model)
    if path.is_dir() and not is_package(path):
        raise InputError(f"{path}: is compiled already; compile an .mlmodel or .mlpackage, or get one back with decompile")
    source = open_source(path)
    check_target(source, platform, deployment_target, container)
    target = Path(destination) / f"{_name(source.path)}{SUFFIX}"
    make_destination(target.parent)
    with replacing_folder(target) as folder:
        compile_into(source, folder, Compilation(unverified, rank_info, progress or (lambda _: None)))
    return target


def compile_into(source: ModelSource, folder: Path, compilation: Compilation) -> None:
    """Writes a compiled model's files into an existing, empty folder; the errors are those of `compile`."""
    compiled = compile_container(source, folder, compilation)
    compilation.progress("writing metadata")
    about = {"modelHash": file_hash(source.model_file), "modelName": source.model_file.stem}
    write_details(folder, {**compiled.details, "SpecificationDetails": about})
    entry = model_metadata(source, guess=compilation.guess)
    if compilation.guesses:
        entry[UNVERIFIED_KEY] = compilation.guesses
    text = json.dumps([entry], indent=2, separators=(",", " : "), ensure_ascii=False)
    (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")


def _name(path: Path) -> str:
    path = Path(os.path.abspath(path))
    return path.stem if path.suffix in _SOURCE_SUFFIXES else path.name
