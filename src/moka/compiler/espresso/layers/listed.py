"""Layers whose types and fields the public list names, while no file at hand shows one: all of it is inferred.

What the list has no field for is left to Moka's own form.
"""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.layers._axes import CHANNEL, by_axis
from moka.compiler.espresso.layers._windows import pair
from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import Attributes, LayerContext, layer
from moka.compiler.espresso.weights import constant

__all__ = [
    "batched_matmul",
    "comparison",
    "extreme_broadcastable",
    "flatten_to_2d",
    "gather",
    "load_constant",
    "plain",
    "reduce_nd",
    "reorganize",
    "resize_bilinear",
    "split",
    "tile",
    "top_k",
    "where",
]

_FIELDS = "the list has the type and its fields"

_COMPARISONS = {"equal": 100, "lessThan": 103, "lessEqual": 104, "greaterThan": 105, "greaterEqual": 106, "notEqual": 107}
_EXTREMES = {"minBroadcastable": 22, "maxBroadcastable": 23}
_SELECT = 101
_REDUCTIONS = {
    "reduceSum": 0, "reduceMean": 1, "reduceProd": 2, "reduceSumSquare": 4, "reduceL2": 5, "reduceL1": 8, "reduceMax": 9, "reduceMin": 10,
}  # fmt: skip
_SPLIT_ENTRIES = 128


def _elementwise(operation: int, alpha: float = 1) -> Attributes:
    return {"operation": operation, "alpha": number(alpha), "beta": 0, "fused_relu": 0}


@layer(*_COMPARISONS, to="elementwise", scope=_FIELDS)
def comparison(net: LayerContext, params: Any) -> Attributes:
    """Of two blobs, or of one and a number."""
    operation = _COMPARISONS[net.node.kind]
    if len(net.node.inputs) == 1:
        return _elementwise(operation, params.alpha)
    return {**_elementwise(operation), "nd_mode": True}


@layer(*_EXTREMES, to="elementwise", scope=_FIELDS)
def extreme_broadcastable(net: LayerContext, params: Any) -> Attributes:
    if len(net.node.inputs) != 2:
        raise net.no_form("another number of inputs than two")
    return {**_elementwise(_EXTREMES[net.node.kind]), "nd_mode": True}


@layer("whereBroadcastable", to="elementwise", scope=_FIELDS)
def where(net: LayerContext, params: Any) -> Attributes:
    return {**_elementwise(_SELECT), "nd_mode": True}


@layer("copy", to="copy", scope=_FIELDS)
@layer("getShape", to="get_shape", scope=_FIELDS)
def plain(net: LayerContext, params: Any) -> Attributes:
    return {}


@layer("tile", to="tile", scope=_FIELDS)
def tile(net: LayerContext, params: Any) -> Attributes:
    repeats = [int(count) for count in params.reps]
    if len(net.node.inputs) != 1 or len(repeats) != len(net.input_shape()):
        raise net.no_form("repeats that are an input, or not as many as axes")
    return {f"dst_{name}": count for name, count in by_axis(repeats).items()}


@layer("topK", to="topk", scope=_FIELDS)
def top_k(net: LayerContext, params: Any) -> Attributes:
    if len(net.node.inputs) != 1 or params.K < 1:
        raise net.no_form("K that is an input")
    return {"num_k": int(params.K), "axis": int(params.axis), "single_axis_topk": True, "do_bottomk": bool(params.useBottomK)}


@layer("gather", to="gather_nd", scope=_FIELDS)
def gather(net: LayerContext, params: Any) -> Attributes:
    return {"mode": 0, "axis": int(params.axis), "batch_dims": 0, "allow_negative_indices": True, "validate_indices": False}


@layer("batchedMatmul", to="batch_matmul", scope=_FIELDS)
def batched_matmul(net: LayerContext, params: Any) -> Attributes:
    if len(net.node.inputs) != 2 or params.ListFields():
        raise net.no_form("weights, or matrices that are transposed")
    return {"channel_mode": False}


@layer("reorganizeData", to="space_to_depth", scope=_FIELDS)
def reorganize(net: LayerContext, params: Any) -> Attributes:
    mode = params.ReorganizationType.Name(params.mode)
    return {"block_size": int(params.blockSize), "reverse": int(mode != "SPACE_TO_DEPTH"), "pixel_shuffle": int(mode == "PIXEL_SHUFFLE")}


@layer("resizeBilinear", to="crop_and_resize", scope=_FIELDS)
def resize_bilinear(net: LayerContext, params: Any) -> Attributes:
    height, width = pair(params.targetSize, 1, f"{net.node}: targetSize")
    size = {"target_size_h": height, "target_size_w": width}
    return {**size, "mode": 1, "spatial_scale": 1, "crop_index_mode": 0, "grid_sampling_mode": int(params.mode.samplingMethod)}


@layer("split", to="split_nd", scope=_FIELDS)
def split(net: LayerContext, params: Any) -> Attributes:
    """Channels into parts of one size."""
    if net.exact:
        raise net.no_form("blobs that have the axes of the source")
    return {"nd_axis": -CHANNEL - 1, **{f"begin_{index}": 0 for index in range(_SPLIT_ENTRIES)}}


@layer("loadConstant", to="load_constant", scope=_FIELDS)
def load_constant(net: LayerContext, params: Any) -> Attributes:
    shape = [int(size) for size in params.shape]
    sizes = dict(zip(("k", "h", "w"), shape, strict=True))
    return {"n": 1, **sizes, "constant_blob": net.add_blob(constant(params.data, shape, f"{net.node}: data"))}


@layer("flattenTo2D", to="flatten", scope=_FIELDS)
def flatten_to_2d(net: LayerContext, params: Any) -> Attributes:
    if not net.exact:
        raise net.no_form("blobs of five axes")
    return {"mode": 0, "nd_axis": int(params.axis)}


@layer(*_REDUCTIONS, to="reduce", scope=_FIELDS)
def reduce_nd(net: LayerContext, params: Any) -> Attributes:
    if params.reduceAll or len(params.axes) != 1 or len(net.input_shape()) == 1:
        raise net.no_form("a reduction of several axes, or of the only one")
    return {"mode": _REDUCTIONS[net.node.kind], "nd_axis": int(params.axes[0]), "nd_mode": True, "use_version": 1}
