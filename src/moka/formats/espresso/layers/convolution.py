"""Convolutions, their transposes, and inner products, with the activation that the compiler made part of them."""

from __future__ import annotations

from typing import Any

from moka.formats.espresso.layers.padding import set_padding
from moka.formats.espresso.reading import CompiledLayer, reads
from moka.formats.espresso.weights import read_biases, read_weights


@reads("convolution", "deconvolution")
def _convolution(layer: CompiledLayer) -> None:
    """``C`` output and ``K`` input channels in ``n_groups``, a kernel of ``Ny`` rows and ``Nx`` columns.

    Weights are ordered as in the specification: [C, K / groups, Ny, Nx], of a transposed one [K, C / groups, Ny, Nx].
    """
    layer.expect_inputs(1)
    layer.only("has_batch_norm", 0)
    transposed = layer.type == "deconvolution"
    params = layer.add("convolution", then=layer.fused(ReLU="fused_relu", tanh="fused_tanh"))
    params.isDeconvolution = transposed
    outputs, inputs, groups = (layer.integer(name, default, low=1) for name, default in (("C", None), ("K", None), ("n_groups", 1)))
    if inputs % groups or outputs % groups:
        raise layer.refuse("n_groups", f"{groups} divides not both K = {inputs} and C = {outputs}")
    params.outputChannels, params.nGroups = outputs, groups
    params.kernelChannels = inputs if transposed else inputs // groups
    kernel = [layer.integer("Ny", low=1), layer.integer("Nx", low=1)]
    params.kernelSize.extend(kernel)
    params.stride.extend([layer.integer("stride_y", 1, low=1), layer.integer("stride_x", 1, low=1)])
    params.dilationFactor.extend([layer.integer("dilation_y", 1, low=1), layer.integer("dilation_x", 1, low=1)])
    set_padding(layer, params)
    read_weights(layer, [inputs, outputs // groups, *kernel] if transposed else [outputs, inputs // groups, *kernel], params.weights)
    read_biases(layer, outputs, params)
    if transposed:
        _set_output_size(layer, params)


def _set_output_size(layer: CompiledLayer, params: Any) -> None:
    size = [layer.integer("deconv_out_height", 0), layer.integer("deconv_out_width", 0)]
    if all(size):
        params.outputShape.extend(size)
    elif any(size):
        raise layer.refuse("deconv_out_height and deconv_out_width", f"found {size}, expected both or none")


@reads("inner_product")
def _inner_product(layer: CompiledLayer) -> None:
    """``nC`` outputs from ``nB`` inputs, or with ``is_lookup`` the column of the weights that the input is the index of."""
    layer.expect_inputs(1)
    layer.only("has_prelu", 0)
    layer.only("quantization_mode", 0, 1)
    outputs, inputs = layer.integer("nC", low=1), layer.integer("nB", low=1)
    activation = layer.fused(ReLU="has_relu", tanh="has_tanh")
    nd_mode = layer.flag("nd_mode")
    if layer.flag("is_lookup"):
        params = layer.add("embeddingND" if nd_mode else "embedding", then=activation)
        setattr(params, "vocabSize" if nd_mode else "inputDim", inputs)
        setattr(params, "embeddingSize" if nd_mode else "outputChannels", outputs)
    else:
        params = layer.add("innerProduct", then=activation)
        params.inputChannels, params.outputChannels = inputs, outputs
    read_weights(layer, [outputs, inputs], params.weights)
    read_biases(layer, outputs, params)
