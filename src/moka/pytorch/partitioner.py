"""Which parts of a program become Core ML models.

A node can become Core ML if coremltools converts it; nothing else decides. All nodes that may are converted at once; the one that
coremltools fails at is left out, with all that are like it, and the rest is tried again. Where coremltools does not say at which node it
failed, the piece is halved until it is found.

Nodes that convert are then merged into as few partitions as there can be. Let the level of a node be the largest number of times that a
path to it enters Core ML from PyTorch; the nodes of one level are one partition. A path that leaves a partition comes back on a higher
level, so there are no cycles; and the longest path enters that many times however the nodes are divided, so there can't be fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch.fx import Node

from moka.pytorch.config import DelegateConfig
from moka.pytorch.frontend import REFUSED, Piece, Refusal
from moka.pytorch.lowering import misread
from moka.pytorch.pieces import piece_of
from moka.pytorch.program import Program, is_random, is_size, takes_one_of_several

__all__ = ["Check", "culprits", "divide", "levels", "narrow", "refuse_statically", "signature"]

Check: TypeAlias = Callable[[Piece], Refusal | None]

_NUMBERS = (torch.float32, torch.float16, torch.int32, torch.int64, torch.bool)
_STORED = (torch.int8, torch.uint8)
_INT32 = torch.iinfo(torch.int32)


def refuse_statically(program: Program, config: DelegateConfig) -> dict[str, str]:
    """Why nodes stay in PyTorch that need not be tried, by name."""
    reasons = {}
    for node in program.module.graph.nodes:
        if node.op == "call_function" and (reason := _static_reason(node, program, config)):
            reasons[node.name] = reason
    return reasons


def narrow(program: Program, reasons: dict[str, str], check: Check, config: DelegateConfig) -> None:
    """Adds to ``reasons`` the nodes that a check fails at, until all that are left pass it together."""
    signatures = {node.name: signature(node, program) for node in program.module.graph.nodes if node.op == "call_function"}
    _couple(program, reasons)
    while nodes := list(levels(program, reasons)):
        refusal = check(piece_of(program, nodes, config))
        if refusal is None:
            return
        if refusal.node in signatures and refusal.node not in reasons:
            like = signatures[refusal.node]
            reasons.update({node.name: refusal.reason for node in nodes if signatures[node.name] == like})
        else:
            reasons.update(_culprits(program, _units(nodes), refusal, check, config))
        _couple(program, reasons)


def culprits(program: Program, nodes: Sequence[Node], check: Check, config: DelegateConfig) -> dict[str, str]:
    """Why nodes fail a check that they fail together, by name; calls with several results go with what takes them apart."""
    refusal = check(piece_of(program, nodes, config))
    if refusal is None:
        return {}
    found = _culprits(program, _units(nodes), refusal, check, config)
    _couple(program, found)
    return found


def _culprits(program: Program, units: list[list[Node]], refusal: Refusal, check: Check, config: DelegateConfig) -> dict[str, str]:
    """The nodes that make a piece fail a check, found by halving it; where only both halves together fail, the first of the second."""
    middle, found = len(units) // 2, {}
    for half in (units[:middle], units[middle:]) if middle else ():
        problem = check(piece_of(program, [node for unit in half for node in unit], config))
        if problem is not None:
            found.update(_culprits(program, half, problem, check, config))
    return found or {units[middle][0].name: refusal.reason}


def _units(nodes: Sequence[Node]) -> list[list[Node]]:
    """Nodes one by one, but calls with several results together with what takes them apart."""
    units: list[list[Node]] = []
    for node in nodes:
        if takes_one_of_several(node) and units:
            units[-1].append(node)
        else:
            units.append([node])
    return units


def _couple(program: Program, reasons: dict[str, str]) -> None:
    """Calls with several results stay where what takes them apart stays: Core ML passes tensors, not lists of them."""
    pairs = [(node, node.args[0]) for node in program.module.graph.nodes if takes_one_of_several(node)]
    for node, source in pairs:
        if node.name in reasons:
            reasons.setdefault(source.name, f"its result {node.name}: {reasons[node.name]}")
    for node, source in pairs:
        if source.name in reasons:
            reasons.setdefault(node.name, f"takes a result of {source.name}, which stays in PyTorch")


def divide(program: Program, reasons: dict[str, str], config: DelegateConfig) -> list[list[Node]]:
    """The nodes without a reason against them, as partitions; those that the options exclude get their reason."""
    level = levels(program, reasons)
    found: dict[int, list[Node]] = {}
    for node in program.module.graph.nodes:
        if node in level:
            found.setdefault(level[node], []).append(node)
    partitions = [found[index] for index in sorted(found)]
    for partition in partitions:
        weight = sum(not is_size(node) for node in partition)
        if weight < config.minimum_nodes:
            reasons.update(dict.fromkeys(_names(partition), f"in a partition of {weight} nodes; minimum_nodes is {config.minimum_nodes}"))
    kept = [partition for partition in partitions if partition[0].name not in reasons]
    if config.maximum_partitions is not None and len(kept) > config.maximum_partitions:
        smallest = sorted(kept, key=len)[: len(kept) - config.maximum_partitions]
        reason = f"in one of the smaller partitions; maximum_partitions is {config.maximum_partitions}"
        reasons.update({name: reason for partition in smallest for name in _names(partition)})
        kept = [partition for partition in kept if partition[0].name not in reasons]
    return kept


def levels(program: Program, reasons: dict[str, str]) -> dict[Node, int]:
    """How often Core ML is entered on the way to each node that goes there."""
    level: dict[Node, int] = {}
    inside: dict[Node, bool] = {}
    for node in program.module.graph.nodes:
        inside[node] = node.op == "call_function" and node.name not in reasons
        entering = (inside[node] and not inside[item] and level[item] >= 0 for item in node.all_input_nodes)
        level[node] = max((level[item] + enters for item, enters in zip(node.all_input_nodes, entering, strict=True)), default=-1)
        if inside[node]:
            level[node] = max(level[node], 0)
    for node in reversed(program.module.graph.nodes):
        if inside[node] and _goes_along(node):
            (user,) = node.users
            inside[node] = inside[user]
            level[node] = level[user]
    return {node: level[node] for node in program.module.graph.nodes if inside[node]}


def _goes_along(node: Node) -> bool:
    """Whether a node belongs to where its only user is: arithmetic on sizes, and what has no tensor as input."""
    return len(node.users) == 1 and (is_size(node) or not node.all_input_nodes)


def _names(nodes: Iterable[Node]) -> list[str]:
    return [node.name for node in nodes]


def _static_reason(node: Node, program: Program, config: DelegateConfig) -> str | None:
    if _kept_out(node, config):
        return "kept out by the configuration"
    if isinstance(node.target, torch._ops.OpOverload):
        if is_random(node):
            return "draws from PyTorch's generator of random numbers, which Core ML has not"
        if node.target._schema.is_mutable:
            return "changes its arguments in place"
    if any(item.op == "get_attr" for item in node.all_input_nodes) or isinstance(node.target, torch._ops.HigherOrderOperator):
        return "runs a graph of its own, which coremltools takes from no exported program"
    if misread(node):
        return f"{REFUSED}converts a call with these arguments to something else"
    if is_size(node):
        return None
    values = list(_tensors(node.meta.get("val")))
    if not values:
        return "gives no tensor"
    return _type_reason(node, values, program)


def _type_reason(node: Node, values: list[torch.Tensor], program: Program) -> str | None:
    """Why the types of a node's values keep it from Core ML, which computes in float32, float16, int32 and bool."""
    quantized = getattr(node.target, "namespace", "") == "quantized_decomposed"
    taken = [(item, value) for item in node.all_input_nodes for value in _tensors(item.meta.get("val"))]
    for item, value in [*taken, *((node, value) for value in values)]:
        if value.dtype not in _NUMBERS and not (value.dtype in _STORED and (quantized or item.name in program.constants)):
            return f"{'gives' if item is node else 'takes'} {_dtype(value)}; Core ML computes in float32, float16, int32 and bool"
        if value.layout is not torch.strided:
            return f"{'gives' if item is node else 'takes'} a tensor of layout {value.layout}; Core ML has dense ones"
    for item in node.all_input_nodes:
        constant = program.constants.get(item.name)
        if constant is not None and constant.dtype == torch.int64 and constant.numel() and _wide(constant):
            return f"takes the constant {item.name} with numbers beyond int32, the widest integers of Core ML"
    return None


def _wide(constant: torch.Tensor) -> bool:
    return bool(constant.min() < _INT32.min or constant.max() > _INT32.max)


def _kept_out(node: Node, config: DelegateConfig) -> bool:
    packet = getattr(node.target, "overloadpacket", None)
    names = {str(node.target), str(packet)}
    return any(item is node.target or (packet is not None and item is packet) or str(item) in names for item in config.keep_out)


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def signature(node: Node, program: Program) -> tuple[Any, ...]:
    """What coremltools can tell nodes apart by: operator, arguments, and the types of tensors; nodes alike are refused alike."""

    def described(item: Node) -> Any:
        value = item.meta.get("val")
        kinds = tuple((str(tensor.dtype), tuple(map(str, tensor.shape))) for tensor in _tensors(value))
        return repr((kinds or type(value).__name__, item.name in program.constants))

    args = torch.fx.map_arg((node.args, node.kwargs), described)
    return (str(node.target), repr(args))
