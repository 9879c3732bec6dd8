"""Arithmetic with broadcasting, and broadcasting itself, beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importers.neural_network.networks import check, noise

A, B = noise(3, 1, 4), noise(2, 1)
FUNCTIONS: dict[str, Any] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "max": np.maximum,
    "min": np.minimum,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_two_blobs(name: str) -> None:
    expected = FUNCTIONS[name](A, B)
    check({"a": A, "b": B}, lambda builder: getattr(builder, f"add_{name}_broadcastable")("f", ["a", "b"], "y"), expected, exact=True)


def test_power() -> None:
    base = np.abs(A) + 0.1
    expected = np.power(base, B)
    check({"a": base, "b": B}, lambda builder: builder.add_pow_broadcastable("p", ["a", "b"], "y"), expected, exact=True)


def test_where() -> None:
    condition = np.array([1.0, 0.0, -3.0, 0.0], np.float32)
    expected = np.where(condition, A, B)
    inputs = {"c": condition, "a": A, "b": B}
    check(inputs, lambda builder: builder.add_where_broadcastable("w", ["c", "a", "b"], "y"), expected, exact=True)


def test_broadcast_to_a_stated_shape() -> None:
    expected = np.broadcast_to(A, (2, 3, 5, 4))
    check({"x": A}, lambda builder: builder.add_broadcast_to_static("b", "x", "y", (2, 3, 5, 4)), expected, exact=True)


def test_broadcast_to_the_shape_of_a_blob() -> None:
    reference = noise(3, 5, 4)
    expected = np.broadcast_to(A, reference.shape)
    check({"x": A, "r": reference}, lambda builder: builder.add_broadcast_to_like("b", ["x", "r"], "y"), expected, exact=True)


def test_broadcast_to_a_computed_shape() -> None:
    shape = np.array([2, 3, 6, 4], np.float32)
    expected = np.broadcast_to(A, (2, 3, 6, 4))
    check({"x": A, "s": shape}, lambda builder: builder.add_broadcast_to_dynamic("b", ["x", "s"], "y"), expected, exact=True)
