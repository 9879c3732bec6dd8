"""Layers with weights that sum over channels: convolution, inner product, embedding."""

from __future__ import annotations

from typing import Any

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._shapes import as_images, like_images, pair, window_padding
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("convolution")
def convolution(net: NetworkBuilder, params: Any, x: Value, weight: Value | None = None, bias: Value | None = None) -> Value:
    """Convolution or deconvolution over the last two axes. Weight and bias may be blobs instead of the layer's own.

    The format's comments say that a deconvolution ignores dilationFactor; coremltools' tests of networks expect that it does not.
    """
    groups = params.nGroups or 1
    images = as_images(net, x)
    operands: dict[str, Any] = {
        "x": images,
        "weight": _kernels(net, params, groups) if weight is None else weight,
        "bias": _bias(net, params) if bias is None else bias,
        "strides": pair(net, params.stride, 1, "stride"),
        "dilations": pair(net, params.dilationFactor, 1, "dilationFactor"),
        "groups": groups,
    }
    if not params.isDeconvolution:
        return like_images(net, net.emit("conv", **operands, **window_padding(net, params, "ConvolutionPaddingType")), x)
    return like_images(net, net.emit("conv_transpose", **operands, **_canvas(net, params, images)), x)


def _kernels(net: NetworkBuilder, params: Any, groups: int) -> Any:
    """Kernels as MIL has them; those of a deconvolution are quantized along their second axis."""
    size = pair(net, params.kernelSize, 3, "kernelSize")
    if params.isDeconvolution:
        shape = (params.kernelChannels, params.outputChannels // groups, *size)
    else:
        shape = (params.outputChannels, params.kernelChannels, *size)
    return net.weights.read(params.weights, shape, f"{net.origin}: weights", axis=int(params.isDeconvolution))


def _bias(net: NetworkBuilder, params: Any) -> Any:
    return net.weights.read(params.bias, (params.outputChannels,), f"{net.origin}: bias") if params.hasBias else None


def _canvas(net: NetworkBuilder, params: Any, images: Value) -> dict[str, Any]:
    """Which part of a deconvolution's full result is kept; the padding may be unset where the size is given."""
    size = list(params.outputShape)
    if not size:
        return window_padding(net, params, "ConvolutionPaddingType")
    padding = window_padding(net, params, "ConvolutionPaddingType") if params.WhichOneof("ConvolutionPaddingType") else {}
    pair(net, size, 1, "outputShape")
    return {**padding, "output_shape": [net.static_shape(images)[0], params.outputChannels, *size]}


@layer("innerProduct")
def inner_product(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """x @ weights.T + bias, over the last axis up to rank 3, over the last three together above.

    With ``int8DynamicQuantize`` Core ML rounds x to int8 on the way; here the product is the exact one that this approaches.
    """
    weight = net.weights.read(params.weights, (params.outputChannels, params.inputChannels), f"{net.origin}: weights")
    bias = net.weights.read(params.bias, (params.outputChannels,), f"{net.origin}: bias") if params.hasBias else None
    rank = net.rank(x)
    if rank <= 3:
        return net.emit("linear", x=x, weight=weight, bias=bias)
    if rank > 5:
        raise ProgramError(f"{net.origin}: the input has {rank} axes; expected at most 5")
    shape = net.shape(x)
    rows = net.emit("reshape", x=x, shape=[*[-1 if size is None else size for size in shape[:-3]], params.inputChannels])
    return net.emit("expand_dims", x=net.emit("linear", x=rows, weight=weight, bias=bias), axes=[-2, -1])


@layer("embedding")
def embedding(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """A column of the weights for each index, [..., 1, 1, 1] to [..., outputChannels, 1, 1], plus a bias."""
    weights = net.weights.read(params.weights, (params.outputChannels, params.inputDim), f"{net.origin}: weights")
    table = weights.T
    if params.hasBias:
        table = table + net.weights.read(params.bias, (params.outputChannels,), f"{net.origin}: bias")
    if net.rank(x) < 4 or net.shape(x)[-3:] != (1, 1, 1):
        raise ProgramError(f"{net.origin}: the input has shape {list(net.shape(x))}; expected [..., 1, 1, 1]")
    indices = net.cast(net.emit("squeeze", x=x, axes=[-3, -2, -1]), "int32")
    return net.emit("expand_dims", x=net.emit("gather", x=table, indices=indices, axis=0), axes=[-2, -1])
