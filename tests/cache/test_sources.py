"""Hashes of sources: right after every kind of edit, and without reading what did not change."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moka.cache.manifest import content_hash
from moka.cache.sources import Facts
from moka.errors import FormatError

LARGE = 2**19


class Hash:
    """SHA-256, counting the files that it reads."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, path: Path) -> str:
        self.read += 1
        return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def facts(tmp_path: Path) -> Facts:
    return Facts(tmp_path / "facts")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A large file that nobody has changed for an hour, as the clock has it."""
    path = tmp_path / "weight.bin"
    path.write_bytes(bytes(LARGE))
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
    return path


def test_a_file_is_read_once(facts: Facts, file: Path) -> None:
    compute = Hash()
    expected = hashlib.sha256(bytes(LARGE)).hexdigest()
    assert [facts.of(file, "hash", compute) for _ in range(3)] == [expected] * 3
    assert compute.read == 1
    assert facts.of(file, "another fact", compute) == expected
    assert compute.read == 2


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"x")


def overwrite_with_the_old_time(path: Path) -> None:
    before = path.stat()
    overwrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_with_the_old_time(path: Path) -> None:
    before, new = path.stat(), path.with_name("new")
    new.write_bytes(b"x" + bytes(LARGE - 1))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(new, path)


@pytest.mark.parametrize(
    "edit", [overwrite, overwrite_with_the_old_time, replace_with_the_old_time, lambda path: os.truncate(path, 2**19 - 1)]
)
def test_no_edit_goes_unnoticed(edit: Any, facts: Facts, file: Path) -> None:
    compute = Hash()
    facts.of(file, "hash", compute)
    edit(file)
    assert facts.of(file, "hash", compute) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert compute.read == 2


def test_a_file_that_was_just_written_is_read_each_time(facts: Facts, tmp_path: Path) -> None:
    """Its next edit may leave the same time."""
    path, compute = tmp_path / "new.bin", Hash()
    path.write_bytes(bytes(LARGE))
    for _ in range(2):
        facts.of(path, "hash", compute)
    assert compute.read == 2
    os.utime(path, (time.time() + 1e6,) * 2)  # a time in the future says nothing
    for _ in range(2):
        facts.of(path, "hash", compute)
    assert compute.read == 4


def test_a_file_that_changes_while_it_is_read(facts: Facts, file: Path) -> None:
    reads = []

    def compute(path: Path) -> int:
        reads.append(path)
        if len(reads) < 3:
            os.truncate(path, LARGE + len(reads))
        return path.stat().st_size

    assert facts.of(file, "size", compute) == LARGE + 2
    with pytest.raises(FormatError, match="keeps changing"):
        facts.of(file, "endless", lambda path: os.truncate(path, path.stat().st_size + 1))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"state": 1}', b"\xff" * 10])
def test_records_that_are_damaged_are_made_again(content: bytes, facts: Facts, file: Path, tmp_path: Path) -> None:
    compute = Hash()
    expected = facts.of(file, "hash", compute)
    (record,) = (tmp_path / "facts").iterdir()
    record.write_bytes(content)
    assert [facts.of(file, "hash", compute) for _ in range(2)] == [expected] * 2
    assert compute.read == 2


def test_names_and_contents_make_a_source(facts: Facts, tmp_path: Path) -> None:
    for name, content in (("a", b"1"), ("b", b"2"), ("c", b"1")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (tmp_path / name for name in "abc")
    one = facts.source({"x": a, "y": b})
    assert one == facts.source({"y": b, "x": a})
    assert one.digest == facts.source({"x": c, "y": b}).digest
    assert one != facts.source({"x": c, "y": b})  # the same content, but another file
    assert len({facts.source(files).digest for files in ({"x": a, "y": b}, {"x": b, "y": a}, {"x": a}, {"xy": a}, {})}) == 5


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000, 5001])
def test_hashes_of_files_read_in_parts(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moka.cache.manifest._PART", 1000)
    content = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(content)
    known = content_hash(tmp_path / "file")
    assert known == content_hash(tmp_path / "file")
    others = {content + b"x", content[:-1], content[1000:] + content[:1000], content[:1000] + content[1000:][::-1]} - {content}
    others |= {content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :] for place in range(0, size, 97)}
    for other in others:
        (tmp_path / "file").write_bytes(other)
        assert content_hash(tmp_path / "file") != known


def test_what_is_no_file(facts: Facts, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, problem in ((tmp_path / "none", "no such file"), (tmp_path, "is a folder"), (tmp_path / "pipe", "not a regular file")):
        with pytest.raises(FormatError, match=problem):
            facts.source({"x": path})


def test_old_records_are_swept(facts: Facts, file: Path, tmp_path: Path) -> None:
    compute = Hash()
    facts.of(file, "hash", compute)
    facts.sweep(older_than=3600)
    facts.of(file, "hash", compute)
    assert compute.read == 1
    (record,) = (tmp_path / "facts").iterdir()
    os.utime(record, (time.time() - 7200,) * 2)
    facts.sweep(older_than=3600)
    facts.of(file, "hash", compute)
    assert compute.read == 2


def test_without_a_folder_for_records(file: Path, tmp_path: Path) -> None:
    (tmp_path / "in the way").touch()
    compute = Hash()
    facts = Facts(tmp_path / "in the way")
    assert facts.of(file, "hash", compute) == facts.of(file, "hash", compute)
    assert compute.read == 2
