"""Normalization layers, and softmax."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._shapes import as_images, like_images
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("batchnorm")
def batchnorm(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """gamma * (x - mean) / sqrt(variance + epsilon) + beta, with the layer's statistics, those of each instance or of the batch."""
    images = as_images(net, x)
    epsilon = params.epsilon or 1e-5
    gamma, beta = (_channels(net, params, name) for name in ("gamma", "beta"))
    if not params.computeMeanVar:
        mean, variance = (_channels(net, params, name) for name in ("mean", "variance"))
        result = net.emit("batch_norm", x=images, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon)
    elif params.instanceNormalization:
        result = net.emit("instance_norm", x=images, gamma=gamma, beta=beta, epsilon=epsilon)
    else:
        normalized = _standardized(net, images, [0, 2, 3], epsilon)
        result = net.emit("add", x=net.emit("mul", x=normalized, y=gamma[:, None, None]), y=beta[:, None, None])
    return like_images(net, result, x)


def _channels(net: NetworkBuilder, params: Any, name: str) -> Any:
    return net.weights.read(getattr(params, name), (params.channels,), f"{net.origin}: {name}")


def _centred(net: NetworkBuilder, x: Value, axes: list[int]) -> Value:
    return net.emit("sub", x=x, y=net.emit("reduce_mean", x=x, axes=axes, keep_dims=True))


def _standardized(net: NetworkBuilder, x: Value, axes: list[int], epsilon: float) -> Value:
    centred = _centred(net, x, axes)
    variance = net.emit("reduce_mean", x=net.emit("square", x=centred), axes=axes, keep_dims=True)
    return net.emit("mul", x=centred, y=net.emit("rsqrt", x=variance, epsilon=epsilon))


@layer("mvn")
def mvn(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """x less its mean over height and width (and channels), divided by its standard deviation there if asked for."""
    axes = [-3, -2, -1] if params.acrossChannels else [-2, -1]
    return _standardized(net, x, axes, params.epsilon or 1e-6) if params.normalizeVariance else _centred(net, x, axes)


@layer("l2normalize")
def l2_normalize(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """x / sqrt(sum(x ** 2) + epsilon) over the last three axes."""
    return net.emit("l2_norm", x=x, epsilon=params.epsilon or 1e-6)


@layer("softmax")
def softmax(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Softmax over channels."""
    return net.emit("softmax", x=x, axis=-3)


@layer("lrn")
def lrn(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Each element divided by a power of the energy of neighbouring channels."""
    options = {"size": params.localSize, "alpha": params.alpha, "beta": params.beta, "k": params.k or 1.0}
    return like_images(net, net.emit("local_response_norm", x=as_images(net, x), **options), x)
