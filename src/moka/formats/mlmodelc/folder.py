"""Opens compiled models: what kind a folder is, and the files in it that other formats read.

coremldata.bin            what the model is, in every folder
model.mil, weights/       an ML Program
model.espresso.net, ...   a neural network
model0/, model1/, ...     the models of a pipeline, each a folder of the same form; modelNames/ has their names
modelParameters/, updateParameters/   nearest neighbors
metadata.json, analytics/ since about 2020; nothing here depends on them
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moka.errors import FormatError
from moka.formats.files import read_bytes
from moka.formats.mlmodelc.binary import Reader
from moka.formats.mlmodelc.coremldata import ROOT_FILE, Header, PipelineBody, Root, read_root

__all__ = ["METADATA_FILE", "MODEL_NAMES", "PROGRAM_FILE", "STAGE", "CompiledFolder", "is_compiled", "open_folder"]

METADATA_FILE = "metadata.json"
MODEL_NAMES = "modelNames/coremldata.bin"
"""The names of a pipeline's models, where its source names them."""

PROGRAM_FILE = "model.mil"
STAGE = "model{}"
"""The folder of a pipeline's model, by its number."""

_DEEPEST = 16
"""Pipelines within pipelines; real ones have two at most."""
_MOST_MODELS = 10_000
_LARGEST_NAMES = 2**24


@dataclass(frozen=True, slots=True)
class CompiledFolder:
    """A compiled model's folder, its root file read and checked.

    Attributes:
        path: the folder.
        root: what the root file holds.
        boundary: the folder of the whole model, which no file may lie outside of.
        depth: how many pipelines this one is inside of.
    """

    path: Path
    root: Root
    boundary: Path
    depth: int = 0

    @property
    def header(self) -> Header:
        """The kind of model, and the versions of its container and format."""
        return self.root.header

    def file(self, name: str) -> Path:
        """The existing path of a file in the folder.

        Raises:
            FormatError: it does not exist, or leads outside the compiled model through a link.
        """
        return _inside(self.path / name, self.boundary)

    def stages(self) -> list[CompiledFolder]:
        """The models of a pipeline, in order; none for a model of another kind."""
        body = self.root.body
        if not isinstance(body, PipelineBody):
            return []
        if body.models > _MOST_MODELS:
            raise FormatError(f"{self.path / ROOT_FILE}: number of models", f"found {body.models}, allowed are {_MOST_MODELS}")
        if self.depth >= _DEEPEST:
            raise FormatError(self.path, f"pipelines are nested deeper than {_DEEPEST} levels")
        return [_open(self.path / STAGE.format(index), self.boundary, self.depth + 1) for index in range(body.models)]

    def model_names(self) -> list[str]:
        """The names of a pipeline's models; none where they have none of their own."""
        if not (self.path / MODEL_NAMES).exists():
            return []
        path = self.file(MODEL_NAMES)
        reader = Reader(read_bytes(path, _LARGEST_NAMES, "names are short"), path)
        names = [reader.text("name of a model") for _ in range(reader.count("number of names"))]
        reader.end()
        return names


def is_compiled(path: Path) -> bool:
    """Whether a path is a compiled model's folder: by its root file, or by its name where that file is missing."""
    return path.is_dir() and ((path / ROOT_FILE).exists() or path.suffix == ".mlmodelc")


def open_folder(path: Path) -> CompiledFolder:
    """A compiled model's folder.

    Raises:
        FormatError: no root file, one that breaks its format, or one that is a link out of the folder.
        UnsupportedError: a kind of model whose compiled form no real file has shown.
    """
    return _open(path, boundary=path)


def _open(path: Path, boundary: Path, depth: int = 0) -> CompiledFolder:
    return CompiledFolder(path, read_root(_inside(path / ROOT_FILE, boundary)), boundary, depth)


def _inside(path: Path, boundary: Path) -> Path:
    try:
        resolved = path.resolve(strict=True)
    except FileNotFoundError as error:
        raise FormatError(path, "no such file; the compiled model is not complete") from error
    except (OSError, RuntimeError, ValueError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        raise FormatError(path, f"can't be looked up: {error}") from error
    if not resolved.is_relative_to(boundary.resolve()):
        raise FormatError(path, f"leads outside '{boundary}' through a link")
    return path
