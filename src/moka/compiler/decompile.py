"""A source model from a compiled one."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import Any

from moka.compiler.files import make_destination
from moka.compiler.program import weight_files
from moka.errors import InputError
from moka.formats.files import replacing_file
from moka.formats.mlmodel import write_specification
from moka.formats.mlmodelc.coremldata import SpecificationBody
from moka.formats.mlmodelc.folder import is_compiled, open_folder
from moka.formats.mlpackage import write_package
from moka.formats.references import blob_values, programs
from moka.formats.source import MODEL_PATH, ModelSource, open_source

__all__ = ["decompile"]

_WEIGHTS = "weights"


def decompile(compiled: str | os.PathLike[str], destination: str | os.PathLike[str]) -> Path:
    """Writes the source of a compiled model: ``DESTINATION/NAME.mlpackage`` for ML Programs, else ``.mlmodel``; returns its path.

    The source does the same, but is not the file that was compiled: layers that were fused stay fused, and numbers have the precision
    that they have in the compiled model. A source of that name is replaced once the new one is complete.

    Args:
        compiled: a ``.mlmodelc`` folder.
        destination: a folder, made where there is none.

    Raises:
        FormatError: the compiled model is not what its format demands.
        UnsupportedError: a kind of model, or a layer, whose compiled form Moka does not know.
        InputError: the model is not compiled, or the destination can't be written.
    """
    path = Path(compiled)
    if not is_compiled(path):
        raise InputError(f"{path}: is not compiled; expected the folder of a compiled model, with coremldata.bin")
    source = open_source(path)
    folder = Path(destination)
    make_destination(folder)
    name = Path(os.path.abspath(path)).name.removesuffix(".mlmodelc")
    weights = _weights(source)
    if weights is None:
        made = folder / f"{name}.mlmodel"
        _write_file(source, made)
    else:
        made = folder / f"{name}.mlpackage"
        write_package(made, source.specification, weights)
    return made


def _write_file(source: ModelSource, path: Path) -> None:
    """Writes a model without weight files; one that is kept as it is in the very bytes that were compiled."""
    body = open_folder(source.path).root.body
    if not isinstance(body, SpecificationBody):
        write_specification(source.specification, path)
        return
    with replacing_file(path) as temporary:
        temporary.write_bytes(body.data)


def _weights(source: ModelSource) -> dict[str, Path] | None:
    """The weight files of all programs by their paths in the package's folder of weights; None for a model without programs.

    A file that lies elsewhere in the compiled model moves there, and the programs name it so.
    """
    found = [program for program, _ in programs(source.specification)]
    if not found:
        return None
    files = {path: source.weight_path(name) for program in found for path, name in weight_files(program).items()}
    for program in found:
        _rename(program)
    return {str(_packaged(path)): file for path, file in files.items()}


def _packaged(path: PurePosixPath) -> PurePosixPath:
    """A weight file's path in the folder of weights."""
    return path.relative_to(_WEIGHTS) if path.is_relative_to(_WEIGHTS) else path


def _rename(program: Any) -> None:
    for _, value in blob_values(program):
        path = PurePosixPath(value.blobFileValue.fileName.removeprefix(MODEL_PATH))
        value.blobFileValue.fileName = f"{MODEL_PATH}{_WEIGHTS}/{_packaged(path)}"
