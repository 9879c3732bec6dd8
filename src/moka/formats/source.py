"""What the rest of Moka opens: a model's specification and weights, from a ``.mlmodel``, an ``.mlpackage`` or a ``.mlmodelc``."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from moka.errors import FormatError, UnsupportedError
from moka.formats.files import FileSection
from moka.formats.mlmodel import read_specification
from moka.formats.mlmodelc.coremldata import ROOT_FILE
from moka.formats.mlmodelc.folder import is_compiled
from moka.formats.mlmodelc.specification import read_compiled
from moka.formats.mlpackage import MANIFEST, read_package, relative_path_problem
from moka.formats.pte import is_program
from moka.formats.weights import WeightFile

__all__ = ["MODEL_PATH", "ModelSource", "Sections", "is_package", "open_source", "resolve_model_path"]

MODEL_PATH = "@model_path/"
"""What names of weight files start with: the folder of the model file."""

Sections: TypeAlias = Mapping[Path, FileSection]
"""Weight files that are no files but parts of others, by the paths that they would have as files."""


class ModelSource:
    """An opened model: its specification, and its weight files on demand.

    Attributes:
        path: the file or folder that was opened.
        specification: the ``Model`` message.
        root: folder of the model file, which ``@model_path`` stands for.
        model_file: the file that the specification was read from; of a compiled model the one that says what it is.
        sections: weight files that are not in the model's folder but parts of another file.
    """

    def __init__(self, path: Path, model_file: Path, boundary: Path, specification: Any, sections: Sections) -> None:
        self.path = path
        self.model_file = model_file
        self.root = model_file.parent
        self.specification = specification
        self.sections = sections
        self._boundary = boundary
        self._files: dict[Path | FileSection, WeightFile] = {}
        self._named: dict[str, WeightFile] = {}
        self._lock = threading.Lock()

    def weights(self, file_name: str) -> WeightFile:
        """The weight file that a program calls ``@model_path/...``: one map a file, shared by all who ask.

        Raises:
            FormatError: the name has another form, leads outside the package, or is no weight file.
        """
        with self._lock:
            if file_name not in self._named:
                place = self.sections.get(self.root / _relative(file_name)) or self.weight_path(file_name)
                self._named[file_name] = self._files[place] = self._files.get(place) or WeightFile(place)
            return self._named[file_name]

    def weight_path(self, file_name: str) -> Path:
        """The existing file that a program calls ``@model_path/...``; the errors are those of ``weights``, but it is not opened.

        A section is no such file.
        """
        return resolve_model_path(file_name, self.root, self._boundary)

    def part(self, specification: Any) -> ModelSource:
        """A model inside this one, such as a pipeline's, as if it had been opened on its own; weight files are shared."""
        part = copy.copy(self)
        part.specification = specification
        return part

    def __repr__(self) -> str:
        return f"ModelSource({str(self.path)!r}: {self.specification.WhichOneof('Type')})"


def open_source(path: str | os.PathLike[str], sections: Sections | None = None) -> ModelSource:
    """Opens a model; whether it is a file, a package or compiled is decided by what is there, not by its suffix.

    Args:
        path: the model.
        sections: weight files that are not there, but parts of another file.

    Raises:
        FormatError: nothing there, or not a Core ML model.
        UnsupportedError: a compiled model of a kind, or with a layer, whose compiled form Moka does not know; an ExecuTorch program.
    """
    path, sections = Path(path), sections or {}
    if is_package(path):
        file = read_package(path).root_model
        return ModelSource(path, file, path, read_specification(file), sections)
    if path.is_dir():
        return ModelSource(path, path / ROOT_FILE, path, read_compiled(path), sections)
    if is_program(path):
        raise UnsupportedError(f"{path}: is an ExecuTorch program, no Core ML model: run it with moka.pytorch.executorch.load")
    return ModelSource(path, path, path.parent, read_specification(path), sections)


def is_package(path: Path) -> bool:
    """Whether a path is a package; else it is a file, a compiled model's folder, or nothing.

    Raises:
        FormatError: a folder that is neither a package nor a compiled model.
    """
    if not path.is_dir() or (path / MANIFEST).exists():
        return path.is_dir()
    if is_compiled(path):
        return False
    raise FormatError(path, f"is a folder without {MANIFEST}, expected an .mlpackage or .mlmodelc folder, or an .mlmodel file")


def resolve_model_path(file_name: str, root: Path, boundary: Path) -> Path:
    """The resolved path of a file name of the form ``@model_path/...``, checked to stay inside ``boundary``."""
    where, relative = f"weight file {file_name!r}", _relative(file_name)
    try:
        path = (root / relative).resolve(strict=True)
    except FileNotFoundError as error:
        raise FormatError(where, f"{str(root / relative)!r} does not exist") from error
    except (OSError, RuntimeError, ValueError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        raise FormatError(where, f"{str(root / relative)!r} can't be looked up: {error}") from error
    if not path.is_relative_to(boundary.resolve()):
        raise FormatError(where, f"{str(root / relative)!r} leads outside '{boundary}' through a link")
    return path


def _relative(file_name: str) -> str:
    """What follows ``@model_path/`` in the name of a weight file, checked to stay below the folder that it is relative to."""
    relative = file_name.removeprefix(MODEL_PATH)
    problem = relative_path_problem(relative) if relative != file_name else f"expected a name that starts with {MODEL_PATH!r}"
    if problem:
        raise FormatError(f"weight file {file_name!r}", problem)
    return relative
