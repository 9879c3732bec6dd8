"""Reductions, extremes, sorting and running sums beside NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import special  # type: ignore[import-untyped]

from tests.importers.neural_network.networks import check, noise, run

X = noise(2, 3, 4)
POSITIVE = np.abs(X) + 0.1
REDUCTIONS: dict[str, tuple[Any, Any]] = {
    "sum": (X, np.sum),
    "prod": (X, np.prod),
    "mean": (X, np.mean),
    "max": (X, np.max),
    "min": (X, np.min),
    "l1": (X, lambda x, axis, keepdims: torch.linalg.vector_norm(torch.tensor(x), 1, axis, keepdims).numpy()),
    "l2": (X, lambda x, axis, keepdims: torch.linalg.vector_norm(torch.tensor(x), 2, axis, keepdims).numpy()),
    "sumsquare": (X, lambda x, axis, keepdims: torch.linalg.vector_norm(torch.tensor(x), 2, axis, keepdims).square().numpy()),
    "logsum": (POSITIVE, lambda x, axis, keepdims: special.logsumexp(np.log(x), axis, keepdims=keepdims)),
    "logsumexp": (X, lambda x, axis, keepdims: special.logsumexp(x, axis, keepdims=keepdims)),
}


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dropped"])
@pytest.mark.parametrize("axes", [(0,), (-1, 1), None], ids=["first", "last_two", "all"])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction(name: str, axes: tuple[int, ...] | None, keep: bool) -> None:
    x, oracle = REDUCTIONS[name]
    expected = np.asarray(oracle(x, axis=axes, keepdims=keep)).astype(np.float32)
    check(
        {"x": x},
        lambda builder: getattr(builder, f"add_reduce_{name}")("r", "x", "y", axes or [0], keep, axes is None),
        expected if expected.ndim else expected[None],
        exact=True,
    )


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dropped"])
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_position_of_an_extreme(name: str, axis: int, keep: bool) -> None:
    expected = getattr(np, name)(X, axis, keepdims=keep)
    check({"x": X}, lambda builder: getattr(builder, f"add_{name}")("a", "x", "y", axis, keepdims=keep), expected, exact=True)


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "dropped"])
def test_position_in_a_vector_is_a_vector(keep: bool) -> None:
    x = X[0, 0]
    check({"x": x}, lambda builder: builder.add_argmax("a", "x", "y", 0, keepdims=keep), [np.argmax(x)], exact=True)


@pytest.mark.parametrize("descending", [False, True], ids=["ascending", "descending"])
@pytest.mark.parametrize("axis", [0, 2])
def test_argsort(axis: int, descending: bool) -> None:
    expected = np.argsort(-X if descending else X, axis)
    check({"x": X}, lambda builder: builder.add_argsort("a", "x", "y", axis, descending), expected, exact=True)


@pytest.mark.parametrize("bottom", [False, True], ids=["top", "bottom"])
@pytest.mark.parametrize("axis", [1, -1])
def test_top_k(axis: int, bottom: bool) -> None:
    values, indices = run({"x": X}, lambda builder: builder.add_topk("t", ["x"], ["y", "i"], 2, axis, bottom), ("y", "i"), exact=True)
    expected = torch.topk(torch.tensor(X), 2, axis, largest=not bottom)
    np.testing.assert_array_equal(values, expected.values)
    np.testing.assert_array_equal(indices, expected.indices)


def test_top_k_with_a_computed_k() -> None:
    inputs = {"x": X, "k": np.array([3], np.float32)}
    values, indices = run(inputs, lambda builder: builder.add_topk("t", ["x", "k"], ["y", "i"], 1, -1), ("y", "i"), exact=True)
    expected = torch.topk(torch.tensor(X), 3)
    np.testing.assert_array_equal(values, expected.values)
    np.testing.assert_array_equal(indices, expected.indices)


SUMS = np.array([4.0, 6.0, 7.0], np.float32)


@pytest.mark.parametrize(
    ("exclusive", "backwards", "expected"),
    [(False, False, [4, 10, 17]), (True, False, [0, 4, 10]), (False, True, [17, 13, 7]), (True, True, [13, 7, 0])],
    ids=["plain", "exclusive", "reverse", "both"],
)
def test_running_sums(exclusive: bool, backwards: bool, expected: list[float]) -> None:
    check({"x": SUMS}, lambda builder: builder.add_cumsum("c", ["x"], "y", 0, backwards, exclusive), expected, exact=True)


def test_running_sums_along_a_computed_axis() -> None:
    inputs = {"x": X, "a": np.array([1], np.float32)}
    check(inputs, lambda builder: builder.add_cumsum("c", ["x", "a"], "y"), np.cumsum(X, 1), exact=True)
