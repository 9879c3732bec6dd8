"""From a program to the Core ML models for its parts: divided, converted, checked, and found again in the cache."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule, Node
from torch.fx.passes.tools_common import stable_topological_sort

from moka.cache import Cache, Key
from moka.errors import UnsupportedError
from moka.pytorch.config import DelegateConfig
from moka.pytorch.division import divided
from moka.pytorch.frontend import Features, Piece, Refusal, RefusedError, write_package
from moka.pytorch.identity import digest, graph_text, versions
from moka.pytorch.layouts import restore_order
from moka.pytorch.partitioner import culprits, divide, narrow
from moka.pytorch.pieces import Cut, cut
from moka.pytorch.program import Program, outputs_of, prepare
from moka.pytorch.report import DelegationReport, report_of
from moka.pytorch.segments import PACKAGE, Port, Ports, Segment, load_segment
from moka.pytorch.verification import agree, difference, record

__all__ = ["Built", "build", "package_of"]


@dataclass(frozen=True)
class Built:
    """What was put in place of a program's parts: its modules ``segment_0``, ``segment_1`` ...

    Attributes:
        cuts: what each segment was made of.
        report: what became of each node.
    """

    cuts: list[Cut]
    report: DelegationReport


def build(program: Program, config: DelegateConfig, examples: Mapping[str, Any] | None = None) -> Built:
    """Divides a program, converts its parts and puts them in place.

    Args:
        examples: values of the program's inputs, by placeholder, for which the parts must give what PyTorch gives.

    Raises:
        UnsupportedError: the whole program was to become one model, and can't.
    """
    prepare(program)
    reasons = divided(program, config)
    device = _device(program)
    while True:
        partitions = divide(program, reasons, config)
        _require_whole(partitions, reasons, config)
        cuts = [cut(program, nodes, config) for nodes in partitions]
        try:
            folders = [package_of(item.piece, config) for item in cuts]
        except RefusedError:
            narrow(program, reasons, partial(_conversion, config=config), config)
            continue
        segments = [_segment(item.piece, folder, config, device) for item, folder in zip(cuts, folders, strict=True)]
        wrong = agree(program, cuts, segments, folders, config, examples) if examples is not None and config.verify else []
        if not wrong:
            break
        _blame(program, [partitions[index] for index in wrong], reasons, config, examples or {})
    numbers = {node.name: index for index, nodes in enumerate(partitions) for node in nodes}
    report = report_of(program, numbers, reasons)
    _place(program, partitions, cuts, segments)
    return Built(cuts, report)


def _blame(
    program: Program, partitions: Sequence[Sequence[Node]], reasons: dict[str, str], config: DelegateConfig, examples: Mapping[str, Any]
) -> None:
    """Adds the nodes to the reasons for which Core ML gives something else than PyTorch, found by halving."""
    values = record(program, {node.name for node in program.module.graph.nodes}, examples)

    def check(piece: Piece) -> Refusal | None:
        try:
            folder = package_of(piece, config)
        except RefusedError as error:
            return error.refusal
        return difference(piece, _segment(piece, folder, config, torch.device("cpu")), values, config)

    for nodes in partitions:
        reasons.update(culprits(program, nodes, check, config))


def _place(program: Program, partitions: Sequence[Sequence[Node]], cuts: Sequence[Cut], segments: Sequence[Segment]) -> None:
    """Puts calls of the segments in the place of the partitions."""
    program.drop_writes({target for item in cuts for target in item.piece.writes})
    moved: dict[Node, Node] = {}
    for index, (nodes, item, segment) in enumerate(zip(partitions, cuts, segments, strict=True)):
        _replace(program.module, f"segment_{index}", segment, nodes, item, moved)
    outputs = zip(outputs_of(program.module.graph), program.results, strict=True)
    restore_order(program.module.graph, moved.values(), {node for node, (kind, _) in outputs if kind is OutputKind.USER_OUTPUT})
    stable_topological_sort(program.module)
    program.module.graph.eliminate_dead_code()
    program.module.graph.lint()
    program.module.recompile()


def _segment(piece: Piece, folder: Path, config: DelegateConfig, device: torch.device) -> Segment:
    package = partial(_package, piece, config)
    return load_segment(folder / PACKAGE, config, device, original=_original(piece), package=package)


def _conversion(piece: Piece, config: DelegateConfig) -> Refusal | None:
    """Whether a piece converts to the end, kept in the cache if it does."""
    try:
        package_of(piece, config)
    except RefusedError as error:
        return error.refusal
    return None


def package_of(piece: Piece, config: DelegateConfig) -> Path:
    """The folder in the cache with a piece's package and ports, made if it is not there.

    Raises:
        RefusedError: the piece does not convert.
    """
    parts = {"graph": graph_text(piece.module), "config": config.conversion, "versions": versions()}
    parts["constants"] = {name: digest(tensor) for name, tensor in piece.tensors.items()}
    parts["ranges"] = {str(symbol): str(bounds) for symbol, bounds in piece.ranges.items()}

    def make(folder: Path) -> None:
        features = write_package(piece, config, folder / PACKAGE)
        _ports(piece, features).write(folder)

    return Cache().get(Key("pytorch", "a part of a PyTorch program", parts), make)


def _package(piece: Piece, config: DelegateConfig) -> Path:
    return package_of(piece, config) / PACKAGE


def _require_whole(partitions: Sequence[Sequence[Node]], reasons: dict[str, str], config: DelegateConfig) -> None:
    if config.whole_graph and (reasons or len(partitions) != 1):
        lines = "\n  ".join(f"{name}: {reason}" for name, reason in reasons.items()) or f"it makes {len(partitions)} partitions"
        raise UnsupportedError(f"the program does not become one Core ML model; without whole_graph the rest stays in PyTorch:\n  {lines}")


def _replace(module: GraphModule, name: str, segment: Segment, nodes: Sequence[Node], item: Cut, moved: dict[Node, Node]) -> None:
    """Puts a call of a segment in the place of its nodes; ``moved`` tells what stands for nodes that are gone."""
    graph = module.graph
    module.add_submodule(name, segment)
    with graph.inserting_after(nodes[-1]):
        call = graph.call_module(name, tuple(moved.get(node, node) for node in item.inputs))
    call.meta["val"] = tuple(node.meta.get("val") for node in item.outputs)
    with graph.inserting_after(call):
        for index, node in reversed(list(enumerate(item.outputs))):
            result = graph.call_function(operator.getitem, (call, index))
            result.meta["val"] = node.meta.get("val")
            node.replace_all_uses_with(result)
            moved[node] = result
    for node in reversed(nodes):
        graph.erase_node(node)


def _device(program: Program) -> torch.device:
    """Where the program's tensors are."""
    values = [node.meta.get("val") for node in program.module.graph.nodes]
    return next((value.device for value in values if isinstance(value, torch.Tensor)), torch.device("cpu"))


def _original(piece: Piece) -> Callable[..., Any] | None:
    """The piece in PyTorch; None for one with states, which live in Core ML."""
    if piece.states:
        return None
    order = [node.name for node in piece.module.graph.find_nodes(op="placeholder")]

    def run(*values: Any) -> Any:
        given = iter(values)
        with torch.no_grad():
            return piece.module(*(piece.constants[name] if name in piece.constants else next(given) for name in order))

    return run


def _ports(piece: Piece, features: Features) -> Ports:
    skipped = {*piece.constants, *piece.states}
    placeholders = [node for node in piece.module.graph.find_nodes(op="placeholder") if node.name not in skipped]
    given = outputs_of(piece.module.graph)[len(piece.writes) :]
    inputs = tuple(_port(name, node) for name, node in zip(features.inputs, placeholders, strict=True))
    outputs = tuple(_port(name, node) for name, node in zip(features.outputs, given, strict=True))
    return Ports(inputs, outputs, tuple(features.states), tuple(target for target, _ in piece.states.values()))


def _port(name: str, node: Node) -> Port:
    value = node.meta["val"]
    return Port(name, str(value.dtype).removeprefix("torch."), value.dim() == 0, node.meta.get("number", False))
