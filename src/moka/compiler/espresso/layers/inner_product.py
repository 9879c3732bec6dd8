"""Inner products, and the tables of vectors that are compiled to them."""

from __future__ import annotations

from typing import Any

from moka.compiler.espresso.registry import Attributes, LayerContext, layer
from moka.compiler.espresso.weights import biases, form, weights

__all__ = ["embedding", "embedding_nd", "inner_product"]

_ROOM = 4
"""Biases of inner products lie in four times the room that they need."""

_FLAGS = {"has_tanh": 0, "has_prelu": 0}


@layer(
    "innerProduct",
    to="inner_product",
    verified=3,
    seen="3 compiled networks",
    scope="float32 weights; those without biases are seen as tables of vectors, which are compiled to the same type",
)
def inner_product(net: LayerContext, params: Any) -> Attributes:
    """A ReLU may be folded into it."""
    if params.int8DynamicQuantize:
        raise net.no_form("int8DynamicQuantize")
    sizes = {"nB": int(params.inputChannels), "nC": int(params.outputChannels), "has_relu": int(net.node.relu)}
    return {**sizes, **_FLAGS, **_blobs(net, params, (sizes["nC"], sizes["nB"]))}


@layer("embeddingND", to="inner_product", seen="a layer of a compiled network in a public account", scope="float32 weights, no biases")
def embedding_nd(net: LayerContext, params: Any) -> Attributes:
    """A table of vectors is an inner product that looks up, and never runs on the GPU."""
    net.guess_unless(not params.hasBias, "hasBias: an embedding with biases")
    sizes = {"nB": int(params.vocabSize), "nC": int(params.embeddingSize), "has_relu": 0}
    lookup = {"is_lookup": 1, "nd_mode": True, "hint_fallback_from_metal": 1}
    return {**sizes, **_FLAGS, **lookup, **_blobs(net, params, (sizes["nC"], sizes["nB"]))}


@layer("embedding", to="inner_product")
def embedding(net: LayerContext, params: Any) -> Attributes:
    """The older table of vectors, of five axes."""
    sizes = {"nB": int(params.inputDim), "nC": int(params.outputChannels), "has_relu": 0}
    return {**sizes, **_FLAGS, "is_lookup": 1, **_blobs(net, params, (sizes["nC"], sizes["nB"]))}


def _blobs(net: LayerContext, params: Any, shape: tuple[int, int]) -> Attributes:
    where = str(net.node)
    kind = form(params.weights, f"{where}: weights")
    net.guess_unless(kind == "f32", f"weights: {'half-precision' if kind == 'f16' else 'quantized'} weights")
    attributes: Attributes = {"has_biases": int(params.hasBias)}
    if params.hasBias:
        attributes["blob_biases"] = net.add_blob(biases(params.bias, shape[0], f"{where}: bias", spread=_ROOM))
    key = "blob_weights_f16" if kind == "f16" else "blob_weights"
    return {**attributes, key: net.add_blob(weights(params.weights, shape, f"{where}: weights"))}
