"""Compressed weights, kept as few bits where a runtime multiplies with them so; elsewhere the driver decompresses them ahead.

OpenVINO multiplies with DequantizeLinear's 4- and 8-bit weights, ONNX Runtime with the 4-bit ones of its MatMulNBits (its kernel for 8
bits is many times slower than the dense one). With quantized activations OpenVINO computes in whole numbers, convolutions as well.
Tables are decompressed by every runtime, so they stay in exported models alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import ml_dtypes
import numpy as np
from onnx import TensorProto

from moka.engines.onnx.graph import Array, Graph, Operand
from moka.engines.onnx.registry import lowers
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME
from moka.formats.packing import unpack
from moka.ops.table import Ints

__all__ = ["Blocks", "matmul_nbits"]

_PRODUCTS = ("linear.weight", "matmul.y", "linear.weight of quantized", "matmul.y of quantized", "conv.weight of quantized")

_NARROW = {dtypes.INT4: np.dtype(ml_dtypes.int4), dtypes.UINT4: np.dtype(ml_dtypes.uint4)}


@lowers("constexpr_affine_dequantize", compressed=_PRODUCTS)
def constexpr_affine_dequantize(g: Graph, quantized_data: Operand, zero_point: Operand, scale: Operand, *, axis: int) -> Operand | None:
    rank = quantized_data.rank
    sizes = [-1 if i == axis % rank else 1 for i in range(rank)]
    return _affine(g, quantized_data, *(item.content.reshape(sizes if item.rank else [1] * rank) for item in (scale, zero_point)))


@lowers("constexpr_blockwise_shift_scale", compressed=_PRODUCTS)
def constexpr_blockwise_shift_scale(g: Graph, data: Operand, scale: Operand, offset: Operand | None) -> Operand | None:
    return _affine(g, data, scale.content, np.zeros((), data.dtype) if offset is None else offset.content)


def _affine(g: Graph, data: Operand, scale: Array, offset: Array) -> Operand | None:
    """scale * (data - offset), with a scale and an offset for each block; None where no kernel of the target does it."""
    if data.dtype != offset.dtype or data.dtype not in (np.int8, np.uint8) or g.target.half or scale.ndim != data.rank:
        return None
    offset = np.broadcast_to(offset, scale.shape)
    return _nbits(g, data, scale, offset) if g.target.name == "onnxruntime" else _dequantized(g, data, scale, offset)


def _dequantized(g: Graph, data: Operand, scale: Array, offset: Array) -> Operand | None:
    """DequantizeLinear, which has one scale, one for each place along an axis, or one for each block along an axis of a matrix."""
    shape = data.static_shape
    blocked = [axis for axis, count in enumerate(scale.shape) if 1 < count < shape[axis]]
    single = [axis for axis, count in enumerate(scale.shape) if count == shape[axis] > 1]
    if len(blocked) > 1 or (blocked and len(shape) > 2) or (not blocked and len(single) > 1):
        return None
    if blocked:
        sizes = [count if axis in blocked else size for axis, (count, size) in enumerate(zip(scale.shape, shape, strict=True))]
        attributes = {"axis": blocked[0], "block_size": shape[blocked[0]] // scale.shape[blocked[0]]}
        scale, offset = np.broadcast_to(scale, sizes), np.broadcast_to(offset, sizes)
    else:
        attributes = {"axis": single[0]} if single else {}
        scale, offset = (item.reshape(-1 if single else ()) for item in (scale, offset))
    zero = _stored(g, data, offset) if offset.any() else None
    stored = data if data.declared not in _NARROW else _stored(g, data, data.content)
    return g.node("DequantizeLinear", stored, g.constant(scale.astype(np.float32)), zero, dtype=np.float32, shape=shape, **attributes)


def _stored(g: Graph, data: Operand, content: Array) -> Operand:
    """A constant of the element type of the data."""
    narrow = None if data.declared is None else _NARROW.get(data.declared)
    return g.constant(content.astype(data.dtype)) if narrow is None else g.packed(np.ascontiguousarray(content, data.dtype), narrow)


@dataclass(frozen=True, eq=False, slots=True)
class Blocks:
    """A matrix of elements from 0 to 15: scale * (data - offset), with scale and offset for each block of both axes."""

    data: Array
    scale: Array
    offset: Array

    @property
    def transposed(self) -> Blocks:
        return Blocks(self.data.T, self.scale.T, self.offset.T)

    @property
    def dense(self) -> Array:
        factors = [size // count for size, count in zip(self.data.shape, self.scale.shape, strict=True)]
        scale, offset = (item.repeat(factors[0], 0).repeat(factors[1], 1) for item in (self.scale, self.offset))
        result: Array = scale * (self.data.astype(np.float32) - offset)
        return result


def _nbits(g: Graph, data: Operand, scale: Array, offset: Array) -> Operand | None:
    if data.declared not in _NARROW or data.rank != 2:
        return None
    start = 8 if data.declared == dtypes.INT4 else 0
    blocks = Blocks((data.content + start).astype(np.uint8), scale.astype(np.float32), (offset + start).astype(np.uint8))
    return Operand(g.fresh("compressed"), np.dtype(np.float32), data.shape, None, lambda: blocks.dense, blocks)


def matmul_nbits(g: Graph, x: Operand, blocks: Blocks) -> Operand | None:
    """x @ transpose(blocks) by ONNX Runtime's operator for 4-bit weights; None where its blocks, of 16 to 256 elements, don't fit."""
    (n, k), (rows, columns) = blocks.data.shape, blocks.scale.shape
    size = min(256, (k // columns) & -(k // columns))  # the largest power of two that divides a block
    if columns == 1 and size < 16:
        size = 32  # the last one is filled up
    if size < 16:
        return None
    count = math.ceil(k / size)
    own = np.arange(count) * size // (k // columns)
    scale, offset = (item.repeat(n // rows, 0)[:, own] for item in (blocks.scale, blocks.offset))
    data = np.zeros((n, count * size), np.uint8)
    data[:, :k] = blocks.data
    zero = None if (offset == 8).all() else _pairs(offset).reshape(-1)
    return g.node(
        "MatMulNBits", x, _pairs(data).reshape(n, count, size // 2), np.ascontiguousarray(scale).reshape(-1), zero,
        domain="com.microsoft", K=k, N=n, bits=4, block_size=size,
    )  # fmt: skip


def _pairs(rows: Array) -> Array:
    """Rows of elements of 4 bits, two a byte, the first in its lower half."""
    even = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2)))
    pairs: Array = even[:, 0::2] | even[:, 1::2] << 4
    return pairs


@lowers("constexpr_lut_to_dense", compressed=_PRODUCTS)
def constexpr_lut_to_dense(
    g: Graph, indices: Operand, lut: Operand, *, shape: Ints | None = None, vector_axis: int | None = None
) -> Operand | None:
    """Gather from a single table of values. Up to ios17 indices are packed, and ``shape`` tells theirs."""
    values = lut.static_shape[-1] if shape is not None else lut.static_shape[-2]
    if g.target.name != "onnx" or math.prod(lut.static_shape) != values or values & (values - 1):
        return None
    elements = indices.content
    if shape is not None:
        elements = unpack(elements, BY_NAME[f"uint{values.bit_length() - 1}"], math.prod(shape)).reshape(shape)
    places = g.node("Cast", elements.astype(np.uint8), dtype=np.int32, to=TensorProto.INT32)
    return g.node("Gather", lut.content.reshape(-1), places, dtype=lut.dtype, shape=elements.shape, axis=0)
