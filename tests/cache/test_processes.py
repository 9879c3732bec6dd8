"""Twenty processes at one cache, some of them killed half way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from moka.cache import Cache, Key

PROCESSES = 20
KEYS = 6

WORKER = """
import os, random, sys, time
from pathlib import Path
from moka.cache import Cache, Key

folder, log, seed, keys, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]

def note(*words):
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(str, words)) + "\\n").encode())
    os.close(descriptor)

def product(key):
    def make(folder):
        note("start", key)
        for part in range(5):
            time.sleep(0.01)
            (folder / f"part{part}").write_bytes(bytes([key]) * 50_000)
    return make

order = list(range(keys)) * 3
random.Random(seed).shuffle(order)
cache = Cache(folder, size=size)
for key in order:
    found = cache.get(Key("test", str(key), {"key": key}), product(key))
    for part in range(5):
        assert (found / f"part{part}").read_bytes() == bytes([key]) * 50_000
    note("got", key, found)
"""


def start(cache: Path, log: Path, seed: int, size: str = "1GB") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(cache), str(log), str(seed), str(KEYS), size]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def finish(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """Exit statuses, all of them within two minutes."""
    end = time.monotonic() + 120
    try:
        return [process.wait(max(0.1, end - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            process.kill()
            if process.stderr is not None:
                print(process.stderr.read().decode()[-2000:])
                process.stderr.close()
            process.wait()


def check(cache: Path, log: Path) -> list[list[str]]:
    """No entry is broken, none is missing, each was found in one place; gives the log."""
    store = Cache(cache)
    assert store.verify() == []
    assert {entry.name for entry in store.entries()} == {str(key) for key in range(KEYS)}
    notes = [line.split(" ") for line in log.read_text().splitlines()]
    places = {(words[1], words[2]) for words in notes if words[0] == "got"}
    assert len(places) == KEYS
    store.evict()
    assert list((cache / "temporary").iterdir()) == []
    return notes


def test_each_product_is_made_once(tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    statuses = finish([start(cache, log, seed) for seed in range(PROCESSES)])
    assert statuses == [0] * PROCESSES
    notes = check(cache, log)
    assert sorted(words[1] for words in notes if words[0] == "start") == [str(key) for key in range(KEYS)]
    assert sum(words[0] == "got" for words in notes) == PROCESSES * KEYS * 3


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX's")
def test_processes_that_are_killed_leave_nothing_broken(seed: int, tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "log"
    choice = random.Random(seed)
    processes = [start(cache, log, seed * 100 + number) for number in range(PROCESSES)]
    victims = choice.sample(processes, PROCESSES // 2)
    wait_for(log)
    for victim in victims:
        time.sleep(choice.uniform(0, 0.05))
        victim.send_signal(signal.SIGKILL)
    statuses = finish(processes)
    killed = statuses.count(-signal.SIGKILL)
    assert all(status == 0 for process, status in zip(processes, statuses, strict=True) if process not in victims)
    assert killed > 0
    notes = check(cache, log)
    starts = sum(words[0] == "start" for words in notes)
    assert KEYS <= starts <= KEYS + killed  # made again only where the maker died


def test_a_maker_that_is_killed_leaves_its_key_to_the_next(tmp_path: Path) -> None:
    """The lock of a dead process is free, and what it had made half is gone."""
    cache, log = tmp_path / "cache", tmp_path / "log"
    process = start(cache, log, 1)
    wait_for(log)
    process.kill()
    finish([process])
    assert len(list((cache / "temporary").iterdir())) == 1
    key = int(log.read_text().splitlines()[-1].split()[1])
    content = Cache(cache).get(Key("test", str(key), {"key": key}), lambda folder: (folder / "whole").touch())
    assert [path.name for path in content.iterdir()] == ["whole"]
    assert list((cache / "temporary").iterdir()) == []


def test_processes_that_evict_take_nothing_away_from_others(tmp_path: Path) -> None:
    """The cache is far too small, so each process evicts after each product; what was just given stays."""
    cache, log = tmp_path / "cache", tmp_path / "log"
    assert finish([start(cache, log, seed, size="1kB") for seed in range(8)]) == [0] * 8
    assert Cache(cache).verify() == []


def wait_for(log: Path) -> None:
    """Until somebody makes something."""
    end = time.monotonic() + 60
    while not log.exists() or not log.stat().st_size:
        assert time.monotonic() < end
        time.sleep(0.005)
