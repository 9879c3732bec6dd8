"""Cases of the activations. Oracles: ONNX Runtime, SciPy, and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special
import scipy.stats

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

X = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 5)).astype(np.float32)
SCALAR = np.array(-1.25, np.float32)
SMALL = np.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 7.0], np.float32)
EXTREME = np.array([-np.inf, -1e4, 0.0, 1e4, np.inf, np.nan], np.float32)
EMPTY = np.zeros((2, 0, 3), np.float32)
SLOPES = np.array([0.25, -0.5, 2.0], np.float32)

UNARY: dict[str, Any] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "sigmoid": scipy.special.expit,
    "silu": lambda x: onnx_run("Mul", x, onnx_run("Sigmoid", x)),
    "softplus": lambda x: np.logaddexp(x, np.float32(0)),
    "softsign": lambda x: onnx_run("Softsign", x),
}


def softplus_parametric(x: np.ndarray[Any, Any], alpha: np.ndarray[Any, Any], beta: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One channel after the other, each with its two numbers."""
    return np.stack([a * onnx_run("Softplus", x[:, i] * b) for i, (a, b) in enumerate(zip(alpha, beta, strict=True))], axis=1)


def both(operation: str, inputs: dict[str, Any], expected: Any, note: str = "", **options: Any) -> list[Case]:
    """One case for each of the two opsets that have a version of the operation."""
    return [Case(operation, inputs, expected, opset=opset, note=note, **options) for opset in ("ios15", "ios17")]


CASES = [
    *[Case(name, {"x": X}, lambda oracle=oracle: oracle(X)) for name, oracle in UNARY.items()],
    *[Case(name, {"x": SCALAR}, lambda oracle=oracle: oracle(SCALAR), note="rank0") for name, oracle in UNARY.items()],
    *[Case(name, {"x": EMPTY}, EMPTY, note="empty") for name in UNARY],
    Case("relu", {"x": EXTREME}, [0, 0, 0, 1e4, np.inf, np.nan], note="extremes"),
    Case("relu6", {"x": EXTREME}, [0, 0, 0, 6, 6, np.nan], note="extremes"),
    Case("sigmoid", {"x": EXTREME}, [0, 0, 0.5, 1, 1, np.nan], note="extremes"),
    Case("softplus", {"x": EXTREME}, [0, 0, np.log(2), 1e4, np.inf, np.nan], note="extremes"),
    *both("clamped_relu", {"x": SMALL, "alpha": 2.0, "beta": 1.0}, [-6, -2, -1, 0, 0.5, 1, 1]),
    *both("clamped_relu", {"x": SMALL, "alpha": -2.0, "beta": 5.0}, [5, 2, 1, 0, 0.5, 1, 5], note="negative-slope"),
    *both("elu", {"x": X, "alpha": 1.7}, lambda: onnx_run("Elu", X, alpha=1.7)),
    Case("gelu", {"x": X}, lambda: X * scipy.stats.norm.cdf(X)),
    Case("gelu", {"x": X, "mode": "EXACT"}, lambda: X * scipy.stats.norm.cdf(X), note="exact"),
    Case("gelu", {"x": X, "mode": "TANH_APPROXIMATION"}, lambda: onnx_run("Gelu", X, opset=20, approximate="tanh"), note="tanh"),
    Case("gelu", {"x": X, "mode": "SIGMOID_APPROXIMATION"}, lambda: X * scipy.special.expit(X * 1.702), note="sigmoid"),
    *both("leaky_relu", {"x": X, "alpha": 0.3}, lambda: onnx_run("LeakyRelu", X, alpha=0.3)),
    *both("leaky_relu", {"x": SMALL, "alpha": 1.5}, [-4.5, -1.5, -0.75, 0, 0.5, 1, 7], note="steep"),
    *both("linear_activation", {"x": SMALL, "alpha": -2.0, "beta": 0.5}, [6.5, 2.5, 1.5, 0.5, -0.5, -1.5, -13.5]),
    *both("prelu", {"x": X, "alpha": SLOPES}, lambda: onnx_run("PRelu", X, SLOPES.reshape(3, 1, 1))),
    *both("prelu", {"x": X[:, :, 0], "alpha": Fixed(SLOPES)}, lambda: onnx_run("PRelu", X[:, :, 0], SLOPES.reshape(3, 1)), note="rank3"),
    *both("prelu", {"x": X[..., None], "alpha": SLOPES}, lambda: onnx_run("PRelu", X, SLOPES.reshape(3, 1, 1))[..., None], note="rank5"),
    *both("scaled_tanh", {"x": np.array([-1.0, 0.0, 0.5], np.float32), "alpha": 2.0, "beta": 3.0}, [-1.9901095, 0, 1.8102965]),
    *both("sigmoid_hard", {"x": X, "alpha": 0.3, "beta": 0.6}, lambda: onnx_run("HardSigmoid", X, alpha=0.3, beta=0.6)),
    *both("sigmoid_hard", {"x": SMALL, "alpha": 1.0, "beta": 0.0}, [0, 0, 0, 0, 0.5, 1, 1], note="clip"),
    *both("sigmoid_hard", {"x": SMALL, "alpha": 0.5, "beta": 0.0}, [0, 0, 0, 0, 0.25, 0.5, 1], note="slope"),
    Case("softmax", {"x": X}, lambda: scipy.special.softmax(X, axis=-1)),
    *[
        Case("softmax", {"x": X, "axis": axis}, lambda axis=axis: scipy.special.softmax(X, axis=axis), note=f"axis{axis}")
        for axis in (0, 2, -3)
    ],
    Case("softmax", {"x": np.array([[1e4, 1e4, -np.inf]], np.float32)}, [[0.5, 0.5, 0]], note="extremes"),
    Case("softmax", {"x": EMPTY, "axis": 2}, EMPTY, note="empty"),
    *both(
        "softplus_parametric",
        {"x": X, "alpha": SLOPES, "beta": Fixed(SLOPES[::-1].copy())},
        lambda: softplus_parametric(X, SLOPES, SLOPES[::-1]),
    ),
    *both("thresholded_relu", {"x": SMALL, "alpha": 0.5}, [0, 0, 0, 0, 0.5, 1, 7]),
    *both("thresholded_relu", {"x": EXTREME, "alpha": -1.0}, [0, 0, 0, 1e4, np.inf, np.nan], note="extremes"),
]
