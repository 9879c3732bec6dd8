"""Normalization that is not part of a convolution. No real compiled model with it is at hand, so all of it is inferred."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import Attributes, LayerContext, layer
from moka.compiler.espresso.weights import batchnorm_parameters

__all__ = ["batchnorm", "lrn"]


@layer("batchnorm", to="batchnorm")
def batchnorm(net: LayerContext, params: Any) -> Attributes:
    """One that no convolution comes before, or that normalizes each image by itself."""
    attributes = {"C": int(params.channels), "blob_batchnorm_params": net.add_blob(batchnorm_parameters(params, str(net.node)))}
    if not params.instanceNormalization:
        return attributes
    training = {"training": 1, "training_instancenorm": 1, "training_eps": number(params.epsilon), "training_momentum": number(0.9)}
    return {**attributes, **training}


@layer("lrn", to="lrn")
def lrn(net: LayerContext, params: Any) -> Attributes:
    return {"alpha": number(params.alpha), "beta": number(params.beta), "local_size": int(params.localSize)}
