"""Other sizes of images. Fields and some values of the compiled layers are known, not what becomes of which: all of it is inferred."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.layers._windows import borders, pair
from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import Attributes, LayerContext, layer

__all__ = ["crop", "upsample"]

_DEFAULT, _ALIGN_CORNERS = 0, 1


@layer("upsample", to="upsample")
def upsample(net: LayerContext, params: Any) -> Attributes:
    """By whole factors, or by fractions, which leave the whole ones at 1."""
    scale_y, scale_x = pair(params.scalingFactor, 1, f"{net.node}: scalingFactor")
    fractions = [number(factor) for factor in params.fractionalScalingFactor] or [1, 1]
    return {
        "mode": int(params.mode),
        "scaling_factor_x": scale_x,
        "scaling_factor_y": scale_y,
        "use_fractional_scale_factors": bool(params.fractionalScalingFactor),
        "fractional_scaling_factor_x": fractions[1],
        "fractional_scaling_factor_y": fractions[0],
        "align_corners": int(params.linearUpsampleMode == _ALIGN_CORNERS),
        "is_legacy_mode": int(params.linearUpsampleMode == _DEFAULT),
    }


@layer("crop", to="crop")
def crop(net: LayerContext, params: Any) -> Attributes:
    if len(net.node.inputs) != 1:
        raise net.no_form("a second input, whose size is taken")
    top, bottom, left, right = map(int, borders(params.cropAmounts, f"{net.node}: cropAmounts"))
    return {"t": top, "b": bottom, "l": left, "r": right}
