"""What an entry of the cache is for, and what was made for it: ``manifest.json`` beside the entry's ``content``.

ENTRY/manifest.json     the key in full, and of every file its size, time of change and hash
ENTRY/content/...       what was made
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moka.errors import FormatError, InputError
from moka.formats.files import read_bytes

__all__ = ["CONTENT", "MANIFEST", "File", "Key", "Manifest", "content_hash"]

MANIFEST = "manifest.json"
CONTENT = "content"

_LARGEST = 64 * 2**20
_VERSION = 1
_PART = 2**25
_STEP = 2**20
_SECONDS = 2_000_000_000
"""Nanoseconds that times of files are rounded down to: the coarsest that a file system in use keeps (FAT)."""


@dataclass(frozen=True, slots=True)
class Key:
    """What a product is made from; equal keys have equal products.

    Attributes:
        product: the kind of product, a plain word: ``mlmodelc``.
        name: what people call it; no part of what is compared.
        parts: all that the product depends on, as JSON has it: hashes of sources, versions, options.
    """

    product: str
    name: str = field(compare=False)
    parts: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not (self.product.isascii() and self.product.isalnum()):
            raise InputError(f"product {self.product!r}: expected letters and digits, for it names a folder of the cache")

    @property
    def digest(self) -> str:
        """A name for the key that no other key has."""
        text = json.dumps([_VERSION, self.product, self.parts], sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class File:
    """A file of an entry as it was made."""

    size: int
    mtime_ns: int
    hash: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an entry's manifest says; ``created`` is in seconds since 1970, ``files`` are by path relative to ``content``."""

    key: Key
    created: float
    files: Mapping[str, File]

    @property
    def size(self) -> int:
        """Bytes in all files together."""
        return sum(file.size for file in self.files.values())

    @classmethod
    def describe(cls, key: Key, content: Path, known: Mapping[str, str]) -> Manifest:
        """The manifest of what was just made in ``content``; gives its files a time of change that every file system keeps.

        Args:
            known: the hashes of those files that need not be read for it, by path.
        """
        time_ns = time.time_ns() // _SECONDS * _SECONDS
        files = {}
        for name, path in _files(content):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise FormatError(path, "is no regular file; the cache keeps no others")
            os.utime(path, ns=(time_ns, time_ns))
            files[name] = File(path.stat().st_size, path.stat().st_mtime_ns, known.get(name) or content_hash(path))
        return cls(key, time.time(), files)

    @classmethod
    def read(cls, entry: Path) -> Manifest:
        """The manifest of an entry; FormatError if it has none, or one that is damaged or belongs elsewhere."""
        path = entry / MANIFEST
        data = read_bytes(path, _LARGEST, "manifests of the cache are short")
        try:
            document = json.loads(data)
            key = Key(document["product"], str(document["name"]), dict(document["parts"]))
            files = {name: File(int(f["size"]), int(f["mtime_ns"]), str(f["hash"])) for name, f in document["files"].items()}
            made = cls(key, float(document["created"]), files)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise FormatError(path, f"is damaged: {type(error).__name__}: {error}") from error
        if key.digest != entry.name:
            raise FormatError(path, f"belongs to entry {key.digest}")
        return made

    def write(self, entry: Path) -> None:
        """Writes the manifest into an entry's folder."""
        document = {
            "product": self.key.product,
            "name": self.key.name,
            "parts": self.key.parts,
            "created": self.created,
            "files": {name: asdict(file) for name, file in self.files.items()},
        }
        (entry / MANIFEST).write_text(json.dumps(document, indent=1), encoding="utf-8")

    def problem(self, content: Path, *, full: bool = False) -> str | None:
        """How the files in ``content`` differ from those that were made, by size and time of change; with ``full`` by content too."""
        found = dict(_files(content)) if content.is_dir() else {}
        for name in self.files.keys() ^ found.keys():
            return f"{name}: " + ("is missing" if name in self.files else "was added")
        for name, file in self.files.items():
            status = found[name].lstat()
            if (status.st_size, status.st_mtime_ns) != (file.size, file.mtime_ns):
                return f"{name}: was changed after it was made"
            if full and content_hash(found[name]) != file.hash:
                return f"{name}: other content than was made, with the same size and time"
        return None


def content_hash(path: Path) -> str:
    """A hash of a file's content, in hexadecimal: the SHA-256 of those of its parts of 32 MB, which several threads read."""
    parts = range(0, max(path.stat().st_size, 1), _PART)
    if len(parts) == 1:
        digests = [_part_hash(path, 0)]
    else:
        with ThreadPoolExecutor(min(len(parts), os.cpu_count() or 1, 8)) as threads:
            digests = list(threads.map(lambda start: _part_hash(path, start), parts))
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _part_hash(path: Path, start: int) -> bytes:
    part, left = hashlib.sha256(), _PART
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        while left and (data := file.read(min(left, _STEP))):
            part.update(data)
            left -= len(data)
    return part.digest()


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, Path]]:
    """The files below a folder by their relative paths; links are not followed."""
    with os.scandir(folder) as found:
        for item in sorted(found, key=lambda item: item.name):
            if item.is_dir(follow_symlinks=False):
                yield from _files(Path(item.path), f"{prefix}{item.name}/")
            else:
                yield prefix + item.name, Path(item.path)
