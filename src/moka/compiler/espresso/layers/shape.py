"""Shapes: other sizes, other orders of axes, axes more or fewer, and what is put around."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.layers._axes import by_axis, permutation
from moka.compiler.espresso.layers._windows import borders
from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import LISTED, Attributes, LayerContext, layer
from moka.compiler.espresso.weights import constant
from moka.errors import UnsupportedError

__all__ = [
    "constant_pad",
    "expand_dims",
    "flatten",
    "load_constant_nd",
    "padding",
    "permute",
    "reshape",
    "reshape_static",
    "squeeze",
    "transpose",
]

_KEPT = 0
"""Size of a reshaped axis that stays."""

_PAD_ENTRIES = 64
"""A compiled padding has this many amounts, two for each axis."""


@layer("reshape", to="reshape", verified=1, seen="1 compiled network", scope="four sizes, sequence to width")
def reshape(net: LayerContext, params: Any) -> Attributes:
    """Of five axes: [sequence, channel, height, width], or without the sequence, which stays."""
    target = [int(size) for size in params.targetShape]
    net.guess_unless(len(target) == 4, f"targetShape of {len(target)} sizes")
    target = [_KEPT] * (4 - len(target)) + target
    named = by_axis([target[0], _KEPT, *target[1:]])
    return {"mode": int(params.mode), "version": 1, **{f"dst_{name}": size for name, size in named.items()}}


@layer("reshapeStatic", to="reshape", verified=1, seen="3 compiled networks")
def reshape_static(net: LayerContext, params: Any) -> Attributes:
    target = [int(size) for size in params.targetShape]
    named = {f"dst_{name}": size for name, size in by_axis(target).items()}
    return {"mode": 0, "version": 1, "dynamic_shape": False, "dst_nd_rank": len(target), **named}


@layer("flatten", to="flatten", verified=3)
def flatten(net: LayerContext, params: Any) -> Attributes:
    return {"mode": int(params.mode), "nd_axis": 0}


@layer("permute", to="transpose", verified=1)
def permute(net: LayerContext, params: Any) -> Attributes:
    """Of five axes, where the batch stays: [sequence, channel, height, width]."""
    moved = [int(axis) for axis in params.axis]
    places = (0, 2, 3, 4)
    five = [0, 1, 2, 3, 4]
    for place, axis in zip(places, moved, strict=True):
        five[place] = places[axis]
    return dict(permutation(five))


@layer("transpose", to="transpose", verified=1, seen="3 compiled networks")
def transpose(net: LayerContext, params: Any) -> Attributes:
    return dict(permutation([int(axis) for axis in params.axes]))


@layer("squeeze", to="squeeze", seen="2 compiled networks")
def squeeze(net: LayerContext, params: Any) -> Attributes:
    if params.squeezeAll:
        return {"nd_axis": 0, "size_of_axes": 0, "squeeze_all": True, "version": 1}
    return {**_listed(params.axes), "version": 1}


@layer("expandDims", to="expand_dims", seen="2 compiled networks")
def expand_dims(net: LayerContext, params: Any) -> Attributes:
    return _listed(params.axes)


def _listed(axes: Any) -> Attributes:
    return {"nd_axis": 0, "size_of_axes": len(axes), **{f"axes_{index}": int(axis) for index, axis in enumerate(axes)}}


@layer("loadConstantND", to="load_constant", seen="1 compiled network", scope="float32 numbers")
def load_constant_nd(net: LayerContext, params: Any) -> Attributes:
    net.guess_unless(bool(params.data.floatValue), "data: numbers that are not float32, written as float32")
    shape = [int(size) for size in params.shape]
    named = {name: size for name, size in by_axis(shape).items() if name != "seq"}
    net.guess_unless(len(shape) <= len(named), f"shape of {len(shape)} axes")
    return {**named, "nd_rank": len(shape), "constant_blob": net.add_blob(constant(params.data, shape, f"{net.node}: data"))}


@layer("constantPad", to="tensor_zero_pad", seen="1 compiled network")
def constant_pad(net: LayerContext, params: Any) -> Attributes:
    """Two amounts for each axis, first to last."""
    if params.padToGivenOutputSizeMode or len(net.node.inputs) != 1:
        raise net.no_form("padToGivenOutputSizeMode" if params.padToGivenOutputSizeMode else "amounts that are an input")
    amounts = [int(amount) for amount in params.padAmounts]
    if len(amounts) > _PAD_ENTRIES or max(amounts, default=0) >= 2**31:
        raise UnsupportedError(f"{net.node}: padAmounts: {len(amounts)} numbers, up to {max(amounts)}; expected at most 64 of 31 bits")
    padded = amounts + [0] * (_PAD_ENTRIES - len(amounts))
    return {"nd_mode": True, "value": number(params.value), **{f"pads_{index}": amount for index, amount in enumerate(padded)}}


@layer("padding", to="general_padding", seen=f"2 compiled networks of 2019, {LISTED}", scope="zeros in the networks, the rest in the list")
def padding(net: LayerContext, params: Any) -> Attributes:
    """One that no convolution took."""
    kinds = {"constant": 0, "reflection": 1, "replication": 2}
    top, bottom, left, right = map(int, borders(params.paddingAmounts, f"{net.node}: paddingAmounts"))
    amounts = {"pad_t": top, "pad_b": bottom, "pad_l": left, "pad_r": right}
    value = number(params.constant.value)
    return {**amounts, "pad_pad_mode": kinds[params.WhichOneof("PaddingType") or "constant"], "pad_fill_mode": 0, "pad_value": value}
