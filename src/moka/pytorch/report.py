"""What became of a program's nodes: the partition that each is in, or why it stays in PyTorch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.fx import Node
from torch.utils.flop_counter import FlopCounterMode

from moka.errors import FormatError
from moka.pytorch.program import Program, is_size

__all__ = ["DelegationReport", "NodeReport", "report_of"]


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One node of the program.

    Attributes:
        node: its name.
        target: the operator.
        partition: the number of the Core ML part that it is in; None where it stays in PyTorch.
        reason: why it stays; None where it does not.
        flops: floating-point operations of matrix products, convolutions and attention, as PyTorch counts them.
    """

    node: str
    target: str
    partition: int | None = None
    reason: str | None = None
    flops: int = 0

    @property
    def delegated(self) -> bool:
        return self.partition is not None


@dataclass(frozen=True)
class DelegationReport:
    """All nodes of a program, in its order. Printed, it is a table."""

    nodes: tuple[NodeReport, ...]

    def __iter__(self) -> Iterator[NodeReport]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def partitions(self) -> int:
        """How many Core ML models there are."""
        return len({node.partition for node in self.nodes if node.partition is not None})

    @property
    def share_of_nodes(self) -> float:
        """The part of the nodes that Core ML runs."""
        return sum(node.delegated for node in self.nodes) / len(self.nodes) if self.nodes else 1.0

    @property
    def share_of_flops(self) -> float:
        """The part of the floating-point operations that Core ML runs; of the nodes where there are none."""
        total = sum(node.flops for node in self.nodes)
        return sum(node.flops for node in self.nodes if node.delegated) / total if total else self.share_of_nodes

    @property
    def reasons(self) -> dict[str, list[str]]:
        """The nodes that stay in PyTorch, by reason."""
        found: dict[str, list[str]] = {}
        for node in self.nodes:
            if node.reason is not None:
                found.setdefault(node.reason, []).append(node.node)
        return found

    def to_json(self) -> str:
        """The report as JSON: totals, and a list of the nodes."""
        totals = {"partitions": self.partitions, "share_of_nodes": self.share_of_nodes, "share_of_flops": self.share_of_flops}
        return json.dumps({**totals, "nodes": [asdict(node) for node in self.nodes]}, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> DelegationReport:
        """What `to_json` wrote; FormatError for anything else."""
        try:
            return cls(tuple(_node(item) for item in json.loads(text)["nodes"]))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError("report", f"is damaged: {type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        rows = [(node.node, node.target, _place(node), node.reason or "") for node in self.nodes]
        rows.insert(0, ("node", "target", "runs in", "why in PyTorch"))
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]).rstrip() for row in rows]
        return "\n".join([*lines, "", self.summary()])

    def summary(self) -> str:
        """The totals in one line."""
        kept = sum(not node.delegated for node in self.nodes)
        return (
            f"{self.partitions} Core ML partitions with {len(self.nodes) - kept} of {len(self.nodes)} nodes"
            f" and {self.share_of_flops:.1%} of the floating-point operations; {kept} nodes stay in PyTorch"
        )


def report_of(program: Program, partitions: Mapping[str, int], reasons: Mapping[str, str]) -> DelegationReport:
    """The report on a program that is divided, but not yet changed.

    A node without a reason of its own that is in no partition goes along with its user, as arithmetic on sizes does.
    """
    found = []
    for node in program.module.graph.nodes:
        if node.op == "call_function":
            partition = partitions.get(node.name)
            reason = None if partition is not None else reasons.get(node.name, "goes along with what uses it")
            found.append(NodeReport(node.name, str(node.target), partition, reason, _flops(node)))
    return DelegationReport(tuple(found))


def _place(node: NodeReport) -> str:
    return "PyTorch" if node.partition is None else f"Core ML {node.partition}"


def _node(item: Any) -> NodeReport:
    partition = item["partition"]
    return NodeReport(
        str(item["node"]), str(item["target"]), None if partition is None else int(partition), item["reason"], int(item["flops"])
    )


def _flops(node: Node) -> int:
    """Floating-point operations of one call, for the sizes that the program was exported with."""
    if is_size(node) or not isinstance(node.target, torch._ops.OpOverload) or not any(map(_counts, node.all_input_nodes)):
        return 0
    counter = FlopCounterMode(display=False)
    try:
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), _stand_in)
        with counter, torch.no_grad():
            node.target(*args, **kwargs)
    except Exception:  # takes no tensors without data, or of sizes that depend on data; none such is counted
        return 0
    return counter.get_total_flops()


def _counts(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() >= 2


def _stand_in(node: Node) -> Any:
    """A value of the same type and of plain sizes, without data."""
    value = node.meta.get("val")
    if isinstance(value, torch.Tensor):
        return torch.empty([_hint(size) for size in value.shape], dtype=value.dtype, device="meta")
    return _hint(value)


def _hint(value: Any) -> Any:
    return value.node.hint if isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool)) else value
