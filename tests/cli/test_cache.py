"""``moka cache``: what is there, what is damaged, and what clearing frees."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from moka.cache import Cache, Key

Call = Callable[..., Result]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A cache with two entries, the second of them not used for two days."""
    monkeypatch.setenv("MOKA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MOKA_CACHE_SIZE", "5MB")
    found = Cache()
    for name, product in (("Small.mlpackage", "mlmodelc"), ("Old.mlmodel", "other")):
        found.get(Key(product, name, {"source": name}), lambda folder: (folder / "file.bin").write_bytes(bytes(1200)))
    then = time.time() - 2 * 86400
    os.utime(found.entries("other")[0].folder / "manifest.json", (then, then))
    return found


def test_list(moka_command: Call, cache: Cache) -> None:
    result = moka_command("cache", "list")
    assert result.exit_code == 0
    head, small, old, total = result.stdout.splitlines()
    assert head.split() == ["made", "from", "product", "size", "made", "last", "used"]
    assert small.split() == ["Small.mlpackage", "mlmodelc", "1.2", "kB", *["just", "now"] * 2]
    assert old.split() == ["Old.mlmodel", "other", "1.2", "kB", "just", "now", "2", "days", "ago"]
    assert total == f"2 entries, 2.4 kB of at most 5.0 MB, in {cache.folder}"


def test_list_as_json(moka_command: Call, cache: Cache) -> None:
    small, old = json.loads(moka_command("cache", "list", "--json").stdout)
    assert (small["name"], small["product"], small["size"], small["problem"]) == ("Small.mlpackage", "mlmodelc", 1200, None)
    assert (Path(small["folder"]) / "file.bin").read_bytes() == bytes(1200)
    assert old["parts"] == {"source": "Old.mlmodel"}
    assert time.time() - old["lastUsed"] > 86400
    assert [item["name"] for item in json.loads(moka_command("cache", "list", "--json", "--product", "other").stdout)] == ["Old.mlmodel"]


def test_verify(moka_command: Call, cache: Cache) -> None:
    result = moka_command("cache", "verify")
    assert (result.exit_code, result.stdout) == (0, f"{cache.folder}: no damage\n")
    (cache.entries("other")[0].content / "file.bin").write_bytes(b"")
    assert "damaged" in moka_command("cache", "list").stdout
    result = moka_command("cache", "verify")
    assert result.exit_code == 1
    assert result.stdout == "Old.mlmodel: file.bin: was changed after it was made; removed\n"
    assert "1 entry damaged" in result.stderr
    assert json.loads(moka_command("cache", "verify", "--json").stdout) == []
    assert [entry.name for entry in cache.entries()] == ["Small.mlpackage"]


def test_clear(moka_command: Call, cache: Cache) -> None:
    assert json.loads(moka_command("cache", "clear", "--older-than", "3d", "--json").stdout) == {"entries": 0, "size": 0}
    assert moka_command("cache", "clear", "--older-than", "36h").stdout == f"{cache.folder}: removed 1 entry, 1.2 kB\n"
    assert [entry.name for entry in cache.entries()] == ["Small.mlpackage"]
    assert moka_command("cache", "clear").stdout == f"{cache.folder}: removed 1 entry, 1.2 kB\n"
    assert moka_command("cache", "list").stdout.startswith("0 entries, 0 B of at most 5.0 MB")


def test_wrong_periods_and_sizes(moka_command: Call, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    result = moka_command("cache", "clear", "--older-than", "yesterday")
    assert result.exit_code == 2
    assert "7d" in result.stderr
    monkeypatch.setenv("MOKA_CACHE_SIZE", "large")
    result = moka_command("cache", "list")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: MOKA_CACHE_SIZE is 'large'")


@pytest.mark.parametrize("verb", ["list", "verify", "clear"])
def test_each_has_help(verb: str, moka_command: Call) -> None:
    result = moka_command("cache", verb, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "--debug" in result.stdout
