"""Cases of matrix products: beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.operations import Case, Fixed

RNG = np.random.default_rng(4)
Array = np.ndarray[Any, Any]


def normal(*shape: int) -> Array:
    return RNG.normal(0, 1, shape).astype(np.float32)


X, WEIGHT, BIAS = normal(2, 3, 4), normal(5, 4), normal(5)
INTEGERS = RNG.integers(-99, 99, (3, 4)).astype(np.int32)
WIDE = np.array([[2**30, 3], [-5, 2**30]], np.int32)


def dot(x: Array, y: Array) -> Array:
    """Matrix product one vector at a time."""
    return np.apply_along_axis(lambda row: np.array([np.dot(row, column) for column in y.T]), -1, x)


def product(note: str, x: Array, y: Array, expected: Any, **inputs: Any) -> Case:
    return Case("matmul", {"x": x, "y": y, **inputs}, expected, note=note)


A, B, FOUR = normal(10, 4, 3), normal(5, 10, 3, 2), normal(4)
N, M = normal(2, 3, 5, 4), normal(2, 4, 5, 6)

CASES = [
    Case("linear", {"x": X, "weight": Fixed(WEIGHT), "bias": Fixed(BIAS)}, lambda: dot(X, WEIGHT.T) + BIAS),
    Case("linear", {"x": X[0, 0], "weight": Fixed(WEIGHT)}, lambda: WEIGHT @ X[0, 0], note="vector"),
    Case("linear", {"x": X[None], "weight": Fixed(WEIGHT)}, lambda: dot(X[None], WEIGHT.T), note="rank4"),
    Case(
        "linear",
        {"x": INTEGERS, "weight": Fixed(INTEGERS[:2]), "bias": Fixed(np.array([7, -7], np.int32))},
        lambda: dot(INTEGERS, INTEGERS[:2].T) + np.array([7, -7]),
        outputs=("int32",),
        note="int32",
    ),
    Case(
        "linear",
        {"x": X, "weight": Fixed(WEIGHT.astype(np.float16)), "bias": Fixed(BIAS.astype(np.float16))},
        lambda: dot(X, WEIGHT.astype(np.float16).astype(np.float32).T) + BIAS.astype(np.float16).astype(np.float32),
        opset="ios17",
        note="fp16_weight",
    ),
    Case("linear", {"x": X[:, :0], "weight": Fixed(WEIGHT), "bias": Fixed(BIAS)}, np.zeros((2, 0, 5), np.float32), note="empty"),
    product("matrices", A[0], A[1], lambda: dot(A[0], A[1].T), transpose_y=True),
    product("broadcast", A, B, lambda: np.einsum("bij,abjk->abik", A, B)),
    product("transposed", A.swapaxes(1, 2).copy(), B.swapaxes(2, 3).copy(), lambda: np.matmul(A, B), transpose_x=True, transpose_y=True),
    product("vector_left", FOUR, A, lambda: np.stack([FOUR @ matrix for matrix in A])),
    product("vector_right", N, FOUR, lambda: np.tensordot(N, FOUR, (3, 0))),
    product("vectors", FOUR, FOUR[::-1].copy(), lambda: np.dot(FOUR, FOUR[::-1])),
    product("vector_not_transposed", A, A[0, 0], lambda: np.tensordot(A, A[0, 0], (2, 0)), transpose_y=True),
    Case("matmul", {"x": INTEGERS, "y": INTEGERS.T.copy()}, lambda: dot(INTEGERS, INTEGERS.T), outputs=("int32",), note="int32"),
    Case(
        "matmul",
        {"x": WIDE, "y": WIDE},
        lambda: (WIDE.astype(np.int64) @ WIDE.astype(np.int64)).astype(np.int32),
        outputs=("int32",),
        note="overflow_wraps",
    ),
    Case(
        "matmul",
        {"x": X, "y": Fixed(WEIGHT.T.astype(np.float16))},
        lambda: dot(X, WEIGHT.T.astype(np.float16).astype(np.float32)),
        opset="ios17",
        note="constant_of_other_type",
    ),
    Case("einsum", {"values": [N, M], "equation": "nchw,nwhu->nchu"}, lambda: np.einsum("nchw,nwhu->nchu", N, M), note="rank4"),
    Case("einsum", {"values": [N[0], M[0]], "equation": "abc,cbd->abd"}, lambda: np.einsum("abc,cbd->abd", N[0], M[0]), note="rank3"),
    Case(
        "einsum",
        {"values": [N[:1, :, :1], M], "equation": "nchw,nwhu->nchu"},
        lambda: np.stack([np.stack([N[0, :, 0] @ M[b, :, h] for h in range(5)], 1) for b in range(2)]),
        note="broadcast",
    ),
]
