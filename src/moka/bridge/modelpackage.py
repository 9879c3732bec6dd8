"""The stand-in for ``coremltools.libmodelpackage``, where the platform has none: packages, by Moka's own formats.

Unlike the extension module, which writes the manifest when the object is collected, it is written with every change.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

from moka.bridge.failures import runtime_errors
from moka.errors import FormatError, InputError
from moka.formats.files import replacing_file
from moka.formats.mlpackage import (
    MANIFEST,
    PackageItem,
    item_path,
    manifest_entries,
    manifest_item,
    manifest_root,
    manifest_version,
    read_manifest_json,
    relative_path_problem,
)

__all__ = ["ModelPackage", "ModelPackageItemInfo"]


class ModelPackageItemInfo:
    """One item of a package, its path absolute where the package's is."""

    def __init__(self, item: PackageItem, path: Path) -> None:
        self._item = item
        self._path = path

    def identifier(self) -> str:
        return self._item.identifier

    def path(self) -> str:
        return str(self._path)

    def name(self) -> str:
        return self._item.name

    def author(self) -> str:
        return self._item.author

    def description(self) -> str:
        return self._item.description


class ModelPackage:
    """A package, opened if there is one at ``path``, else created empty.

    Raises:
        RuntimeError: from any method, where the package or the change asked for is not valid.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        with runtime_errors():
            if self._path.exists():
                self._manifest = _read(self._path)
            else:
                self._manifest = {"fileFormatVersion": "1.0.0"}
                self._path.mkdir()
                (self._path / "Data").mkdir()
                self._write_manifest()

    def path(self) -> str:
        return str(self._path)

    def setRootModel(self, path: str, name: str, author: str, description: str) -> str:  # noqa: N802 (coremltools' name)
        """Copies a file in as the package's model and returns its identifier; there must be no model yet."""
        with runtime_errors():
            if "rootModelIdentifier" in self._manifest:
                raise InputError(f"{self._path}: a root model already exists in this package")
            return self._add_root(path, name, author, description)

    def replaceRootModel(self, path: str, name: str, author: str, description: str) -> str:  # noqa: N802 (coremltools' name)
        """Removes the package's model, if it has one, and copies a file in as its new one."""
        with runtime_errors():
            if "rootModelIdentifier" in self._manifest:
                self._remove(self._manifest["rootModelIdentifier"])
            return self._add_root(path, name, author, description)

    def addItem(self, path: str, name: str, author: str, description: str) -> str:  # noqa: N802 (coremltools' name)
        """Copies a file or folder in as ``Data/AUTHOR/NAME`` and returns its identifier."""
        with runtime_errors():
            return self._add(path, name, author, description)

    def getRootModel(self) -> ModelPackageItemInfo:  # noqa: N802 (coremltools' name)
        with runtime_errors():
            return self._info(manifest_root(self._manifest, self._path))

    def findItemByNameAuthor(self, name: str, author: str) -> ModelPackageItemInfo | None:  # noqa: N802 (coremltools' name)
        """The item with this name and author, or None."""
        with runtime_errors():
            for identifier, entry in self._entries.items():
                if (entry["name"], entry["author"]) == (name, author):
                    return self._info(identifier)
            return None

    @staticmethod
    def isValid(path: str) -> bool:  # noqa: N802 (coremltools' name)
        """Whether there is a package at ``path`` that can be opened."""
        try:
            _read(Path(path))
        except (FormatError, OSError):
            return False
        return True

    @property
    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self._manifest.setdefault("itemInfoEntries", {})
        return entries

    def _info(self, identifier: str) -> ModelPackageItemInfo:
        item = manifest_item(identifier, self._entries[identifier], self._path)
        return ModelPackageItemInfo(item, item_path(self._path, item))

    def _add_root(self, path: str, name: str, author: str, description: str) -> str:
        identifier = self._add(path, name, author, description)
        self._manifest["rootModelIdentifier"] = identifier
        self._write_manifest()
        return identifier

    def _add(self, path: str, name: str, author: str, description: str) -> str:
        relative = f"{author}/{name}"
        if problem := relative_path_problem(relative):
            raise InputError(f"{self._path}: item {name!r} of {author!r}: {problem}")
        target = self._path / "Data" / relative
        if target.exists() or self.findItemByNameAuthor(name, author) is not None:
            raise InputError(f"{self._path}: the package already contains a file with name {name!r} and author {author!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, target)
        else:
            shutil.copyfile(path, target)
        identifier = str(uuid.uuid4())
        self._entries[identifier] = {"author": author, "description": description, "name": name, "path": relative}
        self._write_manifest()
        return identifier

    def _remove(self, identifier: str) -> None:
        path = Path(self._info(identifier).path())
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
        del self._entries[identifier]
        del self._manifest["rootModelIdentifier"]

    def _write_manifest(self) -> None:
        with replacing_file(self._path / MANIFEST) as temporary:
            temporary.write_text(json.dumps(self._manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def _read(package: Path) -> dict[str, Any]:
    """The manifest of an existing package, checked; unlike the format, it may lack a root model, or items at all."""
    manifest = read_manifest_json(package)
    manifest_version(manifest, package)
    if "itemInfoEntries" in manifest:
        for identifier, entry in manifest_entries(manifest, package).items():
            item_path(package, manifest_item(identifier, entry, package))
    return manifest
