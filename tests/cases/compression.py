"""Cases of compressed constants. Oracles: coremltools' decompression, the examples of its documentation, and values worked out by hand."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.cases.operations import Case, Fixed

RNG = np.random.default_rng(4)
DEFINITIONS = "coremltools.converters.mil.mil.ops.defs."


def decompressed(module: str, operation: str, *inputs: Any) -> Callable[[], Any]:
    """What coremltools makes of the inputs, in the order of its own function; it is imported when the case runs."""
    return lambda: getattr(importlib.import_module(DEFINITIONS + module), operation).decompress(*inputs)


def packed(elements: Any, bits: int) -> np.ndarray[Any, Any]:
    """Elements as bytes, the first in the lowest bits, by way of one large integer."""
    number = sum(int(element) << bits * i for i, element in enumerate(np.asarray(elements).reshape(-1)))
    return np.frombuffer(number.to_bytes(-(-np.size(elements) * bits // 8), "little"), np.uint8).copy()


def case(
    operation: str, opset: str, inputs: dict[str, Any], expected: Any, note: str = "", outputs: tuple[str, ...] = ("fp32",), **options: Any
) -> Case:
    given = {name: Fixed(item) if isinstance(item, np.ndarray) else item for name, item in inputs.items()}
    return Case(operation, given, expected, outputs, opset, fp16=None, note=note, **options)


# Up to ios17: bits in bytes, the shape beside them.

BYTES = RNG.integers(0, 256, (2, 3, 4), np.uint8)
SCALES = np.array([0.5, 1.5, -0.25], np.float32)
ZEROS = np.array([0, 128, 255], np.uint8)
MASK_BITS = np.array([[0, 0, 1, 1, 0], [1, 0, 0, 0, 1]], np.uint8)
SHAPE = Fixed(np.array([2, 5], np.uint32), "uint32")


def affine(data: Any, zero_point: Any, scale: Any, axis: int, note: str) -> Case:
    inputs = {"quantized_data": data, "zero_point": np.asarray(zero_point), "scale": np.asarray(scale), "axis": axis}
    expected = decompressed("iOS16.constexpr_ops", "constexpr_affine_dequantize", data, np.asarray(zero_point), np.asarray(scale), axis)
    return case("constexpr_affine_dequantize", "ios16", inputs, expected, note)


def table(bits: int, *shape: int, dtype: Any = np.float32, output: str = "fp32") -> Case:
    """Indices are drawn, looked up by NumPy, and packed."""
    elements = RNG.integers(0, 1 << bits, shape, np.uint8)
    lut = (RNG.normal(size=1 << bits) * 40).astype(dtype)
    inputs = {"indices": packed(elements, bits), "lut": lut, "shape": Fixed(np.array(shape, np.uint32), "uint32")}
    return case("constexpr_lut_to_dense", "ios16", inputs, np.take(lut, elements), f"{bits}bit-{output}", (output,))


IOS16_CASES = [
    affine(BYTES, np.uint8(7), np.float32(0.5), 0, "scalars"),
    affine(BYTES, ZEROS, SCALES, 1, "vectors"),
    affine(BYTES.view(np.int8), ZEROS.view(np.int8), SCALES, -2, "int8"),
    affine(BYTES, np.float32(3.5), SCALES, 1, "float-zero-point"),
    affine(BYTES, ZEROS, np.float16(0.5), 1, "fp16-scale"),
    affine(BYTES[0, :, 0], ZEROS, SCALES, 0, "rank1"),
    table(1, 3, 3),
    table(2, 5),
    table(4, 2, 3, 3),
    table(6, 7, 3),
    table(8, 4, 2),
    table(4, 3, dtype=np.int8, output="int8"),
    case(
        "constexpr_lut_to_dense",
        "ios16",
        {"indices": np.array([0b01101100, 0b00000011], np.uint8), "lut": np.array([5, 6, 7, 8], np.uint8), "shape": [5]},
        np.array([5, 8, 7, 6, 8], np.uint8),
        "documented",
        ("uint8",),
    ),
    case(
        "constexpr_sparse_to_dense",
        "ios16",
        {"nonzero_data": np.array([3, 1.5], np.float32), "mask": np.array([0b01100], np.uint8), "shape": [5]},
        [0, 0, 3, 1.5, 0],
        "documented",
    ),
    case(
        "constexpr_sparse_to_dense",
        "ios16",
        {"nonzero_data": np.array([1, 2, 3, 4], np.int8), "mask": packed(MASK_BITS, 1), "shape": SHAPE},
        np.array([[0, 0, 1, 2, 0], [3, 0, 0, 0, 4]], np.int8),
        "int8",
        ("int8",),
    ),
    case(
        "constexpr_sparse_to_dense",
        "ios16",
        {"nonzero_data": np.zeros(0, np.float32), "mask": np.array([0], np.uint8), "shape": [3]},
        np.zeros(3, np.float32),
        "all-zero",
    ),
    *[
        case(
            "constexpr_cast",
            opset,
            {"source_val": np.array([[0.1, -2.0]], np.float16), "output_dtype": "fp32"},
            np.array([[0.0999755859375, -2.0]], np.float32),
            tolerance=1e-9,
        )
        for opset in ("ios16", "ios18")
    ],
]

# From ios18 on: tensors of narrow types.

NIBBLES = RNG.integers(-8, 8, (4, 6, 3)).astype(np.int8)
BLOCK_SCALES = RNG.uniform(0.5, 2, (2, 3, 1)).astype(np.float32)
BLOCK_OFFSETS = RNG.integers(-8, 8, (2, 3, 1)).astype(np.int8)
GROUPED = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1)
PICKS = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
VECTORS = np.array([[10, 11, 12], [20, 21, 22]], np.int8).reshape(1, 1, 1, 2, 3)
BIT_PICKS = np.array([[[0, 0], [1, 0]], [[1, 1], [0, 0]]], np.uint8)
SPARSE_MASK = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], np.uint8)
SPARSE_PICKS = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)
DATA_MASK = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)


def blockwise(data: Fixed, scale: Any, offset: Fixed | None, note: str) -> Case:
    inputs = {"data": data, "scale": scale} | ({} if offset is None else {"offset": offset})
    arrays = data.array, scale, None if offset is None else offset.array
    expected = decompressed("iOS18.compression", "constexpr_blockwise_shift_scale", *arrays)
    return case("constexpr_blockwise_shift_scale", "ios18", inputs, expected, note)


def tables(
    bits: int, shape: tuple[int, ...], groups: tuple[int, ...], vector_size: int = 1, axis: int | None = None, note: str = ""
) -> Case:
    indices = RNG.integers(0, 1 << bits, shape, np.uint8)
    lut = RNG.normal(size=(*groups, 1 << bits, vector_size)).astype(np.float32)
    inputs = {"indices": Fixed(indices, f"uint{bits}"), "lut": lut} | ({} if axis is None else {"vector_axis": axis})
    expected = decompressed("iOS18.compression", "constexpr_lut_to_dense", indices, lut, axis)
    return case("constexpr_lut_to_dense", "ios18", inputs, expected, f"{bits}bit{note}")


def sparse_tables(lut: Any, axis: int | None, expected: Any, note: str) -> Case:
    inputs = {"indices_mask": Fixed(SPARSE_MASK, "uint1"), "indices_nonzero_data": Fixed(SPARSE_PICKS, "uint1"), "lut": lut}
    given = {} if axis is None else {"vector_axis": axis}
    return case("constexpr_lut_to_sparse", "ios18", inputs | given, expected, note, ("uint1", "fp32"))


def sparse_tables_by_coremltools(lut: Any, axis: int | None, note: str) -> Case:
    return sparse_tables(
        lut, axis, decompressed("iOS18.compression", "constexpr_lut_to_sparse", SPARSE_MASK, SPARSE_PICKS, lut, axis), note
    )


def sparse_blockwise(scale: Any, offset: Any, expected: Any, note: str) -> Case:
    nonzero = Fixed(np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8))
    inputs = {"data_mask": Fixed(DATA_MASK, "uint1"), "nonzero_data": nonzero, "scale": scale}
    given = {} if offset is None else {"offset": offset}
    return case("constexpr_sparse_blockwise_shift_scale", "ios18", inputs | given, expected, note, ("uint1", "fp32"))


IOS18_CASES = [
    blockwise(Fixed(NIBBLES, "int4"), BLOCK_SCALES, Fixed(BLOCK_OFFSETS, "int4"), "int4"),
    blockwise(Fixed(NIBBLES, "int4"), BLOCK_SCALES, None, "no-offset"),
    blockwise(Fixed(NIBBLES.view(np.uint8) & 15, "uint4"), BLOCK_SCALES, Fixed(BLOCK_OFFSETS.view(np.uint8) & 15, "uint4"), "uint4"),
    blockwise(Fixed(BYTES), SCALES.reshape(1, 3, 1), Fixed(ZEROS.reshape(1, 3, 1)), "uint8-channels"),
    blockwise(Fixed(BYTES.view(np.int8)), SCALES.reshape(1, 3, 1), Fixed(SCALES.reshape(1, 3, 1) * 3), "float-offset"),
    blockwise(Fixed(BYTES.astype(np.float32)), np.full((1, 1, 1), 0.5, np.float32), None, "floats"),
    case(
        "constexpr_blockwise_shift_scale",
        "ios18",
        {"data": np.array([[1, 2, 3, 4]], np.int8), "scale": np.array([[1, 10]], np.float32), "offset": np.array([[1, 2]], np.int8)},
        np.array([[0, 1, 10, 20]], np.float32),
        "by-hand",
    ),
    *[tables(bits, (4, 6), (1, 1)) for bits in (1, 2, 3, 4, 6, 8)],
    tables(4, (4, 6, 2), (2, 3, 1), note="-grouped"),
    tables(2, (4, 6), (2, 1), 3, 0, "-vectors-grouped"),
    tables(2, (4, 6), (2, 3), 2, -1, "-vectors-last"),
    tables(3, (4, 6, 2, 3), (1, 2, 1, 1), 4, 1, "-vectors-rank4"),
    case(
        "constexpr_lut_to_dense",
        "ios18",
        {"indices": Fixed(PICKS, "uint2"), "lut": GROUPED},
        np.array([[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]], np.float32),
        "documented-groups",
    ),
    case(
        "constexpr_lut_to_dense",
        "ios18",
        {"indices": Fixed(BIT_PICKS, "uint1"), "lut": VECTORS, "vector_axis": 1},
        np.array(
            [[[10, 10], [11, 11], [12, 12], [20, 10], [21, 11], [22, 12]], [[20, 20], [21, 21], [22, 22], [10, 10], [11, 11], [12, 12]]],
            np.int8,
        ),
        "documented-axis1",
        ("int8",),
    ),
    case(
        "constexpr_lut_to_dense",
        "ios18",
        {"indices": Fixed(BIT_PICKS, "uint1"), "lut": VECTORS, "vector_axis": -1},
        np.array([[[10, 11, 12, 10, 11, 12], [20, 21, 22, 10, 11, 12]], [[20, 21, 22, 20, 21, 22], [10, 11, 12, 10, 11, 12]]], np.int8),
        "documented-axis2",
        ("int8",),
    ),
    case(
        "constexpr_sparse_to_dense",
        "ios18",
        {"nonzero_data": np.array([3, 1, 2, 5], np.float32), "mask": Fixed(MASK_BITS, "uint1")},
        np.array([[0, 0, 3, 1, 0], [2, 0, 0, 0, 5]], np.float32),
    ),
    case(
        "constexpr_sparse_to_dense",
        "ios18",
        {"nonzero_data": Fixed(np.array([-8, 7, -1, 2], np.int8), "int4"), "mask": Fixed(MASK_BITS, "uint1")},
        np.array([[0, 0, -8, 7, 0], [-1, 0, 0, 0, 2]], np.int8),
        "int4",
        ("int4",),
    ),
    sparse_tables(
        np.array([2, 3], np.float32).reshape(1, 1, 2, 1), None, [SPARSE_MASK, np.float32([2, 3, 3, 2, 3, 3, 2, 2, 3])], "documented"
    ),
    sparse_tables(
        np.array([2, 2, 3, 3], np.float32).reshape(1, 1, 2, 2),
        0,
        [SPARSE_MASK.repeat(2, 0), np.float32([2, 3, 2, 3, 3, 2, 3, 3, 2, 3, 3, 2, 2, 3, 2, 2, 3, 3])],
        "documented-vectors",
    ),
    sparse_tables_by_coremltools(RNG.normal(size=(2, 3, 2, 1)).astype(np.float32), None, "grouped"),
    sparse_tables_by_coremltools(RNG.normal(size=(2, 1, 2, 3)).astype(np.float32), 1, "vectors-grouped"),
    sparse_blockwise(
        np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
        np.array([[1, 2, 3, 4]], np.int8),
        [DATA_MASK, np.float32([0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4])],
        "documented",
    ),
    sparse_blockwise(np.array([[1.0], [0.5]], np.float32), None, [DATA_MASK, np.float32([10, 11, 3, 4, 5, 3, 3.5, 4, 4.5])], "rows"),
]

CASES = [*IOS16_CASES, *IOS18_CASES]
