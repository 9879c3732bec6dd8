"""Which content files have, without reading them again: what was computed from a file is remembered as long as the file is the same."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, TypeVar

from moka.cache.manifest import content_hash
from moka.errors import FormatError
from moka.formats.files import read_bytes, regular_file_size, replacing_file

__all__ = ["Facts", "FileState", "Source"]

T = TypeVar("T")

_SMALL = 2**18
"""Files up to so many bytes are read each time; a record of them costs as much."""

_SETTLED_NS = 2_000_000_000
"""A file may be edited twice within one tick of its file system's clock, with equal times: the ticks of FAT are the longest."""

_ATTEMPTS = 5
_LARGEST_RECORD = 2**20


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes when a file does. ``ctime_ns`` is there because programs may set ``mtime_ns`` back, and can't set it."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The present state of a regular file; FormatError for anything else."""
        regular_file_size(path)
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @property
    def changed_ns(self) -> int:
        return max(self.mtime_ns, self.ctime_ns)


@dataclass(frozen=True, slots=True)
class Source:
    """What a product is made of.

    Attributes:
        digest: a hash of all names and contents.
        hashes: those of the files by name, as entries of the cache have them.
        states: the states that the files were in when they were read.
    """

    digest: str
    hashes: Mapping[str, str]
    states: tuple[FileState, ...]


class Facts:
    """Facts about files' contents, one record a file and fact, in a folder.

    A record holds for one state of the file. Whoever edits a file changes its state; a file that changed so lately that a second edit could
    leave the same state is not recorded, nor is one whose time lies in the future.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def source(self, files: Mapping[str, Path]) -> Source:
        """The source that files are together, by names that count as part of it."""
        known = {name: self._known(files[name], "hash", content_hash) for name in sorted(files)}
        hashes = {name: content for name, (content, _) in known.items()}
        digest = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
        return Source(digest, hashes, tuple(state for _, state in known.values()))

    def of(self, path: Path, fact: str, compute: Callable[[Path], T]) -> T:
        """What ``compute`` gives for a file: a function of its content alone, with a result that JSON can hold, known as ``fact``."""
        return self._known(path, fact, compute)[0]

    def sweep(self, older_than: float) -> None:
        """Removes records that were written more than so many seconds ago."""
        if not self._folder.is_dir():
            return
        for record in self._folder.iterdir():
            with suppress(OSError):
                if not 0 <= time.time() - record.stat().st_mtime <= older_than:
                    record.unlink()

    def _known(self, path: Path, fact: str, compute: Callable[[Path], T]) -> tuple[T, FileState]:
        path = path.resolve()
        state = FileState.of(path)
        if state.size <= _SMALL:
            return _computed(path, state, compute)
        record = self._folder / hashlib.sha256(f"{fact}\n{path}".encode(errors="surrogateescape")).hexdigest()[:40]
        known = _read(record)
        if known.get("path") == str(path) and known.get("state") == list(astuple(state)) and "value" in known:
            value: T = known["value"]
            return value, state
        now = time.time_ns()
        value, state = _computed(path, state, compute)
        if state.changed_ns + _SETTLED_NS < now:
            _write(record, {"path": str(path), "state": astuple(state), "value": value})
        return value, state


def _computed(path: Path, state: FileState, compute: Callable[[Path], T]) -> tuple[T, FileState]:
    """The result, and the state that the file was in before and after."""
    for _ in range(_ATTEMPTS):
        value, before, state = compute(path), state, FileState.of(path)
        if before == state:
            return value, state
    raise FormatError(path, "keeps changing while it is read")


def _read(record: Path) -> dict[str, Any]:
    try:
        document = json.loads(read_bytes(record, _LARGEST_RECORD, "records are short"))
    except (FormatError, ValueError, RecursionError):  # none yet, or one that a crash cut short
        return {}
    return document if isinstance(document, dict) else {}


def _write(record: Path, document: dict[str, Any]) -> None:
    """Keeps a record if it can be kept: without it the file is read again, that is all."""
    with suppress(OSError):
        os.makedirs(record.parent, mode=0o700, exist_ok=True)
        with replacing_file(record) as temporary:
            temporary.write_text(json.dumps(document), encoding="utf-8")
