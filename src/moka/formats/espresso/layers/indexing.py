"""Layers that pick parts of a blob, and products of matrices."""

from __future__ import annotations

from moka.formats.espresso.reading import CompiledLayer, reads

_SLICE_AXES = {0: "WIDTH_AXIS", 1: "HEIGHT_AXIS", 2: "CHANNEL_AXIS"}
_OUTERMOST_FIRST = ("w", "h", "k", "n", "seq")
"""What the attributes of slices call the first axis, the second and so on, whatever the rank."""
_LARGEST = 2**31 - 1


@reads("slice")
def _slice(layer: CompiledLayer) -> None:
    """From ``start`` to before ``end`` along an axis, of which 0 is the innermost."""
    layer.expect_inputs(1)
    params = layer.add("slice")
    params.axis = params.SliceAxis.Value(layer.choice("axis", _SLICE_AXES))
    params.startIndex = layer.integer("start", 0, low=-_LARGEST)
    params.endIndex = layer.integer("end", low=-_LARGEST)
    params.stride = layer.integer("stride", 1, low=1)


@reads("general_slice")
def _slice_static(layer: CompiledLayer) -> None:
    """Along all axes at once; the attributes of the first axis end in w, those of the second in h, then k, n and seq."""
    layer.expect_inputs(1)
    layer.only("use_static_sizes", 0)
    rank = len(layer.shape(layer.inputs[0]))
    params = layer.add("sliceStatic")
    for index, axis in enumerate(_OUTERMOST_FIRST):
        layer.only(f"static_sizes_{axis}", 0)
        begin, end = (layer.integer(f"{name}_{axis}", 0, low=-_LARGEST) for name in ("begin", "end"))
        stride = layer.integer(f"stride_{axis}", 1, low=-_LARGEST)
        masks = [layer.flag(f"{name}_mask_{axis}") for name in ("begin", "end", "squeeze")]
        if index < rank:
            params.beginIds.append(begin)
            params.endIds.append(end)
            params.strides.append(stride)
            for part, mask in zip((params.beginMasks, params.endMasks, params.squeezeMasks), masks, strict=True):
                part.append(mask)


@reads("topk")
def _top(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    layer.expect_outputs(2)
    layer.only("single_axis_topk", True, default=True)
    rank = len(layer.shape(layer.inputs[0]))
    params = layer.add("topK")
    params.K = layer.integer("num_k", low=1)
    params.useBottomK = layer.flag("do_bottomk")
    params.axis = layer.integer("axis", low=-rank, high=rank - 1)
    if layer.shape(layer.outputs[0])[params.axis] != params.K:
        raise layer.unknown("axis", params.axis, "one along which the result has num_k elements")


@reads("gather_nd")
def _gather(layer: CompiledLayer) -> None:
    """Along an axis, by the indices in the second blob; other ways to gather are not known."""
    layer.expect_inputs(2)
    layer.expect_outputs()
    layer.only("mode", 0)
    layer.only("batch_dims", 0)
    for name in ("allow_negative_indices", "validate_indices"):
        layer.flag(name)
    values, indices, result = (layer.shape(blob) for blob in (*layer.inputs, *layer.outputs))
    axis = layer.integer("axis", 0, low=-len(values), high=len(values) - 1)
    place = axis % len(values)
    if result != values[:place] + indices + values[place + 1 :]:
        raise layer.unknown("axis", axis, f"one that takes {values} and indices {indices} to {result}")
    layer.add("gather").axis = axis


@reads("batch_matmul")
def _matmul(layer: CompiledLayer) -> None:
    layer.expect_inputs(2)
    layer.only("channel_mode", 0)
    layer.add("batchedMatmul")
