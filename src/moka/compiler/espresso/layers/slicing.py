"""Parts of blobs, and sums over axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moka.compiler.espresso.layers._axes import CHANNEL, NAMES
from moka.compiler.espresso.registry import LISTED, Attributes, LayerContext, layer

__all__ = ["reduce", "slice_", "slice_static"]

_SLICED = {0: CHANNEL, 1: 1, 2: 0}
"""Number of an axis by the format's: channel, height, width."""

_REDUCE_MODES = {"SUM": 0, "AVG": 1, "PROD": 2, "SUMSQUARE": 4, "L1": 8, "L2": 5, "MAX": 9, "MIN": 10, "ARGMAX": 11}

_CHANNELS = 4
"""``axis_mode`` of a reduction of channels."""


@layer("slice", to="slice", verified=1, scope="channels, without strides")
def slice_(net: LayerContext, params: Any) -> Attributes:
    net.guess_unless(params.axis == 0, "axis: another axis than channels")
    if params.stride not in (0, 1):
        net.guess(f"stride {params.stride}")
    stride = {"stride": int(params.stride)} if params.stride > 1 else {}
    return {"axis": _SLICED[params.axis], "start": int(params.startIndex), "end": int(params.endIndex), **stride}


@layer("sliceStatic", to="general_slice", seen="1 compiled network")
def slice_static(net: LayerContext, params: Any) -> Attributes:
    """Unlike elsewhere, the axes are counted from the front here: the first is called width."""
    if len(params.beginIds) > len(NAMES):
        raise net.no_form(f"{len(params.beginIds)} axes")
    return {
        **_by_front("begin", params.beginIds, 0),
        **_by_front("end", params.endIds, 1),
        **_by_front("stride", params.strides, 1),
        **_by_front("begin_mask", params.beginMasks, False),
        **_by_front("end_mask", params.endMasks, False),
        **_by_front("squeeze_mask", params.squeezeMasks, False),
        **_by_front("static_sizes", (), 0),
        "use_static_sizes": False,
    }


def _by_front(field: str, values: Sequence[Any], rest: int) -> Attributes:
    padded = [*values] + [rest] * (len(NAMES) - len(values))
    return {f"{field}_{name}": type(rest)(value) for name, value in zip(NAMES, padded, strict=True)}


@layer(
    "reduce",
    to="reduce",
    verified=1,
    seen=LISTED,
    scope="channels; the sum is in a pair, other modes in the list",
)
def reduce(net: LayerContext, params: Any) -> Attributes:
    axes = params.DESCRIPTOR.fields_by_name["axis"].enum_type.values_by_number
    modes = params.DESCRIPTOR.fields_by_name["mode"].enum_type.values_by_number
    if axes[params.axis].name != "C":
        raise net.no_form(f"axis {axes[params.axis].name}")
    mode = modes[params.mode].name
    if mode not in _REDUCE_MODES:  # the list has a sum of exponentials in place of LOGSUM
        raise net.no_form(f"mode {mode}")
    return {"mode": _REDUCE_MODES[mode], "axis_mode": _CHANNELS, "use_version": 1}
