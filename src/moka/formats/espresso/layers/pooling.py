"""Pooling over windows, or over the whole of each channel."""

from __future__ import annotations

from moka.formats.espresso.layers.padding import pad_amounts, set_padding
from moka.formats.espresso.reading import CompiledLayer, reads

_TYPES = {0: "AVERAGE", 1: "MAX", 2: "L2"}
_ROUND_DOWN, _ROUND_UP = 0, 2
_SHAPE_STYLES = {_ROUND_DOWN: False, _ROUND_UP: True}
"""How the size of the result is rounded: with the last style a window may reach past the edge."""


@reads("pool")
def _pool(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    params = layer.add("pooling")
    params.type = params.PoolingType.Value(layer.choice("avg_or_max", _TYPES))
    params.avgPoolExcludePadding = layer.flag("average_count_exclude_padding")
    params.globalPooling = layer.flag("is_global")
    size = [layer.integer("size_y", low=1), layer.integer("size_x", low=1)]
    stride = [layer.integer("stride_y", 1, low=1), layer.integer("stride_x", 1, low=1)]
    if not params.globalPooling:
        params.kernelSize.extend(size)
        params.stride.extend(stride)
    if layer.choice("top_shape_style", _SHAPE_STYLES, _ROUND_DOWN):
        _set_last_pixel(layer, params)
    else:
        set_padding(layer, params)


def _set_last_pixel(layer: CompiledLayer, params: object) -> None:
    layer.only("pad_mode", 0, 2)
    layer.only("pad_fill_mode", 0)
    layer.only("pad_value", 0)
    top, bottom, left, right = amounts = pad_amounts(layer)
    if top != bottom or left != right:
        raise layer.unknown("pad_t, pad_b, pad_l, pad_r", amounts, "the same on both sides with a top_shape_style of 2")
    params.includeLastPixel.paddingAmounts.extend([top, left])  # type: ignore[attr-defined]
