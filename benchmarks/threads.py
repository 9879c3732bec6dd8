"""Eight threads that predict on one model, engine by engine: no wrong result, no growth of memory.

    python benchmarks/threads.py [--seconds 60] [--threads 8] [--engines torch onnxruntime openvino]

Every thread draws from the same inputs, whose results were found before by one thread, and compares what it gets with them. Every fourth
prediction is made with `predict_async` in an event loop of the thread's own. Growth is that of resident memory from a tenth of the time
on, by when every thread has its buffers; the exit status is 1 if a result was wrong or memory grew by more than allowed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import moka
from moka.models.memory import resident_memory

ENGINES = ("torch", "onnxruntime", "openvino")
SAMPLES = 32
ALLOWED = 24 * 2**20
"""Bytes that memory may grow by: allocators keep some of what was freed, and each thread has an arena of its own."""


def build(folder: Path) -> Path:
    """A small convolutional network as an ML Program: convolutions, a residual connection, attention over what is left, a softmax."""
    import coremltools as ct
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.Conv2d(32, 32, 3, padding=1)
            self.norm, self.head = torch.nn.LayerNorm(32), torch.nn.Linear(32, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(self.first(x))
            y = torch.nn.functional.max_pool2d(y + torch.relu(self.second(y)), 4).flatten(2).transpose(1, 2)
            y = torch.nn.functional.scaled_dot_product_attention(y, y, y)
            return torch.softmax(self.head(self.norm(y).mean(dim=1)), dim=-1)

    torch.manual_seed(0)
    module = torch.jit.trace(Network().eval(), torch.rand(1, 3, 32, 32))
    options = {"compute_precision": ct.precision.FLOAT32, "minimum_deployment_target": ct.target.iOS18}
    inputs, outputs = [ct.TensorType("x", (1, 3, 32, 32))], [ct.TensorType("y")]
    model = ct.convert(module, convert_to="mlprogram", skip_model_load=True, inputs=inputs, outputs=outputs, **options)
    model.save(str(folder / "threads.mlpackage"))
    return folder / "threads.mlpackage"


@dataclass
class Outcome:
    """What threads found on one engine."""

    engine: str
    predictions: int = 0
    wrong: int = 0
    errors: list[str] = field(default_factory=list)
    growth: int | None = None

    @property
    def passed(self) -> bool:
        return not self.wrong and not self.errors and self.predictions > 0 and (self.growth is None or self.growth <= ALLOWED)


def hammer(path: Path, engine: Any, threads: int, seconds: float) -> Outcome:
    """Predicts on one model in several threads for some time."""
    model = moka.load(path, engine=engine, threads=1)
    samples = [moka.random_inputs(model.function.inputs, seed) for seed in range(SAMPLES)]
    expected = [model.predict(sample) for sample in samples]
    outcome, lock, start = Outcome(engine), threading.Lock(), threading.Barrier(threads + 1)
    end = [0.0]

    def work(seed: int) -> None:
        count, wrong, chosen = 0, 0, np.random.default_rng(seed)
        loop = asyncio.new_event_loop()
        start.wait()
        try:
            while time.perf_counter() < end[0]:
                index = int(chosen.integers(SAMPLES))
                asynchronous = count % 4 == 3
                found = loop.run_until_complete(model.predict_async(samples[index])) if asynchronous else model.predict(samples[index])
                wrong += not _equal(found, expected[index])
                count += 1
        except Exception as error:
            outcome.errors.append(f"{type(error).__name__}: {error}")
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            with lock:
                outcome.predictions += count
                outcome.wrong += wrong

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    end[0] = time.perf_counter() + seconds
    start.wait()
    time.sleep(seconds / 10)
    before = resident_memory()
    time.sleep(max(0.0, end[0] - time.perf_counter() - seconds / 50))
    after = resident_memory()
    for worker in workers:
        worker.join()
    outcome.growth = None if before is None or after is None else after - before
    return outcome


def _equal(found: Any, expected: Any) -> bool:
    """The same thread count on the same engine computes the same, but for the order of sums that an engine may choose."""
    return all(np.allclose(found[name], value, rtol=1e-5, atol=1e-6) for name, value in expected.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--model", type=Path, help="a model of one's own, whose inputs can be made up")
    options = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or build(Path(folder))
        print(f"{options.threads} threads, {options.seconds:g} s for each engine, on {path.name}")
        for engine in options.engines:
            found = hammer(path, engine, options.threads, options.seconds)
            growth = "unknown" if found.growth is None else f"{found.growth / 2**20:+.1f} MiB"
            verdict = "passed" if found.passed else f"FAILED {'; '.join(found.errors[:3])}"
            print(f"{engine:12} {found.predictions:8,} predictions  {found.wrong} wrong  memory {growth}  {verdict}", flush=True)
            passed = passed and found.passed
    sys.exit(not passed)


if __name__ == "__main__":
    main()
