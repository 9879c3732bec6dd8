"""Layers that move the elements of exact arrays: reshape, squeeze, transpose, tile, stack, split, slice, pad."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import broadcast_rank, known_rank, numbers, outer_rank, reshaped, shape_of, size_of
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("getShape")
def get_shape(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The sizes of the blob's axes."""
    return net.cast(shape_of(net, x), "fp32")


@layer("reshapeStatic", "rankPreservingReshape")
def reshape_static(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The blob in the shape targetShape: one size may be -1, for what is left over, and 0 keeps the blob's own."""
    return reshaped(net, x, _ints(params.targetShape))


@layer("reshapeLike")
def reshape_like(net: NetworkBuilder, params: Any, x: Value, reference: Value) -> Value:
    """The blob in the shape of another."""
    return net.emit("reshape", rank=known_rank(reference), x=x, shape=shape_of(net, reference))


@layer("reshapeDynamic")
def reshape_dynamic(net: NetworkBuilder, params: Any, x: Value, target: Value) -> Value:
    """The blob in a computed shape."""
    shape, rank = numbers(net, target)
    return net.emit("reshape", rank=rank, x=x, shape=shape)


@layer("squeeze")
def squeeze(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Without axes of size 1: those that the layer names, or all. One axis stays of a blob that then is a scalar."""
    rank = net.rank(x)
    if params.squeezeAll:
        axes = [axis for axis, size in enumerate(net.static_shape(x)) if size == 1]
    else:
        axes = sorted({axis % rank for axis in params.axes})
    left = axes[1:] if len(axes) == rank else axes
    result = net.emit("squeeze", rank=rank - len(left), x=x, axes=left) if left else net.emit("identity", rank=rank, x=x)
    if len(axes) == rank:
        net.scalars.add(result)
    return result


@layer("expandDims")
def expand_dims(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """With new axes of size 1, which are the result's ``axes``. What is a scalar has none before."""
    axes = list(params.axes)
    if x in net.scalars:
        return net.emit("reshape", rank=len(axes), x=x, shape=[1] * len(axes))
    return net.emit("expand_dims", rank=outer_rank(known_rank(x), len(axes)), x=x, axes=axes)


@layer("flattenTo2D")
def flatten_to_2d(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """A matrix: axes before ``axis`` make its rows, the others its columns."""
    return net.emit("flatten2d", rank=2, x=x, axis=params.axis)


@layer("transpose")
def transpose(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The axes in another order. Fewer numbers than axes are for the last ones, as an image's first axis is not counted."""
    axes = _ints(params.axes)
    first = max((known_rank(x) or 0) - len(axes), 0)
    perm = [*range(first), *(first + axis if axis >= 0 else axis for axis in axes)]
    return net.emit("transpose", rank=len(perm), x=x, perm=perm)


@layer("tile")
def tile(net: NetworkBuilder, params: Any, x: Value, counts: Value | None = None) -> Value:
    """The blob repeated along each axis. Fewer numbers than axes are for the last ones; they may be a blob."""
    stated = _ints(params.reps)
    reps, count = (net.constant(stated), len(stated)) if counts is None else numbers(net, counts)
    missing = 0 if count is None else net.rank(x) - count
    if missing < 0:
        raise ProgramError(f"{net.origin}: reps has {count} entries; expected at most {net.rank(x)}, one for each axis")
    if missing:
        reps = net.emit_all("concat", 1, rank=1, dtype="int32", values=[net.constant([1] * missing), reps], axis=0)[0]
    return net.emit("tile", rank=known_rank(x), x=x, reps=reps)


@layer("stack")
def stack(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The blobs along a new axis."""
    return net.emit("stack", rank=outer_rank(broadcast_rank(*blobs), 1), values=blobs, axis=params.axis)


@layer("concatND")
def concat_nd(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The blobs one after the other along an axis, or in turns with interleave."""
    return net.emit("concat", rank=broadcast_rank(*blobs), values=blobs, axis=params.axis, interleave=params.interleave)


@layer("splitND")
def split_nd(net: NetworkBuilder, params: Any, x: Value) -> list[Value]:
    """Parts along an axis: of splitSizes, or numSplits about equal ones, of which the first are larger by one where the size wants it."""
    sizes = _ints(params.splitSizes)
    if (len(sizes) or params.numSplits) != len(net.layer.output):
        raise ProgramError(f"{net.origin}: splits into {len(sizes) or params.numSplits} parts, but has {len(net.layer.output)} outputs")
    if not sizes:
        total, count = size_of(net, x, params.axis), params.numSplits
        if not isinstance(total, int) or not count:
            return net.emit_all("split", count, rank=known_rank(x), x=x, axis=params.axis, num_splits=count)
        sizes = [total // count + (index < total % count) for index in range(count)]
    return net.emit_all("split", len(sizes), rank=known_rank(x), x=x, axis=params.axis, split_sizes=sizes)


@layer("slidingWindows")
def sliding_windows(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Every window of windowSize elements along an axis, ``step`` apart, as a new axis after it."""
    rank = outer_rank(known_rank(x), 1)
    return net.emit("sliding_windows", rank=rank, x=x, axis=params.axis, size=params.windowSize, stride=params.step or 1)


@layer("reverse")
def reverse(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The elements in opposite order along the axes whose flag in reverseDim is set."""
    if known_rank(x) not in (None, len(params.reverseDim)):
        raise ProgramError(f"{net.origin}: reverseDim has {len(params.reverseDim)} entries; expected {known_rank(x)}, one for each axis")
    axes = [axis for axis, flag in enumerate(params.reverseDim) if flag]
    return net.emit("reverse", rank=known_rank(x), x=x, axes=axes) if axes else net.emit("identity", rank=known_rank(x), x=x)


@layer("reverseSeq")
def reverse_seq(net: NetworkBuilder, params: Any, x: Value, lengths: Value) -> Value:
    """Each element of the batch with its first ``lengths`` steps in opposite order."""
    steps = net.cast(lengths, "int32")
    axes = {"seq_axis": params.sequenceAxis, "batch_axis": params.batchAxis}
    return net.emit("reverse_sequence", rank=known_rank(x), x=x, lengths=steps, **axes)


@layer("sliceStatic")
def slice_static(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """From beginIds to endIds with strides; a set mask leaves a bound open, or drops an axis."""
    squeezed = list(params.squeezeMasks) or [False] * len(params.beginIds)
    return net.emit(
        "slice_by_index",
        rank=len(squeezed) - sum(squeezed),
        x=x,
        begin=_ints(params.beginIds),
        end=_ints(params.endIds),
        stride=_ints(params.strides),
        begin_mask=list(params.beginMasks),
        end_mask=list(params.endMasks),
        squeeze_mask=squeezed,
    )


_SLICE = (
    ("end", "endIds", "int32", 1),
    ("stride", "strides", "int32", 1),
    ("begin_mask", "beginMasks", "bool", False),
    ("end_mask", "endMasks", "bool", False),
    ("squeeze_mask", "squeezeMasks", "bool", False),
)
"""What a dynamic slice may get as its third to seventh blob: MIL's name, the parameter that counts otherwise, type and default."""


@layer("sliceDynamic")
def slice_dynamic(net: NetworkBuilder, params: Any, x: Value, begin: Value, *blobs: Value) -> Value:
    """A slice whose bounds, strides and masks are blobs, or parameters where there is no blob. Parameters may be longer than the rank."""
    rank = net.rank(x)
    given = {name: net.cast(blob, dtype) for (name, _, dtype, _), blob in zip(_SLICE, blobs, strict=False)}
    stated = {name: (list(getattr(params, field)) + [default] * rank)[:rank] for name, field, _, default in _SLICE}
    inputs: dict[str, Any] = {**stated, **given}
    squeezed = net.shapes.concrete(given["squeeze_mask"]) if "squeeze_mask" in given else np.array(stated["squeeze_mask"])
    result_rank = None if squeezed is None else rank - int(squeezed.sum())
    return net.emit("slice_by_index", rank=result_rank, x=x, begin=net.cast(begin, "int32"), **inputs)


@layer("constantPad")
def constant_pad(net: NetworkBuilder, params: Any, x: Value, amounts: Value | None = None) -> Value:
    """More elements before and after each axis. With padToGivenOutputSizeMode amounts are sizes to reach instead."""
    pads: Any = _ints(params.padAmounts) if amounts is None else net.cast(amounts, "int32")
    if params.padToGivenOutputSizeMode:
        pads = _missing(net, pads, x)
    return net.emit("pad", rank=known_rank(x), x=x, pad=pads, mode="constant", constant_val=params.value)


def _missing(net: NetworkBuilder, sizes: Any, x: Value) -> Any:
    """What an axis lacks to have a size, twice for each axis, for sizes before and after."""
    own = net.emit_all("stack", 1, rank=2, dtype="int32", values=[shape_of(net, x)] * 2, axis=1)[0]
    own = net.emit_all("reshape", 1, rank=1, dtype="int32", x=own, shape=[-1])[0]
    lacking = net.emit_all("sub", 1, rank=1, dtype="int32", x=net.constant(sizes) if isinstance(sizes, list) else sizes, y=own)[0]
    return net.emit_all("maximum", 1, rank=1, dtype="int32", x=lacking, y=0)[0]


def _ints(values: Any) -> list[int]:
    return [int(value) for value in values]
