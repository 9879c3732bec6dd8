"""Pooling."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.layers._windows import EXPLICIT, SAME, borders, padding, pair
from moka.compiler.espresso.registry import Attributes, LayerContext, layer

__all__ = ["pooling"]

_MAX, _AVERAGE, _L2 = range(3)
_NUMBERS = {_AVERAGE: 0, _MAX: 1, _L2: 2}
"""``avg_or_max`` by the format's type."""

_VALID = 2
_COUNTED, _WITH_LAST_PIXEL = 0, 2
"""``top_shape_style``: windows that fit, or with one more for what they leave."""


@layer("pooling", to="pool", verified=3, seen="7 compiled networks", scope="explicit padding, global pooling, and the last pixel included")
def pooling(net: LayerContext, params: Any) -> Attributes:
    """Of a global one the window is the whole image."""
    where = str(net.node)
    height, width = pair(params.kernelSize, 3, f"{where}: kernelSize")
    stride_y, stride_x = pair(params.stride, 1, f"{where}: stride")
    shared = {
        "avg_or_max": _NUMBERS[params.type],
        "average_count_exclude_padding": int(params.avgPoolExcludePadding),
        **_padding(net, params),
    }
    if params.globalPooling:
        height, width = net.input_shape()[-2:]
        return {**shared, "is_global": 1, "size_x": width, "size_y": height, "stride_x": 1, "stride_y": 1}
    return {**shared, "size_x": width, "size_y": height, "stride_x": stride_x, "stride_y": stride_y}


def _padding(net: LayerContext, params: Any) -> Attributes:
    kind = params.WhichOneof("PoolingPaddingType")
    if kind == "same":
        net.guess("same padding of a pooling")
        return {**padding(SAME[params.same.asymmetryMode]), "top_shape_style": _COUNTED}
    if kind == "includeLastPixel":
        amounts = [int(amount) for amount in params.includeLastPixel.paddingAmounts] or [0, 0]
        height, width = pair(amounts, 0, f"{net.node}: includeLastPixel.paddingAmounts")
        return {**padding(EXPLICIT, (height, height, width, width)), "top_shape_style": _WITH_LAST_PIXEL}
    edges = borders(params.valid.paddingAmounts, f"{net.node}: valid.paddingAmounts")
    return {**padding(EXPLICIT if any(edges) else _VALID, edges), "top_shape_style": _COUNTED}
