"""Layers that give a blob another shape or another order of axes."""

from __future__ import annotations

from moka.formats.espresso.reading import CompiledLayer, reads

_ORDERS = {0: "CHANNEL_FIRST", 1: "CHANNEL_LAST"}
_INNERMOST_FIRST = ("w", "h", "k", "n", "seq")
_BATCH = 3


@reads("reshape")
def _reshape(layer: CompiledLayer) -> None:
    """To ``dst_seq``, ``dst_n``, ``dst_k``, ``dst_h`` and ``dst_w``, of which a stated rank says how many count from the innermost."""
    order = layer.choice("mode", _ORDERS, 0)
    target = [layer.integer(f"dst_{axis}", 1, low=-1) for axis in reversed(_INNERMOST_FIRST)]
    rank = layer.integer("dst_nd_rank", 0, high=5)
    if layer.flag("dynamic_shape"):
        layer.expect_inputs(2)
        layer.add("reshapeDynamic")
        return
    layer.expect_inputs(1)
    if rank:
        if order != "CHANNEL_FIRST":
            raise layer.unknown("mode", 1, "0 where dst_nd_rank states a rank")
        layer.add("reshapeStatic").targetShape.extend(target[5 - rank :])
        return
    seq, batch, *rest = target
    if batch not in (0, 1):
        raise layer.unknown("dst_n", batch, "0 and 1")
    params = layer.add("reshape")
    params.mode = params.ReshapeOrder.Value(order)
    params.targetShape.extend([seq, *rest] if seq else rest)


@reads("flatten")
def _flatten(layer: CompiledLayer) -> None:
    """To channels, or where the result has two axes, to those before ``nd_axis`` and those behind."""
    layer.expect_inputs(1)
    layer.expect_outputs()
    axis = layer.integer("nd_axis", 0, low=-5, high=4)
    order = layer.choice("mode", _ORDERS, 0)
    if layer.exact(layer.outputs[0]) and len(layer.shape(layer.outputs[0])) == 2 and order == "CHANNEL_FIRST":
        layer.add("flattenTo2D").axis = axis
        return
    if axis:
        raise layer.unknown("nd_axis", axis, "0 where the result has not two axes")
    params = layer.add("flatten")
    params.mode = params.FlattenOrder.Value(order)


@reads("transpose")
def _transpose(layer: CompiledLayer) -> None:
    """For each axis of the result, which axis of the input it is; 0 is the innermost one."""
    layer.expect_inputs(1)
    shape = layer.shape(layer.inputs[0])
    sources = [layer.integer(f"axis_{axis}", index, high=4) for index, axis in enumerate(_INNERMOST_FIRST)]
    rank = len(shape)
    if sorted(sources) != [0, 1, 2, 3, 4] or sorted(sources[:rank]) != list(range(rank)):
        raise layer.refuse("axis_w, axis_h, axis_k, axis_n, axis_seq", f"found {sources}, expected a permutation of {rank} axes")
    if layer.exact(layer.inputs[0]):
        layer.add("transpose").axes.extend([rank - 1 - source for source in reversed(sources[:rank])])
    elif sources[_BATCH] == _BATCH:
        order = {4: 0, 2: 1, 1: 2, 0: 3}
        layer.add("permute").axis.extend([order[sources[index]] for index in (4, 2, 1, 0)])
    else:
        layer.add("transpose").axes.extend([4 - source for source in reversed(sources)])


@reads("squeeze")
def _squeeze(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    params = layer.add("squeeze")
    layer.only("nd_axis", 0)
    params.squeezeAll = layer.flag("squeeze_all")
    params.axes.extend(_axes(layer))


@reads("expand_dims")
def _expand(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    layer.only("nd_axis", 0)
    layer.add("expandDims").axes.extend(_axes(layer))


def _axes(layer: CompiledLayer) -> list[int]:
    """The axes ``axes_0``, ``axes_1`` and so on, counted from the outermost."""
    return layer.numbered("axes", layer.integer("size_of_axes", high=5), low=-5)


@reads("tile")
def _tile(layer: CompiledLayer) -> None:
    """How often a blob is repeated along each of its axes."""
    layer.expect_inputs(1)
    repeats = [layer.integer(f"dst_{axis}", 1, low=1) for axis in reversed(_INNERMOST_FIRST)]
    layer.add("tile").reps.extend(repeats[5 - len(layer.shape(layer.inputs[0])) :])


@reads("copy")
def _copy(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    layer.add("copy")


@reads("get_shape")
def _get_shape(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    layer.add("getShape")


@reads("space_to_depth")
def _reorganize(layer: CompiledLayer) -> None:
    """Blocks of pixels to channels, or back; ``pixel_shuffle`` takes the channels of a block in PyTorch's order."""
    layer.expect_inputs(1)
    params = layer.add("reorganizeData")
    reverse, shuffle = layer.flag("reverse"), layer.flag("pixel_shuffle")
    if shuffle and not reverse:
        raise layer.unknown("pixel_shuffle", 1, "0 without reverse")
    params.mode = params.ReorganizationType.Value("PIXEL_SHUFFLE" if shuffle else "DEPTH_TO_SPACE" if reverse else "SPACE_TO_DEPTH")
    params.blockSize = layer.integer("block_size", low=2)
