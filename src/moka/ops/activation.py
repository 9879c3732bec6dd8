"""Activations: element-wise functions with a shape of their own, and softmax."""

from __future__ import annotations

from typing import Literal

import torch
from torch.nn import functional

from moka.ops._elementwise import along_axis, unary
from moka.ops.table import FLOATS, T, U, operation

relu = unary("relu", torch.relu, "Rectified linear unit: max(0, x).")
relu6 = unary("relu6", functional.relu6, "Rectified linear unit with a ceiling: min(max(0, x), 6).")
sigmoid = unary("sigmoid", torch.sigmoid, "Logistic function: 1 / (1 + e^-x).")
silu = unary("silu", functional.silu, "Sigmoid linear unit, also called swish: x * sigmoid(x).")
softplus = unary("softplus", functional.softplus, "Smooth rectified linear unit: ln(1 + e^x).")
softsign = unary("softsign", functional.softsign, "x / (1 + |x|).")


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def clamped_relu(x: T, *, alpha: float, beta: float) -> T:
    """Leaky rectified linear unit with a ceiling: min(x, beta) if x >= 0, else min(alpha * x, beta)."""
    return functional.leaky_relu(x, alpha).clamp(max=beta)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def elu(x: T, *, alpha: float) -> T:
    """Exponential linear unit: x if x > 0, else alpha * (e^x - 1)."""
    return functional.elu(x, alpha)


@operation("ios15", T=FLOATS)
def gelu(x: T, *, mode: Literal["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"] = "EXACT") -> T:
    """Gaussian error linear unit: x * P(X <= x) for a standard normal X.

    EXACT: x / 2 * (1 + erf(x / sqrt(2))). TANH_APPROXIMATION: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))).
    SIGMOID_APPROXIMATION: x * sigmoid(1.702 * x).
    """
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return functional.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def leaky_relu(x: T, *, alpha: float) -> T:
    """Leaky rectified linear unit: x if x >= 0, else alpha * x."""
    return functional.leaky_relu(x, alpha)


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def linear_activation(x: T, *, alpha: float, beta: float) -> T:
    """Line: alpha * x + beta."""
    return x * alpha + beta


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def prelu(x: T, alpha: U) -> T:
    """Leaky rectified linear unit with a slope for each channel: x[i] if x[i] > 0, else alpha[i] * x[i].

    x: [B, C, ...] with one to three more dimensions, alpha: [C].
    """
    return functional.prelu(x, alpha.to(x.dtype))


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def scaled_tanh(x: T, *, alpha: float, beta: float) -> T:
    """Hyperbolic tangent, scaled inside and out: alpha * tanh(beta * x)."""
    return torch.tanh(x * beta) * alpha


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def sigmoid_hard(x: T, *, alpha: float, beta: float) -> T:
    """Sigmoid of straight lines: min(max(alpha * x + beta, 0), 1)."""
    return (x * alpha + beta).clamp(0, 1)


@operation("ios15", T=FLOATS)
def softmax(x: T, *, axis: int = -1) -> T:
    """Exponentials in proportion to their sum: e^x / sum(e^x) along ``axis``."""
    return torch.softmax(x, axis)


@operation("ios17", T=FLOATS, U=FLOATS)
@operation("ios15", T=FLOATS, U=FLOATS)
def softplus_parametric(x: T, alpha: U, beta: U) -> T:
    """Softplus with two parameters for each channel: alpha[i] * ln(1 + e^(beta[i] * x[i])).

    x: [B, C, ...] of rank 3 or more, alpha and beta: [C].
    """
    inner, outer = (along_axis(parameter.to(x.dtype), x.dim(), 1) for parameter in (beta, alpha))
    return functional.softplus(x * inner) * outer


@operation("ios17", T=FLOATS)
@operation("ios15", T=FLOATS)
def thresholded_relu(x: T, *, alpha: float) -> T:
    """Identity from a threshold on: x if x >= alpha, else 0."""
    return x.masked_fill(x < alpha, 0)
