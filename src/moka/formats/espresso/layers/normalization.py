"""Normalizations and softmax."""

from __future__ import annotations

import numpy as np

from moka.formats.espresso.reading import CompiledLayer, reads
from moka.formats.espresso.weights import read_floats, set_floats

_CHANNEL = 2
"""The number of the channel axis, counted from the innermost."""
_EPSILON = 1e-5
"""What the specification adds to a variance where nothing else is stated."""


@reads("batchnorm")
def _batchnorm(layer: CompiledLayer) -> None:
    """Four numbers a channel, side by side: gamma, beta, mean and variance; in training mode the last two come from the blob."""
    layer.expect_inputs(1)
    channels = layer.integer("C", low=1)
    training, instances = layer.flag("training"), layer.flag("training_instancenorm")
    if training != instances:
        raise layer.unknown("training", int(training), "1 with a training_instancenorm of 1, else 0")
    gamma, beta, mean, variance = read_floats(layer, "blob_batchnorm_params", 4 * channels).reshape(channels, 4).T
    params = layer.add("batchnorm", then=layer.fused(ReLU="fused_relu", tanh="fused_tanh"))
    params.channels = channels
    params.computeMeanVar = params.instanceNormalization = instances
    layer.number("training_momentum", 0)
    params.epsilon = layer.number("training_eps", 0 if _is_affine(mean, variance) else _EPSILON)
    set_floats(params.gamma, gamma)
    set_floats(params.beta, beta)
    if not instances:
        set_floats(params.mean, mean)
        set_floats(params.variance, variance)


def _is_affine(mean: np.ndarray, variance: np.ndarray) -> bool:
    """Whether the statistics are those that change nothing: the compiler made them part of the other two numbers."""
    return bool((mean == 0).all() and (variance == 1).all())


@reads("lrn")
def _local_response(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    params = layer.add("lrn")
    params.alpha, params.beta = layer.number("alpha"), layer.number("beta")
    params.localSize = layer.integer("local_size", low=1)
    params.k = layer.number("k", 1)


@reads("softmax")
def _softmax(layer: CompiledLayer) -> None:
    """Along the axis ``C``, counted from the innermost."""
    layer.expect_inputs(1)
    axis = layer.integer("C", _CHANNEL, high=4)
    if axis == _CHANNEL:
        layer.add("softmax")
    else:
        layer.add("softmaxND").axis = -1 - axis


@reads("softmax_nd")
def _softmax_nd(layer: CompiledLayer) -> None:
    layer.expect_inputs(1)
    layer.add("softmaxND").axis = layer.integer("nd_axis", low=-5, high=4)
