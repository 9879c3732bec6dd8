"""Reads and writes ``analytics/coremldata.bin``: facts about the source of a compiled model, in sections.

For each section its name, a u64 number of entries, and for each entry a key and a value, all of them texts. Sections and keys stand in the
order of the alphabet. The hashes among the values are SHA-256 in base64. Files before 2020 have none of this.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from moka.formats.files import read_bytes
from moka.formats.mlmodelc.binary import Reader, text, u64

__all__ = ["ANALYTICS_FILE", "Analytics", "file_hash", "read_analytics", "write_analytics"]

ANALYTICS_FILE = "analytics/coremldata.bin"
_LARGEST = 16 * 2**20

Analytics: TypeAlias = Mapping[str, Mapping[str, str]]
"""Values by section and key: ``{"SpecificationDetails": {"modelHash": ..., "modelName": "model"}}``."""


def read_analytics(path: Path) -> dict[str, dict[str, str]]:
    """The sections of a file.

    Raises:
        FormatError: missing, longer than 16 MiB, or truncated.
    """
    reader = Reader(read_bytes(path, _LARGEST, "those of real models have a few hundred bytes"), path)
    sections: dict[str, dict[str, str]] = {}
    while reader.left:
        entries = sections.setdefault(reader.text("name of a section"), {})
        for _ in range(reader.count("number of entries", entry_size=16)):
            key = reader.text("key")
            entries[key] = reader.text(f"value of {key}")
    return sections


def write_analytics(sections: Analytics) -> bytes:
    """The bytes of a file."""
    return b"".join(
        text(name) + u64(len(entries)) + b"".join(text(key) + text(entries[key]) for key in sorted(entries))
        for name, entries in sorted(sections.items())
    )


def file_hash(path: Path) -> str:
    """The hash of a file as analytics state it."""
    with path.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
