"""What Moka adds to its engines: a call of a tiny network, and a program cut into three by an operation that PyTorch runs.

    python benchmarks/overhead.py [--rounds 60] [--json build/overhead.json]

The tiny network is a perceptron of three layers of 64: `predict` beside ONNX Runtime's own call on the network's export, with and without
bound memory. The program that is cut is eight layers of a vision transformer's width with a plan that pins one operation in the middle to
PyTorch: `predict` beside the sum of what its segments take when each runs alone, and beside the same program in one piece.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that `python benchmarks/overhead.py` finds the zoo

from benchmarks.compare import quartiles
from benchmarks.peers import Case, _onnxruntime
from examples.networks import Network

import moka

CALLS = 50
WIDTH, TOKENS, LAYERS = 384, 256, 8


class Perceptron(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        linear = torch.nn.Linear
        self.layers = torch.nn.Sequential(linear(64, 64), torch.nn.ReLU(), linear(64, 64), torch.nn.ReLU(), linear(64, 64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Chain(torch.nn.Module):
    """Layers x + W2 gelu(W1 x), with a cosine between the first half and the second."""

    def __init__(self) -> None:
        super().__init__()
        self.rise = torch.nn.ModuleList(torch.nn.Linear(WIDTH, 4 * WIDTH) for _ in range(LAYERS))
        self.fall = torch.nn.ModuleList(torch.nn.Linear(4 * WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, (rise, fall) in enumerate(zip(self.rise, self.fall, strict=True)):
            x = torch.cos(x) if index == LAYERS // 2 else x
            x = x + fall(torch.nn.functional.gelu(rise(x)))
        return x


PERCEPTRON = Network("perceptron", "three layers of 64", lambda: (Perceptron(), [{"x": torch.randn(1, 64)}]))
CHAIN = Network("chain", "eight layers with a cosine in the middle", lambda: (Chain(), [{"x": torch.randn(1, TOKENS, WIDTH)}]))


def perceptron(folder: Path, threads: int) -> dict[str, Callable[[], object]]:
    import onnxruntime

    case = Case(PERCEPTRON, folder, threads)
    model = moka.load(case.package("fp32"), threads=threads)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(case.export), options, providers=["CPUExecutionProvider"])
    inputs = case.inputs
    np.testing.assert_allclose(model.predict(inputs)[next(iter(model.function.outputs))], case.expected[0], atol=1e-5)
    return {
        "predict": lambda: model.predict(inputs),
        "ONNX Runtime": lambda: session.run(None, inputs),
        "ONNX Runtime, bound": _onnxruntime(case, inputs),
    }


def chain(folder: Path, threads: int) -> dict[str, Callable[[], object]]:
    case = Case(CHAIN, folder, threads)
    path = case.package("fp32")
    whole = moka.load(path, threads=threads)
    (cosine,) = [item.name for item in whole.program.functions["main"].body.operations if item.type == "cos"]  # type: ignore[attr-defined]
    cut = moka.load(path, threads=threads, plan=whole.plan(pins={cosine: ("torch", "cpu")}))
    inputs = case.inputs
    np.testing.assert_allclose(cut.predict(inputs)[next(iter(cut.function.outputs))], case.expected[0], atol=1e-4)
    calls: dict[str, Callable[[], object]] = {"in segments": lambda: cut.predict(inputs), "in one piece": lambda: whole.predict(inputs)}
    values: dict[str, Any] = dict(inputs)
    for number, stage in enumerate(cut.executable.stages):  # type: ignore[attr-defined]
        calls[f"segment {number + 1}"] = part(stage.executable, dict(values))
        values.update(stage.executable.run(values, None))
    return calls


def part(executable: Any, values: Mapping[str, Any]) -> Callable[[], object]:
    return lambda: executable.run(values, None)


def measure(calls: Mapping[str, Callable[[], object]], rounds: int, times: int) -> dict[str, list[float]]:
    """Seconds of each call: in every round the lowest quartile of some, after one that is not timed."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            seconds = []
            for _ in range(times):
                begin = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - begin)
            found[name].append(quartiles(seconds)[0])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build/zoo"), help="of packages and exports, kept between runs")
    parser.add_argument("--json", type=Path, help="file for all figures")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tiny = measure(perceptron(options.folder, options.threads), options.rounds, CALLS)
    cut = measure(chain(options.folder, options.threads), options.rounds, 4)
    for name, seconds in (tiny | cut).items():
        low, middle, high = (1e6 * value for value in quartiles(seconds))
        print(f"{name:20} {middle:9.1f} us (quartiles {low:.1f} to {high:.1f})")
    added = [1e6 * (ours - theirs) for ours, theirs in zip(tiny["predict"], tiny["ONNX Runtime"], strict=True)]
    print("predict adds {1:.1f} us to ONNX Runtime's own call (quartiles {0:.1f} to {2:.1f})".format(*quartiles(added)))
    parts = zip(*(seconds for name, seconds in cut.items() if name.startswith("segment")), strict=True)
    ratios = [whole / sum(own) for whole, own in zip(cut["in segments"], parts, strict=True)]
    print("the program in segments takes {1:.3f} of the sum of its parts (quartiles {0:.3f} to {2:.3f})".format(*quartiles(ratios)))
    if options.json:
        options.json.write_text(json.dumps({"perceptron": tiny, "chain": cut}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
