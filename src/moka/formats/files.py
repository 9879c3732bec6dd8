"""Reading whole files within limits, parts of files, and writing files and folders so that nothing half-written stays."""

from __future__ import annotations

import mmap
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from moka.errors import FormatError

__all__ = ["FileSection", "read_bytes", "regular_file_size", "replacing_file", "replacing_folder"]


@dataclass(frozen=True, slots=True)
class FileSection:
    """A part of a mapped file that is read as a file of its own, such as a member of an archive.

    Attributes:
        name: for messages: the file, and what the part is called in it.
        content: the map of the whole file, private and copy-on-write.
        offset: where the part starts.
        size: its number of bytes, all of which are there.
    """

    name: str
    content: mmap.mmap
    offset: int
    size: int

    def __str__(self) -> str:
        return self.name


def regular_file_size(path: Path) -> int:
    """The size in bytes of a regular file; FormatError for anything else, so that a pipe or device is never opened."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise FormatError(path, "no such file") from error
    except (OSError, ValueError) as error:
        raise FormatError(path, f"can't be looked up: {error}") from error
    if stat.S_ISDIR(status.st_mode):
        raise FormatError(path, "is a folder, expected a file")
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(path, "is not a regular file")
    return status.st_size


def read_bytes(path: Path, limit: int, limit_reason: str) -> bytes:
    """The whole content of a regular file of at most ``limit`` bytes.

    Raises:
        FormatError: missing, not a regular file, empty, unreadable, or longer than ``limit``; the last one
            with ``limit_reason``.
    """
    size = regular_file_size(path)
    if size == 0:
        raise FormatError(path, "is empty")
    if size > limit:
        raise FormatError(path, f"has {size} bytes, allowed are {limit}: {limit_reason}")
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise FormatError(path, f"can't be read: {error}") from error


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A new file's path beside ``path``: it takes the place of ``path`` when the block succeeds, else it is removed."""
    temporary = _beside(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A new empty folder beside ``path``: it takes the place of ``path`` when the block succeeds, else it is removed.

    A folder can't be replaced in one step: the old one is moved aside first, and back if the second step fails.
    """
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        _replace_folder(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        os.replace(new, path)
        return
    old = _beside(path)
    os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    """A name that nothing has yet, in the same folder and so on the same file system, which renaming needs."""
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
