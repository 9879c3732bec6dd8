"""One entry of the cache: what it is, whether it is whole, and when it was last used, which is the time of its manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moka.cache.manifest import CONTENT, MANIFEST, Manifest
from moka.errors import FormatError

__all__ = ["GRACE", "Entry", "entry_in", "last_used", "redated", "use"]

GRACE = 600.0
"""Seconds that an entry stays at least after it was last given to somebody, however full the cache is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the cache. Of a damaged one ``name`` and ``parts`` are empty.

    Attributes:
        folder: where it is.
        product: what kind of thing it is.
        name: what it was made from, as people call it.
        parts: the parts of its key.
        size: bytes in its files.
        created: when it was made, in seconds since 1970.
        last_used: when it was last asked for.
    """

    folder: Path
    product: str
    name: str
    parts: Mapping[str, Any]
    size: int
    created: float
    last_used: float

    @property
    def content(self) -> Path:
        """The folder with what was made."""
        return self.folder / CONTENT

    def problem(self, *, full: bool = False) -> str | None:
        """What is wrong with it: by its files' sizes and times, with ``full`` by their content too."""
        try:
            return Manifest.read(self.folder).problem(self.content, full=full)
        except FormatError as error:
            return error.problem
        except OSError as error:
            return f"can't be read: {error}"


def use(entry: Path) -> bool:
    """Marks an entry as used now and says whether it is there, whole; in this order, see ``Cache._remove``."""
    try:
        os.utime(entry / MANIFEST)
    except FileNotFoundError:
        return False
    except OSError:  # of somebody else, or in a folder that can't be written: it may be read all the same
        pass
    try:
        return Manifest.read(entry).problem(entry / CONTENT) is None
    except (FormatError, OSError):
        return False


def last_used(entry: Path) -> float:
    try:
        return (entry / MANIFEST).stat().st_mtime
    except FileNotFoundError:
        return entry.stat().st_mtime


def entry_in(folder: Path) -> Entry | None:
    """The entry in a folder, None if it has gone."""
    try:
        used = last_used(folder)
        manifest = Manifest.read(folder)
    except OSError:
        return None
    except FormatError:
        if not folder.is_dir():
            return None
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        return Entry(folder, folder.parent.name, "", {}, size, used, used)
    key = manifest.key
    return Entry(folder, key.product, key.name, key.parts, manifest.size, manifest.created, used)


def redated(entry: Entry) -> Entry:
    """An entry last used in the future, where the clock was set back, counts as used now; else it would outlive all others."""
    if entry.last_used <= time.time() + GRACE:
        return entry
    with suppress(OSError):
        os.utime(entry.folder / MANIFEST)
    return replace(entry, last_used=time.time())
