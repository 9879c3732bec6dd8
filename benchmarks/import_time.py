"""Time of ``import moka`` beside starting Python alone, each in fresh processes, in turns. Aim: at most 0.15 s more.

python benchmarks/import_time.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def seconds(code: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    codes = {"python": "pass", "import moka": "import moka", "import numpy": "import numpy", "import torch": "import torch"}
    times: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(rounds):
        for name, code in codes.items():
            times[name].append(seconds(code))
    base = statistics.median(times["python"])
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:14} {1e3 * median:8.1f} ms   {1e3 * (median - base):8.1f} ms more than python   {median / base:6.2f} x")


if __name__ == "__main__":
    main()
