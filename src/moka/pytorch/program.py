"""A functional ATen graph with what it is applied to: what the partitioner divides, wherever the graph comes from."""

from __future__ import annotations

import operator
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule, Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils._sympy.value_ranges import ValueRanges

from moka.pytorch.layouts import read_owners

__all__ = [
    "Program",
    "is_constant_only",
    "is_random",
    "is_size",
    "outputs_of",
    "prepare",
    "size_ranges",
    "symbol_ranges",
    "takes_one_of_several",
]

_SMALL = 2**16
"""Elements up to which constants are computed ahead even where that makes them larger."""


@dataclass
class Program:
    """A graph whose placeholders are constants, buffers or inputs.

    Attributes:
        module: the graph; every call of an operator has its value's type as ``meta["val"]``.
        constants: tensors that never change, by the name of their placeholder.
        buffers: for placeholders of buffers that the program changes, the buffer's name and content.
        inputs: the placeholders that are inputs, in the order of the program's arguments, flattened.
        results: what each output is for: its kind, and the name of the buffer or input that it is written to.
        targets: what constants and buffers are called in the module, by placeholder.
        ranges: sizes allowed (`ValueRanges`) by symbol.
    """

    module: GraphModule
    constants: dict[str, torch.Tensor]
    buffers: dict[str, tuple[str, torch.Tensor]] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    results: tuple[tuple[OutputKind, str | None], ...] = ()
    targets: dict[str, str] = field(default_factory=dict)
    ranges: Mapping[Any, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, exported: ExportedProgram) -> Program:
        """The program that an exported one is; shares its tensors, not its graph."""
        graph = torch.fx.Graph()
        copies: dict[Node, Node] = {}
        graph.output(graph.graph_copy(exported.graph, copies))
        names = {node.name: copy.name for node, copy in copies.items()}
        return cls._around(GraphModule(exported.graph_module, graph), exported, names)

    @classmethod
    def out_of(cls, exported: ExportedProgram) -> Program:
        """The same for an exported program that nobody else uses: shares its graph, too, which saves a copy and its compilation."""
        return cls._around(exported.graph_module, exported, {node.name: node.name for node in exported.graph.nodes})

    @classmethod
    def _around(cls, module: GraphModule, exported: ExportedProgram, names: Mapping[str, str]) -> Program:
        """The program with this module, in which the exported program's nodes have these names."""
        signature = exported.graph_signature
        changed = set(signature.buffers_to_mutate.values())
        constants: dict[str, torch.Tensor] = {}
        buffers: dict[str, tuple[str, torch.Tensor]] = {}
        targets: dict[str, str] = {}
        for spec in signature.input_specs:
            held = _held(exported, spec)
            if held is None or spec.target is None:
                continue
            targets[names[spec.arg.name]] = spec.target
            if spec.target in changed:
                buffers[names[spec.arg.name]] = (spec.target, held)
            else:
                constants[names[spec.arg.name]] = held.detach()
        inputs = tuple(names[spec.arg.name] for spec in signature.input_specs if spec.kind is InputKind.USER_INPUT)
        results = tuple((spec.kind, spec.target) for spec in signature.output_specs)
        return cls(module, constants, buffers, inputs, results, targets, size_ranges(exported))

    @property
    def writes(self) -> list[tuple[Node, str]]:
        """The nodes that are written to buffers at the end, with the buffers' names."""
        outputs = zip(outputs_of(self.module.graph), self.results, strict=True)
        return [(node, target) for node, (kind, target) in outputs if kind is OutputKind.BUFFER_MUTATION and target is not None]

    def drop_writes(self, targets: Container[str]) -> None:
        """Takes the outputs away that are written to these buffers."""
        node = self.module.graph.output_node()
        kept = [
            (value, result)
            for value, result in zip(outputs_of(self.module.graph), self.results, strict=True)
            if result[0] is not OutputKind.BUFFER_MUTATION or result[1] not in targets
        ]
        node.args = (tuple(value for value, _ in kept),)
        self.results = tuple(result for _, result in kept)


def size_ranges(exported: ExportedProgram) -> dict[Any, ValueRanges[Any]]:
    """The sizes that an exported program takes, by symbol.

    PyTorch writes 2 as the smallest size where it was not told another (`Dim.AUTO`, `Dim.DYNAMIC`), and takes 1 all the same.
    """
    ranges = exported.range_constraints.items()
    return {symbol: ValueRanges(1, bounds.upper) if bounds.lower == 2 else bounds for symbol, bounds in ranges}


def _held(exported: ExportedProgram, spec: Any) -> torch.Tensor | None:
    """The tensor that a program holds for one of its placeholders; None for inputs and for what is no tensor."""
    if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
        return None
    found = exported.state_dict.get(spec.target)
    found = exported.constants.get(spec.target) if found is None else found
    return found if isinstance(found, torch.Tensor) else None


def prepare(program: Program) -> None:
    """Makes a graph easier to divide, in place; what it computes stays the same.

    - Sizes that are inputs of their own are read from the tensors that have them.
    - What follows from constants alone is computed, unless that would make it larger.
    - What looks at memory looks at the tensors that own it.
    - Statements about types are dropped: a graph's types are fixed.
    - What takes one of several results follows what gives them.
    - Each user of a size has the arithmetic behind it to itself, so that no size crosses the border of a partition.
    """
    graph = program.module.graph
    for node in graph.find_nodes(op="call_function", target=torch.ops.aten._assert_tensor_metadata.default):
        graph.erase_node(node)
    read_owners(graph)
    _read_sizes(graph)
    _fold(program)
    _own_sizes(graph)
    for node in reversed(graph.find_nodes(op="call_function", target=operator.getitem)):
        if takes_one_of_several(node):
            node.args[0].append(node)
    graph.eliminate_dead_code()
    graph.lint()


def is_size(node: Node) -> bool:
    """Whether a call gives a number that follows from the sizes of tensors."""
    value = node.meta.get("val")
    sizes = (torch.SymInt, torch.SymFloat, torch.SymBool, int, float, bool)
    return node.op == "call_function" and isinstance(value, sizes) and not free_unbacked_symbols(value)


def outputs_of(graph: torch.fx.Graph) -> list[Any]:
    """What a graph gives, in order: nodes, numbers, None."""
    (given,) = graph.output_node().args
    return list(given)  # type: ignore[arg-type]


def takes_one_of_several(node: Node) -> bool:
    """Whether a call picks one result of a call that gives several."""
    return node.target is operator.getitem and isinstance(node.args[0], Node) and isinstance(node.args[0].meta.get("val"), (list, tuple))


def is_constant_only(node: Node, program: Program) -> bool:
    """Whether a tensor follows from constants alone."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), torch.Tensor) or is_random(node):
        return False
    inputs = node.all_input_nodes
    return all(item.name in program.constants for item in inputs) and not any(map(_symbolic, node.meta["val"].shape))


def symbol_ranges(value: torch.Tensor, ranges: Mapping[Any, Any]) -> dict[Any, Any]:
    """The ranges of the sizes of one tensor that are plain symbols."""
    found: dict[Any, Any] = {}
    for size in value.shape:
        if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
            symbol = size.node.expr
            found[symbol] = ranges[symbol] if symbol in ranges else size.node.shape_env.bound_sympy(symbol)
    return found


def _symbolic(size: Any) -> bool:
    return isinstance(size, torch.SymInt)


def is_random(node: Node) -> bool:
    """Whether a call draws random numbers; an operator that does for dropout alone does not where the call turns that off."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in target.tags:
        return False
    for index, parameter in enumerate(target._schema.arguments):
        if parameter.name in ("dropout_p", "train", "training"):
            given = node.args[index] if index < len(node.args) else node.kwargs.get(parameter.name, parameter.default_value)
            return bool(given)
    return True


def _read_sizes(graph: torch.fx.Graph) -> None:
    """Takes sizes that are inputs (as graphs of torch.compile have them) from tensors that are inputs too."""
    placeholders = graph.find_nodes(op="placeholder")
    where: dict[Any, tuple[Node, int]] = {}
    for node in placeholders:
        value = node.meta.get("val")
        for dimension, size in enumerate(value.shape if isinstance(value, torch.Tensor) else ()):
            if isinstance(size, torch.SymInt):
                where.setdefault(size.node.expr, (node, dimension))
    for node in placeholders:
        value = node.meta.get("val")
        if isinstance(value, torch.SymInt) and value.node.expr in where and node.users:
            with graph.inserting_after(placeholders[-1]):
                read = graph.call_function(torch.ops.aten.sym_size.int, where[value.node.expr])
            read.meta["val"] = value
            node.replace_all_uses_with(read)


def _fold(program: Program) -> None:
    """Computes what follows from constants alone, in order, so that what follows from that is computed too."""
    graph = program.module.graph
    for node in list(graph.nodes):
        if not is_constant_only(node, program) or not _worth_folding(node):
            continue
        with torch.no_grad():
            values = torch.fx.map_arg((node.args, node.kwargs), lambda item: program.constants[item.name])
            result = node.target(*values[0], **values[1])
        with graph.inserting_before(next(iter(graph.nodes))):
            folded = graph.placeholder(f"folded_{node.name}")
        folded.meta["val"] = node.meta["val"]
        program.constants[folded.name] = result.detach()
        node.replace_all_uses_with(folded)
        graph.erase_node(node)


def _worth_folding(node: Node) -> bool:
    """Whether a constant is small, or no larger than what it is computed from; compressed weights stay compressed."""
    size = node.meta["val"].numel() * node.meta["val"].element_size()
    inputs = [item.meta["val"] for item in node.all_input_nodes]
    if any(not value.dtype.is_floating_point and node.meta["val"].is_floating_point() and value.numel() > 1 for value in inputs):
        return False
    return bool(size <= 4 * _SMALL or size <= sum(value.numel() * value.element_size() for value in inputs))


def _own_sizes(graph: torch.fx.Graph) -> None:
    """Gives every call that takes sizes copies of its own of the calls that they come from."""
    for node in list(graph.nodes):
        if node.op != "call_function" or is_size(node):
            continue
        with graph.inserting_before(node):
            own = partial(_copied, graph, {})
            node.args = torch.fx.map_arg(node.args, own)
            node.kwargs = torch.fx.map_arg(node.kwargs, own)


def _copied(graph: torch.fx.Graph, copies: dict[Node, Node], node: Node) -> Node:
    if not is_size(node):
        return node
    if node not in copies:
        copies[node] = graph.node_copy(node, partial(_copied, graph, copies))
    return copies[node]
