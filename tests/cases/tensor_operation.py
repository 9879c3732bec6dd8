"""Cases of tensors made, joined, split, padded, sorted and searched. Expected values come from NumPy, ONNX Runtime or the documentation."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.cases.nms_oracle import suppressed
from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

Array = np.ndarray[Any, Any]
RNG = np.random.default_rng(5)
X = RNG.normal(0, 3, (2, 3, 4)).astype(np.float32)
WHOLE = RNG.integers(-9, 9, (2, 3, 4)).astype(np.int32)
FLAGS = WHOLE > 0
SPECIAL = np.array([np.nan, -np.inf, 0.0, -0.0, np.inf, 1.0], np.float32)


def case(operation: str, note: str, expected: Any, *dtypes: str, opset: str = "ios15", meta: str = "", **inputs: Any) -> Case:
    """A case whose outputs have the given types, fp32 if none is given; without floats there is no fp16 form."""
    outputs = dtypes or ("fp32",)
    return Case(operation, inputs, expected, outputs, opset, fp16=1e-2 if "fp32" in outputs else None, meta=meta, note=note)


MADE = [
    case("identity", "", X, x=X),
    case("identity", "bool", FLAGS, "bool", x=FLAGS),
    case("select", "", np.where(FLAGS, X, -X), cond=FLAGS, a=X, b=-X),
    case("select", "broadcast", np.where(FLAGS[:1], X[:, :1], np.float32(2)), cond=FLAGS[:1], a=X[:, :1], b=Fixed(np.float32(2))),
    case("select", "int", np.where(FLAGS, WHOLE, 7), "int32", cond=FLAGS, a=WHOLE, b=Fixed(np.full((1,), 7, np.int32))),
    case("select", "bool", FLAGS.all(-1, keepdims=True) | FLAGS, "bool", cond=FLAGS.all(-1, keepdims=True), a=np.ones((1,), bool), b=FLAGS),
    case(
        "select",
        "hides_nan",
        np.array([1.0, 2.0]),
        cond=np.array([True, False]),
        a=np.array([1.0, np.nan], np.float32),
        b=np.array([np.nan, 2.0], np.float32),
    ),
    case("shape", "", [2, 3, 4], "int32", x=X),
    case("shape", "scalar", np.zeros(0), "int32", x=np.full((), 2, np.float32)),
    case("shape", "empty", [3, 0], "int32", x=np.zeros((3, 0), np.int32)),
    case("fill", "default", np.zeros((2, 3)), shape=[2, 3]),
    case("fill", "float", np.full((2, 3), 1.5), shape=[2, 3], value=1.5),
    case("fill", "int", np.full((4,), -3), "int32", shape=[4], value=-3),
    case("fill", "bool", np.full((1, 2), True), "bool", shape=[1, 2], value=True),
    case("fill", "computed", np.full((2, 2), -1.0), shape=np.array([2, 2], np.int32), value=-1.0),
    case("fill", "empty", np.full((2, 0), 1.0), shape=[2, 0], value=1.0),
    case("fill_like", "default", np.zeros((2, 3, 4)), opset="ios16", ref_tensor=X),
    case("fill_like", "other_type", np.full((2, 3, 4), 5), "int32", opset="ios16", ref_tensor=X, value=5),
    case("fill_like", "float", np.full((2, 3, 4), 0.5), opset="ios16", ref_tensor=FLAGS, value=0.5),
    case("fill_like", "bool", np.full((2, 3, 4), True), "bool", opset="ios16", ref_tensor=WHOLE, value=True),
    case("range_1d", "int", np.arange(2, 15, 3), "int32", start=2, end=15, step=3),
    case("range_1d", "backwards", np.arange(5, -3, -2), "int32", start=5, end=-3, step=-2),
    case("range_1d", "float", np.arange(1.0, 3.1, 0.25), start=1.0, end=3.1, step=0.25),
    case("range_1d", "computed", np.arange(0, 7, 2), "int32", start=0, end=np.array(7, np.int32), step=2),
    case(
        "range_1d",
        "all_computed",
        np.arange(-1.0, 2.0, 0.5),
        start=np.array(-1, np.float32),
        end=np.array(2, np.float32),
        step=np.array(0.5, np.float32),
    ),
    case("range_1d", "empty", np.zeros(0), "int32", start=3, end=3, step=1),
]

INDEX = np.array([[0, 2], [3, 1]], np.int32)
HOT = np.eye(4)[INDEX]
ON: dict[str, Any] = {"on_value": 1.0, "off_value": 0.0}
ONE_HOT = [
    case("one_hot", "default", HOT.astype(np.int32), "int32", indices=INDEX, one_hot_vector_size=4),
    case("one_hot", "values", HOT * 1.5 - 1, indices=INDEX, one_hot_vector_size=4, on_value=0.5, off_value=-1.0),
    case("one_hot", "axis", np.moveaxis(HOT, -1, 0), indices=INDEX, one_hot_vector_size=4, axis=0, **ON),
    case(
        "one_hot",
        "negative_axis",
        np.moveaxis(HOT, -1, -2),
        indices=INDEX,
        one_hot_vector_size=4,
        axis=-2,
        on_value=1.0,
        off_value=0.0,
    ),
    case("one_hot", "bool", HOT > 0, "bool", indices=INDEX, one_hot_vector_size=4, on_value=True, off_value=False),
    case("one_hot", "computed_size", np.eye(5)[INDEX], indices=INDEX, one_hot_vector_size=np.array(5, np.int32), **ON),
    case("one_hot", "scalar", [0.0, 0.0, 1.0], indices=np.array(2, np.int32), one_hot_vector_size=3, **ON),
    case("one_hot", "outside", [[0, 0], [0, 0], [0, 1]], "int32", indices=np.array([-1, 2, 1], np.int32), one_hot_vector_size=2),
]


def parts(x: Array, at: list[int], axis: int) -> list[Array]:
    return np.split(x, at, axis)


JOINED = [
    case("concat", "", np.concatenate([X, X[:, :1]], 1), values=[X, X[:, :1]], axis=1),
    case("concat", "negative_axis", np.concatenate([WHOLE, WHOLE, WHOLE], -1), "int32", values=[WHOLE, WHOLE, WHOLE], axis=-1),
    case("concat", "one", X, values=[X], axis=0),
    case("concat", "bool", np.concatenate([FLAGS, FLAGS]), "bool", values=[FLAGS, FLAGS], axis=0),
    case("concat", "scalars", [3.0, 4.0], values=[np.array(3, np.float32), np.array(4, np.float32)], axis=0),
    case("concat", "with_empty", X, values=[X, np.zeros((2, 0, 4), np.float32)], axis=1),
    case("concat", "with_constant", np.concatenate([X, np.ones((2, 1, 4))], 1), values=[X, Fixed(np.ones((2, 1, 4), np.float32))], axis=1),
    case(
        "concat",
        "interleave",
        [[1, 2], [7, 8], [3, 4], [9, 10], [5, 6], [11, 12]],
        "int32",
        axis=0,
        interleave=True,
        values=[np.array([[1, 2], [3, 4], [5, 6]], np.int32), np.array([[7, 8], [9, 10], [11, 12]], np.int32)],
    ),
    case(
        "concat",
        "interleave_inner",
        [[1, 7, 2, 8], [3, 9, 4, 10]],
        values=[np.array([[1, 2], [3, 4]], np.float32), np.array([[7, 8], [9, 10]], np.float32)],
        axis=-1,
        interleave=True,
    ),
    case(
        "concat",
        "uint16",
        np.array([65535, 1]),
        "uint16",
        opset="ios17",
        values=[np.array([65535], np.uint16), np.array([1], np.uint16)],
        axis=0,
    ),
    case("stack", "", np.stack([X, -X, X], 1), values=[X, -X, X], axis=1),
    case("stack", "last", np.stack([WHOLE, WHOLE], -1), "int32", values=[WHOLE, WHOLE], axis=-1),
    case("stack", "scalars", [3.0, 4.0], values=[np.array(3, np.float32), np.array(4, np.float32)], axis=0),
    case("stack", "one", X[None], values=[X], axis=0),
    case("split", "number", parts(X, [2], 2), "fp32", "fp32", x=X, num_splits=2, axis=2),
    case("split", "sizes", parts(X, [1, 1], 1), "fp32", "fp32", "fp32", x=X, split_sizes=[1, 0, 2], axis=1),
    case("split", "both", parts(WHOLE, [3], -1), "int32", "int32", x=WHOLE, num_splits=2, split_sizes=[3, 1], axis=-1),
    case("split", "one", X, x=X, num_splits=1, axis=0),
    case(
        "split",
        "computed_sizes",
        parts(FLAGS, [1], 2),
        "bool",
        "bool",
        x=FLAGS,
        num_splits=2,
        split_sizes=np.array([1, 3], np.int32),
        axis=2,
    ),
    case("tile", "", np.tile(X, (2, 1, 3)), x=X, reps=[2, 1, 3]),
    case("tile", "computed", np.tile(WHOLE, (1, 2, 1)), "int32", x=WHOLE, reps=np.array([1, 2, 1], np.int32)),
    case("tile", "bool", np.tile(FLAGS, (1, 2, 1)), "bool", x=FLAGS, reps=[1, 2, 1]),
    *[
        case("flatten2d", note, np.zeros(shape), x=np.zeros(start, np.float32), axis=axis)
        for note, start, axis, shape in [
            ("vector_last", (3,), -1, (1, 3)),
            ("vector_first", (3,), 1, (3, 1)),
            ("matrix", (4, 3), -1, (4, 3)),
            ("last", (2, 3, 2), -1, (6, 2)),
            ("first", (5, 5, 2), 1, (5, 10)),
        ]
    ],
    case("flatten2d", "elements", X.reshape(6, 4), x=X, axis=2),
    case("flatten2d", "default_axis", X.reshape(2, 12), x=X),
    case("flatten2d", "axis_0", WHOLE.reshape(1, 24), "int32", x=WHOLE, axis=0),
]


def padded(note: str, x: Array, amounts: list[int], mode: str = "constant", value: float = 0.0) -> Case:
    """Beside NumPy, whose `edge` is `replicate`; ``amounts`` are for the last dimensions."""
    pairs = np.array([0] * (2 * x.ndim - len(amounts)) + amounts).reshape(-1, 2)
    more: dict[str, Any] = {"constant_values": value} if mode == "constant" else {}
    given: dict[str, Any] = {"mode": mode, **({"constant_val": value} if value else {})}
    numpy_mode: Any = {"replicate": "edge"}.get(mode, mode)
    return case("pad", f"{mode}_{note}", np.pad(x, pairs, numpy_mode, **more), x=x, pad=amounts, **given)


FIVE = RNG.normal(0, 1, (2, 3, 2, 3, 2)).astype(np.float32)
PADS = [
    padded("last", X, [1, 2]),
    padded("all", X, [1, 0, 0, 2, 3, 1], value=-1.5),
    padded("infinity", X, [0, 0, 1, 1], value=-np.inf),
    padded("nothing", X, [0, 0], "reflect"),
    padded("empty", np.zeros((2, 0), np.float32), [1, 1, 1, 1], value=2.0),
    case("pad", "default", np.pad(X, ((0, 0), (1, 1), (2, 0))), x=X, pad=[1, 1, 2, 0]),
    case("pad", "computed", np.pad(X, ((1, 0), (0, 1), (2, 0))), x=X, pad=np.array([1, 0, 0, 1, 2, 0], np.int32)),
    *[
        padded(note, x, amounts, mode)
        for mode in ("reflect", "replicate")
        for note, x, amounts in [
            ("vector", X[0, 0], [2, 3]),
            ("last", X, [3, 1]),
            ("last_two", X, [2, 1, 0, 3]),
            ("all_three", X, [1, 1, 2, 0, 1, 3]),
            ("picture", FIVE[0], [1, 1, 0, 2, 1, 0]),
            ("first_only", X, [1, 0, 0, 0, 0, 0]),
            ("middle_only", FIVE, [0, 0, 2, 1, 0, 0, 0, 0, 0, 0]),
            ("all_five", FIVE, [1, 0, 2, 1, 0, 1, 1, 2, 1, 1]),
        ]
    ],
    padded("as_many_as_there_are", X, [2, 2, 4, 4], "replicate"),
    padded("all_but_one", X, [2, 2, 3, 3], "reflect"),
]


def running(x: Array, axis: int, **flags: bool) -> Array:
    return onnx_run("CumSum", x, np.array(axis, np.int64), **{name: int(flag) for name, flag in flags.items()})


SMALL = np.round(X)
BANDS = [(-1, 0), (0, -1), (0, 0), (1, 0), (0, 2), (-1, -1), (5, 1)]
SUMS = [
    *[
        case("band_part", f"{low}_{up}", np.triu(np.tril(X, up if up >= 0 else 99), -low if low >= 0 else -99), x=X, lower=low, upper=up)
        for low, up in BANDS
    ],
    case("band_part", "default", X, x=X),
    case("band_part", "int", np.tril(WHOLE), "int32", x=WHOLE, upper=0),
    case("band_part", "bool", np.triu(FLAGS, 1) | np.eye(3, 4, dtype=bool) & FLAGS, "bool", x=FLAGS, lower=0),
    case("band_part", "hides_nan", [[1, 0], [1, 1]], x=np.array([[1, np.nan], [1, 1]], np.float32), upper=0),
    case("cumsum", "default", lambda: running(SMALL, 0), x=SMALL),
    case("cumsum", "negative_axis", lambda: running(SMALL, -1), x=SMALL, axis=-1),
    case("cumsum", "exclusive", lambda: running(SMALL, 1, exclusive=True), x=SMALL, axis=1, exclusive=True),
    case("cumsum", "reverse", lambda: running(SMALL, 2, reverse=True), x=SMALL, axis=2, reverse=True),
    case(
        "cumsum",
        "exclusive_reverse",
        lambda: running(SMALL, 1, reverse=True, exclusive=True),
        x=SMALL,
        axis=1,
        reverse=True,
        exclusive=True,
    ),
    case("cumsum", "int", np.cumsum(WHOLE, 2), "int32", x=WHOLE, axis=2),
    case("cumsum", "exclusive_infinity", [0.0, 1.0, np.inf], x=np.array([1.0, np.inf, 2.0], np.float32), exclusive=True),
    case("cumsum", "exclusive_empty", np.zeros((2, 0)), x=np.zeros((2, 0), np.float32), axis=1, exclusive=True),
]

WHICH = "how many there are depends on the values"
ORDER = [
    case("non_zero", "float", np.argwhere(SMALL), "int32", x=SMALL, meta=WHICH),
    case("non_zero", "int", np.argwhere(WHOLE), "int32", x=WHOLE),
    case("non_zero", "bool", np.argwhere(FLAGS), "int32", x=FLAGS),
    case("non_zero", "none", np.zeros((0, 2)), "int32", x=np.zeros((2, 3), np.int32)),
    case("non_zero", "nan", [[0], [1], [4], [5]], "int32", x=SPECIAL, meta=WHICH),
    case("argsort", "default", np.argsort(-X), "int32", x=X),
    case("argsort", "ascending", np.argsort(X, 1), "int32", x=X, axis=1, ascending=True),
    case("argsort", "equal", [[3, 0, 2, 1, 4]], "int32", x=np.array([[2, 1, 2, 3, 1]], np.float32)),
    case("argsort", "equal_ascending", [1, 4, 0, 2, 3], "int32", x=np.array([2, 1, 2, 3, 1], np.int32), ascending=True),
]


def best(x: Array, k: int, axis: int, ascending: bool = False) -> tuple[Array, Array]:
    """NumPy's order and what stands there; the values must be different."""
    order = np.argsort(x if ascending else -x, axis).take(range(k), axis)
    return np.take_along_axis(x, order, axis), order


BOTH = ("fp32", "int32")
TIES = np.array([[3, 1, 3, 2, 3, 1]], np.int32)
NARROW = ("int8", "int16", "uint8", "uint16", "int32")
TOPK = [
    case("topk", "default", lambda: best(X, 1, -1), *BOTH, x=X),
    case("topk", "axis", lambda: best(X, 2, 1), *BOTH, x=X, k=2, axis=1),
    case("topk", "ascending", lambda: best(X, 3, 2, True), *BOTH, x=X, k=3, axis=2, ascending=True),
    case("topk", "all", lambda: best(X, 2, -3), *BOTH, x=X, k=2, axis=-3),
    case("topk", "equal", ([[3, 3, 3, 2]], [[0, 2, 4, 3]]), "int32", "int32", x=TIES, k=4),
    case("topk", "equal_ascending", ([[1, 1, 2, 3]], [[1, 5, 3, 0]]), "int32", "int32", x=TIES, k=4, ascending=True),
    case("topk", "special", ([np.nan, np.inf, 1, 0, 0, -np.inf], [0, 4, 5, 2, 3, 1]), *BOTH, x=SPECIAL, k=6),
    case(
        "topk",
        "extremes",
        ([2**31 - 1, 0, -1, -(2**31)], [1, 3, 2, 0]),
        "int32",
        "int32",
        k=4,
        x=np.array([-(2**31), 2**31 - 1, -1, 0], np.int32),
    ),
    case("topk", "values_only", lambda: best(X, 2, 1)[0], opset="ios16", x=X, k=2, axis=1, return_indices=False),
    case("topk", "sorted", lambda: best(X, 3, -1), *BOTH, opset="ios16", x=X, k=3, sort=True),
    case("topk", "unsorted_all_equal", ([[5.0, 5.0]], [[0, 1]]), *BOTH, opset="ios16", x=np.full((1, 2), 5, np.float32), k=2, sort=False),
    case("topk", "every", lambda: best(X, 4, -1), *BOTH, opset="ios17", x=X, k=-1),
    case("topk", "uint16_indices", lambda: best(X, 2, -1), "fp32", "uint16", opset="ios17", x=X, k=2, output_indices_dtype="uint16"),
    case("topk", "values_only", lambda: best(X, 2, -1)[0], opset="ios17", x=X, k=2, return_indices=False),
    *[
        case(
            "topk",
            dtype,
            ([[3, 2], [6, 5]], [[1, 0], [2, 0]]),
            dtype,
            "int32",
            opset="ios17",
            k=Fixed(np.int8(2)),
            axis=1,
            x=np.array([[2, 3, 1], [5, 4, 6]], dtype),
        )
        for dtype in NARROW
    ],
]

SUPPRESSION = "which boxes stay depends on their scores"
SMOKE = np.arange(4, dtype=np.float32)[None, :, None].repeat(4, 2)
SMOKE_SCORES = np.array([[[-3.5], [9.4], [2.3], [0.7]]], np.float32)
BOXES = np.concatenate([RNG.uniform(0, 10, (2, 12, 2)), RNG.uniform(2, 6, (2, 12, 2))], 2).astype(np.float32)
SCORES = RNG.permutation(2 * 12 * 3).reshape(2, 12, 3).astype(np.float32) / 8
DETECTED = ("fp32", "fp32", "int32", "int32")


def suppression(note: str, iou: float, score: float, count: int, per_class: bool) -> list[Case]:
    """Both forms; the newer one has no least score and the boxes last."""
    older = case(
        "non_maximum_suppression",
        note,
        lambda: suppressed(BOXES, SCORES, iou, score, count, per_class),
        *DETECTED,
        boxes=BOXES,
        scores=SCORES,
        iou_threshold=iou,
        score_threshold=score,
        max_boxes=count,
        per_class_suppression=per_class,
        meta=SUPPRESSION,
    )

    def boxes_last() -> tuple[Array, Array, Array]:
        boxes, scores, indices, _ = suppressed(BOXES, SCORES, iou, -np.inf, count, per_class)
        return boxes.transpose(0, 2, 1), scores.transpose(0, 2, 1), indices

    newer = case(
        "non_maximum_suppression",
        note,
        boxes_last,
        *DETECTED[:3],
        opset="ios17",
        boxes=np.ascontiguousarray(BOXES.transpose(0, 2, 1)),
        scores=np.ascontiguousarray(SCORES.transpose(0, 2, 1)),
        iou_threshold=iou,
        max_boxes=count,
        per_class_suppression=per_class,
        meta=SUPPRESSION,
    )
    return [older, newer]


DETECTIONS = [
    case(
        "non_maximum_suppression",
        "example",
        ([[[1.0] * 4, [2.0] * 4]], [[[9.4], [2.3]]], [[1, 2]], [2]),
        *DETECTED,
        boxes=SMOKE,
        scores=SMOKE_SCORES,
        iou_threshold=0.2,
        score_threshold=0.4,
        max_boxes=2,
        per_class_suppression=True,
        meta=SUPPRESSION,
    ),
    case(
        "non_maximum_suppression",
        "none_above_the_threshold",
        ([[[1.0] * 4, [0.0] * 4]], [[[9.4], [0.0]]], [[1, -1]], [1]),
        *DETECTED,
        boxes=SMOKE,
        scores=SMOKE_SCORES,
        iou_threshold=0.2,
        score_threshold=10.0,
        max_boxes=2,
        meta=SUPPRESSION,
    ),
    *suppression("few", 0.3, 1.0, 4, False),
    *suppression("padded", 0.3, 4.0, 15, False),
    *suppression("per_class", 0.3, 1.0, 15, True),
    *suppression("per_class_few", 0.1, -5.0, 3, True),
    *suppression("loose", 0.9, 1.0, 20, False),
]

CASES = [*MADE, *ONE_HOT, *JOINED, *PADS, *SUMS, *ORDER, *TOPK, *DETECTIONS]
