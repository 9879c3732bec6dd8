"""Convolution and pooling over depth, height and width: [batch, channels, depth, height, width]."""

from __future__ import annotations

from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value

_AXES = ("Depth", "Height", "Width")
_SIDES = ("Front", "Back", "Top", "Bottom", "Left", "Right")
_PADDING = ("custom", "valid", "same")
"""By number of the padding types of the three layers."""


def _sizes(params: Any, prefix: str) -> list[int]:
    """One of a layer's fields for each axis; 1 where it is not set."""
    return [getattr(params, f"{prefix}{axis}") or 1 for axis in _AXES]


def _padding(params: Any) -> dict[str, Any]:
    kind = _PADDING[params.paddingType]
    return {"pad_type": kind} | ({"pad": [getattr(params, f"customPadding{side}") for side in _SIDES]} if kind == "custom" else {})


@layer("convolution3d")
def convolution3d(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Convolution or deconvolution over the last three axes."""
    groups = params.nGroups or 1
    if params.inputChannels % groups or params.outputChannels % groups:
        channels = f"{params.inputChannels} input and {params.outputChannels} output channels"
        raise ProgramError(f"{net.origin}: nGroups is {groups} for {channels}; expected a divisor of both")
    operands: dict[str, Any] = {
        "x": x,
        "weight": _kernels(net, params, groups),
        "bias": net.weights.read(params.bias, (params.outputChannels,), f"{net.origin}: bias") if params.hasBias else None,
        "strides": _sizes(params, "stride"),
        "dilations": _sizes(params, "dilation"),
        "groups": groups,
        **_padding(params),
    }
    if not params.isDeconvolution:
        return net.emit("conv", rank=5, **operands)
    if params.outputShape:
        operands["output_shape"] = [net.static_shape(x)[0], params.outputChannels, *map(int, params.outputShape)]
    return net.emit("conv_transpose", rank=5, **operands)


def _kernels(net: NetworkBuilder, params: Any, groups: int) -> Any:
    """Kernels as MIL has them: output channels first for a convolution, input channels first for a deconvolution."""
    size = _sizes(params, "kernel")
    if params.isDeconvolution:
        shape = (params.inputChannels, params.outputChannels // groups, *size)
    else:
        shape = (params.outputChannels, params.inputChannels // groups, *size)
    return net.weights.read(params.weights, shape, f"{net.origin}: weights", axis=int(params.isDeconvolution))


_MAX = 0
"""Number of the maximum among the types of pooling; the other is the average."""


@layer("pooling3d")
def pooling3d(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The maximum or mean of windows."""
    windows = {"x": x, "kernel_sizes": _sizes(params, "kernel"), "strides": _sizes(params, "stride"), **_padding(params)}
    if params.type == _MAX:
        return net.emit("max_pool", rank=5, **windows)
    return net.emit("avg_pool", rank=5, **windows, exclude_padding_from_average=params.countExcludePadding)


@layer("globalPooling3d")
def global_pooling3d(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The maximum or mean of all depth, height and width."""
    operation = "reduce_max" if params.type == _MAX else "reduce_mean"
    return net.emit(operation, rank=5, x=x, axes=[-3, -2, -1], keep_dims=True)
