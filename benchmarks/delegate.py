"""What delegation costs beside the Core ML model alone, in turns, in one process.

python benchmarks/delegate.py [--rounds 60] [--width 64] [--engine torch]

Two ratios of medians, for a convolutional network that becomes one partition: a call of the delegated module beside `Model.predict` of the
same package (aim: at most 1.05), and loading an archive beside loading the package (aim: at most 1.2). And what a call of a network of one
small layer costs, which is nearly all overhead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import moka


def network(width: int, depth: int = 6) -> torch.nn.Module:
    """Convolutions of one width, and a large linear layer, so that there are weights to load."""
    layers: list[torch.nn.Module] = [torch.nn.Conv2d(3, width, 3, padding=1)]
    for _ in range(depth):
        layers += [torch.nn.Conv2d(width, width, 3, padding=1), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    layers += [torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(64 * width, 1000)]
    return torch.nn.Sequential(*layers).eval()


def medians(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median time of each call in milliseconds, all of them called in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(rounds + 2):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if index >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def compared(module: Any, x: torch.Tensor, rounds: int) -> dict[str, float]:
    """A call of a delegated module beside its one model's `predict`."""
    (segment,) = module.segments.values()
    feed = {segment.ports.inputs[0].feature: x.numpy()}
    return medians({"delegated": lambda: module(x), "model alone": lambda: segment.model.predict(feed)}, rounds)


def show(title: str, found: dict[str, float]) -> None:
    ours, alone = found.values()
    print(f"{title}: " + ", ".join(f"{name} {value:.4g} ms" for name, value in found.items()) + f", ratio {ours / alone:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--engine", default="auto")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    x = torch.rand(1, 3, 64, 64)
    config = moka.pytorch.DelegateConfig(whole_graph=True, engine=arguments.engine)
    module = moka.pytorch.delegate(torch.export.export(network(arguments.width), (x,)), config)
    show("a call", compared(module, x, arguments.rounds))
    row = torch.rand(1, 8)
    small = moka.pytorch.delegate(torch.export.export(torch.nn.Linear(8, 8).eval(), (row,)), config)
    show("a call of one small layer", compared(small, row, 50 * arguments.rounds))
    (segment,) = module.segments.values()
    with tempfile.TemporaryDirectory() as folder:
        path, package = Path(folder) / "network.moka", segment.package()
        moka.pytorch.save(module, path)
        loads: dict[str, Callable[[], Any]] = {
            "archive": lambda: moka.pytorch.load(path),
            "package": lambda: moka.load(package, engine=arguments.engine),
        }
        show(f"loading {path.stat().st_size / 1e6:.0f} MB", medians(loads, max(3, arguments.rounds // 10)))


if __name__ == "__main__":
    main()
