"""Pooling."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._shapes import as_images, like_images, pair, window_padding
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value

_POOLS = ("max_pool", "avg_pool", "l2_pool")
_GLOBAL = ("reduce_max", "reduce_mean", "reduce_l2_norm")
"""By number of ``PoolingType``: MAX, AVERAGE, L2."""


@layer("pooling")
def pooling(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Maximum, mean or Euclidean norm of windows over the last two axes, or of all of them at once."""
    if params.globalPooling:
        return net.emit(_GLOBAL[params.type], x=x, axes=[-2, -1], keep_dims=True)
    images = as_images(net, x)
    options: dict[str, Any] = {"kernel_sizes": pair(net, params.kernelSize, 3, "kernelSize")}
    options["strides"] = pair(net, params.stride, 1, "stride")
    if params.type == 1:
        options["exclude_padding_from_average"] = params.avgPoolExcludePadding
    if params.WhichOneof("PoolingPaddingType") == "includeLastPixel":
        return like_images(net, _complete(net, params, images, options), x)
    return like_images(net, net.emit(_POOLS[params.type], x=images, **options, **window_padding(net, params, "PoolingPaddingType")), x)


def _complete(net: NetworkBuilder, params: Any, images: Value, options: dict[str, Any]) -> Value:
    """Pooling whose last window reaches past the padding if it has to, so that it has the last pixel.

    Where either axis is padded, a window that would start in the padding after the input is left out in both; MIL's rule looks at each axis
    on its own, and what it has too many is cut off.
    """
    amounts = pair(net, params.includeLastPixel.paddingAmounts, 0, "includeLastPixel.paddingAmounts")
    pads = [amounts[0], amounts[0], amounts[1], amounts[1]]
    pooled = net.emit(_POOLS[params.type], x=images, **options, pad_type="custom", pad=pads, ceil_mode=True)
    if not any(amounts):
        return pooled
    extra = []
    sizes = zip(net.static_shape(images)[2:], net.static_shape(pooled)[2:], options["strides"], amounts, strict=True)
    for size, count, stride, pad in sizes:
        extra.append(int((count - 1) * stride >= size + pad))
    return net.emit("crop", x=pooled, crop_height=[0, extra[0]], crop_width=[0, extra[1]]) if any(extra) else pooled
