"""The arithmetic of operations: of what kind it is, and how much of it, by formulas over sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from moka.ir.program import Argument, Constant, Operation
from moka.planning.sizes import Sizes, stated

__all__ = ["IN_PLACE", "PARTIAL", "family_of", "flops_of", "is_constant", "is_stated"]

Count: TypeAlias = Callable[[Operation, Sizes], int]


def is_stated(operation: Operation) -> bool:
    """Whether an operation gives what the file states, compressed or not: ``const`` and the ``constexpr`` operations do."""
    return operation.type == "const" or operation.type.startswith("constexpr_")


def is_constant(argument: Argument) -> bool:
    """Whether an argument is stated by the file."""
    return isinstance(argument, Constant) or (argument.producer is not None and is_stated(argument.producer))


def family_of(operation: Operation, sizes: Sizes) -> str:
    """The family of an operation's arithmetic; see `moka.planning.cost.Work`."""
    kind = operation.type
    if operation.blocks:
        return "none"
    if kind in ("conv", "conv_quantized", "conv_transpose") and _is_depthwise(operation, sizes):
        return "depthwise"
    return _FAMILIES.get(kind, "elementwise")


def _is_depthwise(operation: Operation, sizes: Sizes) -> bool:
    """Whether each channel has a kernel of its own: little arithmetic for much data."""
    groups, shape = stated(operation, "groups"), _sizes_of(operation, "weight", sizes)
    return groups is not None and int(groups.value) > 1 and shape[1:2] == (1,)


def _first(operation: Operation, name: str) -> Argument | None:
    return next(iter(operation.inputs.get(name, ())), None)


def _sizes_of(operation: Operation, name: str, sizes: Sizes) -> tuple[int, ...]:
    argument = _first(operation, name)
    return () if argument is None else sizes.sizes(argument)


def _count_of(operation: Operation, name: str, sizes: Sizes) -> int:
    argument = _first(operation, name)
    return 0 if argument is None else sizes.count(argument)


def flops_of(operation: Operation, sizes: Sizes) -> int:
    """How many arithmetic operations one execution takes, without those of nested blocks."""
    if family_of(operation, sizes) in ("view", "move", "none"):
        return 0
    counted = _FLOPS.get(operation.type)
    if counted is not None:
        return counted(operation, sizes)
    return _PER_ELEMENT.get(operation.type, 1) * _elements(operation, sizes)


def _elements(operation: Operation, sizes: Sizes) -> int:
    """The larger of what goes in as the first input and what comes out: an operation by element, or a reduction, touches that many."""
    first = next((argument for argument in operation.arguments() if not is_constant(argument)), None)
    return max(0 if first is None else sizes.count(first), sum(map(sizes.count, operation.outputs)))


def _convolution(operation: Operation, sizes: Sizes) -> int:
    """Each output element: a product for each weight of its kernel; the other way round for a transposed convolution."""
    weight = _sizes_of(operation, "weight", sizes)
    transposed = operation.type == "conv_transpose"
    positions = _count_of(operation, "x", sizes) if transposed else sizes.count(operation.outputs[0])
    return 2 * positions * math.prod(weight[1:])


def _matmul(operation: Operation, sizes: Sizes) -> int:
    x = _sizes_of(operation, "x", sizes)
    transposed = stated(operation, "transpose_x")
    inner = x[-2] if transposed is not None and bool(transposed.value) and len(x) > 1 else x[-1] if x else 1
    return 2 * sizes.count(operation.outputs[0]) * inner


def _linear(operation: Operation, sizes: Sizes) -> int:
    weight = _sizes_of(operation, "weight", sizes)
    return 2 * sizes.count(operation.outputs[0]) * (weight[-1] if weight else 1)


def _einsum(operation: Operation, sizes: Sizes) -> int:
    """Products for every combination of the letters' indices; axes behind ``...`` count as those of the result."""
    equation = stated(operation, "equation")
    if equation is None:
        return _elements(operation, sizes)
    terms = str(equation.value).replace(" ", "").partition("->")[0].split(",")
    letters: dict[str, int] = {}
    for term, argument in zip(terms, operation.inputs.get("values", ()), strict=False):
        head, dots, tail = term.partition("...")
        shape = sizes.sizes(argument)
        named = [*zip(head, shape, strict=False), *zip(reversed(tail), reversed(shape), strict=False)]
        letters.update(named)
        rest = shape[len(head) : len(shape) - len(tail)] if dots else ()
        letters["..."] = max(letters.get("...", 1), math.prod(rest))
    return 2 * math.prod(letters.values())


def _attention(operation: Operation, sizes: Sizes) -> int:
    """Two matrix products and a softmax between them: query [..., L, E], key [..., S, E], value [..., S, F]."""
    query, key, value = (_sizes_of(operation, name, sizes) for name in ("query", "key", "value"))
    if min(map(len, (query, key, value))) < 2:
        return 0
    scores = math.prod(query[:-1]) * key[-2]
    return scores * (2 * query[-1] + 2 * value[-1] + _PER_ELEMENT["softmax"])


def _recurrence(operation: Operation, sizes: Sizes) -> int:
    """A product for each weight, each step and each element of the batch: x is [steps, batch, features]."""
    x = _sizes_of(operation, "x", sizes)
    weights = sum(_count_of(operation, name, sizes) for name in operation.inputs if name.startswith("weight"))
    return 2 * math.prod(x[:2]) * weights


def _pool(operation: Operation, sizes: Sizes) -> int:
    kernel = stated(operation, "kernel_sizes")
    window = math.prod(int(size) for size in kernel.value) if kernel is not None else 1
    return window * sizes.count(operation.outputs[0])


def _sort(operation: Operation, sizes: Sizes) -> int:
    """n log n comparisons along the axis."""
    axis = stated(operation, "axis")
    shape = _sizes_of(operation, "x", sizes)
    length = shape[int(axis.value) if axis is not None else -1] if shape else 1
    return math.prod(shape) * max(1, (length - 1).bit_length())


_FAMILIES: dict[str, str] = {
    name: family
    for family, names in (
        ("convolution", "conv conv_quantized conv_transpose"),
        ("product", "linear matmul einsum scaled_dot_product_attention"),
        ("recurrent", "lstm gru rnn nn_lstm nn_gru nn_rnn"),
        ("view", "reshape reshape_like expand_dims squeeze flatten2d identity shape list_length make_list list_read"),
        ("view", "read_state write_state coreml_update_state"),
        ("move", "transpose reverse reverse_sequence slice_by_index slice_update slice_by_size sliding_windows crop split concat stack"),
        ("move", "depth_to_space space_to_depth space_to_batch batch_to_space pixel_shuffle pixel_unshuffle pad tile nn_broadcast_to"),
        ("move", "gather gather_along_axis gather_nd scatter scatter_along_axis scatter_nd select one_hot non_zero band_part"),
        ("move", "fill fill_like range_1d nn_lower_triangle nn_upper_triangle upsample_nearest_neighbor resize_nearest_neighbor"),
        ("move", "list_write list_gather list_scatter cast classify"),
    )
    for name in names.split()
}
"""Operations that are not by element."""

PARTIAL = frozenset(["gather", "gather_along_axis", "gather_nd", "slice_by_index", "slice_by_size", "crop", "split", "list_gather"])
"""Operations that read no more than they give."""

IN_PLACE = frozenset(["slice_update", "scatter", "scatter_along_axis", "scatter_nd"])
"""Operations that change a part of what they take."""

_PER_ELEMENT = {
    "batch_norm": 2,
    "instance_norm": 7,
    "layer_norm": 7,
    "l2_norm": 3,
    "local_response_norm": 7,
    "softmax": 5,
    "gelu": 5,
    "silu": 3,
    "softplus": 3,
    "softsign": 3,
    "elu": 3,
    "reduce_l2_norm": 2,
    "reduce_sum_square": 2,
    "reduce_log_sum_exp": 4,
    "upsample_bilinear": 7,
    "resize_bilinear": 7,
    "resize": 7,
    "crop_resize": 7,
    "resample": 7,
    "affine": 7,
    "quantize": 3,
    "dequantize": 2,
}
"""Arithmetic operations for an element, where it is not one: a count of the formula's, good to a factor of about 2."""

_FLOPS: dict[str, Count] = {
    "conv": _convolution,
    "conv_quantized": _convolution,
    "conv_transpose": _convolution,
    "linear": _linear,
    "matmul": _matmul,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn", "nn_lstm", "nn_gru", "nn_rnn"), _recurrence),
    **dict.fromkeys(("max_pool", "avg_pool", "l2_pool"), _pool),
    **dict.fromkeys(("topk", "argsort"), _sort),
}
