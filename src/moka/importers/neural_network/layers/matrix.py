"""Matrices: products, triangles and bands, and normalization over the last axes."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import broadcast_rank, known_rank
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


@layer("batchedMatmul")
def batched_matmul(net: NetworkBuilder, params: Any, x: Value, y: Value | None = None) -> Value:
    """The product of the last two axes of two blobs, or of one and the layer's weights, plus a bias.

    With ``int8DynamicQuantize`` Core ML rounds x to int8 on the way; here the product is the exact one that this approaches.
    """
    if y is not None:
        return _product(net, params, x, y)
    rows, columns = params.weightMatrixFirstDimension, params.weightMatrixSecondDimension
    weight = net.weights.read(params.weights, (columns, rows), f"{net.origin}: weights")
    bias = net.weights.read(params.bias, (columns,), f"{net.origin}: bias") if params.hasBias else None
    return net.emit("linear", rank=known_rank(x), x=x, weight=weight, bias=bias)


def _product(net: NetworkBuilder, params: Any, x: Value, y: Value) -> Value:
    """A vector is a matrix of one row on the left and of one column on the right, in the result too."""
    if known_rank(x) == 1:
        x = net.emit("expand_dims", x=x, rank=2, axes=[0])
    if known_rank(y) == 1:
        y = net.emit("expand_dims", x=y, rank=2, axes=[1])
    return net.emit("matmul", rank=broadcast_rank(x, y), x=x, y=y, transpose_x=params.transposeA, transpose_y=params.transposeB)


@layer("matrixBandPart")
def matrix_band_part(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The innermost matrices with zeros outside a band around the diagonal."""
    return net.emit("band_part", rank=known_rank(x), x=x, lower=params.numLower, upper=params.numUpper)


@layer("lowerTriangular")
def lower_triangular(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The innermost matrices with zeros above diagonal k."""
    return net.emit("nn_lower_triangle", rank=known_rank(x), x=x, k=params.k)


@layer("upperTriangular")
def upper_triangular(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The innermost matrices with zeros below diagonal k."""
    return net.emit("nn_upper_triangle", rank=known_rank(x), x=x, k=params.k)


@layer("layerNormalization")
def layer_normalization(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """Normalizes over the last axes, those of normalizedShape, then scales and shifts each element there."""
    shape = [int(size) for size in params.normalizedShape]
    gamma, beta = (net.weights.read(getattr(params, name), shape, f"{net.origin}: {name}") for name in ("gamma", "beta"))
    axes = list(range(-len(shape), 0))
    return net.emit("layer_norm", rank=known_rank(x), x=x, axes=axes, gamma=gamma, beta=beta, epsilon=params.eps)
