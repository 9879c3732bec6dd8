"""Normalization, as the operators that runtimes have kernels for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moka.engines.onnx.families._nodes import reshape, squeeze, transpose, unsqueeze
from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers
from moka.ops.table import Ints


def _parameter(g: Graph, x: Operand, parameter: Operand | None, sizes: Sequence[int], default: float) -> Operand:
    """A parameter in the type of ``x``, or a default in all places."""
    return g.constant(np.full(sizes, default, x.dtype)) if parameter is None else g.cast(parameter, x.dtype)


@lowers("batch_norm")
def batch_norm(
    g: Graph, x: Operand, mean: Operand, variance: Operand, gamma: Operand | None, beta: Operand | None, *, epsilon: float
) -> Operand:
    sizes = mean.static_shape
    scale, shift = _parameter(g, x, gamma, sizes, 1.0), _parameter(g, x, beta, sizes, 0.0)
    return g.node("BatchNormalization", x, scale, shift, g.cast(mean, x.dtype), g.cast(variance, x.dtype), epsilon=epsilon)


@lowers("instance_norm")
def instance_norm(g: Graph, x: Operand, gamma: Operand | None, beta: Operand | None, *, epsilon: float) -> Operand:
    sizes = [x.size(1)]
    return g.node("InstanceNormalization", x, _parameter(g, x, gamma, sizes, 1.0), _parameter(g, x, beta, sizes, 0.0), epsilon=epsilon)


@lowers("l2_norm")
def l2_norm(g: Graph, x: Operand, *, epsilon: float) -> Operand:
    wide = g.cast(x, np.float32)
    energy = g.node("ReduceSum", g.node("Mul", wide, wide), g.ints([-3, -2, -1]), keepdims=1)
    return g.node("Div", wide, g.node("Sqrt", g.node("Add", energy, epsilon)))


@lowers("layer_norm")
def layer_norm(g: Graph, x: Operand, gamma: Operand | None, beta: Operand | None, *, axes: Ints | None, epsilon: float) -> Operand:
    """LayerNormalization, which wants the normalized axes last.

    Transposing for it is far cheaper than the steps in ONNX Runtime; OpenVINO runs the steps as one loop and is slower with transpositions.
    """
    dims = list(range(x.rank)) if axes is None else sorted(axis % x.rank for axis in axes)
    others = [axis for axis in range(x.rank) if axis not in dims]
    sizes = next((tuple(parameter.static_shape) for parameter in (gamma, beta) if parameter is not None), None)
    last = [*others, *dims]
    if (sizes is None and not x.is_static(*dims)) or (last != sorted(last) and g.target.name == "openvino"):
        return _in_steps(g, x, gamma, beta, dims, epsilon)
    scale = _parameter(g, x, gamma, sizes or [x.size(axis) for axis in dims], 1.0)
    shift = None if beta is None else g.cast(beta, x.dtype)
    result = g.node("LayerNormalization", transpose(g, x, last), scale, shift, axis=-len(dims), epsilon=epsilon)
    return transpose(g, result, [last.index(axis) for axis in range(x.rank)])


def _in_steps(g: Graph, x: Operand, gamma: Operand | None, beta: Operand | None, dims: list[int], epsilon: float) -> Operand:
    """The mean taken away, then the standard deviation divided out."""
    centred = g.node("Sub", x, g.node("ReduceMean", x, g.ints(dims), keepdims=1))
    variance = g.node("ReduceMean", g.node("Mul", centred, centred), g.ints(dims), keepdims=1)
    result = g.node("Div", centred, g.node("Sqrt", g.node("Add", variance, epsilon)))
    for kind, parameter in (("Mul", gamma), ("Add", beta)):
        if parameter is not None:
            result = g.node(kind, result, _spread(g, g.cast(parameter, x.dtype), x.rank, dims))
    return result


def _spread(g: Graph, parameter: Operand, rank: int, dims: list[int]) -> Operand:
    """A parameter with the sizes of some axes, ready to broadcast over a tensor of ``rank``."""
    sizes = iter(parameter.static_shape)
    return reshape(g, parameter, [next(sizes) if axis in dims else 1 for axis in range(rank)])


@lowers("local_response_norm")
def local_response_norm(g: Graph, x: Operand, *, size: int, alpha: float, beta: float, k: float) -> Operand:
    """LRN over the third axis from the end. Its window lies otherwise than Core ML's where ``size`` is even: then a mean of squares."""
    wide = g.cast(x, np.float32)
    if x.rank == 3:
        planes = unsqueeze(g, wide, 0)
    elif x.rank == 4:
        planes = wide
    else:
        planes = reshape(g, wide, [math.prod(x.static_shape[:-3]), *x.static_shape[-3:]])
    if size % 2 and (k == 1 or g.target.name != "openvino"):
        result = g.node("LRN", planes, size=size, alpha=alpha, beta=beta, bias=k)
    elif size % 2 and k > 0:  # OpenVINO 2026.4 computes any bias but 1 wrong, so it is taken out of the power
        result = g.node("Mul", g.node("LRN", planes, size=size, alpha=alpha / k, beta=beta, bias=1.0), k**-beta)
    else:
        result = g.node("Div", planes, g.node("Pow", _neighbours(g, planes, size, alpha, k), beta))
    if x.rank == 4:
        return result
    return squeeze(g, result, 0) if x.rank == 3 else reshape(g, result, x.static_shape)


def _neighbours(g: Graph, planes: Operand, size: int, alpha: float, k: float) -> Operand:
    """k + alpha / size * the sum of squares of neighbouring channels, more of them before than after."""
    squares = g.node("Unsqueeze", g.node("Mul", planes, planes), g.ints([1]))
    pads = [size // 2, 0, 0, (size - 1) // 2, 0, 0]
    mean = g.node("AveragePool", squares, kernel_shape=[size, 1, 1], pads=pads, count_include_pad=1)
    return g.node("Add", g.node("Mul", g.node("Squeeze", mean, g.ints([1])), alpha), k)
