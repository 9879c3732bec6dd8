"""Activations."""

from __future__ import annotations

import numpy as np

from moka.engines.onnx.families._nodes import along_axis, reshape
from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers

_PLAIN = {"relu": "Relu", "sigmoid": "Sigmoid", "softplus": "Softplus", "softsign": "Softsign"}


def _enter_plain(operation: str, kind: str) -> None:
    @lowers(operation)
    def function(g: Graph, x: Operand) -> Operand:
        return g.node(kind, x)


for _operation, _kind in _PLAIN.items():
    _enter_plain(_operation, _kind)


@lowers("relu6")
def relu6(g: Graph, x: Operand) -> Operand:
    return g.node("Clip", x, 0.0, 6.0)


@lowers("silu")
def silu(g: Graph, x: Operand) -> Operand:
    return g.node("Mul", x, g.node("Sigmoid", x))


@lowers("clamped_relu")
def clamped_relu(g: Graph, x: Operand, *, alpha: float, beta: float) -> Operand:
    if alpha == 0 and beta >= 0:
        return g.node("Clip", x, 0.0, beta)
    return g.node("Min", leaky_relu(g, x, alpha=alpha), beta)


@lowers("elu")
def elu(g: Graph, x: Operand, *, alpha: float) -> Operand:
    return g.node("Elu", x, alpha=alpha)


@lowers("gelu")
def gelu(g: Graph, x: Operand, *, mode: str) -> Operand:
    if mode == "SIGMOID_APPROXIMATION":
        return g.node("Mul", x, g.node("Sigmoid", g.node("Mul", x, 1.702)))
    return g.node("Gelu", x, approximate="none" if mode == "EXACT" else "tanh")


@lowers("leaky_relu")
def leaky_relu(g: Graph, x: Operand, *, alpha: float) -> Operand:
    return g.node("LeakyRelu", x, alpha=alpha) if alpha != 0 else g.node("Relu", x)


@lowers("linear_activation")
def linear_activation(g: Graph, x: Operand, *, alpha: float, beta: float) -> Operand:
    scaled = x if alpha == 1 else g.node("Mul", x, alpha)
    return scaled if beta == 0 else g.node("Add", scaled, beta)


@lowers("prelu")
def prelu(g: Graph, x: Operand, alpha: Operand) -> Operand:
    slope = reshape(g, g.cast(alpha, x.dtype), [-1] + [1] * (x.rank - 2))
    return g.node("PRelu", x, slope)


@lowers("scaled_tanh")
def scaled_tanh(g: Graph, x: Operand, *, alpha: float, beta: float) -> Operand:
    return g.node("Mul", g.node("Tanh", g.node("Mul", x, beta)), alpha)


@lowers("sigmoid_hard")
def sigmoid_hard(g: Graph, x: Operand, *, alpha: float, beta: float) -> Operand:
    if beta == 0:  # which OpenVINO 2026.4 takes for the default of 0.5
        return g.node("Clip", x if alpha == 1 else g.node("Mul", x, alpha), 0.0, 1.0)
    return g.node("HardSigmoid", x, alpha=alpha, beta=beta)


@lowers("softmax")
def softmax(g: Graph, x: Operand, *, axis: int) -> Operand:
    return g.node("Softmax", x, axis=axis)


@lowers("softplus_parametric")
def softplus_parametric(g: Graph, x: Operand, alpha: Operand, beta: Operand) -> Operand:
    inner, outer = (along_axis(g, g.cast(parameter, x.dtype), x.rank, 1) for parameter in (beta, alpha))
    return g.node("Mul", g.node("Softplus", g.node("Mul", x, inner)), outer)


@lowers("thresholded_relu")
def thresholded_relu(g: Graph, x: Operand, *, alpha: float) -> Operand:
    """Not ONNX's, which gives 0 at the threshold itself."""
    below = g.node("Less", x, alpha, dtype=np.bool_)
    return g.node("Where", below, g.constant(0, x.dtype), x, dtype=x.dtype)
