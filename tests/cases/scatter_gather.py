"""Cases of gather and scatter. Expected: NumPy's indexing, one element after the other, ONNX Runtime, coremltools' examples."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(7)
X = RNG.normal(0, 3, (3, 4, 5)).astype(np.float32)
WHOLE = RNG.integers(-20, 20, (3, 4, 5)).astype(np.int32)
INDEX = np.array([[0, 2, 1], [2, 2, 0]], np.int32)
INDEX_TYPES = {"ios15": ["int32"], "ios16": ["int32", "int16", "uint16"], "ios17": ["int32", "int16", "uint16", "int8", "uint8"]}
VALUE_TYPES = ["int32", "int16", "uint16", "int8", "uint8"]


def case(operation: str, note: str, expected: Any, x: Array, opset: str = "ios15", **inputs: Any) -> Case:
    """A case that gives the type of ``x``, which is the operation's first input."""
    floating = x.dtype == np.float32
    first = "data" if operation.startswith("scatter") else "x"
    outputs = ("fp32",) if floating else (x.dtype.name,)
    return Case(operation, {first: x, **inputs}, expected, outputs, opset, fp16=1e-2 if floating else None, note=note)


def typed(operation: str, expected: Callable[[Array], Any], indices: Array, **inputs: Any) -> list[Case]:
    """Every opset with every type of index, and on iOS 17 every type of value."""
    kinds = [(opset, kind, X) for opset, kinds in INDEX_TYPES.items() for kind in kinds]
    kinds += [("ios17", "int8", np.abs(WHOLE).astype(dtype)) for dtype in VALUE_TYPES] + [("ios15", "int32", WHOLE)]
    return [
        case(operation, f"{x.dtype.name}_{kind}", expected(x), x, opset, indices=indices.astype(kind), **inputs) for opset, kind, x in kinds
    ]


GATHER = [
    *typed("gather", lambda x: np.take(x, INDEX, 1), INDEX, axis=1),
    case("gather", "default_axis", X[INDEX], X, indices=INDEX),
    case("gather", "scalar", X[:, 3], X, indices=np.array(3, np.int32), axis=1),
    case("gather", "constant", X[..., 4], X, indices=4, axis=-1),
    case("gather", "from_vector", X[0, 0, 2], X[0, 0], indices=np.array(2, np.int32)),
    case("gather", "negative", np.take(X, [-1, -4, 2], 1), X, indices=np.array([-1, -4, 2], np.int32), axis=1),
    case("gather", "negative", np.take(X, [-1, -5], 2), X, "ios16", indices=np.array([-1, -5], np.int32), axis=2),
    case("gather", "none", np.zeros((3, 0, 5)), X, indices=np.zeros(0, np.int32), axis=1),
    case("gather", "none_of_nothing", np.zeros((0, 2)), np.zeros((0, 2), np.float32), indices=np.zeros(0, np.int32)),
    case("gather", "validated", X[INDEX], X, "ios17", indices=INDEX, validate_indices=True),
    case("gather", "validated_none", X[:0], X, "ios17", indices=np.zeros(0, np.int32), validate_indices=True),
]


def batched(x: Array, indices: Array, axis: int, batch_dims: int) -> Array:
    """`np.take` within every element of the batch."""
    if not batch_dims:
        return np.take(x, indices, axis)
    return np.stack([batched(part, index, axis - 1, batch_dims - 1) for part, index in zip(x, indices, strict=True)])


DEEP = RNG.normal(0, 1, (2, 3, 4, 5)).astype(np.float32)
DEEP_INDEX = RNG.integers(0, 4, (2, 3, 2, 2)).astype(np.int32)
BATCHES = [
    *[
        case(
            "gather", f"batch_{dims}_axis_{axis}", batched(DEEP, index, axis, dims), DEEP, opset, indices=index, axis=axis, batch_dims=dims
        )
        for opset in ("ios16", "ios17")
        for dims, axis, index in [
            (0, 3, DEEP_INDEX),
            (1, 3, DEEP_INDEX[:, 0]),
            (1, 2, DEEP_INDEX[:, 0, 0]),
            (2, 2, DEEP_INDEX),
            (2, 3, DEEP_INDEX[..., 0]),
        ]
    ],
    case(
        "gather",
        "batch_only",
        batched(DEEP, DEEP_INDEX[:, :, 0, 0], 2, 2),
        DEEP,
        "ios16",
        indices=DEEP_INDEX[:, :, 0, 0],
        axis=-2,
        batch_dims=2,
    ),
]

ALONG = RNG.integers(0, 4, (3, 2, 5)).astype(np.int32)
COORDINATES = np.array([[[0, 3], [2, 1]], [[1, 1], [2, 3]]], np.int32)
OTHERS = [
    *typed("gather_along_axis", lambda x: np.take_along_axis(x, ALONG.astype(int), 1), ALONG, axis=1),
    case("gather_along_axis", "default_axis", np.take_along_axis(X, ALONG[:, :1] % 3, 0)[:, :1], X[:, :1], indices=ALONG[:, :1] % 3),
    case("gather_along_axis", "negative", np.take_along_axis(X, ALONG - 4, 1), X, indices=ALONG - 4, axis=-2),
    case("gather_along_axis", "negative", np.take_along_axis(X, ALONG - 4, 1), X, "ios16", indices=ALONG - 4, axis=1),
    case("gather_along_axis", "validated", np.take_along_axis(X, ALONG, 1), X, "ios17", indices=ALONG, axis=1, validate_indices=True),
    *typed("gather_nd", lambda x: x[COORDINATES[..., 0], COORDINATES[..., 1]], COORDINATES),
    case("gather_nd", "elements", X[[0, 2], [3, 1], [4, 0]], X, indices=np.array([[0, 3, 4], [2, 1, 0]], np.int32)),
    case("gather_nd", "slices", X[[2, 0]], X, indices=np.array([[2], [0]], np.int32)),
    case("gather_nd", "one", X[1, 2], X, indices=np.array([1, 2], np.int32)),
    case("gather_nd", "negative", X[[-1, 0], [-4, -2]], X, indices=np.array([[-1, -4], [0, -2]], np.int32)),
    case("gather_nd", "none", np.zeros((0, 5)), X, indices=np.zeros((0, 2), np.int32)),
    case("gather_nd", "no_coordinates", np.stack([X, X]), X, indices=np.zeros((2, 0), np.int32)),
    case("gather_nd", "validated", X[[0, 2], [3, 1]], X, "ios17", indices=np.array([[0, 3], [2, 1]], np.int32), validate_indices=True),
    *[
        case(
            "gather_nd",
            f"batch_{dims}",
            lambda index=index, dims=dims: onnx_run("GatherND", DEEP, index.astype(np.int64), batch_dims=dims),
            DEEP,
            opset,
            indices=index,
            batch_dims=dims,
        )
        for opset in ("ios16", "ios17")
        for dims, index in [(1, DEEP_INDEX[:, :, 0] % 3), (2, DEEP_INDEX), (2, DEEP_INDEX[..., :1]), (1, DEEP_INDEX[:, 0] % 3)]
    ],
]

COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "max": max,
    "min": min,
    "update": lambda old, new: new,
}


def combined(data: Array, mode: str, places: list[tuple[Any, ...]], updates: list[Any]) -> Array:
    """One element after the other; whole numbers are divided towards zero."""
    result = data.astype(np.float64)
    for place, update in zip(places, updates, strict=True):
        value = COMBINE[mode](result[place], update)
        result[place] = np.trunc(value) if data.dtype.kind == "i" else value
    return result.astype(data.dtype)


def scattered(data: Array, mode: str, indices: Array, updates: Array, axis: int) -> Array:
    """`scatter`: every element of updates beside its place in data."""
    axis %= data.ndim
    flat = updates.reshape((*data.shape[:axis], -1, *data.shape[axis + 1 :]))
    places = [(*p[:axis], int(indices.reshape(-1)[p[axis]]), *p[axis + 1 :]) for p in np.ndindex(*flat.shape)]
    return combined(data, mode, places, list(flat.reshape(-1)))


def scattered_along(data: Array, mode: str, indices: Array, updates: Array, axis: int) -> Array:
    axis %= data.ndim
    places = [(*p[:axis], int(indices[p]), *p[axis + 1 :]) for p in np.ndindex(*indices.shape)]
    return combined(data, mode, places, list(updates.reshape(-1)))


def scattered_at(data: Array, mode: str, indices: Array, updates: Array) -> Array:
    depth = indices.shape[-1]
    places = [(*map(int, coordinates), *rest) for coordinates in indices.reshape(-1, depth) for rest in np.ndindex(*data.shape[depth:])]
    return combined(data, mode, places, list(updates.reshape(-1)))


def values(shape: tuple[int, ...], dtype: Any) -> Array:
    """Numbers that can be divided by."""
    return np.asarray(RNG.integers(1, 5, shape) * RNG.choice([-1, 1], shape)).astype(dtype)


TWICE = np.array([2, 0, 2], np.int32)
ALONG_TWICE = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], np.int32)
AT_TWICE = np.array([[0, 3], [2, 1], [0, 3]], np.int32)
SQUARE = values((3, 3), np.float32)


def everywhere(mode: str, opset: str, dtype: str) -> list[Case]:
    """The three operations in one mode, with an index that occurs twice."""
    data, square = values((3, 4, 5), dtype) * 7, values((3, 3), dtype) * 7
    slices, along, at = values((3, 3, 5), dtype), values((3, 3), dtype), values((3, 5), dtype)
    scatter = scattered(data, mode, TWICE, slices, 1)
    more: dict[str, Any] = {"mode": mode, "opset": opset}
    note = f"{mode}_{dtype}"
    return [
        case("scatter", note, scatter, data, indices=TWICE, updates=slices, axis=1, **more),
        case(
            "scatter_along_axis",
            note,
            scattered_along(square, mode, ALONG_TWICE, along, 0),
            square,
            indices=ALONG_TWICE,
            updates=along,
            **more,
        ),
        case("scatter_nd", note, scattered_at(data, mode, AT_TWICE, at), data, indices=AT_TWICE, updates=at, **more),
    ]


DATA = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
ROWS = np.array([[5, 6, 7], [8, 9, 10]], np.float32)
SWAP = np.array([1, 0], np.int32)
SUM = [[9, 11, 13], [9, 11, 13]]
MIXED = np.array([[1, 0, 1], [1, 1, 0]], np.int32)
SCATTER = [
    *[
        item
        for mode in COMBINE
        for opset in ("ios15", "ios17")
        for dtype in ("float32", "int32")
        for item in everywhere(mode, opset, dtype)
    ],
    case("scatter", "example", SUM, DATA, indices=SWAP, updates=ROWS),
    case("scatter", "negative", SUM, DATA, indices=np.array([-1, -2], np.int32), updates=ROWS),
    case("scatter", "validated", SUM, DATA, "ios17", indices=SWAP, updates=ROWS, validate_indices=True),
    case("scatter", "constant_index", SUM, DATA, "ios17", indices=Fixed(SWAP), updates=ROWS),
    case(
        "scatter",
        "last_axis",
        [[1, 12, 8], [4, 23, 14]],
        DATA,
        indices=np.array([2, 1, 1], np.int32),
        axis=-1,
        updates=np.array([[5, 4, 6], [8, 9, 9]], np.float32),
    ),
    case(
        "scatter",
        "matrix_of_indices",
        [[1 + 2 + 3], [4 + 5]],
        np.zeros((2, 1), np.float32),
        indices=np.array([[0, 0, 0], [1, 1, 1]], np.int32),
        updates=np.array([[[1], [2], [3]], [[4], [5], [0]]], np.float32),
    ),
    case("scatter", "none", DATA, DATA, indices=np.zeros(0, np.int32), updates=np.zeros((0, 3), np.float32)),
    case("scatter_along_axis", "example", [[1, 6, 10], [8, 9, 7]], DATA, indices=MIXED, updates=ROWS, mode="update"),
    case("scatter_along_axis", "negative", [[1, 6, 10], [8, 9, 7]], DATA, indices=MIXED - 2, updates=ROWS, mode="update"),
    case(
        "scatter_along_axis",
        "validated",
        [[1, 6, 10], [8, 9, 7]],
        DATA,
        "ios17",
        indices=MIXED,
        updates=ROWS,
        mode="update",
        validate_indices=True,
    ),
    case(
        "scatter_along_axis",
        "last_axis",
        [[6, 7, 3], [4, 13, 15]],
        DATA,
        indices=np.array([[0, 1], [1, 2]], np.int32),
        updates=np.array([[5, 5], [8, 9]], np.float32),
        axis=-1,
    ),
    case(
        "scatter_nd",
        "example",
        [[1, 2, 13], [9, 5, 6]],
        DATA,
        indices=np.array([[1, 0], [0, 2]], np.int32),
        updates=np.array([5, 10], np.float32),
    ),
    case(
        "scatter_nd",
        "negative",
        [[1, 2, 13], [9, 5, 6]],
        DATA,
        indices=np.array([[-1, -3], [0, -1]], np.int32),
        updates=np.array([5, 10], np.float32),
    ),
    case(
        "scatter_nd",
        "rows",
        [[9, 11, 13], [4, 5, 6]],
        DATA,
        "ios17",
        indices=np.array([[0]], np.int32),
        updates=ROWS[1:],
        validate_indices=True,
    ),
    case(
        "scatter_nd",
        "matrix_of_coordinates",
        [[1, 22, 3], [36, 5, 6]],
        DATA,
        indices=np.array([[[0, 1], [0, 1]], [[1, 0], [1, 0]]], np.int32),
        updates=np.array([[10, 10], [2, 30]], np.float32),
    ),
]

CASES = [*GATHER, *BATCHES, *OTHERS, *SCATTER]
