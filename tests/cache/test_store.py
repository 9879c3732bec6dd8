"""Entries: made once, whole or made again, bounded, and never in the way of who uses them. Processes are in ``test_processes.py``."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import moka
from moka.cache import Cache, Key
from moka.errors import CacheError, FormatError, InputError
from tests.cache.conftest import Maker

Numbered = Callable[[int], Key]
HOUR = 3600.0


def age(cache: Cache, content: Path, seconds: float) -> None:
    """Makes an entry look as if it had been used so long ago."""
    then = time.time() - seconds
    os.utime(content.parent / "manifest.json", (then, then))


def leftovers(cache: Cache) -> list[Path]:
    return list((cache.folder / "temporary").iterdir())


def test_made_once_and_found_again(cache: Cache, maker: Maker, key: Numbered) -> None:
    first = cache.get(key(1), maker)
    assert (first / "model" / "program.txt").read_bytes() == b"product"
    assert cache.get(key(1), maker) == first
    assert Cache(cache.folder).get(key(1), maker) == first
    assert maker.count == 1
    assert cache.get(key(2), maker) != first
    assert maker.count == 2
    assert leftovers(cache) == []


def test_the_name_is_no_part_of_the_key_and_all_parts_are() -> None:
    one = Key("test", "a", {"x": 1, "y": [1, 2]})
    assert one.digest == Key("test", "b", {"y": [1, 2], "x": 1}).digest
    others = [Key("test", "a", parts) for parts in ({"x": 1}, {"x": 1, "y": [2, 1]}, {"x": "1", "y": [1, 2]})]
    others.append(Key("other", "a", {"x": 1, "y": [1, 2]}))
    assert len({one.digest, *(other.digest for other in others)}) == 5
    with pytest.raises(InputError, match="product"):
        Key("../test", "a", {})


def test_what_making_raises_is_passed_on_and_leaves_nothing(cache: Cache, maker: Maker, key: Numbered) -> None:
    def fail(folder: Path) -> None:
        maker(folder)
        raise FormatError("the source", "is broken")

    with pytest.raises(FormatError, match="the source: is broken"):
        cache.get(key(1), fail)
    assert leftovers(cache) == []
    assert cache.entries() == []
    cache.get(key(1), maker)
    assert maker.count == 2


def test_a_link_is_no_product(cache: Cache, key: Numbered, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("content")
    with pytest.raises(FormatError, match="no regular file"):
        cache.get(key(1), lambda folder: (folder / "link").symlink_to(tmp_path / "elsewhere"))
    assert (tmp_path / "elsewhere").read_text() == "content"


def edit(path: Path) -> None:
    """Other content of the same length."""
    path.write_bytes(path.read_bytes()[::-1])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": lambda content: os.truncate(content / "model" / "weights" / "weight.bin", 10),
    "emptied": lambda content: (content / "model" / "program.txt").write_bytes(b""),
    "deleted": lambda content: (content / "model" / "program.txt").unlink(),
    "edited": lambda content: edit(content / "model" / "program.txt"),
    "added to": lambda content: (content / "model" / "more.txt").write_text("more"),
    "folder deleted": lambda content: shutil.rmtree(content / "model" / "weights"),
    "content deleted": shutil.rmtree,
    "replaced by a link": lambda content: replace_by_link(content / "model" / "program.txt"),
    "manifest deleted": lambda content: (content.parent / "manifest.json").unlink(),
    "manifest cut": lambda content: os.truncate(content.parent / "manifest.json", 40),
    "manifest emptied": lambda content: os.truncate(content.parent / "manifest.json", 0),
    "manifest of another type": lambda content: (content.parent / "manifest.json").write_text('{"files": [1]}'),
}


def replace_by_link(path: Path) -> None:
    path.rename(path.parent.parent / "aside")
    path.symlink_to(path.parent.parent / "aside")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_the_entry_made_again(damage: str, cache: Cache, maker: Maker, key: Numbered) -> None:
    content = cache.get(key(1), maker)
    DAMAGE[damage](content)
    (entry,) = cache.entries()
    assert entry.problem()
    assert cache.get(key(1), maker) == content
    assert maker.count == 2
    assert (content / "model" / "program.txt").read_bytes() == b"product"
    assert [entry.problem(full=True) for entry in cache.entries()] == [None]
    assert leftovers(cache) == []


def test_verify_reads_what_sizes_and_times_do_not_show(cache: Cache, maker: Maker, key: Numbered) -> None:
    content, whole = cache.get(key(1), maker), cache.get(key(2), maker)
    file = content / "model" / "weights" / "weight.bin"
    before = file.stat()
    edit(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.get(key(1), maker) == content  # not noticed on loading
    assert maker.count == 2
    ((entry, problem),) = cache.verify()
    assert (entry.name, entry.folder) == ("number 1", content.parent)
    assert problem.startswith("model/weights/weight.bin: other content")
    assert cache.verify() == []
    assert [entry.content for entry in cache.entries()] == [whole]
    cache.get(key(1), maker)
    assert maker.count == 3


def test_copies_are_not_read_to_know_their_content(cache: Cache, maker: Maker, key: Numbered, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"product" * 100)
    (tmp_path / "other").write_bytes(b"x")
    source = cache.facts.source({"right": tmp_path / "source", "wrong": tmp_path / "other"})
    name = "model/weights/weight.bin"
    cache.get(key(1), maker, {name: source.hashes["right"], "no such file": source.hashes["wrong"]})
    assert cache.verify() == []
    cache.get(key(2), maker, {name: source.hashes["wrong"]})  # a promise that is not kept is found when all is read
    ((entry, problem),) = cache.verify()
    assert (entry.name, problem.split(":")[0]) == ("number 2", name)


def test_an_entry_in_anothers_place_is_damaged(cache: Cache, key: Numbered) -> None:
    one, two = (cache.get(key(number), Maker(str(number).encode())) for number in (1, 2))
    shutil.rmtree(two.parent)
    shutil.copytree(one.parent, two.parent)
    assert (cache.get(key(2), Maker(b"2")) / "model" / "program.txt").read_bytes() == b"2"


def test_entries_say_what_they_are(cache: Cache, maker: Maker, key: Numbered) -> None:
    started = time.time()
    cache.get(key(1), maker)
    cache.get(Key("other", "x", {}), maker)
    age(cache, cache.get(key(2), maker), HOUR)
    assert [entry.name for entry in cache.entries()] == ["x", "number 1", "number 2"]
    (entry,) = cache.entries("other")
    assert (entry.product, entry.parts, entry.size) == ("other", {}, 707)
    assert started - 1 <= entry.created <= time.time()
    assert abs(entry.last_used - started) < 60
    assert entry.size == sum(path.stat().st_size for path in entry.content.rglob("*") if path.is_file())


def test_the_longest_unused_go_first_and_the_lately_used_stay(cache: Cache, key: Numbered) -> None:
    contents = [cache.get(key(number), Maker(bytes(3000))) for number in range(4)]  # 303 kB each, the bound is 1 MB
    assert all(content.exists() for content in contents)  # over the bound, but all of them were just given to us
    for hours, number in ((3, 0), (1, 1), (4, 2), (2, 3)):
        age(cache, contents[number], hours * HOUR)
    cache.get(key(0), Maker())
    freed = cache.evict()
    assert (freed.entries, freed.size) == (1, 303000)
    assert [content.exists() for content in contents] == [True, True, False, True]
    assert Cache(cache.folder, size=0).evict().entries == 2
    assert [content.exists() for content in contents] == [True, False, False, False]
    assert leftovers(cache) == []


def test_making_keeps_the_bound(cache: Cache, key: Numbered) -> None:
    for number in range(12):
        age(cache, cache.get(key(number), Maker(bytes(3000))), (100 - number) * HOUR)
    names = [entry.name for entry in cache.entries()]
    assert names == ["number 11", "number 10", "number 9"]
    assert sum(entry.size for entry in cache.entries()) <= cache.size


def test_an_entry_used_while_it_is_taken_away_is_put_back(
    cache: Cache, maker: Maker, key: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, rename = cache.get(key(1), maker), os.rename
    age(cache, content, HOUR)

    def rename_late(old: Path, new: Path) -> None:
        if Path(old) == content.parent:
            os.utime(content.parent / "manifest.json")  # a reader comes just before
        rename(old, new)

    monkeypatch.setattr(os, "rename", rename_late)
    assert Cache(cache.folder, size=0).evict().entries == 0
    assert content.exists()
    assert cache.get(key(1), maker) == content
    assert maker.count == 1


def test_a_clock_set_back_does_not_keep_entries_for_ever(cache: Cache, key: Numbered) -> None:
    contents = [cache.get(key(number), Maker(bytes(3000))) for number in range(3)]
    age(cache, contents[0], -1000 * HOUR)
    age(cache, contents[1], HOUR)
    small = Cache(cache.folder, size=0)
    assert small.evict().entries == 1  # the other two count as used now
    assert [content.exists() for content in contents] == [True, False, True]
    assert abs(cache.entries()[0].last_used - time.time()) < 60
    for content in (contents[0], contents[2]):
        age(cache, content, HOUR)
    assert small.evict().entries == 2


def test_a_clock_set_forward_takes_the_oldest_first(cache: Cache, key: Numbered, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [cache.get(key(number), Maker(bytes(3000))) for number in range(5)]
    for number, content in enumerate(contents):
        age(cache, content, 10 - number)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 1e6)
    cache.evict()
    assert [content.exists() for content in contents] == [False, False, True, True, True]


def test_clear_says_what_it_freed(cache: Cache, maker: Maker, key: Numbered) -> None:
    contents = [cache.get(key(number), maker) for number in range(3)]
    cache.get(Key("other", "x", {}), maker)
    age(cache, contents[0], 2 * HOUR)
    assert cache.clear(older_than=HOUR).entries == 1
    freed = cache.clear("test")
    assert (freed.entries, freed.size) == (2, 2 * 707)
    assert [entry.product for entry in cache.entries()] == ["other"]
    (cache.folder / "temporary" / "0123.abc").mkdir()
    assert cache.clear().entries == 1
    assert leftovers(cache) == []
    assert cache.clear() == moka.cache.Freed(0, 0)


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "none")
    assert (cache.entries(), cache.verify(), cache.clear(), cache.evict()) == ([], [], moka.cache.Freed(0, 0), moka.cache.Freed(0, 0))
    assert not cache.folder.exists()


def test_threads_make_it_once(cache: Cache, key: Numbered) -> None:
    made, results, start = [], [], threading.Barrier(16)

    def make(folder: Path) -> None:
        made.append(folder)
        time.sleep(0.05)
        Maker()(folder)

    def run(number: int) -> None:
        start.wait()
        results.append(cache.get(key(number % 4), make))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (len(made), len(results), len(set(results))) == (4, 16, 4)
    assert cache.verify() == []


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_makes_is_not(cache: Cache, maker: Maker, key: Numbered) -> None:
    cache.get(key(1), maker)
    stale = cache.folder / "temporary" / f"{key(2).digest}.0123456789ab"
    (stale / "content").mkdir(parents=True)

    def make(folder: Path) -> None:
        maker(folder)
        cache.clear()
        assert (folder / "model" / "program.txt").exists()

    assert (cache.get(key(3), make) / "model" / "program.txt").exists()
    assert leftovers(cache) == []


def test_old_locks_go_and_the_others_stay(cache: Cache, maker: Maker, key: Numbered) -> None:
    cache.get(key(1), maker)
    for name in ("old", "new"):
        (cache.folder / "locks" / f"{name}.lock").touch()
    for path in (cache.folder / "locks").iterdir():
        if path.stem != "new":
            os.utime(path, (time.time() - 48 * HOUR,) * 2)
    cache.evict()
    assert {path.stem for path in (cache.folder / "locks").iterdir()} - {"evict"} == {"new", key(1).digest}


@pytest.mark.parametrize("when", ["making", "describing"])
def test_a_full_disk(when: str, cache: Cache, maker: Maker, key: Numbered, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = cache.get(key(1), maker)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def make(folder: Path) -> None:
        maker(folder)
        if when == "making":
            full()

    with monkeypatch.context() as patch:
        if when == "describing":
            patch.setattr("moka.cache.manifest.Manifest.write", full)
        with pytest.raises(CacheError, match=r"no space is left for what is made of number 2: .*MOKA_CACHE"):
            cache.get(key(2), make)
    assert leftovers(cache) == []
    assert [entry.content for entry in cache.entries()] == [kept]
    assert cache.get(key(2), maker).exists()


SCRIPT = """
import asyncio, atexit, filelock, os, sys, warnings
from moka.cache import Cache, Key
if len(sys.argv) > 4:
    os.setuid(int(sys.argv[4]))  # from here on nothing may be imported: Python itself may lie where only root reads
def make(folder):
    (folder / "file").write_bytes(bytes(int(sys.argv[3])))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    try:
        found = Cache(sys.argv[1]).get(Key("test", "it", {"number": int(sys.argv[2])}), make)
        print(found, (found / "file").stat().st_size, len(caught), *(item.message for item in caught))
    except Exception as error:
        print(type(error).__name__, error)
"""


def script(*arguments: object, **options: object) -> str:
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, **options).stdout  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(os.name == "nt", reason="permissions are those of POSIX")
def test_a_folder_that_can_only_be_read(cache: Cache, tmp_path: Path) -> None:
    """What is there is used; the rest is made in a folder of the process's own, with a warning."""
    found = cache.get(Key("test", "it", {"number": 1}), lambda folder: (folder / "file").write_bytes(bytes(7)))
    for path in [cache.folder, *cache.folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    for path in (tmp_path, *tmp_path.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(path.stat().st_mode | 0o055)  # pytest makes them for their owner only
    nobody = [65534] if os.getuid() == 0 else []  # root may write everywhere
    try:
        assert script(cache.folder, 1, 7, *nobody) == f"{found} 7 0\n"
        other, size, count, warning = script(cache.folder, 2, 8, *nobody).split(" ", 3)
    finally:
        for path in [cache.folder, *cache.folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    assert (size, count) == ("8", "1")
    assert not Path(other).is_relative_to(cache.folder)
    assert not Path(other).exists()  # its process is over
    assert "MOKA_CACHE" in warning
    assert len(cache.entries()) == 1


@pytest.mark.skipif(os.name == "nt", reason="limits are those of POSIX")
def test_the_system_refuses_to_write_more(cache: Cache) -> None:
    """As on a full disk, the failure comes in the middle of a file, from the kernel."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    assert "File too large" in script(cache.folder, 1, 200_000, preexec_fn=limit)
    assert leftovers(cache) == []
    assert cache.entries() == []
    assert script(cache.folder, 1, 200_000).split(" ")[1] == "200000"


def test_place_and_size_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOKA_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("MOKA_CACHE_SIZE", "1.5 GiB")
    assert (Cache().folder, Cache().size) == (tmp_path / "here", 3 * 2**29)
    assert (Cache(tmp_path, size=7).folder, Cache(tmp_path, size="2 kB").size) == (tmp_path, 2000)
    monkeypatch.delenv("MOKA_CACHE")
    monkeypatch.delenv("MOKA_CACHE_SIZE")
    assert Cache().folder.parts[-1].lower() in ("moka", "cache")
    assert Cache().size == 10**10
    for wrong in ("much", "-1", "1 PB", ""):
        with pytest.raises(InputError, match=r"size is .*expected bytes"):
            Cache(tmp_path, size=wrong)
