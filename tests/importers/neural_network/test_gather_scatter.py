"""Reading and writing at computed places beside NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import check, noise

X = noise(4, 3, 5)
SOME = np.array([[2, -1], [0, 1]], np.float32)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather(axis: int) -> None:
    expected = np.take(X, SOME.astype(int), axis)
    check({"x": X, "i": SOME}, lambda builder: builder.add_gather("g", ["x", "i"], "y", axis), expected, exact=True)


@pytest.mark.parametrize("axis", [0, -1])
def test_gather_along_an_axis(axis: int) -> None:
    indices = np.random.default_rng(1).integers(-X.shape[axis], X.shape[axis], X.shape)
    expected = np.take_along_axis(X, indices, axis)
    inputs = {"x": X, "i": indices.astype(np.float32)}
    check(inputs, lambda builder: builder.add_gather_along_axis("g", ["x", "i"], "y", axis), expected, exact=True)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_gather_nd(depth: int) -> None:
    indices = np.random.default_rng(2).integers(-3, 3, (2, 6, depth))
    expected = X[tuple(indices[..., axis] for axis in range(depth))]
    inputs = {"x": X, "i": indices.astype(np.float32)}
    check(inputs, lambda builder: builder.add_gather_nd("g", ["x", "i"], "y"), expected, exact=True)


MODES: dict[str, Any] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "DIV": np.divide,
    "MAX": np.maximum,
    "MIN": np.minimum,
}


def updated(data: Any, index: Any, updates: Any, mode: str) -> Any:
    """What NumPy makes of repeated updates."""
    result = data.copy()
    if mode == "UPDATE":
        result[index] = updates
    else:
        MODES[mode].at(result, index, updates)
    return result


@pytest.mark.parametrize("mode", ["UPDATE", *MODES])
def test_scatter(mode: str) -> None:
    places, updates = np.array([2, -4, 2] if mode != "UPDATE" else [2, -4, 1]), noise(3, 3, 5) + 3
    expected = updated(X, places, updates, mode)
    inputs = {"x": X, "i": places.astype(np.float32), "u": updates}
    check(inputs, lambda builder: builder.add_scatter("s", ["x", "i", "u"], "y", 0, mode), expected, exact=True)


def test_scatter_along_the_last_axis_with_a_matrix_of_indices() -> None:
    places, updates = np.array([[0, 3], [-1, 1]]), noise(4, 3, 2, 2)
    expected = updated(X, (slice(None), slice(None), places), updates, "ADD")
    inputs = {"x": X, "i": places.astype(np.float32), "u": updates}
    check(inputs, lambda builder: builder.add_scatter("s", ["x", "i", "u"], "y", -1, "ADD"), expected, exact=True)


@pytest.mark.parametrize("mode", ["UPDATE", *MODES])
def test_scatter_along_an_axis(mode: str) -> None:
    places = np.array([[1, -1, 0], [0, 1, 2]])[:, None, :].repeat(4, 1).transpose(1, 0, 2)[:, :, :2]
    data, updates = X[:, :2], noise(4, 2, 2) + 3
    inside = places % data.shape[2]
    grid = np.indices(places.shape)
    expected = updated(data, (grid[0], grid[1], inside), updates, mode)
    inputs = {"x": data, "i": places.astype(np.float32), "u": updates}
    check(inputs, lambda builder: builder.add_scatter_along_axis("s", ["x", "i", "u"], "y", 2, mode), expected, exact=True)


@pytest.mark.parametrize("mode", ["UPDATE", *MODES])
def test_scatter_nd(mode: str) -> None:
    places = np.array([[0, 1], [-1, 2], [0, 1] if mode != "UPDATE" else [3, 0]])
    updates = noise(3, 5) + 3
    expected = updated(X, (places[:, 0], places[:, 1]), updates, mode)
    inputs = {"x": X, "i": places.astype(np.float32), "u": updates}
    check(inputs, lambda builder: builder.add_scatter_nd("s", ["x", "i", "u"], "y", mode), expected, exact=True)


@pytest.mark.parametrize("begin", [0, 1, -3])
def test_slice_by_size(begin: int) -> None:
    expected = X[:, :, begin % 5 : begin % 5 + 2]
    inputs = {"x": X, "b": np.array([begin], np.float32)}
    check(inputs, lambda builder: builder.add_slice_by_size("s", ["x", "b"], "y", 2, 2), expected, exact=True)


def test_places_that_are_not_zero() -> None:
    x = np.array([[1, 0, 2], [0, 0, -3]], np.float32)
    check({"x": x}, lambda builder: builder.add_where_nonzero("w", "x", "y"), np.argwhere(x), exact=True)


def test_gather_at_places_that_are_not_zero() -> None:
    x = np.array([[1, 0, 2], [0, 0, -3]], np.float32)

    def build(builder: Any) -> None:
        builder.add_where_nonzero("w", "x", "places")
        builder.add_gather_nd("g", ["x", "places"], "y")

    check({"x": x}, build, x[x != 0], exact=True)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot(axis: int) -> None:
    indices = np.array([[2, 0, 3]], np.float32)
    expected = functional.one_hot(torch.tensor(indices).long(), 4).movedim(-1, axis) * 6.0 - 1
    check({"x": indices}, lambda builder: builder.add_one_hot("o", ["x"], "y", 4, axis, 5.0, -1.0), expected, exact=True)


def test_one_hot_of_a_computed_size_and_an_index_outside() -> None:
    inputs = {"x": np.array([1, 7, -1], np.float32), "n": np.array([3], np.float32)}
    check(inputs, lambda builder: builder.add_one_hot("o", ["x", "n"], "y"), [[0, 1, 0], [0, 0, 0], [0, 0, 0]], exact=True)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
def test_embedding_nd(biased: bool) -> None:
    weight, bias = noise(6, 10), noise(6) if biased else None
    indices = np.array([[[3], [9]], [[0], [3]]], np.float32)
    expected = functional.embedding(torch.tensor(indices[..., 0]).long(), torch.tensor(weight.T))
    expected = expected + torch.tensor(bias) if biased else expected
    check({"x": indices}, lambda builder: builder.add_embedding_nd("e", "x", "y", 10, 6, weight, bias), expected, exact=True)
