"""Where results go, and copies of weight files: shared blocks where the file system can, else within the kernel, never a hard link.

A hard link would let an edited source change a compiled model. The content is not read into memory.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO

from moka.errors import FormatError, InputError
from moka.formats.files import regular_file_size

__all__ = ["copy_file", "make_destination"]

_FICLONE = 0x40049409
"""Linux's request that a file share the blocks of another until one of them changes."""

_CHUNK = 2**30


def make_destination(folder: Path) -> None:
    """Makes the folder that a result goes into, where there is none; InputError where that can't be, or nothing can be written in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = "is a file" if folder.is_file() else f"can't be made: {error.strerror}"
        raise InputError(f"destination {folder}: {problem}; expected a folder, or where one can be made") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"destination {folder}: nothing can be written there; give it other permissions, or choose another folder")


def copy_file(source: Path, target: Path) -> None:
    """Copies a regular file to a new one, whose folder is made where there is none.

    Raises:
        FormatError: the source is missing, no regular file, or can't be read.
        FileExistsError: there is a target already.
    """
    size = regular_file_size(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        reader = source.open("rb", buffering=0)
    except OSError as error:
        raise FormatError(source, f"can't be read: {error}") from error
    with reader, target.open("xb", buffering=0) as writer:
        if not (_clone(reader, writer) or _copy_in_kernel(reader, writer, size)):
            shutil.copyfileobj(reader, writer, 2**20)


def _clone(reader: BinaryIO, writer: BinaryIO) -> bool:
    """Whether the target now shares the source's blocks."""
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        return True
    return False


def _copy_in_kernel(reader: BinaryIO, writer: BinaryIO, size: int) -> bool:
    """Whether the kernel copied everything; where it can't copy between these files at all, nothing has been written."""
    if not hasattr(os, "copy_file_range"):
        return False
    copied = 0
    while copied < size:
        try:
            step = os.copy_file_range(reader.fileno(), writer.fileno(), min(size - copied, _CHUNK))
        except OSError:
            if copied:
                raise
            return False
        if step == 0:  # some file systems say so of files that they do not copy; what is left is read and written
            return False
        copied += step
    return True
