"""Layers that move data: reshape, flatten, permute, concatenate, split, repeat, slice, and a constant."""

from __future__ import annotations

import math
from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._shapes import as_images, like_images
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("loadConstant")
def load_constant(net: NetworkBuilder, params: Any) -> Value:
    """The data, [C, H, W], as a blob of five axes."""
    if len(params.shape) != 3:
        raise ProgramError(f"{net.origin}: shape has {len(params.shape)} entries; expected 3, [C, H, W]")
    data = net.weights.read(params.data, params.shape, f"{net.origin}: data")
    return net.emit("identity", x=data[None, None])


def _rank5(net: NetworkBuilder, x: Value) -> Value:
    """A blob with sequence and batch before its own axes, where it lacks them."""
    missing = 5 - net.rank(x)
    if missing < 0:
        raise ProgramError(f"{net.origin}: the input has {net.rank(x)} axes; expected 5")
    return net.emit("expand_dims", x=x, axes=list(range(missing))) if missing else x


_TO_CHANNEL_LAST, _FROM_CHANNEL_LAST = [-2, -1, -3], [-1, -3, -2]


def _permuted(net: NetworkBuilder, x: Value, last: list[int]) -> Value:
    """The last three axes in another order."""
    rank = net.rank(x)
    return net.emit("transpose", x=x, perm=[*range(rank - 3), *[rank + axis for axis in last]])


@layer("reshape")
def reshape(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Another shape for channels, height and width, and for the sequence where the target has four sizes.

    With CHANNEL_LAST the elements are counted, and laid out, with channels changing fastest.
    """
    x, target = _rank5(net, x), list(params.targetShape)
    if len(target) not in (3, 4):
        raise ProgramError(f"{net.origin}: targetShape has {len(target)} entries; expected [C, H, W] or [S, C, H, W]")
    sequence, batch = net.static_shape(x)[:2]
    if params.mode == 1:
        x = _permuted(net, x, _TO_CHANNEL_LAST)
        target = [*target[:-3], target[-2], target[-1], target[-3]]
    if len(target) == 3:
        x = net.emit("reshape", x=x, shape=[sequence, batch, *target])
    elif batch == 1:
        x = net.emit("reshape", x=x, shape=[target[0], 1, *target[1:]])
    else:
        flipped = net.emit("reshape", x=net.emit("transpose", x=x, perm=[1, 0, 2, 3, 4]), shape=[batch, *target])
        x = net.emit("transpose", x=flipped, perm=[1, 0, 2, 3, 4])
    return _permuted(net, x, _FROM_CHANNEL_LAST) if params.mode == 1 else x


@layer("flatten")
def flatten(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """[..., C, H, W] to [..., C * H * W, 1, 1], with channels changing slowest, or fastest with CHANNEL_LAST."""
    if net.rank(x) < 3:
        raise ProgramError(f"{net.origin}: the input has {net.rank(x)} axes; expected 3 or more")
    if params.mode == 1:
        x = _permuted(net, x, _TO_CHANNEL_LAST)
    shape = net.shape(x)
    tail = shape[-3:]
    leading = [0 if size is None else size for size in shape[:-3]]
    size = math.prod(net.static_shape(x)[-3:]) if all(isinstance(item, int) for item in shape) else _known_product(tail)
    return net.emit("reshape", x=x, shape=[*leading, size, 1, 1])


def _known_product(sizes: Any) -> int:
    return math.prod(sizes) if all(isinstance(size, int) for size in sizes) else -1


@layer("permute")
def permute(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Sequence, channels, height and width in another order; batch stays where it is."""
    order = list(params.axis) or [0, 1, 2, 3]
    if sorted(order) != [0, 1, 2, 3]:
        raise ProgramError(f"{net.origin}: axis is {order}; expected an order of 0, 1, 2, 3")
    first, *last = [axis + 1 if axis else 0 for axis in order]
    return net.emit("transpose", x=_rank5(net, x), perm=[first, 1, *last])


@layer("concat")
def concat(net: NetworkBuilder, params: Any, *blobs: Value) -> Value:
    """The blobs one after the other along channels, or along the sequence."""
    if not blobs:
        raise ProgramError(f"{net.origin} has no inputs; expected one or more")
    return net.emit("concat", values=blobs, axis=-5 if params.sequenceConcat else -3)


@layer("split")
def split(net: NetworkBuilder, params: Any, x: Value) -> list[Value]:
    """Equal parts along channels."""
    if params.nOutputs != len(net.layer.output):
        raise ProgramError(f"{net.origin}: splits into {params.nOutputs} parts, but has {len(net.layer.output)} outputs")
    return net.emit_all("split", params.nOutputs, x=x, axis=-3, num_splits=params.nOutputs)


@layer("sequenceRepeat")
def sequence_repeat(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The sequence several times over."""
    rank = net.rank(x)
    if rank < 5:
        raise ProgramError(f"{net.origin}: the input has {rank} axes; expected 5 or more")
    return net.emit("tile", x=x, reps=[*[1] * (rank - 5), params.nRepetitions or 1, 1, 1, 1, 1])


_REORGANIZE = (("space_to_depth", "block_size"), ("depth_to_space", "block_size"), ("pixel_shuffle", "upscale_factor"))
"""By number of ``ReorganizationType``: the operation, and its name for the size of blocks."""


@layer("reorganizeData")
def reorganize_data(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Blocks of pixels to channels, or channels to blocks of pixels."""
    operation, parameter = _REORGANIZE[params.mode]
    return like_images(net, net.emit(operation, x=as_images(net, x), **{parameter: params.blockSize}), x)


@layer("slice")
def slice_(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Elements from startIndex to endIndex, exclusive, along channels, height or width; negative ones count from the end."""
    rank = net.rank(x)
    axis = rank - 3 + params.axis
    if axis < 0:
        raise ProgramError(f"{net.origin}: the input has {rank} axes; expected {3 - params.axis} or more")
    begin, end, stride = ([default] * rank for default in (0, 0, 1))
    begin[axis], end[axis], stride[axis] = params.startIndex, params.endIndex, params.stride or 1
    whole = [index != axis for index in range(rank)]
    return net.emit("slice_by_index", x=x, begin=begin, end=end, stride=stride, begin_mask=whole, end_mask=whole)
