"""Blobs put together and taken apart along an axis."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.registry import Attributes, LayerContext, layer

__all__ = ["concat", "concat_nd", "split_nd", "stack"]

_SPLIT_ENTRIES = 128
"""A compiled split has this many starts, zeros where the parts are of one size."""


@layer("concat", to="concat", verified=1, seen="2 compiled networks", scope="blobs of five axes")
def concat(net: LayerContext, params: Any) -> Attributes:
    """Along channels, or along the sequence."""
    if params.sequenceConcat:
        return {"type": "sequence_concat", "simple_concat": 1}
    net.guess_unless(not net.exact, "concatenation of channels in a network whose blobs have the axes of the source")
    return {}


@layer("concatND", to="general_concat", seen="1 compiled network")
def concat_nd(net: LayerContext, params: Any) -> Attributes:
    if params.interleave:
        raise net.no_form("interleave")
    return {"axis": int(params.axis), "nd_mode": True}


@layer("stack", to="stack_nd", seen="1 compiled network")
def stack(net: LayerContext, params: Any) -> Attributes:
    return {"nd_axis": int(params.axis)}


@layer("splitND", to="split_nd", seen="1 compiled network", scope="parts of one size")
def split_nd(net: LayerContext, params: Any) -> Attributes:
    starts = [0] * _SPLIT_ENTRIES
    if params.splitSizes:
        net.guess("splitSizes")
        for index, size in enumerate(params.splitSizes[: _SPLIT_ENTRIES - 1]):
            starts[index + 1] = starts[index] + int(size)
    return {"nd_axis": int(params.axis), **{f"begin_{index}": start for index, start in enumerate(starts)}}
