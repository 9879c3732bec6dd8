"""Parts of a program's graph, cut out for conversion."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext

from moka.pytorch.config import DelegateConfig
from moka.pytorch.frontend import Piece
from moka.pytorch.layouts import in_order
from moka.pytorch.program import Program, outputs_of, symbol_ranges

__all__ = ["Cut", "cut", "piece_of", "whole_state"]


class Cut:
    """Some nodes of a program as a graph of its own.

    Attributes:
        inputs: the nodes outside that it takes, constants left out; in the order of its placeholders.
        outputs: its nodes that others use, in the order of what it gives.
        piece: what is converted.
    """

    def __init__(self, inputs: list[Node], outputs: list[Node], piece: Piece) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.piece = piece


def piece_of(program: Program, nodes: Sequence[Node], config: DelegateConfig) -> Piece:
    """What is converted to see whether some nodes can be."""
    return cut(program, nodes, config).piece


def cut(program: Program, nodes: Sequence[Node], config: DelegateConfig) -> Cut:
    """Cuts nodes, given in the graph's order, out of a program; its own graph stays as it is."""
    chosen = set(nodes)
    graph = torch.fx.Graph()
    places: dict[Node, Node] = {}
    ranges: dict[Any, Any] = {}
    outside = dict.fromkeys(item for node in nodes for item in node.all_input_nodes if item not in chosen)
    for item in outside:
        places[item] = graph.placeholder(item.name)
        places[item].meta["number"] = not isinstance(item.meta["val"], torch.Tensor)
        places[item].meta["val"] = _border_value(item.meta["val"], program, ranges)
    for node in nodes:
        places[node] = graph.node_copy(node, places.__getitem__)
    states = whole_state(program, chosen) if config.states else {}
    written = {node: target for node, target in program.writes if target in states.values()}
    shown = _shown(program, states.values())
    given = [node for node in nodes if any(user not in chosen and (user.op != "output" or node in shown) for user in node.users)]
    graph.output(tuple(places[node] for node in [*written, *given]))
    held = {name: (target, program.buffers[name][1]) for name, target in states.items()}
    constants = {item.name: program.constants[item.name] for item in outside if item.name in program.constants}
    piece = Piece(GraphModule({}, graph), constants, ranges, held, tuple(written.values()))
    return Cut([item for item in outside if item.name not in constants and item.name not in states], given, piece)


def whole_state(program: Program, chosen: set[Node]) -> dict[str, str]:
    """The changed buffers, by placeholder, that can be Core ML states: of floating-point numbers, and only the chosen nodes use them."""
    writers = {target: node for node, target in program.writes}
    found = {}
    for placeholder in program.module.graph.find_nodes(op="placeholder"):
        target, content = program.buffers.get(placeholder.name, ("", None))
        if content is None or not content.is_floating_point() or content.dim() == 0:
            continue
        if writers.get(target) in chosen and all(user in chosen for user in placeholder.users):
            found[placeholder.name] = target
    return found


def _shown(program: Program, states: Container[str]) -> list[Any]:
    """What the program gives at its end, beside what is written to buffers that become states."""
    outputs = zip(outputs_of(program.module.graph), program.results, strict=True)
    return [node for node, (kind, target) in outputs if kind is not OutputKind.BUFFER_MUTATION or target not in states]


def _border_value(value: Any, program: Program, ranges: dict[Any, Any]) -> Any:
    """A value as an input of a piece.

    Numbers become tensors without dimensions, and sizes that are formulas symbols of their own. Strides are those of a dense tensor in
    order, the only ones that coremltools takes; which ones a tensor has when the program runs makes no difference.
    """
    if not isinstance(value, torch.Tensor):
        return torch.empty((), dtype=torch.int64 if isinstance(value, (int, torch.SymInt)) else torch.float32, device="meta")
    if isinstance(value, FakeTensor) and any(isinstance(size, torch.SymInt) and not size.node.expr.is_Symbol for size in value.shape):
        value = _renamed(value)
    elif isinstance(value, FakeTensor):
        value = in_order(value)
    ranges.update(symbol_ranges(value, program.ranges))
    return value


def _renamed(value: FakeTensor) -> torch.Tensor:
    """A tensor of the same type with a new symbol for every flexible size."""
    symbolic = [isinstance(size, torch.SymInt) for size in value.shape]
    sizes = [size.node.hint if isinstance(size, torch.SymInt) else size for size in value.shape]
    context: Any = StatelessSymbolicContext([DimDynamic.DYNAMIC if flexible else DimDynamic.STATIC for flexible in symbolic])
    plain = torch.empty(sizes, dtype=value.dtype, device="meta")
    return value.fake_mode.from_tensor(plain, symbolic_context=context)
