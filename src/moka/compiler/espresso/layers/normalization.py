"""Normalization that is not part of a convolution. Public networks show that of single images; the rest is inferred."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.registry import LISTED, Attributes, LayerContext, layer
from moka.compiler.espresso.weights import batchnorm_parameters

__all__ = ["batchnorm", "lrn"]


@layer(
    "batchnorm",
    to="batchnorm",
    seen=f"35 layers of 1 public network, {LISTED}",
    scope="instance normalization; one that no convolution comes before is inferred",
)
def batchnorm(net: LayerContext, params: Any) -> Attributes:
    """One that no convolution comes before, or that normalizes each image by itself."""
    blob = net.add_blob(batchnorm_parameters(params, str(net.node)))
    attributes = {"C": int(params.channels), "blob_batchnorm_params": blob, "training_eps": number(params.epsilon)}
    if params.computeMeanVar and not params.instanceNormalization:
        raise net.no_form("computeMeanVar without instanceNormalization")
    net.guess_unless(bool(params.computeMeanVar), "statistics of its own, where no convolution comes before that takes them")
    if not params.instanceNormalization:
        return attributes
    net.guess_unless(not (params.HasField("mean") or params.HasField("variance")), "statistics that are not used")
    return {**attributes, "training": 1, "training_instancenorm": 1, "training_momentum": number(0.9)}


@layer("lrn", to="lrn")
def lrn(net: LayerContext, params: Any) -> Attributes:
    """The constant that is added, ``k``, is left out where it is 1."""
    constant = {} if params.k == 1 else {"k": number(params.k)}
    return {"alpha": number(params.alpha), "beta": number(params.beta), "local_size": int(params.localSize), **constant}
