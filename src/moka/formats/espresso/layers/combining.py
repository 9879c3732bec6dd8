"""Layers that join blobs, take them apart, or make them of nothing."""

from __future__ import annotations

from collections.abc import Sequence

from moka.formats.espresso.reading import CompiledLayer, axes_of, reads
from moka.formats.espresso.weights import read_floats, set_floats

_CHANNEL = -3


@reads("concat")
def _concat(layer: CompiledLayer) -> None:
    """Along the channels; an axis that is stated is believed where the shapes say so too."""
    layer.expect_some_inputs()
    layer.expect_outputs()
    if layer.has("axis"):
        stated = layer.integer("axis", low=-5, high=4)
        if not _joins(layer, _CHANNEL):
            raise layer.unknown("axis", stated, "that of the channels, which the shapes of the blobs don't fit")
    layer.add("concat")


@reads("sequence_concat")
def _sequence_concat(layer: CompiledLayer) -> None:
    layer.expect_some_inputs()
    layer.only("simple_concat", 1, default=1)
    layer.add("concat").sequenceConcat = True


@reads("general_concat")
def _concat_nd(layer: CompiledLayer) -> None:
    layer.expect_some_inputs()
    layer.expect_outputs()
    rank = len(layer.shape(layer.outputs[0]))
    axis = layer.integer("axis", low=-rank, high=rank - 1)
    layer.only("nd_mode", 0, 1)
    layer.only("interleave", 0)
    if not _joins(layer, axis):
        raise layer.unknown("axis", axis, "one along which the shapes of the blobs add up")
    layer.add("concatND").axis = axis


def _joins(layer: CompiledLayer, axis: int) -> bool:
    """Whether the shapes of the blobs add up along an axis and agree along the others."""
    whole = layer.shape(layer.outputs[0])
    parts = [layer.shape(blob) for blob in layer.inputs]
    if any(len(part) != len(whole) for part in parts) or not -len(whole) <= axis < len(whole):
        return False
    axis %= len(whole)
    others = [part[:axis] + part[axis + 1 :] for part in parts]
    return sum(part[axis] for part in parts) == whole[axis] and all(sizes == whole[:axis] + whole[axis + 1 :] for sizes in others)


@reads("stack_nd")
def _stack(layer: CompiledLayer) -> None:
    layer.expect_some_inputs()
    layer.expect_outputs()
    rank = len(layer.shape(layer.outputs[0]))
    layer.add("stack").axis = layer.integer("nd_axis", low=-rank, high=rank - 1)


@reads("split_nd")
def _split(layer: CompiledLayer) -> None:
    """Into as many parts as there are results, of the sizes that they have; where parts begin need not be stated, nor the end."""
    layer.expect_inputs(1)
    shape = layer.shape(layer.inputs[0])
    axis = layer.integer("nd_axis", low=-len(shape), high=len(shape) - 1)
    sizes = [_size_along(layer, blob, axis, len(shape)) for blob in layer.outputs]
    starts = [sum(sizes[:index]) for index in range(len(sizes) + 1)]
    begins = layer.numbered("begin", len(starts), low=0) if layer.has("begin_0") else [0]
    if (any(begins) and begins not in (starts, [*starts[:-1], 0])) or starts[-1] != shape[axis]:
        raise layer.unknown("begin_0 ...", begins, f"0, or {starts}, for parts of {sizes} along an axis of {shape[axis]}")
    equal = len(set(sizes)) == 1
    if equal and axis % len(shape) == len(shape) + _CHANNEL and not layer.exact(layer.inputs[0]):
        layer.add("split").nOutputs = len(sizes)
        return
    params = layer.add("splitND")
    params.axis, params.numSplits = axis, len(sizes)
    if not equal:
        params.splitSizes.extend(sizes)


def _size_along(layer: CompiledLayer, blob: str, axis: int, rank: int) -> int:
    shape = layer.shape(blob)
    if len(shape) != rank:
        raise layer.refuse("top", f"blob {blob!r:.80} has rank {len(shape)}, expected {rank}")
    return shape[axis]


@reads("load_constant")
def _constant(layer: CompiledLayer) -> None:
    """Numbers of single precision, of the rank ``nd_rank`` or, where none is stated, [channel, height, width]."""
    layer.expect_inputs(0)
    sizes = {axis: layer.integer(axis, 1, low=1) for axis in ("seq", "n", "k", "h", "w")}
    rank = max(layer.integer("nd_rank", high=5), 1) if layer.has("nd_rank") else None
    shape: Sequence[int] = axes_of(sizes)[5 - (rank or 3) :]
    count = sizes["seq"] * sizes["n"] * sizes["k"] * sizes["h"] * sizes["w"]
    values = read_floats(layer, "constant_blob", count)
    params = layer.add("loadConstantND" if rank else "loadConstant")
    params.shape.extend(shape)
    set_floats(params.data, values)
