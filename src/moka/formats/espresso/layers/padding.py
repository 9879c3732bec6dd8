"""Padding: that of convolutions and pooling, and layers that only pad or crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moka.formats.espresso.reading import CompiledLayer, reads

EDGES = ("t", "b", "l", "r")
"""Above, below, left and right."""
_PADS = ("pad_t", "pad_b", "pad_l", "pad_r")
_EXPLICIT, _SAME, _VALID, _SAME_TOP_LEFT = 0, 1, 2, 4
_MODES = {_EXPLICIT: "explicit", _SAME: "same", _VALID: "valid", _SAME_TOP_LEFT: "same, the larger part above and left"}
_PAD_LAYERS = {0: "constant", 1: "reflection", 2: "replication"}


def pad_amounts(layer: CompiledLayer, names: Sequence[str] = _PADS) -> list[int]:
    """How much is added above, below, left and right."""
    return [layer.integer(name, 0) for name in names]


def pad_mode(layer: CompiledLayer) -> int:
    """How a window is padded; only zeros are known to be padded with."""
    layer.only("pad_fill_mode", 0)
    layer.only("pad_value", 0)
    layer.choice("pad_mode", _MODES)
    return layer.integer("pad_mode")


def set_padding(layer: CompiledLayer, params: Any) -> None:
    """Fills ``valid`` or ``same`` of a convolution's or a pooling's parameters."""
    mode, amounts = pad_mode(layer), pad_amounts(layer)
    if mode != _EXPLICIT and any(amounts):
        raise layer.unknown("pad_t, pad_b, pad_l, pad_r", amounts, f"0 with a pad_mode of {mode} ({_MODES[mode]})")
    if mode in (_SAME, _SAME_TOP_LEFT):
        params.same.asymmetryMode = int(mode == _SAME_TOP_LEFT)
    else:
        set_borders(params.valid.paddingAmounts, amounts)


def set_borders(message: Any, amounts: list[int]) -> None:
    """Fills a ``BorderAmounts`` message from amounts above, below, left and right."""
    top, bottom, left, right = amounts
    message.borderAmounts.add(startEdgeSize=top, endEdgeSize=bottom)
    message.borderAmounts.add(startEdgeSize=left, endEdgeSize=right)


@reads("general_padding")
def _padding(layer: CompiledLayer) -> None:
    """Rows and columns added to a blob: a number, its mirror image, or its edge repeated."""
    layer.expect_inputs(1)
    mode = layer.choice("pad_pad_mode", _PAD_LAYERS, layer.integer("pad_fill_mode", 0))
    layer.only("pad_fill_mode", 0, layer.integer("pad_pad_mode", 0))
    layer.only("pad_mode", _EXPLICIT)
    params = layer.add("padding")
    getattr(params, mode).SetInParent()
    value = layer.number("pad_value", 0)
    if mode == "constant":
        params.constant.value = value
    set_borders(params.paddingAmounts, pad_amounts(layer))


@reads("tensor_zero_pad")
def _constant_pad(layer: CompiledLayer) -> None:
    """A number added before and behind each axis, outermost first: ``pads_0``, ``pads_1`` for the first one and so on."""
    layer.expect_inputs(1)
    layer.only("nd_mode", True, default=True)
    params = layer.add("constantPad")
    params.value = layer.number("value", 0)
    params.padAmounts.extend(layer.numbered("pads", 2 * len(layer.shape(layer.inputs[0])), low=0))


@reads("crop")
def _crop(layer: CompiledLayer) -> None:
    """Rows and columns taken off a blob."""
    layer.expect_inputs(1)
    set_borders(layer.add("crop").cropAmounts, pad_amounts(layer, EDGES))
