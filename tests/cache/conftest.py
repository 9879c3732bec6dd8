"""A cache in a temporary folder, and a product that says how often it was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from moka.cache import Cache, Key


class Maker:
    """Makes a product of known content, and counts."""

    def __init__(self, content: bytes = b"product") -> None:
        self.content = content
        self.count = 0

    def __call__(self, folder: Path) -> None:
        self.count += 1
        (folder / "model" / "weights").mkdir(parents=True)
        (folder / "model" / "program.txt").write_bytes(self.content)
        (folder / "model" / "weights" / "weight.bin").write_bytes(self.content * 100)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache", size="1MB")


@pytest.fixture
def maker() -> Maker:
    return Maker()


@pytest.fixture
def key() -> Callable[[int], Key]:
    return lambda number: Key("test", f"number {number}", {"number": number})
