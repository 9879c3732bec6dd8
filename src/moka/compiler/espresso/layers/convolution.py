"""Convolution and deconvolution."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.layers._windows import EXPLICIT, SAME, borders, padding, pair
from moka.compiler.espresso.registry import Attributes, LayerContext, layer
from moka.compiler.espresso.weights import BatchNormalization, biases, form, weights

__all__ = ["convolution"]


@layer("convolution", to="convolution", verified=8, seen="4 compiled networks", scope="weights that are not quantized")
def convolution(net: LayerContext, params: Any) -> Attributes:
    """Padding, batch normalization and ReLU may be folded into it."""
    if len(net.node.inputs) != 1:
        raise net.no_form("weights that are an input")
    where = str(net.node)
    height, width = pair(params.kernelSize, 3, f"{where}: kernelSize")
    groups = int(params.nGroups) or 1
    deconvolution = bool(params.isDeconvolution)
    attributes = {
        "C": int(params.outputChannels),
        "K": int(params.kernelChannels) * (1 if deconvolution else groups),
        "Nx": width,
        "Ny": height,
        "n_groups": groups,
        "n_parallel": 1,
        "has_batch_norm": 0,
        "fused_relu": int(net.node.relu),
        "fused_tanh": 0,
        **_steps(params, where),
        **_padding(net, params),
    }
    if deconvolution:
        return {**attributes, "type": "deconvolution", **_deconvolution_blobs(net, params, (height, width), groups)}
    shape = (int(params.outputChannels), int(params.kernelChannels), height, width)
    return {**attributes, **_blobs(net, params, shape)}


def _steps(params: Any, where: str) -> Attributes:
    """Strides and dilation, which are left out where they are 1."""
    stride_y, stride_x = pair(params.stride, 1, f"{where}: stride")
    dilation_y, dilation_x = pair(params.dilationFactor, 1, f"{where}: dilationFactor")
    steps = {"stride_x": stride_x, "stride_y": stride_y, "dilation_x": dilation_x, "dilation_y": dilation_y}
    return {name: step for name, step in steps.items() if step != 1}


def _padding(net: LayerContext, params: Any) -> Attributes:
    if params.WhichOneof("ConvolutionPaddingType") == "same":
        net.guess_unless(not params.isDeconvolution, "same padding of a deconvolution")
        return padding(SAME[params.same.asymmetryMode])
    amounts = net.node.padding.paddingAmounts if net.node.padding is not None else params.valid.paddingAmounts
    return padding(EXPLICIT, borders(amounts, f"{net.node}: paddingAmounts"))


def _blobs(net: LayerContext, params: Any, shape: tuple[int, int, int, int]) -> Attributes:
    """Biases come before weights; a batch normalization gives biases to a layer that had none."""
    where = str(net.node)
    batchnorm = net.node.batchnorm
    normalization = None if batchnorm is None else BatchNormalization.of(batchnorm, shape[0], where)
    attributes: Attributes = {"has_biases": int(params.hasBias or normalization is not None)}
    if attributes["has_biases"]:
        message = params.bias if params.hasBias else None
        attributes["blob_biases"] = net.add_blob(biases(message, shape[0], f"{where}: bias", normalization=normalization))
    blob = weights(params.weights, shape, f"{where}: weights", normalization)
    return {**attributes, _weights_key(net, params): net.add_blob(blob)}


def _weights_key(net: LayerContext, params: Any) -> str:
    kind = form(params.weights, f"{net.node}: weights")
    net.guess_unless(kind != "quantized", "weights: quantized, written as float32")
    return "blob_weights_f16" if kind == "f16" else "blob_weights"


def _deconvolution_blobs(net: LayerContext, params: Any, kernel: tuple[int, int], groups: int) -> Attributes:
    """Weights [in, out / groups, h, w] as in the source. Apple's compiler writes everything twice and uses the second."""
    where = str(net.node)
    key = _weights_key(net, params)
    net.guess_unless(key == "blob_weights", "weights: half-precision weights of a deconvolution")
    net.guess_unless(groups == 1, "nGroups: a deconvolution in groups")
    net.guess_unless(bool(params.hasBias), "hasBias: a deconvolution without biases")
    net.guess_unless(not params.outputShape, "outputShape")
    channels = int(params.outputChannels)
    attributes: Attributes = {"has_biases": int(params.hasBias)}
    for _ in range(2):
        if params.hasBias:
            attributes["blob_biases"] = net.add_blob(biases(params.bias, channels, f"{where}: bias"))
        shape = (int(params.kernelChannels), channels // groups, *kernel)
        attributes[key] = net.add_blob(weights(params.weights, shape, f"{where}: weights"))
    if params.outputShape:
        attributes["deconv_out_height"], attributes["deconv_out_width"] = pair(params.outputShape, 0, f"{where}: outputShape")
    return attributes
