"""Which operations have a form in ONNX: one function each, with the parameters of the operation's kernel.

    @lowers("gather", computed=("indices",))
    def gather(g: Graph, x: Operand, indices: Operand, *, axis: int, batch_dims: int, validate_indices: bool) -> Operand:
        return g.node("Gather", x, g.cast(indices, np.int64), axis=axis)

Tensors come as operands of the graph, variadic ones as a tuple of them, attributes as Python values with the record's defaults
filled in, and blocks as they are. An attribute that the program computes while it runs comes as an operand where ``computed``
names it; else the operation has no form in ONNX. A function gives an operand, or one for each output, and raises `Unlowerable`
with a reason.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["UNLOWERED", "Lowering", "find", "lowers", "names"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Lowering:
    """How one operation is lowered.

    Attributes:
        computed: attributes that may be operands.
        compressed: uses of the result, ``linear.weight``, for which the operation is lowered although all its inputs are constants,
            since a target may have kernels for compressed weights there. Other uses get a dense constant, and so do these where the
            function gives None.
    """

    function: Callable[..., Any]
    computed: frozenset[str] = frozenset()
    compressed: frozenset[str] = frozenset()


_TABLE: dict[str, Lowering] = {}

_AHEAD = "it is computed when the model is loaded"
_LISTS = "lists are no tensors, and runtimes have few operators for sequences of them"
_RANDOM = "ONNX's random numbers follow the runtime's own generator, whatever the seed"
_SUPPRESSION = "ONNX's suppression has other rules for boxes that tie, and gives indices alone"

UNLOWERED = {
    "classify": "its result is a dictionary, which is no tensor",
    "constexpr_cast": _AHEAD,
    "constexpr_lut_to_sparse": _AHEAD,
    "constexpr_sparse_blockwise_shift_scale": _AHEAD,
    "constexpr_sparse_to_dense": _AHEAD,
    "list_gather": _LISTS,
    "list_length": _LISTS,
    "list_read": _LISTS,
    "list_scatter": _LISTS,
    "list_write": _LISTS,
    "make_list": _LISTS,
    "nn_custom": "it runs code of the user's own",
    "nn_non_maximum_suppression": _SUPPRESSION,
    "non_maximum_suppression": _SUPPRESSION,
    "random_bernoulli": _RANDOM,
    "random_categorical": _RANDOM,
    "random_normal": _RANDOM,
    "random_uniform": _RANDOM,
}
"""Operations that are never lowered, with the reason."""


def lowers(*operations: str, computed: Sequence[str] = (), compressed: Sequence[str] = ()) -> Callable[[F], F]:
    """Enters a function as the lowering of one or more operations."""

    def enter(function: F) -> F:
        for name in operations:
            if name in _TABLE:
                raise ValueError(f"operation {name!r} is lowered twice")
            _TABLE[name] = Lowering(function, frozenset(computed), frozenset(compressed))
        return function

    return enter


def find(operation: str) -> Lowering | None:
    """The lowering of an operation, if it has one."""
    _load()
    return _TABLE.get(operation)


def names() -> list[str]:
    """Every operation that has one."""
    _load()
    return sorted(_TABLE)


@functools.cache
def _load() -> None:
    importlib.import_module("moka.engines.onnx.families")
