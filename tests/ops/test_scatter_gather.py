"""Indices outside: an error where they are validated; else nothing but memory safety is promised, and the result has its shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.errors import ExecutionError
from tests.cases.operations import Case, run

X = np.arange(6, dtype=np.float32).reshape(2, 3)
ROWS = np.ones((2, 3), np.float32)
OUTSIDE: dict[str, dict[str, Any]] = {
    "gather": {"x": X, "indices": np.array([0, 2], np.int32)},
    "gather_along_axis": {"x": X, "indices": np.array([[0, 1, 2]], np.int32)},
    "gather_nd": {"x": X, "indices": np.array([[1, 3]], np.int32)},
    "scatter": {"data": X, "indices": np.array([0, 2], np.int32), "updates": ROWS},
    "scatter_along_axis": {"data": X, "indices": np.array([[0, 1, 2]], np.int32), "updates": ROWS[:1]},
    "scatter_nd": {"data": X, "indices": np.array([[1, 3]], np.int32), "updates": np.ones(1, np.float32)},
}
SHAPES = {"gather": (2, 3), "gather_along_axis": (1, 3), "gather_nd": (1,)}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_validated_index_outside_is_an_error(name: str) -> None:
    case = Case(name, {**OUTSIDE[name], "validate_indices": True}, None, opset="ios17")
    with pytest.raises(ExecutionError, match=rf"{name}.*indices from \d to \d; expected 0 to \d"):
        run(case)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_validated_negative_index_is_an_error(name: str) -> None:
    inputs = {**OUTSIDE[name], "indices": -np.ones_like(OUTSIDE[name]["indices"])}
    with pytest.raises(ExecutionError, match="indices from -1 to -1; expected 0"):
        run(Case(name, {**inputs, "validate_indices": True}, None, opset="ios17"))


@pytest.mark.parametrize("opset", ["ios15", "ios16", "ios17"])
@pytest.mark.parametrize("offset", [0, 1000, -1000])
@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_outside_is_memory_safe(name: str, offset: int, opset: str) -> None:
    inputs = {**OUTSIDE[name], "indices": OUTSIDE[name]["indices"] + np.int32(offset)}
    (result,) = run(Case(name, inputs, None, opset=opset))
    assert tuple(result.shape) == SHAPES.get(name, X.shape)
    assert np.isin(result.numpy(), np.arange(9)).all()


@pytest.mark.parametrize("offset", [1000, -1000])
@pytest.mark.parametrize("name", ["scatter", "scatter_along_axis", "scatter_nd"])
def test_from_ios17_on_an_index_outside_writes_nothing(name: str, offset: int) -> None:
    inputs = {**OUTSIDE[name], "indices": OUTSIDE[name]["indices"] + np.int32(offset)}
    for mode in ("add", "mul", "max", "update"):
        (result,) = run(Case(name, {**inputs, "mode": mode}, None, opset="ios17"))
        np.testing.assert_array_equal(result, X)


def test_from_ios17_on_a_negative_index_does_not_count_from_the_end() -> None:
    inputs = {"data": X, "indices": np.array([-1, 0], np.int32), "updates": ROWS}
    (old,) = run(Case("scatter", inputs, None))
    (new,) = run(Case("scatter", inputs, None, opset="ios17"))
    np.testing.assert_array_equal(old, X + ROWS)
    np.testing.assert_array_equal(new, [X[0] + ROWS[0], X[1]])
