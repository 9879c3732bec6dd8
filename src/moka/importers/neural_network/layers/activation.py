"""Activation layers."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("activation")
def activation(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The function that the parameters choose."""
    kind = params.WhichOneof("NonlinearityType")
    chosen = getattr(params, kind)
    if kind == "PReLU":
        return _prelu(net, chosen, x)
    operation, names = _FUNCTIONS[kind]
    return net.emit(operation, x=x, **{name: getattr(chosen, name) for name in names})


_FUNCTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "linear": ("linear_activation", ("alpha", "beta")),
    "ReLU": ("relu", ()),
    "leakyReLU": ("leaky_relu", ("alpha",)),
    "thresholdedReLU": ("thresholded_relu", ("alpha",)),
    "tanh": ("tanh", ()),
    "scaledTanh": ("scaled_tanh", ("alpha", "beta")),
    "sigmoid": ("sigmoid", ()),
    "sigmoidHard": ("sigmoid_hard", ("alpha", "beta")),
    "ELU": ("elu", ("alpha",)),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
}


def _prelu(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """x where positive, else alpha of its channel times x; one alpha may serve all channels."""
    channels = net.static_shape(x)[-3]
    count = len(params.alpha.floatValue) or channels
    alpha = net.weights.read(params.alpha, (count,), f"{net.origin}: alpha").repeat(channels // count)
    negative = net.emit("mul", x=net.emit("minimum", x=x, y=0.0), y=alpha[:, None, None])
    return net.emit("add", x=net.emit("relu", x=x), y=negative)
