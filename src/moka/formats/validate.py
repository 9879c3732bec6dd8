"""Everything that is wrong with a model's files: manifest, items, specification, weight records, references to blobs.

Reading stops at the first problem; here every part is looked at on its own, and what can't be looked at because a
part before it is broken is left out. What a program means is checked by later rooms.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from moka.errors import FormatError
from moka.formats import mlpackage
from moka.formats.dtypes import BY_MIL, DType
from moka.formats.mlmodel import read_specification
from moka.formats.mlmodelc.folder import PROGRAM_FILE, is_compiled
from moka.formats.mlmodelc.specification import read_compiled
from moka.formats.references import blob_values, programs
from moka.formats.source import is_package, resolve_model_path
from moka.formats.weights import BlobRecord, WeightFile

__all__ = ["Problem", "blob_values", "problems", "programs", "tensor_type"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: the file with the field in it, and what was found and expected."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def problems(path: str | os.PathLike[str]) -> list[Problem]:
    """All problems of a model's files; an empty list for a model that is right as far as its files go.

    Raises:
        UnsupportedError: a compiled model of a kind, or with a layer, whose compiled form Moka does not know.
    """
    checks = _Checks()
    path = Path(path)
    if is_compiled(path):
        specification = checks.run(read_compiled, path)
        if specification is not None:
            _check_weights(specification, path / PROGRAM_FILE, path, checks)
        return checks.found
    package = checks.run(is_package, path)
    if package is None:
        return checks.found
    model_file = _check_manifest(path, checks) if package else path
    specification = checks.run(read_specification, model_file) if model_file is not None else None
    if specification is None or model_file is None:
        return checks.found
    _check_weights(specification, model_file, path if package else path.parent, checks)
    return checks.found


class _Checks:
    """Runs checks and keeps what they find, so that one problem does not hide the next."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def run(self, check: Callable[..., T], *arguments: Any) -> T | None:
        """What the check returns, or None when it raises a FormatError, which is kept."""
        try:
            return check(*arguments)
        except FormatError as error:
            self.found.append(Problem(error.where, error.problem))
            return None


def _check_manifest(package: Path, checks: _Checks) -> Path | None:
    """Checks the manifest and the paths of all items; returns the model's file where that is known."""
    document = checks.run(mlpackage.read_manifest_json, package)
    if document is None:
        return None
    checks.run(mlpackage.manifest_version, document, package)
    entries = checks.run(mlpackage.manifest_entries, document, package)
    if entries is None:
        return None
    root = checks.run(mlpackage.manifest_root, document, package)
    parsed = [checks.run(mlpackage.manifest_item, key, entry, package) for key, entry in entries.items()]
    items = [item for item in parsed if item is not None]
    checks.run(_check_names, items, package)
    paths = {item.identifier: checks.run(mlpackage.item_path, package, item) for item in items}
    return paths.get(root) if root is not None else None


def _check_names(items: Sequence[mlpackage.PackageItem], package: Path) -> None:
    seen: dict[tuple[str, str], str] = {}
    for item in items:
        other = seen.setdefault((item.author, item.name), item.identifier)
        if other != item.identifier:
            raise FormatError(
                f"{package / mlpackage.MANIFEST}: itemInfoEntries[{item.identifier!r}]",
                f"author {item.author!r} and name {item.name!r} are those of item {other!r} too",
            )


def _check_weights(specification: Any, model_file: Path, boundary: Path, checks: _Checks) -> None:
    """Checks every reference to a blob, and every weight file that is referred to as a whole."""
    files: dict[str, WeightFile | None] = {}
    records: dict[str, dict[int, BlobRecord]] = {}
    for where, value in (pair for program in programs(specification) for pair in blob_values(*program)):
        name = value.blobFileValue.fileName
        if name not in files:
            files[name] = checks.run(_open_weights, name, model_file, boundary)
            records[name] = {}
        file = files[name]
        if file is not None:
            record = checks.run(_referenced, file, value, f"{model_file}: {where}")
            if record is not None:
                records[name][record.record_offset] = record
    for name, file in files.items():
        if file is not None:
            checks.run(_walk, file, records[name])
            _check_overlaps(file, records[name], checks)


def _open_weights(name: str, model_file: Path, boundary: Path) -> WeightFile:
    return WeightFile(resolve_model_path(name, model_file.parent, boundary))


def _referenced(file: WeightFile, value: Any, where: str) -> BlobRecord:
    """The record that a value refers to, checked against the type that the value declares."""
    try:
        return file.record_for(value.blobFileValue.offset, *tensor_type(value.type, "type"))
    except FormatError as error:
        raise FormatError(where, str(error)) from error


def _walk(file: WeightFile, records: dict[int, BlobRecord]) -> None:
    """Adds all records of a file to ``records``; the file ends with the last one."""
    end = 64
    for record in file.records():
        records[record.record_offset] = record
        end = record.end
    if file.size > -(-end // 64) * 64:
        raise FormatError(f"{file.path}: header: count", f"{file.count} blobs end at {end}, but the file has {file.size} bytes")


def _check_overlaps(file: WeightFile, records: dict[int, BlobRecord], checks: _Checks) -> None:
    ordered = sorted(records.values(), key=lambda record: record.record_offset)
    for first, second in pairwise(ordered):
        if second.record_offset < first.end:
            message = f"overlaps the blob at {first.record_offset}, whose data ends at {first.end}"
            checks.found.append(Problem(f"{file.path}: blob at {second.record_offset}", message))


def tensor_type(value_type: Any, where: object) -> tuple[DType, tuple[int, ...]]:
    """Element type and shape of a ``ValueType`` message that is a tensor of known shape.

    Raises:
        FormatError: not a tensor, an unknown element type, or a size that is not given.
    """
    if value_type.WhichOneof("type") != "tensorType":
        raise FormatError(where, f"found {value_type.WhichOneof('type')}, expected a tensorType")
    tensor = value_type.tensorType
    if tensor.dataType not in BY_MIL:
        raise FormatError(f"{where}: dataType", f"found {tensor.dataType}, known are {sorted(BY_MIL)}")
    if tensor.rank != len(tensor.dimensions):
        raise FormatError(f"{where}: rank", f"found {tensor.rank} with {len(tensor.dimensions)} dimensions")
    if any(dimension.WhichOneof("dimension") != "constant" for dimension in tensor.dimensions):
        raise FormatError(f"{where}: dimensions", "a stored value has a size that is not a constant")
    return BY_MIL[tensor.dataType], tuple(dimension.constant.size for dimension in tensor.dimensions)
