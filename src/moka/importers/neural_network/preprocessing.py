"""What happens to an image before the first layer: scaled and shifted, or less a mean image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moka.errors import ProgramError
from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.weights import packed_floats
from moka.ir.program import Value

__all__ = ["preprocess"]

_BIASES = {"RGB": ("redBias", "greenBias", "blueBias"), "BGR": ("blueBias", "greenBias", "redBias")}
"""Names of the biases in the order of an image's channels; images of one channel have the gray one."""


def preprocess(net: NetworkBuilder, messages: Sequence[Any], images: Mapping[str, str]) -> None:
    """Applies ``NeuralNetworkPreprocessing`` messages in order to the blobs of images.

    Args:
        images: the order of colours of each image, by name. A message without a name means the only one.
    """
    for message in messages:
        name = message.featureName or (next(iter(images)) if len(images) == 1 else "")
        if name not in images:
            known = ", ".join(map(repr, images)) or "none"
            raise ProgramError(f"preprocessing: featureName is {message.featureName!r}; expected an input that is an image: {known}")
        kind = message.WhichOneof("preprocessor")
        if kind == "scaler":
            net.blobs[name] = _scaled(net, message.scaler, net.blobs[name], images[name])
        elif kind == "meanImage":
            net.blobs[name] = _centred(net, message.meanImage, net.blobs[name], name)
        else:
            raise ProgramError(f"preprocessing of {name!r} is of no known kind; expected scaler or meanImage")


def _scaled(net: NetworkBuilder, scaler: Any, x: Value, colors: str) -> Value:
    """channelScale * x + the bias of each channel."""
    bias = np.array([getattr(scaler, field) for field in _BIASES.get(colors, ("grayBias",))], np.float32)
    if scaler.channelScale != 1:
        x = net.emit("mul", x=x, y=scaler.channelScale)
    return net.emit("add", x=x, y=bias[:, None, None]) if bias.any() else x


def _centred(net: NetworkBuilder, message: Any, x: Value, name: str) -> Value:
    """x less the mean image, [channels, height, width]."""
    shape = net.static_shape(x)[-3:]
    mean = packed_floats(message, "meanImage")
    if mean.size != np.prod(shape):
        raise ProgramError(f"preprocessing of {name!r}: meanImage has {mean.size} numbers; expected {np.prod(shape)} for {list(shape)}")
    return net.emit("sub", x=x, y=mean.reshape(shape))
