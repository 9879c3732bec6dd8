"""Comparisons and logic beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.importers.neural_network.networks import check

X = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, 0.5]], np.float32)
Y = np.array([0.5, -2.0, 0.5], np.float32)
COMPARISONS: dict[str, tuple[str, dict[str, bool], Any]] = {
    "greaterThan": ("add_greater_than", {}, np.greater),
    "greaterEqual": ("add_greater_than", {"use_greater_than_equal": True}, np.greater_equal),
    "lessThan": ("add_less_than", {}, np.less),
    "lessEqual": ("add_less_than", {"use_less_than_equal": True}, np.less_equal),
    "equal": ("add_equal", {}, np.equal),
    "notEqual": ("add_not_equal", {}, np.not_equal),
}


@pytest.mark.parametrize("kind", COMPARISONS)
def test_comparison_of_two_blobs(kind: str) -> None:
    method, options, oracle = COMPARISONS[kind]
    expected = oracle(X, Y).astype(np.float32)
    check({"a": X, "b": Y}, lambda builder: getattr(builder, method)("c", ["a", "b"], "y", **options), expected, exact=True)


@pytest.mark.parametrize("kind", COMPARISONS)
def test_comparison_with_a_number(kind: str) -> None:
    method, options, oracle = COMPARISONS[kind]
    expected = oracle(X, 0.5).astype(np.float32)
    check({"x": X}, lambda builder: getattr(builder, method)("c", ["x"], "y", alpha=0.5, **options), expected, exact=True)


@pytest.mark.parametrize("mode", ["AND", "OR", "XOR"])
def test_logic_of_two_blobs(mode: str) -> None:
    a, b = X[:1], np.array([[2.0], [0.0]], np.float32)
    expected = getattr(np, f"logical_{mode.lower()}")(a, b).astype(np.float32)
    check({"a": a, "b": b}, lambda builder: builder.add_logical("l", ["a", "b"], "y", mode), expected, exact=True)


def test_not() -> None:
    expected = np.logical_not(X).astype(np.float32)
    check({"x": X}, lambda builder: builder.add_logical("l", ["x"], "y", "NOT"), expected, exact=True)
