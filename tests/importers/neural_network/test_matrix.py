"""Products, triangles, bands and layer normalization beside NumPy and PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import check, noise

X = noise(2, 3, 4, 5)


@pytest.mark.parametrize(
    ("a", "b", "flags"),
    [
        ((3, 4), (4, 2), (False, False)),
        ((5, 1, 3, 4), (2, 4, 6), (False, False)),
        ((2, 4, 3), (2, 5, 4), (True, True)),
    ],
    ids=["matrices", "broadcast", "transposed"],
)
def test_product_of_two_blobs(a: tuple[int, ...], b: tuple[int, ...], flags: tuple[bool, bool]) -> None:
    x, y = noise(*a), noise(*b)
    expected = np.matmul(x.swapaxes(-1, -2) if flags[0] else x, y.swapaxes(-1, -2) if flags[1] else y)
    check({"a": x, "b": y}, lambda builder: builder.add_batched_mat_mul("m", ["a", "b"], "y", *flags), expected, exact=True)


@pytest.mark.parametrize(
    ("a", "b", "shape"),
    [((4,), (4,), (1, 1)), ((5, 4), (4,), (5, 1)), ((4,), (4, 2), (1, 2)), ((4,), (3, 4, 2), (3, 1, 2))],
    ids=["both", "right", "left", "left_batch"],
)
def test_vectors_are_matrices_of_one_row_or_column(a: tuple[int, ...], b: tuple[int, ...], shape: tuple[int, ...]) -> None:
    x, y = noise(*a), noise(*b)
    expected = np.matmul(x, y).reshape(shape)
    check({"a": x, "b": y}, lambda builder: builder.add_batched_mat_mul("m", ["a", "b"], "y"), expected, exact=True)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
@pytest.mark.parametrize("biased", [False, True], ids=["plain", "bias"])
def test_product_with_weights(rank: int, biased: bool) -> None:
    x, weight, bias = noise(*(2, 3, 4, 5)[4 - rank :]), noise(5, 7), noise(7) if biased else None
    expected = np.tensordot(x, weight, 1) + (0 if bias is None else bias)
    options = {"weight_matrix_rows": 5, "weight_matrix_columns": 7, "W": weight, "bias": bias}
    check({"x": x}, lambda builder: builder.add_batched_mat_mul("m", ["x"], "y", **options), expected, exact=True)


@pytest.mark.parametrize("dynamic", [False, True], ids=["uint8", "int8_dynamic"])
def test_product_with_quantized_weights(dynamic: bool) -> None:
    codes = np.random.default_rng(3).integers(-127 if dynamic else 0, 127, (5, 7)).astype(np.int8 if dynamic else np.uint8)
    options = {
        "weight_matrix_rows": 5,
        "weight_matrix_columns": 7,
        "W": codes.tobytes(),
        "is_quantized_weight": True,
        "quant_scale": np.array([0.25], np.float32),
        "int_8_dynamic_quantize": dynamic,
    } | ({} if dynamic else {"quant_bias": np.array([-2.0], np.float32)})
    expected = X @ (codes * np.float32(0.25) - (0 if dynamic else 2))
    check({"x": X}, lambda builder: builder.add_batched_mat_mul("m", ["x"], "y", **options), expected, exact=True)


@pytest.mark.parametrize(("lower", "upper"), [(1, 2), (-1, 0), (0, -1), (-1, -1)])
def test_band(lower: int, upper: int) -> None:
    expected = X
    expected = expected if lower < 0 else np.triu(expected, -lower)
    expected = expected if upper < 0 else np.tril(expected, upper)
    check({"x": X}, lambda builder: builder.add_matrix_band_part("b", "x", "y", lower, upper), expected, exact=True)


@pytest.mark.parametrize("k", [-2, -1, 0, 1])
@pytest.mark.parametrize(("name", "oracle"), [("lower", np.tril), ("upper", np.triu)])
def test_triangle(name: str, oracle: Any, k: int) -> None:
    check({"x": X}, lambda builder: getattr(builder, f"add_{name}_triangular")("t", "x", "y", k), oracle(X, k), exact=True)


@pytest.mark.parametrize("axes", [1, 2, 4])
def test_layer_normalization(axes: int) -> None:
    shape = X.shape[4 - axes :]
    gamma, beta = noise(*shape), noise(*shape)
    expected = functional.layer_norm(torch.tensor(X), shape, torch.tensor(gamma), torch.tensor(beta), 1e-3)
    check({"x": X}, lambda builder: builder.add_layer_normalization("l", "x", "y", shape, gamma, beta, 1e-3), expected, exact=True)
