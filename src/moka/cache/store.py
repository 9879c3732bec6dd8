"""Folders that are made once and found by their key, by any number of processes and threads at once.

FOLDER/entries/PRODUCT/KEY/      an entry: its manifest, whose time is that of the last use, and its content
FOLDER/temporary/KEY.RANDOM/     what is being made, or was by a process that died
FOLDER/locks/KEY.lock            held by whoever makes or removes the entry
FOLDER/facts/                    what is known about sources

Who finds an entry whole takes it without a lock. Who does not makes it under the key's lock in a temporary folder, and renames that into
place, which is one step: an entry is there whole or not at all. Locks are the system's, which frees those of dead processes; a temporary
folder whose key nobody holds is what a dead one left.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import TypeAlias

from moka.cache.entry import GRACE, Entry, entry_in, last_used, redated, use
from moka.cache.manifest import CONTENT, Key, Manifest
from moka.cache.place import default_folder, default_size, parse_size
from moka.cache.sources import Facts
from moka.errors import CacheError

__all__ = ["Cache", "Freed"]

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DAY = 24 * 3600.0
_FACTS_KEPT = 30 * _DAY
_SHARE = 32
"""Entries are counted again when one process has added this fraction of what may be there."""


Make: TypeAlias = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Freed:
    """What was removed: how many entries, and the bytes in them."""

    entries: int
    size: int


class Cache:
    """A cache in a folder, bounded in size: what was not used for longest goes first, but never what was used a moment ago.

    Args:
        folder: where; by default ``MOKA_CACHE``, or the system's folder for caches.
        size: how many bytes entries may take together, as a number or ``"2GB"``; by default ``MOKA_CACHE_SIZE``, or 10 GB.

    Raises:
        InputError: ``size`` is no size.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None, size: int | str | None = None) -> None:
        self.folder = default_folder() if folder is None else Path(folder).expanduser().absolute()
        self.size = default_size() if size is None else parse_size(size)
        self.facts = Facts(self.folder / "facts")

    def get(self, key: Key, make: Make, copies: Mapping[str, str] | None = None) -> Path:
        """The folder with a key's product, made by ``make`` if it is not there; for reading only.

        Of any number of callers at once in any number of processes one makes it, and the others wait. It stays for ten minutes at least
        after each call; copy what must stay longer. Where the cache's folder can't be written, products are made in a temporary folder
        that this process removes at its end, with a warning.

        Args:
            key: all that the product depends on.
            make: fills the empty folder that it is given with regular files; what it raises is passed on, and nothing stays.
            copies: hashes (`Source.hashes`) of those files, by path, that will be copies of files of the source, to save reading them.

        Raises:
            CacheError: no space is left.
        """
        entry = self._entry(key)
        if use(entry):
            return entry / CONTENT
        if (obstacle := self._obstacle(entry.parent)) is not None:
            return _substitute(self, obstacle).get(key, make, copies)
        try:
            with self._lock(entry.name):
                if not use(entry):
                    self._fill(entry, key, make, copies or {})
        except OSError as error:
            if error.errno not in _FULL:
                raise
            advice = "free some, run 'moka cache clear', or set MOKA_CACHE to a folder on another disk"
            raise CacheError(f"cache {self.folder}: no space is left for what is made of {key.name}: {advice}") from error
        if _ledger(self.folder).is_due(self.size):
            with suppress(OSError):  # the entry is made; another process will count
                self.evict()
        return entry / CONTENT

    def entries(self, product: str | None = None) -> list[Entry]:
        """The entries, or those of one product, the last used first; damaged ones too."""
        folders = sorted((self.folder / "entries").glob(f"{product or '*'}/*"))
        found = [entry for folder in folders if (entry := entry_in(folder)) is not None]
        return sorted(found, key=lambda entry: entry.last_used, reverse=True)

    def verify(self, product: str | None = None) -> list[tuple[Entry, str]]:
        """Reads every entry in full, and removes those that are not what was made; they are made again when they are asked for.

        Returns:
            The damaged entries, each with what is wrong with it.
        """
        damaged = []
        for entry in self.entries(product):
            problem = entry.problem(full=True)
            if problem is not None and entry.folder.exists():
                damaged.append((entry, problem))
                self._remove(entry.folder)
        return damaged

    def clear(self, product: str | None = None, older_than: float | None = None) -> Freed:
        """Removes all entries, or those of one product, or those not used for ``older_than`` seconds, and what dead processes left."""
        now = time.time()
        chosen = [entry for entry in self.entries(product) if older_than is None or now - entry.last_used >= older_than]
        removed = [entry for entry in chosen if self._remove(entry.folder)]
        self._sweep()
        if product is None and older_than is None:
            self.facts.sweep(older_than=-1.0)
        return Freed(len(removed), sum(entry.size for entry in removed))

    def evict(self) -> Freed:
        """Removes what was not used for longest until the rest is within the cache's size, and what dead processes left."""
        if not (self.folder / "locks").is_dir():
            return Freed(0, 0)
        with self._lock("evict", wait=False) as held:
            if not held:  # another process does it right now
                return Freed(0, 0)
            self._sweep()
            entries = [redated(entry) for entry in self.entries()]
            total, removed = sum(entry.size for entry in entries), []
            for entry in sorted(entries, key=lambda entry: entry.last_used):
                if total <= self.size or abs(time.time() - entry.last_used) < GRACE:
                    continue
                if self._remove(entry.folder, unless_used_since=entry.last_used):
                    total -= entry.size
                    removed.append(entry)
            _ledger(self.folder).counted(total)
            return Freed(len(removed), sum(entry.size for entry in removed))

    def _entry(self, key: Key) -> Path:
        return self.folder / "entries" / key.product / key.digest

    def _obstacle(self, *folders: Path) -> str | None:
        """Why entries can't be made here, after making the folders that it takes."""
        for folder in (self.folder, self.folder / "locks", self.folder / "temporary", *folders):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                if error.errno in _FULL:
                    raise CacheError(f"cache {self.folder}: no space is left") from error
                return str(error)
            if not os.access(folder, os.W_OK | os.X_OK):
                return f"{folder} can't be written"
        return None

    @contextmanager
    def _lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Holds a lock of this name, one holder among all threads and processes; gives whether it is held, always so after waiting."""
        import filelock

        lock = filelock.FileLock(self.folder / "locks" / f"{name}.lock")  # a new one each time: threads exclude each other too
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _fill(self, entry: Path, key: Key, make: Make, copies: Mapping[str, str]) -> None:
        for left in (self.folder / "temporary").glob(f"{entry.name}.*"):
            shutil.rmtree(left, ignore_errors=True)
        temporary = self._temporary(entry)
        try:
            (temporary / CONTENT).mkdir(parents=True)
            make(temporary / CONTENT)
            manifest = Manifest.describe(key, temporary / CONTENT, copies)
            manifest.write(temporary)
            self._discard(entry)
            try:
                os.rename(temporary, entry)
            except OSError:
                if not use(entry):  # else somebody was faster, on a file system that has no locks
                    raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _ledger(self.folder).added(manifest.size)

    def _temporary(self, entry: Path) -> Path:
        return self.folder / "temporary" / f"{entry.name}.{secrets.token_hex(6)}"

    def _discard(self, entry: Path) -> None:
        """Takes a damaged entry away, if there is one."""
        if entry.exists():
            trash = self._temporary(entry)
            os.rename(entry, trash)
            shutil.rmtree(trash, ignore_errors=True)

    def _remove(self, entry: Path, unless_used_since: float | None = None) -> bool:
        """Removes an entry, unless it is being made, is in use where the system forbids that, or was used since a certain time.

        A reader marks the use first and looks at the entry then. So whoever marked it before it was taken away is seen here, and the entry
        is put back; whoever comes later finds nothing, and waits for the lock.
        """
        trash = self._temporary(entry)
        try:
            with self._lock(entry.name, wait=False) as held:
                if not held:
                    return False
                os.rename(entry, trash)
                if unless_used_since is not None and last_used(trash) != unless_used_since:
                    os.rename(trash, entry)
                    return False
                shutil.rmtree(trash, ignore_errors=True)
                return True
        except OSError:
            return False

    def _sweep(self) -> None:
        """Removes what nobody has a use for: folders of dead processes, locks without entries, old facts."""
        for left in (self.folder / "temporary").glob("*"):
            with suppress(OSError), self._lock(left.name.partition(".")[0], wait=False) as held:
                if held:
                    shutil.rmtree(left)
        entries = {folder.name for folder in (self.folder / "entries").glob("*/*")}
        for lock in (self.folder / "locks").glob("*.lock"):
            if lock.stem not in entries and lock.stem != "evict":
                with suppress(OSError):
                    self._remove_lock(lock)
        self.facts.sweep(_FACTS_KEPT)

    def _remove_lock(self, lock: Path) -> None:
        """Removes the file of an old lock that nobody holds. Who waits for it sees that it is gone, and makes a new one."""
        if time.time() - lock.stat().st_mtime > _DAY:
            with self._lock(lock.stem, wait=False) as held:
                if held:
                    lock.unlink()

    def __repr__(self) -> str:
        return f"Cache({str(self.folder)!r}, size={self.size})"


class _Ledger:
    """What this process knows of a cache's size, so that not every new entry makes it count all of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._total: int | None = None
        self._added = 0

    def added(self, size: int) -> None:
        with self._lock:
            self._added += size

    def counted(self, total: int) -> None:
        with self._lock:
            self._total, self._added = total, 0

    def is_due(self, limit: int) -> bool:
        """Whether entries must be counted: never yet, or enough was added since to matter."""
        with self._lock:
            return self._total is None or self._added * _SHARE > limit or self._total + self._added > limit


@once
def _ledger(folder: Path) -> _Ledger:
    return _Ledger()


def _substitute(cache: Cache, obstacle: str) -> Cache:
    """A cache that this process has to itself and removes at its end."""
    substitute = _process_cache()
    if cache is substitute:
        raise CacheError(f"cache {cache.folder}: {obstacle}")
    message = (
        f"cache {cache.folder} can't be used ({obstacle}); set MOKA_CACHE to a folder that can. Until then each process makes its own."
    )
    warnings.warn(message, RuntimeWarning, stacklevel=4)
    return substitute


@once
def _process_cache() -> Cache:
    import atexit

    folder, owner = tempfile.mkdtemp(prefix="moka-cache-"), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return Cache(folder)
