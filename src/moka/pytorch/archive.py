"""Delegated programs as one file, for machines that have neither the model's Python code nor coremltools.

NAME.moka                        a zip file, nothing in it compressed
  metadata.json                  the version of this layout, the options, and size and checksum of every other file
  program.pt2                    what PyTorch runs: an exported program in which operators ``moka::segment`` stand for Core ML models
  report.json                    which node went where, and why
  segments/segment_0/            a Core ML model, ``model.mlpackage`` or ``model.mlmodelc``, and what it takes and gives, ``ports.json``

The models' weights are used where they lie in the archive; the rest of a model is unpacked into a temporary folder. Nothing is unpickled,
and no text becomes code: ``program.pt2`` is read only if it holds plain tensors, formulas of sizes, and calls of registered operators.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
import weakref
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch

import moka
from moka.errors import FormatError, InputError
from moka.formats.files import replacing_file
from moka.formats.mlpackage import relative_path_problem
from moka.formats.stored import StoredZip, store
from moka.pytorch.calling import Calling
from moka.pytorch.config import DelegateConfig
from moka.pytorch.delegated import DelegatedModule
from moka.pytorch.program import Program
from moka.pytorch.remainder import call_segments, read_remainder, write_remainder
from moka.pytorch.report import DelegationReport
from moka.pytorch.segments import COMPILED, PACKAGE, Segment, load_segment

__all__ = ["VERSION", "load", "save"]

VERSION = 1
_FORMAT = "moka delegated program"
_METADATA = "metadata.json"
_PROGRAM = "program.pt2"
_REPORT = "report.json"
_SEGMENTS = "segments"
_LARGEST = 2**26
_AHEAD = 0.02
"""Seconds for which models are loaded before the rest is read: about what they need the interpreter for, before engines compile."""
_OPTIONS = ("compute_units", "precision", "engine", "threads")
_WEIGHTS = "weights"
"""The folder in a model whose files are used where they lie."""


def save(module: DelegatedModule, path: str | os.PathLike[str], *, compiled: bool = False) -> None:
    """Writes a delegated program to one file, with its Core ML models, for `load`.

    Args:
        module: what `moka.pytorch.delegate` gave.
        path: the file; one that is there is replaced once the new one is complete.
        compiled: whether the Core ML models are stored compiled (``.mlmodelc``), not as packages.

    Raises:
        UnsupportedError: a model can't be compiled.
    """
    with tempfile.TemporaryDirectory(prefix="moka_") as folder, replacing_file(Path(path)) as target:
        root = Path(folder)
        write_remainder(module, root / _PROGRAM)
        (root / _REPORT).write_text(module.report().to_json(), encoding="utf-8")
        for name, segment in module.segments.items():
            segment.copy_to(root / _SEGMENTS / name, compiled=compiled)
        files = {file.relative_to(root).as_posix(): file for file in sorted(root.rglob("*")) if file.is_file()}
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, file in files.items():
                store(archive, name, file)
            about = _metadata(module, archive) | {"folders": _empty_folders(root)}
            archive.writestr(_METADATA, json.dumps(about, indent=1))


def load(path: str | os.PathLike[str], *, verify: bool = False, **options: Any) -> DelegatedModule:
    """Loads what `save` wrote; the Python code of the original model is not needed.

    Weights are mapped where they lie in the file, and read when they are used: the file may be replaced meanwhile, but not written into.

    Args:
        path: the file.
        verify: whether the checksums of weights are compared, too, for which all of them are read; those of other files always are.
        options: ``compute_units``, ``engine`` or ``threads``, where this machine is to use others than those saved.

    Raises:
        FormatError: no such file, or one that is truncated, changed, or written by a newer version.
    """
    folder = Path(tempfile.mkdtemp(prefix="moka_"))
    try:
        unpacked = _Unpacked(Path(path), folder, verify)
        module = _loaded(unpacked, options)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(unpacked, shutil.rmtree, folder, ignore_errors=True)  # the segments hold it
    return module


def _loaded(unpacked: _Unpacked, options: Mapping[str, Any]) -> DelegatedModule:
    path, metadata = unpacked.path, unpacked.metadata
    if unknown := set(options) - set(_OPTIONS) | {"precision"} & set(options):
        raise InputError(f"option {min(unknown)!r} of load: expected compute_units, engine or threads")
    stated = metadata["config"]
    if not isinstance(stated, dict) or set(stated) != set(_OPTIONS):
        raise FormatError(f"{path}: {_METADATA}: config", f"expected {', '.join(_OPTIONS)}")
    config = DelegateConfig(**{**stated, **options})
    with ThreadPoolExecutor(1) as pool:  # the engines' compilers need no interpreter
        loading = [(name, pool.submit(_segment, unpacked, name, config)) for name in metadata["segments"]]
        wait([segment for _, segment in loading], timeout=_AHEAD)
        exported = read_remainder(unpacked.read(_PROGRAM), f"{path}: {_PROGRAM}")
        program = Program.out_of(exported)
        for name, segment in loading:
            program.module.add_submodule(name, segment.result())
    call_segments(program.module, f"{path}: {_PROGRAM}")
    report = DelegationReport.from_json(unpacked.read(_REPORT))
    return DelegatedModule(program, Calling.of(exported), config, report)


def _segment(unpacked: _Unpacked, name: str, config: DelegateConfig) -> Segment:
    place = unpacked.folder / _SEGMENTS / name
    package = next((place / kind for kind in (PACKAGE, COMPILED) if (place / kind).exists()), None)
    if package is None:
        raise FormatError(f"{unpacked.path}: {_SEGMENTS}/{name}", f"expected {PACKAGE} or {COMPILED}")
    return load_segment(package, config, torch.device("cpu"), sections=unpacked.sections, package=lambda: unpacked.completed(package))


def _metadata(module: DelegatedModule, archive: zipfile.ZipFile) -> dict[str, Any]:
    options = {name: getattr(module.config, name) for name in _OPTIONS}
    sums = {info.filename: {"size": info.file_size, "crc32": info.CRC} for info in archive.infolist()}
    versions = {"moka": moka.__version__, "torch": torch.__version__}
    return {
        "format": _FORMAT,
        "version": VERSION,
        "written_with": versions,
        "config": options,
        "segments": list(module.segments),
        "files": sums,
    }


def _empty_folders(root: Path) -> list[str]:
    """Folders without files, such as that of a package's weights where it has none; zip files hold none of themselves."""
    return [folder.relative_to(root).as_posix() for folder in sorted(root.rglob("*")) if folder.is_dir() and not any(folder.iterdir())]


class _Unpacked:
    """The models of an archive in a folder, checked against the metadata; weights come there only when somebody needs them as files.

    Attributes:
        metadata: what the archive says about itself.
        sections: the weights that are not in the folder, by the paths that they would have.

    Raises:
        FormatError: no archive, a damaged one, or one of a newer version.
    """

    def __init__(self, path: Path, folder: Path, verify: bool) -> None:
        self.path = path
        self.folder = folder
        with _damage(path):
            self._archive = archive = StoredZip(path)
            self.metadata = _read_metadata(archive, path)
            _check_members(archive, self.metadata["files"], path)
            self._mapped = {folder / name: name for name in self.metadata["files"] if _is_weights(name) and archive.is_aligned(name)}
            self.sections = {target: archive.section(name) for target, name in self._mapped.items()}
            for name in self.metadata["files"]:
                if verify:
                    archive.read(name)
                if folder / name not in self._mapped and name not in (_PROGRAM, _REPORT):
                    archive.extract(name, folder / name)
            for name in (*self.metadata["folders"], *(target.parent for target in self._mapped)):
                (folder / name).mkdir(parents=True, exist_ok=True)

    def completed(self, package: Path) -> Path:
        """A model's folder with its weights in it."""
        with _damage(self.path):
            for target, name in self._mapped.items():
                if target.is_relative_to(package) and not target.is_file():
                    with replacing_file(target) as new:
                        self._archive.extract(name, new)
        return package

    def read(self, name: str) -> bytes:
        """The content of a file that is not in the folder either."""
        if name not in self._archive.members:
            raise FormatError(self.path, f"has no {name}: it was changed; save it again")
        with _damage(self.path):
            return bytes(self._archive.read(name))


def _is_weights(name: str) -> bool:
    """Whether a member is a file of weights inside a Core ML model."""
    return name.startswith(f"{_SEGMENTS}/") and _WEIGHTS in PurePosixPath(name).parts[3:-1]


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Makes errors of reading an archive those that say what to do."""
    try:
        yield
    except FormatError:
        raise
    except FileNotFoundError as error:
        raise FormatError(path, "no such file") from error
    except (zipfile.BadZipFile, struct.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError) as error:
        raise FormatError(path, f"is truncated, damaged, or no archive of moka.pytorch.save ({error}); copy or save it again") from error


def _read_metadata(archive: StoredZip, path: Path) -> dict[str, Any]:
    where = f"{path}: {_METADATA}"
    if _METADATA not in archive.members:
        raise FormatError(path, f"has no {_METADATA}: it is truncated, or no archive of moka.pytorch.save; copy or save it again")
    if archive.members[_METADATA].file_size > _LARGEST:
        raise FormatError(where, f"has more than {_LARGEST} bytes")
    try:
        metadata = json.loads(bytes(archive.read(_METADATA)))
        if metadata["format"] != _FORMAT:
            raise FormatError(where, f"format is {metadata['format']!r}; expected {_FORMAT!r}")
        version = int(metadata["version"])
        if version > VERSION:
            advice = f"update moka, or save it again with {moka.__version__}"
            raise FormatError(path, f"was written by a newer Moka: its version is {version}, this one reads up to {VERSION}; {advice}")
        {str(name): (int(stated["size"]), int(stated["crc32"])) for name, stated in metadata["files"].items()}
        if problem := next(filter(None, map(relative_path_problem, map(str, metadata["folders"]))), None):
            raise FormatError(where, f"folders: {problem}")
        if any(not str(name).removeprefix("segment_").isdigit() for name in metadata["segments"]):
            raise FormatError(where, "segments: expected names like segment_0")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(where, f"is damaged: {type(error).__name__}: {error}") from error
    return dict(metadata)


def _check_members(archive: StoredZip, files: Mapping[str, Any], path: Path) -> None:
    """The members must be those that the metadata names, stored as they are, none twice and none outside the folder."""
    members = [info for info in archive.members.values() if info.filename != _METADATA]
    names = [info.filename for info in members]
    if sorted(names) != sorted(files):
        difference = ", ".join(sorted(set(names) ^ set(files))[:3])
        raise FormatError(path, f"its files are not those that {_METADATA} names ({difference}): it was changed; save it again")
    for info in members:
        if problem := relative_path_problem(info.filename):
            raise FormatError(path, problem)
        stated = files[info.filename]
        if info.compress_type != zipfile.ZIP_STORED or (info.file_size, info.CRC) != (stated["size"], stated["crc32"]):
            raise FormatError(f"{path}: {info.filename}", "is not what was saved, by size or checksum: it was changed; save it again")
