"""Where the cache is and how large it may get: ``MOKA_CACHE``, ``MOKA_CACHE_SIZE``, or the system's custom."""

from __future__ import annotations

import os
import re
from pathlib import Path

from moka.errors import InputError

__all__ = ["DEFAULT_SIZE", "default_folder", "default_size", "parse_size"]

DEFAULT_SIZE = 10 * 10**9
"""Bytes that entries may take together unless told otherwise."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def default_folder() -> Path:
    """``MOKA_CACHE``, or Moka's folder in the system's folder for caches (``~/.cache/moka`` on Linux)."""
    if stated := os.environ.get("MOKA_CACHE"):
        return Path(stated).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("moka", appauthor=False)


def default_size() -> int:
    """``MOKA_CACHE_SIZE`` in bytes, or 10 GB."""
    stated = os.environ.get("MOKA_CACHE_SIZE")
    return DEFAULT_SIZE if not stated else parse_size(stated, "MOKA_CACHE_SIZE")


def parse_size(text: str | int, where: str = "size") -> int:
    """Bytes from ``500``, ``"500 MB"``, ``"1.5GiB"``.

    Raises:
        InputError: no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?|)B?\s*", str(text).upper())
    if match is None:
        raise InputError(f"{where} is {text!r}; expected bytes, or a number with a unit: 500MB, 10GB, 1.5GiB")
    return int(float(match[1]) * _UNITS[match[2]])
