"""Affine quantization of values that are computed: QuantizeLinear and DequantizeLinear, which runtimes fuse with what is between them."""

from __future__ import annotations

import numpy as np

from moka.engines.onnx.graph import Graph, Operand
from moka.engines.onnx.registry import lowers


@lowers("quantize")
def quantize(g: Graph, input: Operand, scale: Operand, zero_point: Operand | None, *, output_dtype: str, axis: int | None) -> Operand:
    dtype = np.dtype(output_dtype)
    zero = _zero(g, scale, dtype) if zero_point is None else g.cast(zero_point, dtype)
    return g.node("QuantizeLinear", input, g.cast(scale, input.dtype), zero, dtype=dtype, axis=axis)


@lowers("dequantize")
def dequantize(g: Graph, input: Operand, scale: Operand, zero_point: Operand | None, *, axis: int | None) -> Operand:
    zero = _zero(g, scale, input.dtype) if zero_point is None else g.cast(zero_point, input.dtype)
    return g.node("DequantizeLinear", input, scale, zero, dtype=scale.dtype, axis=axis)


def _zero(g: Graph, scale: Operand, dtype: np.dtype[np.generic]) -> Operand:
    return g.constant(np.zeros(scale.static_shape, dtype))
