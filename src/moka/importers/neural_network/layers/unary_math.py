"""Functions of one blob, element by element, of specification 4 and later."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import known_rank
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


def _function(kind: str, operation: str, *fields: str) -> None:
    """Enters a layer that is an operation on its only blob, with attributes named as the layer's fields are."""

    @layer(kind)
    def translation(net: NetworkBuilder, params: Any, x: Value) -> Value:
        return net.emit(operation, rank=known_rank(x), x=x, **{name: getattr(params, name) for name in fields})


_SAME = (
    "ceil", "floor", "sign", "round", "exp2", "erf",
    "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "atanh",
)  # fmt: skip
"""Layers that are the operation of the same name."""

for _name in _SAME:
    _function(_name, _name)
_function("asinh", "nn_asinh")
_function("acosh", "nn_acosh")
_function("clampedReLU", "clamped_relu", "alpha", "beta")
_function("softmaxND", "softmax", "axis")
_function("copy", "identity")


@layer("clip")
def clip(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """min(max(x, minVal), maxVal), whatever the order of the two bounds is."""
    raised = net.emit("maximum", rank=known_rank(x), x=x, y=params.minVal)
    return net.emit("minimum", rank=known_rank(x), x=raised, y=params.maxVal)


_GELU = ("EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION")
"""By number of ``GeluMode``."""


@layer("gelu")
def gelu(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Gaussian error linear unit, exact or by one of two approximations."""
    return net.emit("gelu", rank=known_rank(x), x=x, mode=_GELU[params.mode])
