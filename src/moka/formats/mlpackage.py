"""Reads and writes ``.mlpackage`` folders: a manifest, and items (the model, its weights) in the folder ``Data``.

    Name.mlpackage/Manifest.json
    Name.mlpackage/Data/com.apple.CoreML/model.mlmodel
    Name.mlpackage/Data/com.apple.CoreML/weights/weight.bin

Facts about the manifest are those of the packages that coremltools' ``libmodelpackage`` writes and reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from google.protobuf.message import Message

from moka.errors import FormatError
from moka.formats.files import read_bytes, replacing_folder
from moka.formats.mlmodel import serialize

__all__ = [
    "AUTHOR",
    "MANIFEST",
    "Manifest",
    "Package",
    "PackageItem",
    "item_path",
    "manifest_entries",
    "manifest_item",
    "manifest_root",
    "manifest_version",
    "read_manifest",
    "read_manifest_json",
    "read_package",
    "relative_path_problem",
    "write_package",
]

AUTHOR = "com.apple.CoreML"
MANIFEST = "Manifest.json"
_LARGEST_MANIFEST = 16 * 2**20
_IDENTIFIERS = uuid.UUID("6a2d1c1e-3f0b-5b8e-9d5a-0c6b1f7e4a21")
_ITEM_FIELDS = ("author", "description", "name", "path")


@dataclass(frozen=True, slots=True)
class PackageItem:
    """A file or folder of a package; ``path`` is absolute or as the manifest has it, relative to ``Data``."""

    identifier: str
    author: str
    name: str
    description: str
    path: Path


@dataclass(frozen=True, slots=True)
class Manifest:
    """What ``Manifest.json`` says; the paths of its items are relative and not checked yet."""

    version: str
    root: str
    items: tuple[PackageItem, ...]


@dataclass(frozen=True, slots=True)
class Package:
    """A checked package: every item's path exists inside ``Data``. ``root`` is the identifier of the model's item."""

    path: Path
    items: tuple[PackageItem, ...]
    root: str

    @property
    def root_model(self) -> Path:
        """The file with the model's specification."""
        return next(item.path for item in self.items if item.identifier == self.root)

    def item(self, author: str, name: str) -> PackageItem | None:
        """The item with this author and name, or None."""
        return next((item for item in self.items if (item.author, item.name) == (author, name)), None)


def read_package(path: str | os.PathLike[str]) -> Package:
    """A package with its manifest and the paths of all items checked; no item is opened.

    Raises:
        FormatError: no folder, no manifest, a manifest that is not what the format demands, or an item whose path
            is not relative, leaves ``Data`` (by its parts or through a link) or does not exist.
    """
    path = Path(path)
    manifest = read_manifest(path)
    items = tuple(PackageItem(item.identifier, item.author, item.name, item.description, item_path(path, item)) for item in manifest.items)
    return Package(path, items, manifest.root)


def read_manifest(path: Path) -> Manifest:
    """The parsed ``Manifest.json`` of the package at ``path``."""
    document = read_manifest_json(path)
    entries = manifest_entries(document, path)
    items = tuple(manifest_item(key, entry, path) for key, entry in entries.items())
    return Manifest(manifest_version(document, path), manifest_root(document, path), items)


def read_manifest_json(package: Path) -> dict[str, Any]:
    """The manifest of a package as JSON: an object, in UTF-8, without repeated keys."""
    if not package.is_dir():
        raise FormatError(package, "is a file, expected an .mlpackage folder" if package.exists() else "no such folder")
    where = package / MANIFEST
    data = read_bytes(where, _LARGEST_MANIFEST, "a manifest lists a few items")
    document: dict[str, Any] = _require(_parse_json(data, where), dict, where)
    return document


def manifest_version(document: dict[str, Any], package: Path) -> str:
    """The version of the format, of which 1 is known."""
    where = f"{package / MANIFEST}: fileFormatVersion"
    version: str = _require(document.get("fileFormatVersion"), str, where)
    if version.split(".")[0] != "1":
        raise FormatError(where, f"found {version!r}, Moka reads version 1 of the format")
    return version


def manifest_entries(document: dict[str, Any], package: Path) -> dict[str, Any]:
    """The entries of the manifest's items by identifier, not checked yet."""
    entries: dict[str, Any] = _require(document.get("itemInfoEntries"), dict, f"{package / MANIFEST}: itemInfoEntries")
    return entries


def manifest_root(document: dict[str, Any], package: Path) -> str:
    """The identifier of the model's item."""
    where = f"{package / MANIFEST}: rootModelIdentifier"
    root: str = _require(document.get("rootModelIdentifier"), str, where)
    entries = manifest_entries(document, package)
    if root not in entries:
        raise FormatError(where, f"{root!r} is not one of the {len(entries)} items")
    return root


def manifest_item(identifier: str, entry: Any, package: Path) -> PackageItem:
    """One item of the manifest, its path relative to ``Data`` and not checked yet."""
    where = f"{package / MANIFEST}: itemInfoEntries[{identifier!r}]"
    # Not every writer has a description; the other three fields are what an item is found and read by.
    entry = {"description": "", **_require(entry, dict, where)}
    fields = {field: _require(entry.get(field), str, f"{where}.{field}") for field in _ITEM_FIELDS}
    return PackageItem(identifier, fields["author"], fields["name"], fields["description"], Path(fields["path"]))


def _parse_json(data: bytes, where: object) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if len(set(keys)) != len(keys):
            repeated = next(key for key in keys if keys.count(key) > 1)
            raise FormatError(where, f"key {repeated!r} is there more than once in one object")
        return dict(pairs)

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise FormatError(where, f"is not UTF-8: {error.reason} at byte {error.start}") from error
    except RecursionError as error:
        raise FormatError(where, "JSON is nested too deeply") from error
    except ValueError as error:
        raise FormatError(where, f"is not JSON: {error}") from error


def _require(value: Any, kind: type, where: object) -> Any:
    if value is None:
        raise FormatError(where, "is missing")
    if not isinstance(value, kind):
        raise FormatError(where, f"found {type(value).__name__}, expected {kind.__name__}")
    return value


def item_path(package: Path, item: PackageItem) -> Path:
    """The existing path of an item of a manifest, checked to lie inside the package's ``Data`` folder."""
    where = f"{package / MANIFEST}: itemInfoEntries[{item.identifier!r}].path"
    if problem := relative_path_problem(str(item.path)):
        raise FormatError(where, problem)
    path = package / "Data" / item.path
    _check_inside(path, package, where)
    return path


def relative_path_problem(path: str) -> str | None:
    """What is wrong with a path that must stay below the folder it is relative to, by the rules of every system."""
    windows = PureWindowsPath(path)
    if not PurePosixPath(path).parts or "\0" in path:
        return f"{path!r} names no file"
    if path.startswith(("/", "\\")) or windows.drive:
        return f"{path!r} is absolute, expected a path inside the package"
    if ".." in windows.parts:
        return f"{path!r} has a '..' in it, expected a path inside the package"
    return None


def _check_inside(path: Path, package: Path, where: str) -> None:
    data = package / "Data"
    try:
        inside = path.resolve(strict=True).is_relative_to(data.resolve(strict=True))
        inside = inside and data.resolve().is_relative_to(package.resolve())
    except FileNotFoundError as error:
        raise FormatError(where, f"{str(path)!r} does not exist") from error
    except (OSError, RuntimeError, ValueError) as error:  # before Python 3.13 a loop of links is a RuntimeError
        raise FormatError(where, f"{str(path)!r} can't be looked up: {error}") from error
    if not inside:
        raise FormatError(where, f"{str(path)!r} leads outside the package through a link; copy what the link means instead")


def write_package(
    path: str | os.PathLike[str],
    specification: Message,
    weights: Mapping[str, Path | bytes] | None = None,
) -> None:
    """Writes a package, which either is complete afterwards or is what it was before.

    Identifiers are made from content, author and name, so the same input gives the same bytes. Files are copied,
    never linked, and not read into memory.

    Args:
        weights: for each file of the ``weights`` folder, by its relative name, the file to copy or its content;
            None for a package without that folder.
    """
    path = Path(path)
    for name in weights or {}:
        if problem := relative_path_problem(name):
            raise FormatError(f"{path}: weights", problem)
    data = serialize(specification, path)
    model_file = f"{AUTHOR}/model.mlmodel"
    items = [_new_item("model.mlmodel", "CoreML Model Specification", model_file, hashlib.sha256(data).digest())]
    with replacing_folder(path) as temporary:
        _write_file(temporary / "Data" / model_file, data)
        if weights is not None:
            digest = _write_weights(temporary / "Data" / AUTHOR / "weights", weights)
            items.append(_new_item("weights", "CoreML Model Weights", f"{AUTHOR}/weights", digest))
        _write_file(temporary / MANIFEST, _manifest_json(items, root=items[0].identifier))


def _new_item(name: str, description: str, path: str, digest: bytes) -> PackageItem:
    identifier = str(uuid.uuid5(_IDENTIFIERS, f"{AUTHOR}\n{name}\n{digest.hex()}")).upper()
    return PackageItem(identifier, AUTHOR, name, description, Path(path))


def _manifest_json(items: list[PackageItem], root: str) -> bytes:
    entries = {
        item.identifier: {
            "author": item.author,
            "description": item.description,
            "name": item.name,
            "path": item.path.as_posix(),
        }
        for item in items
    }
    document = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": root}
    return (json.dumps(document, indent=4, sort_keys=True) + "\n").encode()


def _write_weights(folder: Path, weights: Mapping[str, Path | bytes]) -> bytes:
    """Fills the folder of weights and returns a digest of its names and contents."""
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    for name in sorted(weights):
        _write_file(folder / name, weights[name])
        with (folder / name).open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{name}\n{content}\n".encode())
    return digest.digest()


def _write_file(path: Path, content: Path | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        shutil.copyfile(content, path)
