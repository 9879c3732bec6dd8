"""Runs a converted network with Moka and measures how far it is from PyTorch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from examples.networks.network import Built, Inputs, Network

import moka

TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}


@dataclass(frozen=True)
class Result:
    """One network in one precision: converted, and compared if that was asked for.

    `error` is the largest difference from PyTorch divided by PyTorch's largest output, over all outputs and steps.
    `failure` says why there is no error to report: coremltools' refusal, or what went wrong in Moka.
    """

    network: str
    precision: str
    convert_seconds: float | None = None
    operations: int | None = None
    error: float | None = None
    load_milliseconds: float | None = None
    predict_milliseconds: float | None = None
    pytorch_milliseconds: float | None = None
    failure: str | None = None

    @property
    def passed(self) -> bool:
        """Whether nothing failed and the error, if measured, is within the precision's tolerance (NaN is not)."""
        return self.failure is None and (self.error is None or self.error <= TOLERANCES[self.precision])


def compare(network: Network, precision: str, path: Path, repeat: int = 3) -> dict[str, Any]:
    """The measured fields of a `Result` for a package on disk; raises what Moka raises."""
    built = network.build()
    expected = outputs_of(built)
    require_telling(network.name, expected)
    start = time.perf_counter()
    model = moka.load(path)
    loaded = time.perf_counter() - start
    found = predict_steps(model, built.steps)
    return {
        "error": max(relative_error(*pair) for pair in zip(found, expected, strict=True)),
        "operations": operation_count(model),
        "load_milliseconds": 1000 * loaded,
        "predict_milliseconds": median_milliseconds(lambda: predict_steps(model, built.steps), repeat),
        "pytorch_milliseconds": median_milliseconds(built, repeat),
    }


def outputs_of(built: Built) -> list[tuple[np.ndarray, ...]]:
    """PyTorch's outputs of every step, as arrays."""
    return [tuple(output.numpy() for output in outputs) for outputs in built()]


def predict_steps(model: Any, steps: tuple[Inputs, ...]) -> list[tuple[np.ndarray, ...]]:
    """The outputs of every step, in the model's order; the steps share one fresh state if the model has any."""
    state = {"state": model.make_state()} if model.function.states else {}
    return [tuple(np.asarray(v) for v in model.predict(as_arrays(step), **state).values()) for step in steps]


def operation_count(model: Any) -> int:
    """How many operations the function has, those in nested blocks too, constants left out."""
    body = model.program.functions[model.function.name].body
    return sum(operation.type != "const" for operation in body.walk())


def as_arrays(inputs: Inputs) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in inputs.items()}


def relative_error(found: tuple[np.ndarray, ...], expected: tuple[np.ndarray, ...]) -> float:
    """max |found - expected| / max |expected|, the worst over the outputs; infinite for a wrong shape."""
    errors = []
    for ours, theirs in zip(found, expected, strict=True):
        if ours.shape != theirs.shape:
            return float("inf")
        errors.append(float(np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max()))
    return max(errors)


def require_telling(name: str, expected: list[tuple[np.ndarray, ...]]) -> None:
    """Raises ValueError if an output of PyTorch couldn't show an error: not finite, or the same everywhere."""
    for output in (output for outputs in expected for output in outputs):
        if not np.isfinite(output).all() or output.std() < 1e-3 * np.abs(output).max():
            raise ValueError(f"{name}: PyTorch's output is constant or not finite, it would prove nothing")


def median_milliseconds(call: Callable[[], object], repeat: int) -> float:
    """The median time of some calls, all steps together, after those that were made before."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
