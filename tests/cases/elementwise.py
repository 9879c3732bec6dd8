"""Cases of the element-wise operations. Oracles: NumPy, SciPy, and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.special

from tests.cases.operations import Case, Fixed

RNG = np.random.default_rng(1)
X = RNG.normal(0, 2, (2, 3, 4)).astype(np.float32)
Y = RNG.normal(0, 2, (3, 1)).astype(np.float32)
UNIT = RNG.uniform(-0.95, 0.95, (3, 4)).astype(np.float32)
POSITIVE = RNG.uniform(0.1, 4, (3, 4)).astype(np.float32)
I = np.array([[7, -7, 7, -7], [6, -6, 0, 2**31 - 1]], np.int32)  # noqa: E741
J = np.array([2, 2, -2, -2], np.int32)
A = np.array([[True], [False]])
B = np.array([True, False])
SCALAR = np.array(1.5, np.float32)
EMPTY = np.zeros((0, 3), np.float32)
EXTREME = np.array([-np.inf, -1.0, 0.0, 1.0, np.inf, np.nan], np.float32)
HALVES = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4999], np.float32)
WIDE = np.array(
    [-1e30, -2147483648, -300.7, -128.9, -0.9, 0.9, 127.9, 255.5, 70000.5, 2147483648, 1e30, -np.inf, np.inf, np.nan], np.float32
)

BINARY: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
COMPARISON: dict[str, Any] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}
LOGICAL: dict[str, Any] = {
    "logical_and": [[True, False], [False, False]],
    "logical_or": [[True, True], [True, False]],
    "logical_xor": [[False, True], [True, False]],
}
UNARY: dict[str, tuple[Any, Any]] = {
    "abs": (X, np.abs),
    "acos": (UNIT, np.arccos),
    "asin": (UNIT, np.arcsin),
    "atan": (X, np.arctan),
    "atanh": (UNIT, np.arctanh),
    "ceil": (X, np.ceil),
    "cos": (X, np.cos),
    "cosh": (X, np.cosh),
    "erf": (X, scipy.special.erf),
    "exp": (X, np.exp),
    "exp2": (X, np.exp2),
    "floor": (X, np.floor),
    "round": (X, np.rint),
    "sign": (X, np.sign),
    "sin": (X, np.sin),
    "sinh": (X, np.sinh),
    "sqrt": (POSITIVE, np.sqrt),
    "square": (X, np.square),
    "tan": (UNIT, np.tan),
    "tanh": (X, np.tanh),
}
# What float arithmetic of half the width gives depends on which side of a whole number a quotient is rounded to.
JUMPS = {"floor_div", "mod"}


def quiet(function: Any, *arguments: Any) -> Any:
    with np.errstate(all="ignore"):
        return function(*arguments)


def integers(operation: str, expected: list[Any], y: Any = J, note: str = "int32") -> Case:
    return Case(operation, {"x": I, "y": y}, np.array(expected, np.int32), outputs=("int32",), note=note)


def to(dtype: str, x: Any, expected: Any, opset: str = "ios17", note: str = "", tolerance: float = 1e-5) -> Case:
    return Case("cast", {"x": x, "dtype": dtype}, expected, (dtype,), opset, tolerance, fp16=None, note=f"{dtype}{note}")


ARITHMETIC_CASES = [
    *[Case(n, {"x": X, "y": Y}, lambda f=f: f(X, Y), fp16=None if n in JUMPS else 1e-2) for n, f in BINARY.items()],
    *[
        Case(n, {"x": X, "y": SCALAR}, lambda f=f: f(X, SCALAR), fp16=None if n in JUMPS else 1e-2, note="scalar")
        for n, f in BINARY.items()
    ],
    *[Case(n, {"x": SCALAR, "y": SCALAR}, lambda f=f: f(SCALAR, SCALAR), note="rank0") for n, f in BINARY.items()],
    *[Case(n, {"x": EMPTY, "y": SCALAR}, EMPTY, note="empty") for n in (*BINARY, "pow")],
    *[
        Case(n, {"x": EXTREME, "y": EXTREME[::-1].copy()}, lambda f=f: quiet(f, EXTREME, EXTREME[::-1]), note="extremes")
        for n, f in BINARY.items()
    ],
    *[
        Case(n, {"x": EXTREME, "y": np.zeros(1, np.float32)}, lambda f=f: quiet(f, EXTREME, np.float32(0)), note="by-zero")
        for n, f in BINARY.items()
    ],
    Case("pow", {"x": POSITIVE, "y": UNIT}, lambda: np.power(POSITIVE, UNIT)),
    Case(
        "pow",
        {"x": np.array([-2.0, -2.0, 0.0, 0.0, 9.0], np.float32), "y": np.array([3.0, 0.5, 0.0, -1.0, 0.5], np.float32)},
        [-8, np.nan, 1, np.inf, 3],
        note="special",
    ),
    Case(
        "floor_div",
        {"x": np.array([7.5, -7.5, 7.5, -7.5], np.float32), "y": np.array([2.0, 2.0, -2.0, -2.0], np.float32)},
        [3, -4, -4, 3],
        note="signs",
    ),
    Case(
        "mod",
        {"x": np.array([7.5, -7.5, 7.5, -7.5], np.float32), "y": np.array([2.0, 2.0, -2.0, -2.0], np.float32)},
        [1.5, 0.5, -0.5, -1.5],
        note="signs",
    ),
    integers("add", [[9, -5, 5, -9], [8, -4, -2, 2**31 - 3]]),
    integers("add", [[8, -6, 8, -6], [7, -5, 1, -(2**31)]], np.array(1, np.int32), "overflow"),
    integers("sub", [[5, -9, 9, -5], [4, -8, 2, -(2**31) + 1]]),
    integers("mul", [[14, -14, -14, 14], [12, -12, 0, 2]]),
    integers("real_div", [[3, -3, -3, 3], [3, -3, 0, -(2**30) + 1]]),
    integers("floor_div", [[3, -4, -4, 3], [3, -3, 0, -(2**30)]]),
    integers("mod", [[1, 1, -1, -1], [0, 0, 0, -1]]),
    integers("maximum", [[7, 2, 7, -2], [6, 2, 0, 2**31 - 1]]),
    integers("minimum", [[2, -7, -2, -7], [2, -6, -2, -2]]),
    integers("real_div", [[0] * 4] * 2, np.array(0, np.int32), "int32-by-zero"),
    integers("floor_div", [[0] * 4] * 2, np.array(0, np.int32), "int32-by-zero"),
    integers("mod", [[0] * 4] * 2, np.array(0, np.int32), "int32-by-zero"),
    Case(
        "pow",
        {"x": np.array([2, -3, 7, 1, 2], np.int32), "y": np.array([10, 3, 0, -4, -1], np.int32)},
        np.array([1024, -27, 1, 1, 0], np.int32),
        outputs=("int32",),
        note="int32",
    ),
]

LOGIC_CASES = [
    *[Case(n, {"x": X, "y": Y}, lambda f=f: f(X, Y), outputs=("bool",), fp16=None) for n, f in COMPARISON.items()],
    *[
        Case(n, {"x": EXTREME, "y": np.float32([1])}, lambda f=f: f(EXTREME, 1), outputs=("bool",), note="extremes")
        for n, f in COMPARISON.items()
    ],
    *[Case(n, {"x": I, "y": np.array(6, np.int32)}, lambda f=f: f(I, 6), outputs=("bool",), note="int32") for n, f in COMPARISON.items()],
    *[Case(n, {"x": A, "y": B}, np.array(expected), outputs=("bool",)) for n, expected in LOGICAL.items()],
    Case("logical_not", {"x": A}, np.array([[False], [True]]), outputs=("bool",)),
]

UNARY_CASES = [
    *[Case(n, {"x": x}, lambda f=f, x=x: f(x)) for n, (x, f) in UNARY.items()],
    *[Case(n, {"x": x[(0,) * x.ndim].reshape(())}, lambda f=f, x=x: f(x[(0,) * x.ndim]), note="rank0") for n, (x, f) in UNARY.items()],
    *[Case(n, {"x": EMPTY}, EMPTY, note="empty") for n in UNARY],
    *[
        Case(n, {"x": EXTREME}, lambda f=f: quiet(f, EXTREME), note="extremes")
        for n, (_, f) in UNARY.items()
        if n not in ("sign", "cos", "sin", "tan")
    ],
    Case("sign", {"x": EXTREME[:-1]}, [-1, -1, 0, 1, 1], note="extremes"),
    Case("round", {"x": HALVES}, [-2, -2, 0, 0, 2, 2, 2], note="halves", fp16=None),
    Case("abs", {"x": I}, np.array([[7, 7, 7, 7], [6, 6, 0, 2**31 - 1]], np.int32), outputs=("int32",), note="int32"),
    Case("sign", {"x": I}, np.array([[1, -1, 1, -1], [1, -1, 0, 1]], np.int32), outputs=("int32",), note="int32"),
    Case("square", {"x": I[:, :3]}, np.array([[49, 49, 49], [36, 36, 0]], np.int32), outputs=("int32",), note="int32"),
    Case(
        "exp2", {"x": np.array([0, 1, 10, 30, -1], np.int32)}, np.array([1, 2, 1024, 2**30, 0], np.int32), outputs=("int32",), note="int32"
    ),
    Case("clip", {"x": EXTREME, "alpha": -0.5, "beta": 2.0}, [-0.5, -0.5, 0, 1, 2, np.nan]),
    Case("clip", {"x": EXTREME[:-1], "alpha": 2.0, "beta": -0.5}, [-0.5] * 5, note="empty-range"),
    Case("clip", {"x": EXTREME, "alpha": -0.5, "beta": 2.0}, [-0.5, -0.5, 0, 1, 2, np.nan], opset="ios17"),
    Case("threshold", {"x": EXTREME, "alpha": 0.5}, [0.5, 0.5, 0.5, 1, np.inf, np.nan]),
    Case(
        "threshold",
        {"x": I, "alpha": 2**24 + 1},
        np.array([[2**24 + 1] * 4, [2**24 + 1] * 3 + [2**31 - 1]], np.int32),
        outputs=("int32",),
        note="int32",
    ),
    *[
        case
        for opset in ("ios15", "ios17")
        for case in (
            Case("inverse", {"x": POSITIVE}, lambda: 1 / (POSITIVE.astype(np.float64) + 1e-4), opset=opset),
            Case("inverse", {"x": np.array([1.0, 3.0, -0.5], np.float32), "epsilon": 1.0}, [0.5, 0.25, 2], opset=opset, note="epsilon"),
            Case("inverse", {"x": EXTREME, "epsilon": 0.0}, [0, -1, np.inf, 1, 0, np.nan], opset=opset, note="extremes"),
            Case("log", {"x": POSITIVE}, lambda: np.log(POSITIVE), opset=opset),
            Case("log", {"x": np.array([0.0], np.float32)}, [-149 * np.log(2)], opset=opset, fp16=None, note="zero"),
            Case("log", {"x": np.array([0.0, 1.0, 3.0], np.float32), "epsilon": 1.0}, np.log([1.0, 2.0, 4.0]), opset=opset, note="epsilon"),
            Case("log", {"x": EXTREME, "epsilon": 0.0}, [np.nan, np.nan, -np.inf, 0, np.inf, np.nan], opset=opset, note="extremes"),
            Case("rsqrt", {"x": POSITIVE}, lambda: POSITIVE.astype(np.float64) ** -0.5, opset=opset),
            Case("rsqrt", {"x": np.array([0.0, 3.0, 8.0], np.float32), "epsilon": 1.0}, [1, 0.5, 1 / 3], opset=opset, note="epsilon"),
            Case("rsqrt", {"x": EXTREME, "epsilon": 0.0}, [np.nan, np.nan, np.inf, 1, 0, np.nan], opset=opset, note="extremes"),
        )
    ],
]

END = 2**31 - 1
CAST_CASES = [
    *[
        case
        for opset in ("ios15", "ios17")
        for case in (
            to("int32", np.array([-1.2, 2.0, -3.6, 4.5, -5.0, 6.7], np.float32), np.int32([-1, 2, -3, 4, -5, 6]), opset),
            to(
                "int32",
                WIDE,
                np.int32([-END - 1, -END - 1, -300, -128, 0, 0, 127, 255, 70000, END, END, -END - 1, END, 0]),
                opset,
                "-saturates",
            ),
            to("int32", A, np.int32([[1], [0]]), opset, "-from-bool"),
            to("fp32", I, I.astype(np.float32), opset),
            to("fp32", B, np.float32([1, 0]), opset, "-from-bool"),
            to("fp16", np.array([0.1, 1 / 3, 1e-9], np.float32), [0.0999755859375, 0.333251953125, 0.0], opset, "-rounds", 1e-9),
            to("fp16", np.array([2049.0, 65504.0, 1e5, -1e5, np.nan], np.float32), [2048, 65504, np.inf, -np.inf, np.nan], opset),
            to("fp16", np.array([2049, 70000], np.int32), np.float16([2048, np.inf]), opset, "-from-int32"),
            to("bool", EXTREME, np.array([True, True, False, True, True, True]), opset),
            to("bool", np.array([0, -1, 2], np.int32), np.array([False, True, True]), opset, "-from-int32"),
            to("fp32", np.array(2.5, np.float32), np.float32(2.5), opset, "-rank0"),
            to("int32", EMPTY, EMPTY.astype(np.int32), opset, "-empty"),
        )
    ],
    to("int8", WIDE, np.int8([-128, -128, -128, -128, 0, 0, 127, 127, 127, 127, 127, -128, 127, 0]), note="-saturates"),
    to("uint8", WIDE, np.uint8([0, 0, 0, 0, 0, 0, 127, 255, 255, 255, 255, 0, 255, 0]), note="-saturates"),
    to("int16", WIDE, np.int16([-32768, -32768, -300, -128, 0, 0, 127, 255, 32767, 32767, 32767, -32768, 32767, 0]), note="-saturates"),
    to("uint16", WIDE, np.int32([0, 0, 0, 0, 0, 0, 127, 255, 65535, 65535, 65535, 0, 65535, 0]), note="-saturates"),
    to("int8", np.array([127, 128, 255, 256, -129], np.int32), np.int8([127, -128, -1, 0, 127]), note="-wraps"),
    to("uint8", np.array([127, 255, 256, -1], np.int32), np.uint8([127, 255, 0, 255]), note="-wraps"),
    to("int16", np.array([32768, -1], np.int32), np.int16([-32768, -1]), note="-wraps"),
    to("uint16", np.array([65536, 65535, -1], np.int32), np.int32([0, 65535, 65535]), note="-wraps"),
    to("uint16", np.array([-1, 1], np.int16), np.int32([65535, 1]), note="-from-int16"),
    to("int32", np.array([0, 40000, 65535], np.uint16), np.int32([0, 40000, 65535]), note="-from-uint16"),
    to("int16", np.array([40000], np.uint16), np.int16([-25536]), note="-from-uint16"),
    to("fp16", np.array([-128, 127], np.int8), np.float16([-128, 127]), note="-from-int8"),
    to("fp32", np.array([0, 255], np.uint8), np.float32([0, 255]), note="-from-uint8"),
    to("bool", np.array([0, 3], np.uint8), np.array([False, True]), note="-from-uint8"),
    to("int8", np.array([300.0, -0.5], np.float16), np.int8([127, 0]), note="-from-fp16"),
]

CASES = [
    *ARITHMETIC_CASES,
    *LOGIC_CASES,
    *UNARY_CASES,
    *CAST_CASES,
    Case("add", {"x": X, "y": Fixed(Y)}, lambda: np.add(X, Y), note="constant-right"),
    Case("sub", {"x": Fixed(X), "y": Y}, lambda: np.subtract(X, Y), note="constant-left"),
]
