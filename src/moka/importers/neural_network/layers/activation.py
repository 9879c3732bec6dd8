"""Activation layers."""

from __future__ import annotations

from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._shapes import as_images, like_images
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("activation")
def activation(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The function that the parameters choose."""
    kind = params.WhichOneof("NonlinearityType")
    if kind in _BY_CHANNEL:
        return _by_channel(net, kind, getattr(params, kind), x)
    if kind not in _FUNCTIONS:
        raise ProgramError(
            f"{net.origin}: NonlinearityType is {kind or 'not set'}; expected one of {', '.join((*_FUNCTIONS, *_BY_CHANNEL))}"
        )
    operation, names = _FUNCTIONS[kind]
    return net.emit(operation, x=x, **{name: getattr(getattr(params, kind), name) for name in names})


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

_BY_CHANNEL: dict[str, tuple[str, tuple[str, ...]]] = {
    "PReLU": ("prelu", ("alpha",)),
    "parametricSoftplus": ("softplus_parametric", ("alpha", "beta")),
}
"""Functions whose parameters are weights: one for each channel, or one for all."""


def _by_channel(net: NetworkBuilder, kind: str, params: Any, x: Value) -> Value:
    if net.rank(x) < 3:
        raise ProgramError(f"{net.origin}: the input has {net.rank(x)} axes; {kind} takes 3 or more, [..., channels, height, width]")
    operation, names = _BY_CHANNEL[kind]
    images = as_images(net, x)
    channels = net.static_shape(images)[1]
    weights: dict[str, Any] = {name: net.weights.read_channels(getattr(params, name), channels, f"{net.origin}: {name}") for name in names}
    return like_images(net, net.emit(operation, x=images, **weights), x)
