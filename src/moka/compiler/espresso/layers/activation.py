"""Activation functions: one type of compiled layer with a number for each function."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import LISTED, Attributes, LayerContext, layer
from moka.compiler.espresso.weights import constant, form

__all__ = ["activation", "erf", "gelu", "softmax", "softmax_nd"]

_MODES: dict[str, tuple[int, tuple[str, ...]]] = {
    "ReLU": (0, ()),
    "tanh": (1, ()),
    "leakyReLU": (2, ("alpha",)),
    "sigmoid": (3, ()),
    "scaledTanh": (5, ("alpha", "beta")),
    "linear": (6, ("alpha", "beta")),
    "sigmoidHard": (7, ("alpha", "beta")),
    "ELU": (8, ("alpha",)),
    "thresholdedReLU": (9, ("alpha",)),
    "softplus": (10, ()),
    "softsign": (12, ()),
}
"""Number of each function, and the parameters that it has."""

_GELU_MODES = {0: 19, 1: 21, 2: 22}
"""Number of each approximation of GELU, as the format numbers them."""


@layer(
    "activation",
    to="activation",
    verified=6,
    seen=f"3 compiled networks, {LISTED}",
    scope="ReLU, leaky ReLU, linear, hard sigmoid in pairs; sigmoid in a compiled network; tanh, scaled tanh, ELU, thresholded ReLU, "
    "softplus and softsign in the list",
)
def activation(net: LayerContext, params: Any) -> Attributes:
    """Parameters that are 1 are left out."""
    kind = params.WhichOneof("NonlinearityType")
    if kind == "PReLU":
        return _slopes(net, params.PReLU)
    if kind not in _MODES:
        raise net.no_form(kind or "no function")
    mode, names = _MODES[kind]
    values = {name: number(getattr(getattr(params, kind), name)) for name in names}
    return {"mode": mode, **{name: value for name, value in values.items() if value != 1}}


def _slopes(net: LayerContext, params: Any) -> Attributes:
    """A leaky rectifier with a slope for each channel; the list says that the slopes are a weight, not under which name."""
    net.guess("PReLU")
    channels = net.input_shape()[-3:][0]
    if form(params.alpha, f"{net.node}: alpha") != "f32" or len(params.alpha.floatValue) != channels:
        raise net.no_form("PReLU of one slope, or with slopes that are not float32")
    return {"mode": 2, "weights": {"alpha": net.add_blob(constant(params.alpha, (channels,), f"{net.node}: alpha"))}}


@layer("gelu", to="activation", seen=LISTED)
def gelu(net: LayerContext, params: Any) -> Attributes:
    return {"mode": _GELU_MODES[params.mode]}


@layer("erf", to="activation", seen=LISTED)
def erf(net: LayerContext, params: Any) -> Attributes:
    return {"mode": 20}


@layer("softmax", to="softmax", verified=2, seen="1 compiled network")
def softmax(net: LayerContext, params: Any) -> Attributes:
    """Over channels, axis 2 counted from the width."""
    return {"C": 2}


@layer("softmaxND", to="softmax_nd", verified=1, seen="2 compiled networks")
def softmax_nd(net: LayerContext, params: Any) -> Attributes:
    return {"nd_axis": int(params.axis)}
