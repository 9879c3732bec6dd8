"""Cases of the transformations. Expected values come from NumPy, PyTorch, ONNX Runtime, or are coremltools' documented examples."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

Array = np.ndarray[Any, Any]
X = np.random.default_rng(1).normal(0, 3, (2, 3, 4)).astype(np.float32)
IMAGE = np.arange(2 * 8 * 4 * 6, dtype=np.float32).reshape(2, 8, 4, 6) / 100
WHOLE = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
TYPES = ("int8", "int16", "uint8", "uint16", "bool")


def case(operation: str, x: Array, note: str, expected: Any, opset: str = "ios15", **inputs: Any) -> Case:
    floating = x.dtype == np.float32
    outputs = ("fp32",) if floating else (x.dtype.name,)
    return Case(operation, {"x": x, **inputs}, expected, outputs, opset, fp16=1e-2 if floating else None, note=note)


def typed(operation: str, expected: Any, **inputs: Any) -> list[Case]:
    """From iOS 17 on the same for narrow integers; ``expected`` is a function of x."""
    arrays = [WHOLE.astype(dtype) for dtype in TYPES]
    return [case(operation, x, x.dtype.name, expected(x), "ios17", **inputs) for x in arrays]


RESHAPES = [
    case("reshape", X, "plain", X.reshape(4, 6), shape=[4, 6]),
    case("reshape", X, "rest", X.reshape(2, 12), shape=[2, -1]),
    case("reshape", X, "kept", X.reshape(2, 4, 3), shape=[0, -1, 3]),
    case("reshape", X, "kept_and_rest", X.reshape(2, 12, 1), shape=[0, 12, -1]),
    case("reshape", X[0], "kept_from_the_right", X[:1, None], "ios17", shape=[1, 0, -1, 0]),
    case("reshape", X, "kept_of_the_last", X.reshape(6, 4), "ios17", shape=[-1, 0]),
    case("reshape", X, "computed", X.reshape(8, 3), shape=np.array([8, -1], np.int32)),
    case("reshape", X, "computed_int16", X.reshape(8, 3), "ios17", shape=np.array([8, 3], np.int16)),
    case("reshape", np.full((), 3, np.float32), "scalar", np.full((1, 1), 3), shape=[1, 1]),
    case("reshape", np.ones((1, 1), np.float32), "to_scalar", np.float32(1), shape=Fixed(np.zeros(0, np.int32))),
    case("reshape", np.zeros((2, 0, 3), np.float32), "empty", np.zeros((2, 0, 1)), shape=[2, 0, 1]),
    *typed("reshape", lambda x: x.reshape(6, 4), shape=[6, 4]),
    Case(
        "reshape_like",
        {
            "x": np.arange(60, dtype=np.float32),
            "ref_tensors": [np.zeros((2, 3, 4), np.float32), np.zeros((1, 5, 2), np.int32)],
            "begins": [Fixed(0), Fixed(1)],
            "ends": [Fixed(2), Fixed(0)],
            "end_masks": [Fixed(False), Fixed(True)],
        },
        np.arange(60).reshape(2, 3, 5, 2),
        opset="ios16",
    ),
    Case(
        "reshape_like",
        {"x": WHOLE, "ref_tensors": [X, X[0, :, 0], X], "begins": [-1, 0, 0], "ends": [0, 3, -2], "end_masks": [True, False, False]},
        WHOLE.reshape(4, 3, 2),
        ("int32",),
        "ios17",
        fp16=None,
        note="negative_bounds",
    ),
    case("expand_dims", X, "one", X[:, None], axes=[1]),
    case("expand_dims", X, "several", X[None, :, :, None, :, None], axes=[-1, 0, 3]),
    case("expand_dims", X, "out_of_order", np.expand_dims(X, (4, 1)), axes=[4, 1]),
    case("expand_dims", np.full((), 2, np.float32), "scalar", np.array([2.0]), axes=[0]),
    *typed("expand_dims", lambda x: x[:, None], axes=[1]),
    case("squeeze", X[:, None, :, :, None], "all", X),
    case("squeeze", X[:1, None, :, :, None], "some", X[:1], axes=[-1, 1]),
    case("squeeze", X[:1, None], "other_sizes_stay", X[0], axes=[0, 1, 2]),
    case("squeeze", np.ones((1, 1), np.float32), "to_scalar", np.float32(1)),
    *typed("squeeze", lambda x: x.squeeze(), axes=[0, 1]),
]

ORDERS = [
    case("transpose", X, "positive", X.transpose(2, 0, 1), perm=[2, 0, 1]),
    case("transpose", X, "negative", X.transpose(-1, 0, -2), perm=[-1, 0, -2]),
    *typed("transpose", lambda x: x.transpose(1, 0, 2), perm=[1, 0, 2]),
    case("reverse", X, "all", X[::-1, ::-1, ::-1]),
    case("reverse", X, "some", X[::-1, :, ::-1], axes=[-1, 0]),
    case("reverse", np.full((), 2, np.float32), "scalar", np.float32(2)),
    *typed("reverse", lambda x: x[:, ::-1], axes=[1]),
]


STEPS = X.transpose(2, 0, 1)


def reversal(lengths: Array, opset: str = "ios15", x: Array = STEPS, note: str = "") -> Case:
    """ONNX Runtime's operator wants time and batch first; here the batch is second to last and time last."""
    inputs = {"lengths": lengths, "seq_axis": 2, "batch_axis": -2}
    turned = np.ascontiguousarray(x.transpose(2, 1, 0).astype(np.float32))
    expected = onnx_run("ReverseSequence", turned, lengths.astype(np.int64), time_axis=0, batch_axis=1).transpose(2, 1, 0)
    return case("reverse_sequence", np.ascontiguousarray(x), note or lengths.dtype.name, expected.astype(x.dtype), opset, **inputs)


SEQUENCES = [
    reversal(np.array([3, 2], np.int32)),
    reversal(np.array([0, 1], np.int32), note="short"),
    reversal(np.array([3, 2], np.int8), "ios17"),
    reversal(np.array([1, 3], np.int16), "ios17"),
    *[reversal(np.array([2, 3], np.int32), "ios17", WHOLE.transpose(2, 0, 1).astype(dtype), dtype) for dtype in TYPES],
    Case(
        "reverse_sequence",
        {"x": np.arange(1, 9, dtype=np.float32).reshape(4, 2), "lengths": np.array([3, 4], np.int32), "batch_axis": 1},
        np.array([[5, 8], [3, 6], [1, 4], [7, 2]]),
        note="time_first",
    ),
]


def sliced(note: str, expected: Any, opset: str = "ios15", x: Array = X, **inputs: Any) -> Case:
    return case("slice_by_index", x, note, expected, opset, **inputs)


SLICES = [
    sliced("plain", X[0:2, 1:3, 1:4], begin=[0, 1, 1], end=[2, 3, 4]),
    sliced("negative_bounds", X[-2:-1, -3:-1, 0:-3], begin=[-2, -3, 0], end=[-1, -1, -3]),
    sliced("strides", X[0:2:2, 0:3:2, 1:4:3], begin=[0, 0, 1], end=[2, 3, 4], stride=[2, 2, 3]),
    sliced("backwards", X[-1:0:-2, 2:0:-1, -1:-3:-3], begin=[-1, 2, -1], end=[0, 0, -3], stride=[-2, -1, -3]),
    sliced(
        "backwards_open",
        X[::-1, 1::-1, :1:-2],
        begin=[0, 1, 0],
        end=[0, 0, 1],
        stride=[-1, -1, -2],
        begin_mask=[True, False, True],
        end_mask=[True, True, False],
    ),
    sliced(
        "backwards_open_with_empty",
        X[:, 0:2, 3:1],
        begin=[9, 0, 3],
        end=[9, 2, 1],
        begin_mask=[True, False, False],
        end_mask=[True, False, False],
    ),
    sliced("beyond_the_end", X[0:9, -9:2, 3:99], begin=[0, -9, 3], end=[9, 2, 99]),
    sliced("empty", X[1:1, :, 2:2], begin=[1, 0, 2], end=[1, 3, 2]),
    sliced("squeezed", X[1, :, -1], begin=[1, 0, -1], end=[0, 3, 0], squeeze_mask=[True, False, True]),
    sliced(
        "squeezed_backwards",
        X[1, ::-1, 2],
        begin=[1, 0, 2],
        end=[0, 0, 0],
        stride=[1, -1, 1],
        begin_mask=[False, True, False],
        end_mask=[False, True, False],
        squeeze_mask=[True, False, True],
    ),
    sliced(
        "squeezed_masked", X[0, 1:3, 0], begin=[1, 1, 3], end=[0, 3, 0], begin_mask=[True, False, True], squeeze_mask=[True, False, True]
    ),
    sliced("to_scalar", X[1, 2, 3], begin=[1, 2, 3], end=[0, 0, 0], squeeze_mask=[True, True, True]),
    sliced("scalar", np.float32(7), x=np.full((), 7, np.float32), begin=Fixed(np.zeros(0, np.int32)), end=Fixed(np.zeros(0, np.int32))),
    sliced("computed", X[1:2, 0:2, 1:3], begin=np.array([1, 0, 1], np.int32), end=np.array([2, 2, 3], np.int32)),
    sliced("computed_int8", X[1:2, 0:2, 1:3], "ios17", begin=np.array([1, 0, 1], np.int8), end=np.array([2, 2, 3], np.int8)),
    sliced("int32", WHOLE[:, ::2, 3], x=WHOLE, begin=[0, 0, 3], end=[2, 3, 4], stride=[1, 2, 1], squeeze_mask=[False, False, True]),
    *typed(
        "slice_by_index",
        lambda x: x[1:, ::-1, 1:3],
        begin=[1, 0, 1],
        end=[2, 0, 3],
        stride=[1, -1, 1],
        begin_mask=[False, True, False],
        end_mask=[False, True, False],
    ),
    case("slice_by_size", X, "plain", X[1:2, 0:2, 1:4], begin=[1, 0, 1], size=[1, 2, 3]),
    case("slice_by_size", X, "rest", X[:, 1:, 2:3], begin=[0, 1, 2], size=[-1, -1, 1]),
    case("slice_by_size", X, "negative_begin", X[1:, 1:2, 2:], begin=[-1, -2, -2], size=[1, 1, -1]),
    case("slice_by_size", X, "computed", X[:1, 1:3, :], begin=np.array([0, 1, 0], np.int32), size=np.array([1, 2, -1], np.int32)),
    case("slice_by_size", X, "empty", X[:, :0], begin=[0, 0, 0], size=[2, 0, 4]),
    case("slice_by_size", X, "computed_int16", X[:1], "ios17", begin=np.zeros(3, np.int16), size=np.array([1, 3, 4], np.int16)),
    *typed("slice_by_size", lambda x: x[:, 1:, :2], begin=[0, 1, 0], size=[2, -1, 2]),
]


def written(note: str, place: tuple[Any, ...], x: Array = X, **inputs: Any) -> Case:
    """x with -1, -2, ... written where NumPy's index ``place`` says."""
    expected = x.copy()
    update = -np.arange(1, expected[place].size + 1).reshape(expected[place].shape)
    update = update.astype(x.dtype)
    expected[place] = update
    return case("slice_update", x, note, expected, "ios18", update=update, **inputs)


UPDATES = [
    written("plain", np.s_[0:1, 1:3, 2:4], begin=[0, 1, 2], end=[1, 3, 4]),
    written("negative_bounds", np.s_[-1:, :-1, -3:-1], begin=[-1, 0, -3], end=[2, -1, -1]),
    written("strides", np.s_[:, ::2, 1::2], begin=[0, 0, 1], end=[2, 3, 4], stride=[1, 2, 2]),
    written(
        "backwards",
        np.s_[::-1, 1, 3:0:-2],
        begin=[0, 1, 3],
        end=[0, 0, 0],
        stride=[-1, 1, -2],
        begin_mask=[True, False, False],
        end_mask=[True, False, False],
        squeeze_mask=[False, True, False],
    ),
    written(
        "masks",
        np.s_[:, 1:, 0],
        begin=[9, 1, 0],
        end=[9, 9, 9],
        begin_mask=[True, False, False],
        end_mask=[True, True, False],
        squeeze_mask=[False, False, True],
    ),
    written("computed", np.s_[0:2, 2:3, 1:2], begin=np.array([0, 2, 1], np.int32), end=np.array([2, 3, 2], np.int32)),
    written("empty", np.s_[0:0, 0:1, 0:1], begin=[0, 0, 0], end=[0, 1, 1]),
    *[written(dtype, np.s_[0:1, 1:3, 2:4], WHOLE.astype(dtype), begin=[0, 1, 2], end=[1, 3, 4]) for dtype in ("int32", "int8", "uint8")],
    *[written(dtype, np.s_[0:1, 1:3, 2:4], np.abs(WHOLE).astype(dtype), begin=[0, 1, 2], end=[1, 3, 4]) for dtype in ("int16", "bool")],
]

BLOCKS = [
    case("depth_to_space", IMAGE, "", lambda: onnx_run("DepthToSpace", IMAGE, blocksize=2, mode="DCR"), block_size=2),
    case("space_to_depth", IMAGE, "", lambda: onnx_run("SpaceToDepth", IMAGE, blocksize=2), block_size=2),
    case("pixel_shuffle", IMAGE, "", lambda: onnx_run("DepthToSpace", IMAGE, blocksize=2, mode="CRD"), upscale_factor=2),
    Case(
        "pixel_unshuffle",
        {"x": onnx_run("DepthToSpace", IMAGE, blocksize=2, mode="CRD"), "downscale_factor": Fixed(np.uint32(2), "uint32")},
        IMAGE,
        opset="ios16",
    ),
]

PICTURES = np.arange(1, 17, dtype=np.float32).reshape(2, 1, 2, 4)
PARTS = np.array([0, 1, 3, 0, 9, 11, 0, 2, 4, 0, 10, 12, 0, 5, 7, 0, 13, 15, 0, 6, 8, 0, 14, 16], np.float32).reshape(8, 1, 1, 3)
"""What coremltools' own test of space_to_batch states for `PICTURES`, with two columns of zeros on the left."""


def batch_from_columns(x: Array, block: tuple[int, int]) -> Array:
    """The batch of blocks of one image, by strided slices of it."""
    return np.concatenate([x[:, :, row :: block[0], column :: block[1]] for row in range(block[0]) for column in range(block[1])])


PADDED = np.pad(IMAGE, ((0, 0), (0, 0), (1, 1), (2, 1)))
BATCHES = [
    case("space_to_batch", PICTURES, "example", PARTS, block_shape=[2, 2], paddings=Fixed(np.array([[0, 0], [2, 0]], np.int32))),
    case("batch_to_space", PARTS, "example", PICTURES, block_shape=[2, 2], crops=Fixed(np.array([[0, 0], [2, 0]], np.int32))),
    case(
        "space_to_batch",
        IMAGE,
        "oblong",
        batch_from_columns(PADDED, (2, 3)),
        block_shape=[2, 3],
        paddings=Fixed(np.array([[1, 1], [2, 1]], np.int32)),
    ),
    case(
        "batch_to_space",
        batch_from_columns(PADDED, (2, 3)),
        "oblong",
        IMAGE,
        block_shape=[2, 3],
        crops=Fixed(np.array([[1, 1], [2, 1]], np.int32)),
    ),
]


def windows(x: Array, axis: int, size: int, stride: int) -> Array:
    """Windows of NumPy's view, whose window dimension is the last."""
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis)
    return np.moveaxis(view, -1, axis % x.ndim + 1).take(range(0, view.shape[axis % x.ndim], stride), axis % x.ndim)


WINDOWS = [
    case("sliding_windows", X, "plain", windows(X, 1, 2, 1), axis=1, size=2),
    case("sliding_windows", X, "strided", windows(X, 2, 2, 2), axis=-1, size=2, stride=2),
    case("sliding_windows", WHOLE, "int32", windows(WHOLE, 0, 2, 1), axis=0, size=2),
    *typed("sliding_windows", lambda x: windows(x, 2, 3, 1), axis=2, size=3),
]

CASES = [*RESHAPES, *ORDERS, *SEQUENCES, *SLICES, *UPDATES, *BLOCKS, *BATCHES, *WINDOWS]
