"""From a program to the Core ML models for its parts: divided, converted, checked, and found again in the cache."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache as once
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.tools_common import stable_topological_sort

from moka.cache import Cache, Key
from moka.errors import UnsupportedError
from moka.pytorch.config import DelegateConfig
from moka.pytorch.frontend import Features, Piece, Refusal, RefusedError, attempt, write_package
from moka.pytorch.partitioner import divide, narrow, refuse_statically
from moka.pytorch.pieces import Cut, cut
from moka.pytorch.program import Program, outputs_of, prepare
from moka.pytorch.report import DelegationReport, report_of
from moka.pytorch.segments import PACKAGE, Port, Ports, Segment, load_segment

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


def build(program: Program, config: DelegateConfig) -> Built:
    """Divides a program, converts its parts and puts them in place.

    Raises:
        UnsupportedError: the whole program was to become one model, and can't.
    """
    prepare(program)
    reasons = _reasons(program, config)
    while True:
        partitions = divide(program, reasons, config)
        _require_whole(partitions, reasons, config)
        cuts = [cut(program, nodes, config) for nodes in partitions]
        try:
            folders = [package_of(item.piece, config) for item in cuts]
            break
        except RefusedError:
            narrow(program, reasons, lambda piece: _full_attempt(piece, config), config)
    numbers = {node.name: index for index, nodes in enumerate(partitions) for node in nodes}
    report = report_of(program, numbers, reasons)
    program.drop_writes({target for item in cuts for target in item.piece.writes})
    moved: dict[Node, Node] = {}
    for index, (nodes, item, folder) in enumerate(zip(partitions, cuts, folders, strict=True)):
        segment = load_segment(partial(_package, item.piece, config), Ports.read(folder), config, _device(program), _original(item.piece))
        segment.write_states([tensor for _, tensor in item.piece.states.values()])
        _replace(program.module, f"segment_{index}", segment, nodes, item, moved)
    stable_topological_sort(program.module)
    program.module.graph.eliminate_dead_code()
    program.module.graph.lint()
    program.module.recompile()
    return Built(cuts, report)


def package_of(piece: Piece, config: DelegateConfig) -> Path:
    """The folder in the cache with a piece's package and ports, made if it is not there.

    Raises:
        RefusedError: the piece does not convert.
    """
    parts = {"graph": _text(piece.module), "constants": _digests(piece), "config": config.conversion, "versions": _versions()}
    parts["ranges"] = {str(symbol): str(bounds) for symbol, bounds in piece.ranges.items()}

    def make(folder: Path) -> None:
        features = write_package(piece, config, folder / PACKAGE)
        _ports(piece, features).write(folder)

    return Cache().get(Key("pytorch", "a part of a PyTorch program", parts), make)


def _package(piece: Piece, config: DelegateConfig) -> Path:
    return package_of(piece, config) / PACKAGE


def _reasons(program: Program, config: DelegateConfig) -> dict[str, str]:
    """Why nodes stay in PyTorch, from the cache where the same program was divided before."""
    parts = {
        "graph": _text(program.module),
        "constants": sorted(program.constants),
        "buffers": sorted(program.buffers),
        "config": config.conversion | {"keep_out": [str(item) for item in config.keep_out]},
        "versions": _versions(),
    }

    def make(folder: Path) -> None:
        reasons = refuse_statically(program, config)
        narrow(program, reasons, lambda piece: attempt(piece, config), config)
        (folder / "reasons.json").write_text(json.dumps(reasons), encoding="utf-8")

    folder = Cache().get(Key("division", "a PyTorch program", parts), make)
    return dict(json.loads((folder / "reasons.json").read_text(encoding="utf-8")))


def _full_attempt(piece: Piece, config: DelegateConfig) -> Refusal | None:
    try:
        package_of(piece, config)
    except RefusedError as error:
        return error.refusal
    return None


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
    return Ports(inputs, tuple(_port(name, node) for name, node in zip(features.outputs, given, strict=True)), tuple(features.states))


def _port(name: str, node: Node) -> Port:
    value = node.meta["val"]
    return Port(name, str(value.dtype).removeprefix("torch."), value.dim() == 0, node.meta.get("number", False))


def _text(module: GraphModule) -> list[str]:
    """A graph in words: all that a conversion depends on."""
    return [f"{node.op} {node.name} {node.target} {node.args} {node.kwargs} {_type(node.meta.get('val'))}" for node in module.graph.nodes]


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return f"[{', '.join(map(_type, value))}]" if isinstance(value, (list, tuple)) else f"{type(value).__name__} {value}"


def _digests(piece: Piece) -> dict[str, str]:
    tensors = {**piece.constants, **{name: tensor for name, (_, tensor) in piece.states.items()}}
    return {name: _digest(tensor) for name, tensor in tensors.items()}


def _digest(tensor: torch.Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0, dtype=torch.uint8)
    return hashlib.sha256(data.numpy().data).hexdigest()


@once
def _versions() -> dict[str, str]:
    """What else decides how a piece converts: the packages that do it, and the code of this room."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    return {"coremltools": version("coremltools"), "torch": torch.__version__, "moka": code.hexdigest()[:16]}
