"""Constants, ranges and filled blobs beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importers.neural_network.networks import Build, check, noise

X = noise(2, 3)


def added(build: Build) -> Build:
    """A network that adds what ``build`` calls v to the input: layers without inputs are no network of their own."""

    def network(builder: Any) -> None:
        build(builder)
        builder.add_add_broadcastable("sum", ["x", "v"], "y")

    return network


def test_constant() -> None:
    data = noise(4, 1, 2, 3)
    check({"x": X}, added(lambda builder: builder.add_load_constant_nd("c", "v", data, data.shape)), X + data, exact=True)


def test_fill_of_a_stated_shape() -> None:
    build = added(lambda builder: builder.add_fill_static("f", "v", (4, 2, 3), 2.5))
    check({"x": X}, build, np.full((4, 2, 3), 2.5) + X, exact=True)


def test_fill_of_the_shape_of_a_blob() -> None:
    check({"x": X}, lambda builder: builder.add_fill_like("f", "x", "y", -1.5), np.full_like(X, -1.5), exact=True)


def test_fill_of_a_computed_shape() -> None:
    shape = np.array([2, 1, 3], np.float32)
    check({"x": shape}, lambda builder: builder.add_fill_dynamic("f", "x", "y", 7.0), np.full((2, 1, 3), 7.0), exact=True)


@pytest.mark.parametrize(("start", "end", "step"), [(0, 3, 1), (5, -1, -2), (0.5, 2, 0.5)], ids=["up", "down", "fractions"])
def test_range(start: float, end: float, step: float) -> None:
    expected = np.arange(start, end, step, np.float32)
    x = noise(3)
    check({"x": x}, added(lambda builder: builder.add_range_static("r", "v", [], end, start, step)), expected + x, exact=True)


@pytest.mark.parametrize("given", [1, 2, 3])
def test_range_of_blobs(given: int) -> None:
    numbers = {"end": 9.0, "start": 2.0, "step": 1.5}
    inputs = {name: np.array([number], np.float32) for name, number in list(numbers.items())[:given]}
    stated = {name: numbers[name] for name in ("start", "step") if name not in inputs}
    check(inputs, lambda builder: builder.add_range_dynamic("r", list(inputs), "y", **stated), np.arange(2.0, 9.0, 1.5), exact=True)
