"""Element-wise operations: arithmetic, comparison and logic of two tensors, functions of one, and conversion between types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from moka.errors import ProgramError
from moka.ops._elementwise import Binary, binary, comparison, logical, saturate, unary
from moka.ops.table import BOOL, FLOATS, INT8, INT16, INT32, UINT8, UINT16, T, operation


def _whole(divide: Callable[[Tensor, Tensor], Tensor], real: Binary) -> Binary:
    """``divide`` for integers, where a zero divisor gives 0 and not an exception; ``real`` for floats."""

    def function(x: Tensor, y: Tensor) -> Tensor:
        if x.is_floating_point():
            return real(x, y)
        zero = y == 0
        return divide(x, y.masked_fill(zero, 1)).masked_fill(zero, 0)

    return function


def _exp2(x: Tensor) -> Tensor:
    return torch.exp2(x) if x.is_floating_point() else torch.pow(2, x)  # exp2 makes floats of integers


def _truncated(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="trunc")


add = binary("add", torch.add, "Sum, with broadcasting: x + y.")
sub = binary("sub", torch.sub, "Difference, with broadcasting: x - y.")
mul = binary("mul", torch.mul, "Product, with broadcasting: x * y.")
real_div = binary(
    "real_div",
    _whole(_truncated, torch.div),
    "Quotient, with broadcasting: x / y.\n\nIntegers give an integer, rounded toward zero; by zero 0.",
)
floor_div = binary(
    "floor_div",
    _whole(torch.floor_divide, torch.floor_divide),
    "Quotient rounded toward negative infinity, with broadcasting: floor(x / y).\n\nAn integer divided by zero gives 0.",
)
mod = binary(
    "mod",
    _whole(torch.remainder, torch.remainder),
    "Remainder of `floor_div`, with broadcasting: x - floor(x / y) * y, of y's sign.\n\nAn integer modulo zero gives 0.",
)
pow_ = binary(
    "pow",
    torch.pow,
    "Power, with broadcasting: x ^ y.\n\nA negative base with a fractional exponent gives NaN; of integers rounded toward zero.",
)
maximum = binary("maximum", torch.maximum, "The larger of two, with broadcasting: x > y ? x : y; NaN where either is.")
minimum = binary("minimum", torch.minimum, "The smaller of two, with broadcasting: x > y ? y : x; NaN where either is.")

equal = comparison("equal", torch.eq, "Whether x = y, with broadcasting.")
not_equal = comparison("not_equal", torch.ne, "Whether x differs from y, with broadcasting; true where either is NaN.")
greater = comparison("greater", torch.gt, "Whether x > y, with broadcasting.")
greater_equal = comparison("greater_equal", torch.ge, "Whether x >= y, with broadcasting.")
less = comparison("less", torch.lt, "Whether x < y, with broadcasting.")
less_equal = comparison("less_equal", torch.le, "Whether x <= y, with broadcasting.")

logical_and = logical("logical_and", torch.logical_and, "Whether x and y hold, with broadcasting.")
logical_or = logical("logical_or", torch.logical_or, "Whether x or y holds, or both, with broadcasting.")
logical_xor = logical("logical_xor", torch.logical_xor, "Whether exactly one of x and y holds, with broadcasting.")
logical_not = unary("logical_not", torch.logical_not, "Whether x does not hold.", BOOL)

abs_ = unary("abs", torch.abs, "Absolute value: |x|.", FLOATS | INT32)
acos = unary("acos", torch.acos, "Inverse cosine, from 0 to pi; NaN outside [-1, 1].")
asin = unary("asin", torch.asin, "Inverse sine, from -pi/2 to pi/2; NaN outside [-1, 1].")
atan = unary("atan", torch.atan, "Inverse tangent, from -pi/2 to pi/2.")
atanh = unary("atanh", torch.atanh, "Inverse hyperbolic tangent; infinite at -1 and 1, NaN beyond.")
ceil = unary("ceil", torch.ceil, "The next integer toward positive infinity.")
cos = unary("cos", torch.cos, "Cosine of x, in radians.")
cosh = unary("cosh", torch.cosh, "Hyperbolic cosine: (e^x + e^-x) / 2.")
erf = unary("erf", torch.erf, "Gauss error function: 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.")
exp = unary("exp", torch.exp, "Exponential: e^x.")
exp2 = unary("exp2", _exp2, "Power of two: 2^x; of integers rounded toward zero.", FLOATS | INT32)
floor = unary("floor", torch.floor, "The next integer toward negative infinity.")
round_ = unary("round", torch.round, "The nearest integer, halves to the even one: 0.5 to 0, 1.5 to 2.")
sign = unary("sign", torch.sign, "-1, 0 or 1, as x is negative, zero or positive.", FLOATS | INT32)
sin = unary("sin", torch.sin, "Sine of x, in radians.")
sinh = unary("sinh", torch.sinh, "Hyperbolic sine: (e^x - e^-x) / 2.")
sqrt = unary("sqrt", torch.sqrt, "Square root; NaN for negative x.")
square = unary("square", torch.square, "Square: x^2.", FLOATS | INT32)
tan = unary("tan", torch.tan, "Tangent of x, in radians.")
tanh = unary("tanh", torch.tanh, "Hyperbolic tangent: (e^x - e^-x) / (e^x + e^-x).")


@operation("ios15", T=FLOATS)
def clip(x: T, *, alpha: float, beta: float) -> T:
    """Values brought into a range: min(max(x, alpha), beta)."""
    return torch.clamp(x, alpha, beta)


@operation("ios17", name="clip", T=FLOATS)
def clip_ios17(x: T, *, alpha: float, beta: float) -> T:
    """Values brought into a range: min(max(x, alpha), beta).

    From ios17 on the range must not be empty or a point.

    Raises:
        ProgramError: alpha is not below beta.
    """
    if alpha >= beta:
        raise ProgramError(f"clip: alpha is {alpha:g} and beta is {beta:g}; alpha must be below beta from CoreML7 on")
    return torch.clamp(x, alpha, beta)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def inverse(x: T, *, epsilon: float = 1e-4) -> T:
    """Reciprocal: 1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def log(x: T, *, epsilon: float = 1e-45) -> T:
    """Natural logarithm: ln(x + epsilon).

    The default is the smallest float32 above 0 (rounded to 1.4e-45) and is 0 in float16.
    """
    return torch.log(x + epsilon)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def rsqrt(x: T, *, epsilon: float = 1e-12) -> T:
    """Reciprocal of the square root: 1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@operation("ios15", T=FLOATS | INT32)
def threshold(x: T, *, alpha: int | float) -> T:
    """Values raised to a lower bound: max(x, alpha)."""
    return torch.clamp(x, min=alpha)


@operation("ios15", T=FLOATS | INT32 | BOOL)
def cast(x: T, *, dtype: Literal["fp16", "fp32", "int32", "bool"]) -> Tensor:
    """The same values in another element type.

    Floats become integers by rounding toward zero; beyond the type's range they become its nearest end, and NaN becomes 0. Anything but
    0 is true; true is 1. To fp16 values are rounded, beyond 65504 to infinity.
    """
    return _cast(x, dtype)


@operation("ios17", name="cast", T=FLOATS | INT8 | UINT8 | INT16 | UINT16 | INT32 | BOOL)
def cast_ios17(x: T, *, dtype: Literal["fp16", "fp32", "int8", "uint8", "int16", "uint16", "int32", "bool"]) -> Tensor:
    """The same values in another element type.

    Floats become integers by rounding toward zero; beyond the type's range they become its nearest end, and NaN becomes 0. Integers
    become narrower ones modulo the size of the range. Anything but 0 is true; true is 1. To fp16 values are rounded, beyond 65504 to
    infinity.
    """
    return _cast(x, dtype)


_TARGETS = {
    "fp16": torch.float16,
    "fp32": torch.float32,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
    "bool": torch.bool,
}


def _cast(x: Tensor, dtype: str) -> Tensor:
    if "int" in dtype and x.is_floating_point():
        return saturate(x, dtype)
    if dtype == "uint16":  # held as int32, so that the wrap is not the conversion's
        return x.to(torch.int32) & 0xFFFF
    return x.to(_TARGETS[dtype])
