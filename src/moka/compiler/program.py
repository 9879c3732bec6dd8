"""The folder of an ML Program: its text, and the weight files that it names."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from moka.compiler.compilation import Compilation
from moka.compiler.files import copy_file
from moka.errors import FormatError
from moka.formats.mil_text import unverified_forms, write_model
from moka.formats.mlmodelc.folder import PROGRAM_FILE
from moka.formats.references import blob_values
from moka.formats.source import MODEL_PATH, ModelSource

__all__ = ["BUILD_INFO", "compile_program", "weight_files"]

BUILD_INFO = {"coremlc-component-MIL": "3405.2.1", "coremlc-version": "3404.23.1"}
"""What the compiler adds to a program's ``buildInfo``: the release of Apple's compiler whose form of the text this is."""


def compile_program(source: ModelSource, folder: Path, compilation: Compilation) -> None:
    """Writes ``model.mil`` and copies the weight files. They keep their names, which the text refers to."""
    program = source.specification.mlProgram
    for form in unverified_forms(program):
        compilation.guess(form)
    compilation.progress(f"writing {PROGRAM_FILE}")
    with (folder / PROGRAM_FILE).open("w", encoding="utf-8", newline="\n") as stream:
        write_model(source.specification, stream, BUILD_INFO)
    for relative, name in weight_files(program).items():
        compilation.progress(f"copying {relative}")
        target = folder / relative
        if target.exists():  # a name can't lead out of the folder, but may be that of a file that the compiler writes itself
            raise FormatError(f"weight file {name!r}", f"has the name of a file of the compiled model: {relative}")
        copy_file(source.weight_path(name), target)


def weight_files(program: Any) -> dict[PurePosixPath, str]:
    """The weight files that a program refers to, each once: their paths beside the model, and the name that the program has for each."""
    names = sorted({value.blobFileValue.fileName for _, value in blob_values(program)})
    return {PurePosixPath(name.removeprefix(MODEL_PATH)): name for name in names}
