"""Reductions over any axes, positions of extremes, sorting, running sums."""

from __future__ import annotations

from typing import Any

from moka.importers.neural_network.builder import NetworkBuilder
from moka.importers.neural_network.layers._values import known_rank
from moka.importers.neural_network.registry import layer
from moka.ir.program import Value


def _reduction(kind: str, operation: str) -> None:
    """Enters a reduction over the axes that the layer names, or over all."""

    @layer(kind)
    def translation(net: NetworkBuilder, params: Any, x: Value) -> Value:
        axes = None if params.reduceAll or not params.axes else list(params.axes)
        rank = known_rank(x)
        if not params.keepDims and rank is not None:
            rank = 0 if axes is None else rank - len(axes)
        return net.emit(operation, rank=rank, x=x, axes=axes, keep_dims=params.keepDims)


_reduction("reduceSum", "reduce_sum")
_reduction("reduceProd", "reduce_prod")
_reduction("reduceMean", "reduce_mean")
_reduction("reduceMax", "reduce_max")
_reduction("reduceMin", "reduce_min")
_reduction("reduceL1", "reduce_l1_norm")
_reduction("reduceL2", "reduce_l2_norm")
_reduction("reduceLogSum", "reduce_log_sum")
_reduction("reduceLogSumExp", "reduce_log_sum_exp")
_reduction("reduceSumSquare", "reduce_sum_square")


def _extreme(kind: str, operation: str) -> None:
    """Enters the position of the largest or smallest element along an axis, which stays, with size 1, unless removeDim is set."""

    @layer(kind)
    def translation(net: NetworkBuilder, params: Any, x: Value) -> Value:
        rank = known_rank(x)
        keep = not params.removeDim or rank == 1  # results have one axis at least
        result_rank = rank if keep or rank is None else rank - 1
        (position,) = net.emit_all(operation, 1, rank=result_rank, dtype="int32", x=x, axis=params.axis, keep_dims=keep)
        result = net.cast(position, "fp32")
        if params.removeDim and rank == 1:
            net.scalars.add(result)
        return result


_extreme("argMax", "reduce_argmax")
_extreme("argMin", "reduce_argmin")


@layer("argSort")
def arg_sort(net: NetworkBuilder, params: Any, x: Value) -> Value:
    """The indices that sort the blob along an axis."""
    (order,) = net.emit_all("argsort", 1, rank=known_rank(x), dtype="int32", x=x, axis=params.axis, ascending=not params.descending)
    return net.cast(order, "fp32")


@layer("topK")
def top_k(net: NetworkBuilder, params: Any, x: Value, count: Value | None = None) -> list[Value]:
    """The K largest elements along an axis, or smallest with useBottomK, and their indices; K may be a blob."""
    k: Any = params.K if count is None else net.cast(count, "int32")
    values, indices = net.emit_all("topk", 2, rank=known_rank(x), x=x, k=k, axis=params.axis, ascending=params.useBottomK)
    return [values, net.cast(indices, "fp32")]


@layer("cumSum")
def cum_sum(net: NetworkBuilder, params: Any, x: Value, axis: Value | None = None) -> Value:
    """Running sums along an axis, which may be a blob."""
    along: Any = params.axis if axis is None else net.cast(axis, "int32")
    return net.emit("cumsum", rank=known_rank(x), x=x, axis=along, exclusive=params.excludeFinalSum, reverse=params.reverse)
