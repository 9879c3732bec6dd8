"""The cache of what takes long to make: compiled models, and what other parts of Moka find by the same kind of key.

    for entry in moka.cache.entries():
        print(entry.product, entry.name, entry.size, entry.last_used)
    moka.cache.verify()         # reads all of it; what is damaged is removed, to be made again
    moka.cache.clear()          # Freed(entries=12, size=104857600)

It is in ``MOKA_CACHE``, or the system's folder for caches, and holds at most ``MOKA_CACHE_SIZE`` bytes (10 GB). A cache elsewhere, or of
another size: ``Cache("folder", size="2GB")``.
"""

from __future__ import annotations

from moka.cache.entry import Entry
from moka.cache.manifest import Key
from moka.cache.store import Cache, Freed

__all__ = ["Cache", "Entry", "Freed", "Key", "clear", "entries", "verify"]


def entries(product: str | None = None) -> list[Entry]:
    """The entries of the default cache, or those of one product (``mlmodelc``), the last used first."""
    return Cache().entries(product)


def verify(product: str | None = None) -> list[tuple[Entry, str]]:
    """Reads every entry of the default cache in full; removes those that are damaged and returns them, each with what is wrong with it."""
    return Cache().verify(product)


def clear(product: str | None = None, older_than: float | None = None) -> Freed:
    """Removes entries of the default cache: all, those of one product, or those not used for ``older_than`` seconds."""
    return Cache().clear(product, older_than)
