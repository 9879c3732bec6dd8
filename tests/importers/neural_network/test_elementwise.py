"""Element-wise layers, dot product and reduction beside NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine  # type: ignore[import-untyped]

from tests.importers.neural_network.networks import Array, Build, both, check, noise, run

X = noise(2, 3, 4, 5)
POSITIVE = np.abs(X) + 0.1


def combined(mode: str, *names: str, alpha: float | None = None) -> Build:
    return lambda builder: builder.add_elementwise("e", list(names), "y", mode, alpha)


@pytest.mark.parametrize(
    ("mode", "function"),
    [("ADD", np.add), ("MULTIPLY", np.multiply), ("MAX", np.maximum), ("MIN", np.minimum)],
    ids=["add", "multiply", "max", "min"],
)
def test_two_and_three_blobs(mode: str, function: Any) -> None:
    a, b, c = noise(2, 3, 4, 5), noise(2, 3, 4, 5), noise(2, 3, 4, 5)
    check({"a": a, "b": b}, combined(mode, "a", "b"), function(a, b), exact=True)
    check({"a": a, "b": b, "c": c}, combined(mode, "a", "b", "c"), function(function(a, b), c), exact=True)
    check({"a": a[:, None], "b": b[:, None]}, combined(mode, "a", "b"), function(a, b)[:, None])


def test_average() -> None:
    a, b, c = noise(3, 4, 5), noise(3, 4, 5), noise(3, 4, 5)
    check({"a": a, "b": b, "c": c}, combined("AVE", "a", "b", "c"), np.mean([a, b, c], axis=0))
    check({"a": a, "b": b}, combined("AVE", "a", "b"), np.mean([a, b], axis=0), exact=True)


@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 4, 5), (1, 1, 1), (3, 4, 1)])
@pytest.mark.parametrize("mode", ["ADD", "MULTIPLY", "MAX", "AVE"])
def test_smaller_blobs_are_spread(mode: str, shape: tuple[int, ...]) -> None:
    a, b = noise(3, 4, 5), noise(*shape)
    wide = np.broadcast_to(b, a.shape)
    expected = {"ADD": a + wide, "MULTIPLY": a * wide, "MAX": np.maximum(a, wide), "AVE": np.mean([a, wide], axis=0)}[mode]
    check({"a": a, "b": b}, combined(mode, "a", "b"), expected)
    check({"a": b, "b": a}, combined(mode, "a", "b"), expected, exact=True)


def test_one_blob_and_alpha() -> None:
    both(X, combined("ADD", "x", alpha=2.5), X + np.float32(2.5))
    both(X, combined("MULTIPLY", "x", alpha=-2.5), X * np.float32(-2.5))


UNARY: dict[str, Any] = {
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x + 0.25),
    "inverse": lambda x: 1 / (x + 0.25),
    "power": lambda x: np.power(x, np.float32(2.7)),
    "exp": np.exp,
    "log": lambda x: np.log(x + 0.25),
    "abs": np.abs,
    "threshold": lambda x: np.clip(x, 2.7, None),
}


@pytest.mark.parametrize("mode", UNARY)
def test_unary_functions_of_scaled_and_shifted_blobs(mode: str) -> None:
    expected = UNARY[mode](POSITIVE * np.float32(1.5) + np.float32(0.5))
    both(POSITIVE, lambda builder: builder.add_unary("u", "x", "y", mode, 2.7, 0.5, 1.5, 0.25), expected)


def test_unary_defaults() -> None:
    x = np.array([0.0, 4.0], np.float32)

    def build(builder: Any) -> None:
        builder.add_unary("u", "x", "y", "rsqrt")
        builder.spec.neuralNetwork.layers[0].unary.scale = 0
        builder.spec.neuralNetwork.layers[0].unary.epsilon = 0

    check({"x": x}, build, np.array([1e3, 0.5]), exact=True)
    (logarithms,) = run({"x": x}, lambda builder: builder.add_unary("u", "x", "y", "log", epsilon=0), exact=True)
    np.testing.assert_allclose(logarithms, [-np.inf, np.log(4)], rtol=1e-6)


PARAMETERS: dict[str, tuple[list[int], Array]] = {
    "one": ([1], np.array([1.5], np.float32)),
    "channels": ([3], noise(3, 1, 1)),
    "pixels": ([1, 4, 5], noise(1, 4, 5)),
    "all": ([3, 4, 5], noise(3, 4, 5)),
}


@pytest.mark.parametrize("scale", PARAMETERS)
@pytest.mark.parametrize("bias", [None, *PARAMETERS])
def test_scale(scale: str, bias: str | None) -> None:
    shape, factor = PARAMETERS[scale]
    bias_shape, term = PARAMETERS[bias] if bias else (None, None)

    def build(builder: Any) -> None:
        builder.add_scale("s", factor, term, bias is not None, "x", "y", shape, bias_shape)

    both(X, build, X * factor + (0 if term is None else term))


@pytest.mark.parametrize("bias", PARAMETERS)
def test_bias(bias: str) -> None:
    shape, term = PARAMETERS[bias]
    both(X, lambda builder: builder.add_bias("b", term, "x", "y", shape), X + term)


def test_dot_product_and_cosine() -> None:
    a, b = noise(4, 6, 1, 1), noise(4, 6, 1, 1)
    rows = list(zip(a[..., 0, 0], b[..., 0, 0], strict=True))
    products = np.array([np.dot(x, y) for x, y in rows]).reshape(4, 1, 1, 1)
    cosines = np.array([1 - cosine(x, y) for x, y in rows]).reshape(4, 1, 1, 1)
    check({"a": a, "b": b}, combined("DOT", "a", "b"), products, exact=True)
    check({"a": a, "b": b}, combined("COS", "a", "b"), cosines, exact=True)
    check({"a": a[:, None], "b": b[:, None]}, combined("COS", "a", "b"), cosines[:, None])


AXES: dict[str, tuple[int, ...]] = {"CHW": (1, 2, 3), "HW": (2, 3), "C": (1,), "H": (2,), "W": (3,)}
REDUCTIONS: dict[str, Any] = {
    "sum": np.sum,
    "avg": np.mean,
    "prod": np.prod,
    "logsum": lambda x, axis, keepdims: np.sum(np.log(x + 0.25), axis=axis, keepdims=keepdims),
    "sumsquare": lambda x, axis, keepdims: np.sum(x**2, axis=axis, keepdims=keepdims),
    "L1": lambda x, axis, keepdims: torch.linalg.vector_norm(torch.tensor(x), 1, axis, keepdims),
    "L2": lambda x, axis, keepdims: torch.linalg.vector_norm(torch.tensor(x), 2, axis, keepdims),
    "max": np.max,
    "min": np.min,
}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("mode", REDUCTIONS)
def test_reduce(mode: str, axis: str) -> None:
    x = POSITIVE if mode == "logsum" else X
    expected = REDUCTIONS[mode](x, axis=AXES[axis], keepdims=True)
    both(x, lambda builder: builder.add_reduce("r", "x", "y", axis, mode, 0.25), expected)


@pytest.mark.parametrize("axis", ["C", "H", "W"])
def test_argmax(axis: str) -> None:
    expected = np.argmax(X, AXES[axis][0], keepdims=True).astype(np.float32)
    both(X, lambda builder: builder.add_reduce("r", "x", "y", axis, "argmax"), expected)
