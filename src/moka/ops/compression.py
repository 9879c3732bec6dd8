"""Compressed constants: weights kept as few bits, which become tensors when a model is loaded.

Up to ios17 packed bits come as plain bytes, with the shape beside them; from ios18 on as tensors of types narrower than a byte, which
are unpacked before they get here. Dimensions of tables and scales divide those of the data: element i of the data belongs to block
i // (data size / table size).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME
from moka.formats.packing import packed_size, unpack
from moka.ops.quantization import affine
from moka.ops.table import FLOATS, FP16, FP32, INT8, UINT8, Ints, T, U, V, operation

STORED = FLOATS | INT8 | UINT8
NARROW = STORED | {dtypes.INT4, dtypes.UINT4}
MASK = frozenset({dtypes.UINT1})
INDICES = frozenset({dtypes.UINT1, dtypes.UINT2, dtypes.UINT3, dtypes.UINT4, dtypes.UINT6, dtypes.UINT8})


@operation("ios16", T=INT8 | UINT8, U=INT8 | UINT8 | FP32, V=FLOATS)
def constexpr_affine_dequantize(quantized_data: T, zero_point: U, scale: V, *, axis: int) -> V:
    """8-bit weights: scale * (quantized_data - zero_point).

    zero_point and scale: scalars, or one value for each position along ``axis``.
    """
    return affine(quantized_data, scale, zero_point, axis)


@operation("ios18", T=FP16)
@operation("ios16", T=FP16)
def constexpr_cast(source_val: T, *, output_dtype: Literal["fp32"]) -> Tensor:
    """fp16 weights as fp32."""
    return source_val.float()


@operation("ios16", T=STORED, U=UINT8)
def constexpr_lut_to_dense(indices: U, lut: T, *, shape: Ints) -> T:
    """Weights from a table of 2, 4, 16, 64 or 256 values: lut[index] for every index.

    indices: bytes that hold log2(size of lut) bits an index, lowest bits first; lut: [values]; result: ``shape``.
    """
    return lut.index_select(0, _unpacked(indices, lut.numel(), shape).to(lut.device)).reshape(shape)


def _unpacked(indices: Tensor, values: int, shape: Ints) -> Tensor:
    bits = values.bit_length() - 1
    dtype = BY_NAME.get(f"uint{bits}")
    if dtype is None or values != 1 << bits:
        raise ProgramError(f"constexpr_lut_to_dense: lut has {values} values, expected 2, 4, 16, 64 or 256")
    return _elements(indices, dtype, shape).int()


def _elements(packed: Tensor, dtype: dtypes.DType, shape: Ints) -> Tensor:
    count = math.prod(shape)
    if packed.numel() != packed_size(count, dtype):
        expected = f"{count} elements of type {dtype} take {packed_size(count, dtype)}"
        raise ProgramError(f"compressed constant of shape {list(shape)}: found {packed.numel()} bytes, {expected}")
    return torch.from_numpy(unpack(packed.cpu().numpy(), dtype, count))


@operation("ios16", T=STORED, U=UINT8)
def constexpr_sparse_to_dense(nonzero_data: T, mask: U, *, shape: Ints) -> T:
    """Weights most of which are 0: the next of ``nonzero_data`` where the mask has a 1, else 0.

    nonzero_data: [number of ones]; mask: bytes that hold one bit an element, lowest first; result: ``shape``.
    """
    return _dense(nonzero_data, _elements(mask, dtypes.UINT1, shape).reshape(shape))


def _dense(nonzero: Tensor, mask: Tensor) -> Tensor:
    where = mask != 0
    ones = int(where.sum())
    if ones != nonzero.numel():
        raise ProgramError(f"sparse constant: the mask has {ones} ones, but there are {nonzero.numel()} values that are not zero")
    zeros = torch.zeros(mask.shape, dtype=nonzero.dtype, device=nonzero.device)
    return zeros.masked_scatter(where.to(nonzero.device), nonzero)


def _nonzero(dense: Tensor, mask: Tensor) -> Tensor:
    """The elements that the mask keeps, as a vector: the inverse of `_dense`."""
    return dense.reshape(-1).index_select(0, mask.reshape(-1).nonzero().squeeze(1).to(dense.device))


@operation("ios18", T=NARROW, U=FLOATS, V=NARROW)
def constexpr_blockwise_shift_scale(data: T, scale: U, offset: V | None = None) -> U:
    """Weights of 4 or 8 bits, with a scale and an offset for each block: scale * (data - offset).

    scale and offset have data's rank, and sizes that divide data's.
    """
    blocked = data.reshape(_blocks(data.shape, scale.shape)).to(scale)
    if offset is not None:
        blocked = blocked - _each_block(offset).to(scale)
    return (blocked * _each_block(scale)).reshape(data.shape)


def _blocks(data: torch.Size, blocks: torch.Size) -> list[int]:
    """Shape in which every dimension of the data is split in two: (blocks, elements of a block)."""
    if len(data) != len(blocks) or any(count == 0 or size % count for size, count in zip(data, blocks, strict=True)):
        raise ProgramError(f"blockwise constant: {list(blocks)} blocks do not divide data of shape {list(data)}")
    return [size for pair in ((count, size // count) for size, count in zip(data, blocks, strict=True)) for size in pair]


def _each_block(parameter: Tensor) -> Tensor:
    """One value a block, ready to broadcast over `_blocks`: [b0, 1, b1, 1, ...]."""
    return parameter.reshape([size for count in parameter.shape for size in (count, 1)])


@operation("ios18", name="constexpr_lut_to_dense", T=INDICES, U=STORED)
def constexpr_lut_to_dense_ios18(indices: T, lut: U, *, vector_axis: int | None = None) -> U:
    """Weights from tables of values or of vectors, one table for each block of indices.

    indices: any shape; lut: [blocks along each dimension of indices, 2^bits, vector size]. Each index is replaced by the vector that it
    names in its block's table, laid out along ``vector_axis``: that dimension of the result is vector size times as long.
    """
    counts, (values, vector_size) = lut.shape[:-2], lut.shape[-2:]
    if indices.numel() and int(indices.max()) >= values:  # it would be read from the next block's table
        raise ProgramError(f"constexpr_lut_to_dense: index {int(indices.max())} is beyond lut, whose tables have {values} values")
    tables = torch.arange(math.prod(counts), dtype=torch.int32, device=indices.device).reshape(counts)
    positions = (indices.int().reshape(_blocks(indices.shape, counts)) + _each_block(tables) * values).reshape(-1)
    vectors = lut.reshape(-1, vector_size).index_select(0, positions.to(lut.device)).reshape(*indices.shape, vector_size)
    if vector_size == 1:
        return vectors.squeeze(-1)
    axis = _vector_axis(vector_axis, indices.dim())
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)


def _vector_axis(axis: int | None, rank: int) -> int:
    if axis is None:
        raise ProgramError("table of vectors: vector_axis is missing; it is required where a vector has more than one element")
    return axis % rank


@operation("ios18", name="constexpr_sparse_to_dense", T=NARROW, U=MASK)
def constexpr_sparse_to_dense_ios18(nonzero_data: T, mask: U) -> T:
    """Weights most of which are 0: the next of ``nonzero_data`` where the mask is 1, else 0.

    nonzero_data: [number of ones]; mask: any shape, which is the result's.
    """
    return _dense(nonzero_data, mask)


@operation("ios18", T=MASK, U=INDICES, V=STORED)
def constexpr_lut_to_sparse(indices_mask: T, indices_nonzero_data: U, lut: V, *, vector_axis: int | None = None) -> tuple[T, V]:
    """`constexpr_lut_to_dense` for sparse indices, with a sparse result: its mask and its values that are not zero.

    indices_mask: any shape; indices_nonzero_data: [number of ones]; results: the mask, repeated along ``vector_axis`` where the table
    holds vectors, and [vector size * number of ones].
    """
    dense = constexpr_lut_to_dense_ios18(_dense(indices_nonzero_data, indices_mask), lut, vector_axis=vector_axis)
    vector_size = lut.shape[-1]
    mask = indices_mask
    if vector_size > 1:
        mask = mask.repeat_interleave(vector_size, _vector_axis(vector_axis, mask.dim()))
    return mask, _nonzero(dense, mask)


@operation("ios18", name="constexpr_sparse_blockwise_shift_scale", T=MASK, U=NARROW, V=FLOATS)
def constexpr_sparse_blockwise_shift_scale(data_mask: T, nonzero_data: U, scale: V, offset: Tensor | None = None) -> tuple[T, V]:
    """`constexpr_blockwise_shift_scale` for sparse data, with a sparse result: its mask and its values that are not zero.

    data_mask: any shape; nonzero_data: [number of ones]; scale and offset have data_mask's rank, and sizes that divide its.
    """
    dense = constexpr_blockwise_shift_scale(_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, _nonzero(dense, data_mask)
