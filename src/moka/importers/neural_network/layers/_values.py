"""What layers of exact arrays share: ranks, sizes and indices, of which some are known only when the network runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from moka.formats import dtypes
from moka.importers.neural_network.builder import NetworkBuilder
from moka.ir.program import Value
from moka.ir.types import TensorType

__all__ = ["broadcast_rank", "known_rank", "numbers", "outer_rank", "reshaped", "shape_of", "size_of", "wrapped"]


def known_rank(x: Value) -> int | None:
    """The rank of a blob; None where it depends on data."""
    return x.type.rank if isinstance(x.type, TensorType) else None


def broadcast_rank(*blobs: Value) -> int | None:
    """The rank of what blobs broadcast to."""
    ranks = [rank for rank in map(known_rank, blobs) if rank is not None]
    return max(ranks) if len(ranks) == len(blobs) else None


def outer_rank(*ranks: int | None) -> int | None:
    """The sum of ranks, if all of them are known."""
    known = [rank for rank in ranks if rank is not None]
    return sum(known) if len(known) == len(ranks) else None


def shape_of(net: NetworkBuilder, x: Value) -> Value:
    """The sizes of a blob's axes, int32; known if the blob's shape is."""
    shape = net.emit_all("shape", 1, rank=1, dtype="int32", x=x)[0]
    rank = known_rank(x)
    if net.shapes.tensor(shape) is None and rank is not None:
        shape.type = TensorType(dtypes.INT32, (rank,))
        net.shapes.note(shape, torch.empty(rank, dtype=torch.int32, device="meta"))
    return shape


def reshaped(net: NetworkBuilder, x: Value, shape: Sequence[int]) -> Value:
    """The blob in a shape, which is known even if the blob's own is not, unless the numbers refer to that."""
    result = net.emit("reshape", rank=len(shape), x=x, shape=list(shape))
    if net.shapes.tensor(result) is None and all(size > 0 for size in shape):
        result.type = TensorType(dtypes.FP32, tuple(shape))
        net.shapes.enter(result)
    return result


def size_of(net: NetworkBuilder, x: Value, axis: int) -> int | Value:
    """The size of one axis: a number where it is known."""
    rank = known_rank(x)
    size = None if rank is None else net.shape(x)[axis]
    if isinstance(size, int):
        return size
    return net.emit_all("slice_by_index", 1, rank=0, dtype="int32", x=shape_of(net, x), begin=[axis], end=[0], squeeze_mask=[True])[0]


def wrapped(net: NetworkBuilder, indices: Value, size: Any) -> Value:
    """Indices as int32 that count from the beginning: negative ones count from the end. ``size`` is a number, an array or a value."""
    whole = net.cast(indices, "int32")
    known = net.shapes.concrete(whole)
    if known is not None and known.numel() and known.amin() >= 0:
        return whole
    return net.emit_all("mod", 1, rank=known_rank(whole), dtype="int32", x=whole, y=size)[0]


def numbers(net: NetworkBuilder, x: Value) -> tuple[Value, int | None]:
    """A vector of sizes, axes or amounts as int32, and how many numbers it has, if that is known."""
    count = net.shape(x)[0] if known_rank(x) == 1 else 1 if known_rank(x) == 0 else None
    return net.cast(x, "int32"), count if isinstance(count, int) else None
