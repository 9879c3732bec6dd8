"""The order in memory of a program's tensors.

Core ML's tensors lie in the order of their dimensions. Tensors of PyTorch may lie otherwise (`channels_last`, transposed), which makes no
difference to what they hold, but to the operators that look at memory: `view`, `as_strided`, `view_as_complex`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from contextlib import nullcontext
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Graph, Node

__all__ = ["in_order", "read_owners", "restore_order"]

_ATEN = torch.ops.aten
_COPIES = (_ATEN.contiguous.default, _ATEN.reshape.default)
"""Operators that give the same memory only where they need not copy it."""


def in_order(value: FakeTensor) -> torch.Tensor:
    """A tensor of the same type and sizes that lies in the order of its dimensions, the only one that coremltools takes.

    `contiguous` does not do: it leaves the strides of dimensions of size 1 as they are.
    """
    with value.fake_mode:
        return value.new_empty(value.shape)


def read_owners(graph: Graph) -> None:
    """Lets `as_strided` look at tensors that have memory of their own, not at views of them that may have gaps."""
    for node in graph.find_nodes(op="call_function", target=_ATEN.as_strided.default):
        source = node.args[0]
        while _is_view(source):
            source = source.args[0]
        if source is not node.args[0]:
            node.args = (source, *node.args[1:3], node.meta["val"].storage_offset())
            node.kwargs = {}


def _is_view(node: Node) -> bool:
    """Whether a call shows the memory of its first argument, in the same type."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not target.is_view or target in _COPIES:
        return False
    value, source = node.meta["val"], node.args[0].meta["val"]  # type: ignore[union-attr]
    return isinstance(value, torch.Tensor) and value.dtype is source.dtype


def restore_order(graph: Graph, nodes: Iterable[Node], given: Container[Node]) -> None:
    """Lets what comes out of Core ML lie in memory as it did when the program was captured, where PyTorch goes on with it.

    Args:
        nodes: what comes out of Core ML.
        given: what the program gives to its caller, who goes on with it, too.
    """
    for node in nodes:
        users = [user for user in node.users if user.op == "call_function" or (user.op == "output" and node in given)]
        order = _order(node.meta["val"])
        if not users or order == sorted(order):
            continue
        with graph.inserting_after(node):
            ordered = _call(graph, _ATEN.permute.default, node, order)
        with graph.inserting_after(ordered):
            copy = _call(graph, _ATEN.clone.default, ordered, memory_format=torch.contiguous_format)
        with graph.inserting_after(copy):
            restored = _call(graph, _ATEN.permute.default, copy, [order.index(axis) for axis in range(len(order))])
        for user in users:
            user.replace_input_with(node, restored)


def _order(value: torch.Tensor) -> list[int]:
    """The dimensions from the one whose elements are the farthest apart to the nearest.

    As they are where elements lie upon each other, and where nobody knows how far apart they are before the program runs.
    """
    steps = [step.node.hint if isinstance(step, torch.SymInt) else step for step in value.stride()]
    axes = list(range(value.dim()))
    telling = [axis for axis in axes if not (isinstance(value.shape[axis], int) and value.shape[axis] == 1)]
    if not all(steps[axis] for axis in telling):
        return axes
    ordered = iter(sorted(telling, key=lambda axis: -steps[axis]))
    return [next(ordered) if axis in telling else axis for axis in axes]


def _call(graph: Graph, target: Any, node: Node, *args: Any, **kwargs: Any) -> Node:
    """A new call of an operator, with its value's type."""
    value = node.meta["val"]
    call = graph.call_function(target, (node, *args), kwargs)
    with getattr(value, "fake_mode", None) or nullcontext():
        call.meta["val"] = target(value, *args, **kwargs)
    return call
