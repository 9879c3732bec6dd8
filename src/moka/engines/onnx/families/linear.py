"""Products of matrices."""

from __future__ import annotations

import numpy as np

from moka.engines.onnx.families._nodes import transpose
from moka.engines.onnx.families.compression import matmul_nbits
from moka.engines.onnx.graph import Graph, Operand, Unlowerable
from moka.engines.onnx.registry import lowers


@lowers("linear")
def linear(g: Graph, x: Operand, weight: Operand, bias: Operand | None) -> Operand:
    """Gemm for matrices, MatMul and Add for tensors of other ranks; runtimes fold the transposition of a constant weight."""
    _refuse_integers(g, x)
    weight, bias = g.cast(weight, x.dtype), None if bias is None else g.cast(bias, x.dtype)
    if weight.compressed is not None:
        product = matmul_nbits(g, x, weight.compressed)
        if product is not None:
            return product if bias is None else g.node("Add", product, bias)
        weight = g.constant(weight.content)
    if x.shape is not None and x.rank == 2 and x.dtype.kind == "f":
        return g.node("Gemm", x, weight, bias, transB=1)
    product = g.node("MatMul", x, transpose(g, weight, [1, 0]))
    return product if bias is None else g.node("Add", product, bias)


@lowers("matmul")
def matmul(g: Graph, x: Operand, y: Operand, *, transpose_x: bool, transpose_y: bool) -> Operand:
    wide = np.promote_types(x.dtype, y.dtype) if x.dtype.kind == y.dtype.kind else np.dtype(np.float32)
    x, y = g.cast(x, wide), g.cast(y, wide)
    _refuse_integers(g, x)
    x = _swapped(g, x) if transpose_x else x
    if y.compressed is not None:
        product = matmul_nbits(g, x, y.compressed if transpose_y else y.compressed.transposed)
        if product is not None:
            return product
        y = g.constant(y.content)
    return g.node("MatMul", x, _swapped(g, y) if transpose_y else y)


def _refuse_integers(g: Graph, x: Operand) -> None:
    if x.dtype.kind in "iu" and g.target.name == "openvino":
        raise Unlowerable("OpenVINO multiplies matrices of integers in float32, which does not hold them all")


def _swapped(g: Graph, x: Operand) -> Operand:
    """The last two axes in each other's place; a vector as it is."""
    if x.rank < 2:
        return x
    return transpose(g, x, [*range(x.rank - 2), x.rank - 1, x.rank - 2])


@lowers("einsum")
def einsum(g: Graph, values: tuple[Operand, ...], *, equation: str) -> Operand:
    """One matrix product, where each operand has one axis of its own and one is summed over; else ONNX's Einsum."""
    terms, _, result = equation.replace(" ", "").partition("->")
    x, _, y = terms.partition(",")
    if len(values) == 2 and (plan := _product(x, y, result)) is not None and _agree(values, terms):
        left, right, order = plan
        return transpose(g, g.node("MatMul", transpose(g, values[0], left), transpose(g, values[1], right)), order)
    return g.node("Einsum", *values, equation=equation)


def _product(x: str, y: str, result: str) -> tuple[list[int], list[int], list[int]] | None:
    """How to lay out both operands for a product of their last two axes, and then the result, if that is what the equation says."""
    batch = [axis for axis in x if axis in y and axis in result]
    own, summed = [axis for axis in x if axis not in y], [axis for axis in x if axis in y and axis not in result]
    other = [axis for axis in y if axis not in x]
    distinct = all(len(set(term)) == len(term) for term in (x, y, result))
    if not distinct or "." in x + y or not len(own) == len(summed) == len(other) == 1 or set(result) != {*batch, *own, *other}:
        return None
    made = [*batch, *own, *other]
    return (
        [x.index(axis) for axis in batch + own + summed],
        [y.index(axis) for axis in batch + summed + other],
        list(map(made.index, result)),
    )


def _agree(values: tuple[Operand, ...], terms: str) -> bool:
    """Whether each letter stands for one size: a size of 1 that broadcasts would not fit a product's inner axes."""
    sizes: dict[str, set[object]] = {}
    for value, term in zip(values, terms.split(","), strict=True):
        for letter, size in zip(term, value.shape or (), strict=False):
            sizes.setdefault(letter, set()).add(size)
    return all(len(found) == 1 for found in sizes.values())
