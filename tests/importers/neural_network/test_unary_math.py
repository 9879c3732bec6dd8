"""Functions of one blob beside NumPy, SciPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special  # type: ignore[import-untyped]
from torch.nn import functional

from tests.importers.neural_network.networks import check, noise

X = noise(3, 4) * 2
UNIT = np.tanh(X) * 0.99
FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "ceil": (X, np.ceil),
    "floor": (X, np.floor),
    "sign": (np.array([[-2.5, 0.0], [3.0, -0.0]], np.float32), np.sign),
    "round": (np.array([0.4, 0.6, -1.2, 2.7, 1.5, 2.5], np.float32), np.round),
    "exp2": (X, np.exp2),
    "erf": (X, special.erf),
    "sin": (X, np.sin),
    "cos": (X, np.cos),
    "tan": (UNIT, np.tan),
    "asin": (UNIT, np.arcsin),
    "acos": (UNIT, np.arccos),
    "atan": (X, np.arctan),
    "sinh": (X, np.sinh),
    "cosh": (X, np.cosh),
    "tanh": (X, np.tanh),
    "asinh": (X, np.arcsinh),
    "acosh": (np.abs(X) + 1, np.arccosh),
    "atanh": (UNIT, np.arctanh),
    "copy": (X, np.positive),
}


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_function(kind: str) -> None:
    x, oracle = FUNCTIONS[kind]
    check({"x": x}, lambda builder: getattr(builder, f"add_{kind}")("f", "x", "y"), oracle(x), exact=True)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.75), (0.5, 0.5), (1.0, -1.0)], ids=["range", "point", "empty"])
def test_clip(low: float, high: float) -> None:
    check({"x": X}, lambda builder: builder.add_clip("c", "x", "y", low, high), np.clip(X, low, high), exact=True)


def test_clamped_relu() -> None:
    expected = functional.leaky_relu(torch.tensor(X), 0.3).clamp(max=1.5)
    check({"x": X}, lambda builder: builder.add_clamped_relu("c", "x", "y", 0.3, 1.5), expected, exact=True)


@pytest.mark.parametrize(
    ("mode", "oracle"),
    [
        ("EXACT", functional.gelu),
        ("TANH_APPROXIMATION", lambda x: functional.gelu(x, approximate="tanh")),
        ("SIGMOID_APPROXIMATION", lambda x: functional.silu(1.702 * x) / 1.702),
    ],
    ids=["exact", "tanh", "sigmoid"],
)
def test_gelu(mode: str, oracle: Any) -> None:
    check({"x": X}, lambda builder: builder.add_gelu("g", "x", "y", mode), oracle(torch.tensor(X)), exact=True)


@pytest.mark.parametrize("axis", [0, 1, -1, -3])
def test_softmax_nd(axis: int) -> None:
    x = noise(2, 3, 4)
    check({"x": x}, lambda builder: builder.add_softmax_nd("s", "x", "y", axis), special.softmax(x, axis), exact=True)
