"""Blobs made of parameters: constants, ranges, one number in every place."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import known_rank, numbers
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("loadConstantND")
def load_constant_nd(net: NetworkBuilder, params: Any) -> Value:
    """The data in its shape."""
    return net.emit("identity", x=net.weights.read(params.data, list(params.shape), f"{net.origin}: data"))


@layer("fillStatic")
def fill_static(net: NetworkBuilder, params: Any) -> Value:
    """``value`` in every place of the shape targetShape."""
    return net.emit("fill", shape=[int(size) for size in params.targetShape], value=params.value)


@layer("fillLike")
def fill_like(net: NetworkBuilder, params: Any, reference: Value) -> Value:
    """``value`` in every place of the shape of a blob."""
    return net.emit("fill_like", rank=known_rank(reference), ref_tensor=reference, value=params.value)


@layer("fillDynamic")
def fill_dynamic(net: NetworkBuilder, params: Any, target: Value) -> Value:
    """``value`` in every place of a computed shape."""
    shape, rank = numbers(net, target)
    return net.emit("fill", rank=rank, shape=shape, value=params.value)


_RANGE = {"end": "end", "start": "start", "step": "stepSize"}
"""MIL's names of what a range is made of, in the order of the layer's blobs, and how the layer's fields begin."""


@layer("rangeStatic", "rangeDynamic")
def range_(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """Numbers from a start on, a step apart, before an end. Blobs are, in order, the end, the start and the step."""
    inputs: dict[str, Any] = dict(zip(_RANGE, blobs, strict=False))
    inputs |= {name: getattr(params, f"{field}Value") for name, field in _RANGE.items() if name not in inputs}
    return net.emit("range_1d", rank=1, **inputs)
