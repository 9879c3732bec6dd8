"""Reductions along axes, which the shapes of the blobs tell."""

from __future__ import annotations

from moka.formats.espresso.reading import CompiledLayer, reads

_MODES = {0: "SUM", 1: "AVG", 2: "PROD", 4: "SUMSQUARE", 5: "L2", 8: "L1", 9: "MAX", 10: "MIN", 11: "ARGMAX"}
_ND_LAYERS = {
    "SUM": "reduceSum",
    "AVG": "reduceMean",
    "PROD": "reduceProd",
    "SUMSQUARE": "reduceSumSquare",
    "L2": "reduceL2",
    "L1": "reduceL1",
    "MAX": "reduceMax",
    "MIN": "reduceMin",
}
_CHANNEL_MODE = 4
_AXES = {(-3, -2, -1): "CHW", (-2, -1): "HW", (-3,): "C", (-2,): "H", (-1,): "W"}
"""What the specification calls axes, counted from the innermost."""


@reads("reduce")
def _reduce(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    layer.expect_outputs()
    mode = layer.choice("mode", _MODES)
    if layer.flag("nd_mode"):
        _reduce_nd(layer, mode)
    else:
        _reduce_named(layer, mode)


def _reduce_named(layer: CompiledLayer, mode: str) -> None:
    """Which axes go is read off the shapes, but for channels, which have a number that is known."""
    layer.only("nd_axis", 0)
    before, after = layer.shape(layer.inputs[0]), layer.shape(layer.outputs[0])
    stated = layer.integer("axis_mode", -1, low=-1)
    rank = len(before)
    gone = tuple(index - rank for index in range(rank) if before[index] != after[index]) if len(after) == rank else None
    axes = (-3,) if stated == _CHANNEL_MODE and gone in ((), (-3,)) else gone
    if axes not in _AXES or any(after[axis] != 1 for axis in axes or ()):
        raise layer.unknown("axis_mode", stated, f"what reduces C, H, W, HW or CHW, not {before} to {after}")
    params = layer.add("reduce")
    params.mode = params.ReduceOperation.Value(mode)
    params.axis = params.ReduceAxis.Value(_AXES[axes])
    params.epsilon = layer.number("eps", 1e-6)


def _reduce_nd(layer: CompiledLayer, mode: str) -> None:
    if mode not in _ND_LAYERS:
        raise layer.unknown("mode", mode, ", ".join(_ND_LAYERS))
    rank, left = len(layer.shape(layer.inputs[0])), len(layer.shape(layer.outputs[0]))
    if left not in (rank, rank - 1):
        raise layer.unknown("nd_axis", f"a reduction from rank {rank} to {left}", "one axis, kept or not")
    params = layer.add(_ND_LAYERS[mode])
    params.axes.append(layer.integer("nd_axis", low=-rank, high=rank - 1))
    params.keepDims = left == rank
