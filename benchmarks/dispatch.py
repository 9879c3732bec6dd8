"""Cost of Moka's own layer: 1,000 tiny operations beside the same PyTorch calls written out, in turns. Aim: at most 1.5 times.

python benchmarks/dispatch.py [--rounds 200]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from moka.engines.base import Segment
from moka.engines.torch_engine import TorchEngine
from moka.formats.dtypes import FP32
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import TensorType

OPERATIONS = 1000
TYPE = TensorType(FP32, (4,))
KINDS = ("add", "relu", "mul", "tanh", "sub")


def program() -> Segment:
    """Five kinds of element-wise operation in turns, each on the result of the one before."""
    value = entry = Value("x", TYPE)
    constant = Constant(TYPE, torch.full((4,), 0.5).numpy())
    operations = []
    for index in range(OPERATIONS):
        kind = KINDS[index % len(KINDS)]
        inputs: dict[str, Any] = {"x": (value,)} if kind in ("relu", "tanh") else {"x": (value,), "y": (constant,)}
        operation = Operation(kind, inputs)
        value = Value(f"v{index}", TYPE, operation)
        operation.outputs.append(value)
        operations.append(operation)
    return Segment((entry,), tuple(operations), (value,), "CoreML5")


def plain(x: torch.Tensor) -> torch.Tensor:
    """The same calls, written out."""
    half = torch.full((4,), 0.5)
    for _ in range(OPERATIONS // len(KINDS)):
        x = torch.sub(torch.tanh(torch.mul(torch.relu(torch.add(x, half)), half)), half)
    return x


def microseconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - start) / OPERATIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    executable = TorchEngine().compile(program())
    x = torch.linspace(-1, 1, 4)
    calls: dict[str, Callable[[], Any]] = {"moka": lambda: executable.run({"x": x}), "plain PyTorch": lambda: plain(x)}
    with torch.inference_mode():
        torch.testing.assert_close(executable.run({"x": x})[f"v{OPERATIONS - 1}"], plain(x))
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                times[name].append(microseconds(call))
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        print(f"{name:14} {median:6.2f} us an operation (quartiles {low:.2f} to {high:.2f})")
    quartiles = {name: statistics.quantiles(values, n=4) for name, values in times.items()}
    for label, index in (("lower quartiles", 0), ("medians", 1)):
        print(f"ratio of {label}: {quartiles['moka'][index] / quartiles['plain PyTorch'][index]:.2f}")


if __name__ == "__main__":
    main()
