"""``moka.compile_model`` beside ``cp`` and ``moka.compile``, on a package with much weight: first time, hash known, and from the cache.

    python benchmarks/cache.py [--megabytes 1024] [--runs 5] [--folder FOLDER]

All in one process, in turns, with the source in the system's page cache. *First*: nothing is known of the source, so it is read to be
hashed. *Hash known*: it was compiled before, and what was made is gone. *Warm*: it is there.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import moka
from compile import build_apart  # benchmarks/compile.py


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--folder", help="where source and cache are written; by default the system's folder for temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source, copy = build_apart(Path(name) / "large", options.megabytes), Path(name) / "copy"
        cache = moka.cache.Cache(Path(name) / "cache")
        time.sleep(3)  # a file is trusted to be unchanged two seconds after it was written
        ways: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {  # before each run, and the run
            "cp -r": (lambda: shutil.rmtree(copy, ignore_errors=True), lambda: subprocess.run(["cp", "-r", source, copy], check=True)),
            "moka.compile": (lambda: shutil.rmtree(copy, ignore_errors=True), lambda: moka.compile(source, copy)),
            "first": (cache.clear, lambda: moka.compile_model(source, cache=cache)),
            "hash known": (lambda: cache.clear("mlmodelc"), lambda: moka.compile_model(source, cache=cache)),
            "warm": (lambda: None, lambda: moka.compile_model(source, cache=cache)),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(options.runs + 1):
            for way, (before, run) in ways.items():
                before()
                start = time.perf_counter()
                run()
                if turn:  # the first one warms up
                    times[way].append(time.perf_counter() - start)
    print(f"package with {options.megabytes} MB of weights, {options.runs} runs in turns")
    copying = statistics.median(times["cp -r"])
    for way, found in times.items():
        median = statistics.median(found)
        print(f"{way:13} median {median:.4f} s ({min(found):.4f} to {max(found):.4f}), {median / copying:.3f} x cp")


if __name__ == "__main__":
    main()
