"""Cases of the reductions. Oracles: NumPy, SciPy, and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from tests.cases.operations import Case

RNG = np.random.default_rng(2)
X = RNG.uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
I = np.array([[1, -2, 3], [4, 5, -13]], np.int32)  # noqa: E741
SCALAR = np.array(2.5, np.float32)
EXTREME = np.array([[1.0, np.inf, 2.0], [1.0, np.nan, 2.0], [-np.inf, -np.inf, -np.inf]], np.float32)
LARGE = np.full((1, 4), 300.0, np.float32)

REDUCTIONS: dict[str, Any] = {
    "reduce_l1_norm": lambda x, axis, keepdims: np.abs(x).sum(axis, keepdims=keepdims),
    "reduce_l2_norm": lambda x, axis, keepdims: np.hypot.reduce(x, axis, keepdims=keepdims),
    "reduce_log_sum": lambda x, axis, keepdims: np.log(x.sum(axis, keepdims=keepdims)),
    "reduce_log_sum_exp": lambda x, axis, keepdims: scipy.special.logsumexp(x, axis, keepdims=keepdims),
    "reduce_max": lambda x, axis, keepdims: x.max(axis, keepdims=keepdims),
    "reduce_mean": lambda x, axis, keepdims: x.mean(axis, keepdims=keepdims),
    "reduce_min": lambda x, axis, keepdims: x.min(axis, keepdims=keepdims),
    "reduce_prod": lambda x, axis, keepdims: x.prod(axis, keepdims=keepdims),
    "reduce_sum": lambda x, axis, keepdims: x.sum(axis, keepdims=keepdims),
    "reduce_sum_square": lambda x, axis, keepdims: np.einsum("...,...->...", x, x).sum(axis, keepdims=keepdims),
}
AXES: list[tuple[list[int] | None, bool]] = [([1], False), ([-1], True), ([0, -1], False), ([2, 0], True), (None, False), (None, True)]
INTEGERS: dict[str, list[int]] = {
    "reduce_l1_norm": [6, 22],
    "reduce_l2_norm": [3, 14],
    "reduce_max": [3, 5],
    "reduce_mean": [0, -1],
    "reduce_min": [-2, -13],
    "reduce_prod": [-6, -260],
    "reduce_sum": [2, -4],
    "reduce_sum_square": [14, 210],
}
EXTREMES: dict[str, list[float]] = {
    "reduce_l1_norm": [np.inf, np.nan, np.inf],
    "reduce_l2_norm": [np.inf, np.nan, np.inf],
    "reduce_log_sum": [np.inf, np.nan, np.nan],
    "reduce_log_sum_exp": [np.inf, np.nan, -np.inf],
    "reduce_max": [np.inf, np.nan, -np.inf],
    "reduce_mean": [np.inf, np.nan, -np.inf],
    "reduce_min": [1, np.nan, -np.inf],
    "reduce_prod": [np.inf, np.nan, -np.inf],
    "reduce_sum": [np.inf, np.nan, -np.inf],
    "reduce_sum_square": [np.inf, np.nan, np.inf],
}


def along(name: str, axes: list[int] | None, keep_dims: bool) -> Case:
    axis = None if axes is None else tuple(axes)
    inputs = {"x": X, "keep_dims": keep_dims} | ({} if axes is None else {"axes": axes})
    note = f"{'all' if axes is None else ','.join(map(str, axes))}{'-kept' if keep_dims else ''}"
    return Case(name, inputs, lambda: REDUCTIONS[name](X, axis, keep_dims), note=note)


def over_none(name: str) -> Case:
    """With an empty list of axes each element is reduced alone."""
    return Case(name, {"x": X, "axes": np.zeros(0, np.int32)}, lambda: REDUCTIONS[name](X[None], 0, False), note="no-axes")


def position(name: str, opset: str, expected: Any, note: str, outputs: str = "int32", x: Any = I, **attributes: Any) -> Case:
    return Case(name, {"x": x, **attributes}, np.array(expected, np.int32), outputs=(outputs,), opset=opset, note=note)


POSITIONS = [
    case
    for opset in ("ios15", "ios17")
    for case in (
        position("reduce_argmax", opset, [2, 1], "last"),
        position("reduce_argmin", opset, [1, 2], "last"),
        position("reduce_argmax", opset, [[1, 1, 0]], "first-kept", axis=0, keep_dims=True),
        position("reduce_argmin", opset, [0, 0, 1], "first", axis=-2),
        position("reduce_argmax", opset, [1, 1, 0], "floats", x=I.astype(np.float32), axis=0),
        position("reduce_argmin", opset, 1, "vector", x=np.array([3.0, -np.inf, np.inf], np.float32)),
        position("reduce_argmax", opset, 2, "infinite", x=np.array([3.0, -np.inf, np.inf], np.float32)),
    )
]

CASES = [
    *[along(name, axes, keep_dims) for name in REDUCTIONS for axes, keep_dims in AXES],
    *[over_none(name) for name in REDUCTIONS],
    *[Case(n, {"x": SCALAR}, lambda f=f: f(SCALAR[None], 0, False), note="rank0") for n, f in REDUCTIONS.items()],
    *[Case(n, {"x": I, "axes": [1]}, np.array(e, np.int32), outputs=("int32",), note="int32") for n, e in INTEGERS.items()],
    *[Case(n, {"x": EXTREME, "axes": [-1]}, e, note="extremes") for n, e in EXTREMES.items()],
    *[
        Case(f"reduce_{n}", {"x": np.array([[8, 8]], np.int32), "axes": [1]}, np.array([e], np.int32), outputs=("int32",), note="int32")
        for n, e in {"log_sum": 2, "log_sum_exp": 8}.items()
    ],
    Case("reduce_mean", {"x": np.full(4, 2**31 - 1, np.int32)}, np.array(2**31 - 1, np.int32), outputs=("int32",), note="int32-range"),
    Case("reduce_sum", {"x": np.array([2**31 - 1, 1], np.int32)}, np.array(-(2**31), np.int32), outputs=("int32",), note="int32-overflow"),
    Case("reduce_l2_norm", {"x": LARGE, "axes": [1]}, [600.0], note="large-squares"),
    Case("reduce_log_sum_exp", {"x": LARGE, "axes": [1]}, [300 + np.log(4)], note="large-exponents"),
    Case("reduce_sum", {"x": np.zeros((2, 0, 3), np.float32), "axes": [1]}, np.zeros((2, 3), np.float32), note="empty"),
    Case("reduce_prod", {"x": np.zeros((2, 0, 3), np.float32), "axes": [1]}, np.ones((2, 3), np.float32), note="empty"),
    Case("reduce_max", {"x": np.zeros((0, 3), np.float32), "axes": [1]}, np.zeros(0, np.float32), note="empty"),
    Case("reduce_mean", {"x": np.zeros((0, 3), np.int32), "axes": [1]}, np.zeros(0, np.int32), outputs=("int32",), note="empty-int32"),
    *POSITIONS,
    *[
        position(n, "ios17", [2, 2], "uint16", "uint16", np.array([[1.0, 2, s], [4, 5, 2 * s]], np.float32), axis=1, output_dtype="uint16")
        for n, s in (("reduce_argmax", 3), ("reduce_argmin", -3))
    ],
    position("reduce_argmax", "ios17", [2, 1], "int32", output_dtype="int32"),
]
