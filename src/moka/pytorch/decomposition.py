"""Operators that coremltools refuses, written as others that it takes: with all their arguments, or as PyTorch decomposes them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch._prims_common import make_contiguous_strides_for
from torch._subclasses.fake_tensor import FakeTensor
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import statically_known_true

from moka.pytorch.config import DelegateConfig
from moka.pytorch.frontend import REFUSED, attempt
from moka.pytorch.partitioner import refuse_statically, signature
from moka.pytorch.pieces import piece_of
from moka.pytorch.program import Program, prepare, takes_one_of_several

__all__ = ["expand", "expandable", "rewrite"]

_DEPTHS = ("stated", "floats", "shallow", "deep")
"""How an operator is written anew: with its defaults stated, of integers made floats, decomposed once, or to PyTorch's core operators."""

_STEPS = 100
"""Steps up to which a recurrent layer is written out: over more it is faster in PyTorch."""

_ATEN = torch.ops.aten
_RECURRENT = (_ATEN.gru.input, _ATEN.lstm.input, _ATEN.rnn_relu.input, _ATEN.rnn_tanh.input)


def expandable(program: Program, reasons: Mapping[str, str], config: DelegateConfig) -> dict[str, str]:
    """The nodes that coremltools refuses, but takes once they are written anew; by name how."""
    found: dict[str, str] = {}
    verdicts: dict[Any, str | None] = {}
    for node in program.module.graph.nodes:
        if not reasons.get(node.name, "").startswith(REFUSED) or not isinstance(node.target, torch._ops.OpOverload):
            continue
        kind = signature(node, program)
        if kind not in verdicts:
            verdicts[kind] = next((depth for depth in _DEPTHS if _converts(program, node, depth, config)), None)
        depth = verdicts[kind]
        if depth is not None:
            found[node.name] = depth
    return found


def expand(program: Program, names: Mapping[str, str]) -> None:
    """Writes nodes anew, in place."""
    graph = program.module.graph
    for node in [node for node in graph.nodes if node.name in names]:
        written = _written(node, names[node.name])
        if written is None:
            continue
        with graph.inserting_before(node):
            places: dict[Node, Node] = dict(zip(written.find_nodes(op="placeholder"), node.all_input_nodes, strict=True))
            result: Any = graph.graph_copy(written, places)
        for copy in places.values():
            copy.meta.setdefault("stack_trace", node.meta.get("stack_trace"))
        if isinstance(result, (list, tuple)):
            for user in [user for user in node.users if takes_one_of_several(user)]:
                user.replace_all_uses_with(result[user.args[1]])
                graph.erase_node(user)
        else:
            node.replace_all_uses_with(result)
        graph.erase_node(node)


def rewrite(exported: ExportedProgram, node: Node, config: DelegateConfig) -> bool:
    """Writes a call that coremltools refuses anew, and all of the same operator that it refuses, in place; whether it could."""
    program = replace(Program.of(exported), module=exported.graph_module)
    alike = [item for item in exported.graph.nodes if item.target is node.target]
    refused = {item.name: REFUSED for item in alike if item is node or attempt(piece_of(program, [item], config), config)}
    names = expandable(program, refused, config)
    with exported.graph_module._set_replace_hook(exported.graph_signature.get_replace_hook()):
        expand(program, names)
    exported.graph.lint()
    return node.name in names


def _converts(program: Program, node: Node, depth: str, config: DelegateConfig) -> bool:
    """Whether coremltools takes a node written anew, on its own."""
    written = _written(node, depth)
    if written is None:
        return False
    (given,) = written.output_node().args
    outputs = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    written.output_node().args = (outputs,)
    places = zip(written.find_nodes(op="placeholder"), node.all_input_nodes, strict=True)
    constants = {place.name: program.constants[item.name] for place, item in places if item.name in program.constants}
    results = ((OutputKind.USER_OUTPUT, None),) * len(outputs)
    inner = Program(GraphModule({}, written), constants, results=results, ranges=program.ranges)
    prepare(inner)
    nodes = [item for item in inner.module.graph.nodes if item.op == "call_function"]
    if refuse_statically(inner, config):
        return False
    return not nodes or attempt(piece_of(inner, nodes, config), config) is None


def _written(node: Node, depth: str) -> torch.fx.Graph | None:
    """A graph that does what a call does, of its tensors; None where there is no other way to write it."""
    if depth == "stated":
        return _with_defaults(node)
    return _of_floats(node) if depth == "floats" else _decomposed(node, depth)


def _with_defaults(node: Node) -> torch.fx.Graph | None:
    """The call with all of its arguments, which TorchScript states, exported programs do not, and coremltools often expects."""
    parameters = [item for item in node.target._schema.arguments if not item.kwarg_only]  # type: ignore[union-attr]
    missing = parameters[len(node.args) :]
    if not missing:
        return None
    args = (*node.args, *(node.kwargs.get(item.name, item.default_value) for item in missing))
    kwargs = {name: value for name, value in node.kwargs.items() if name not in {item.name for item in missing}}
    graph = torch.fx.Graph()
    places = {item: graph.placeholder(item.name) for item in node.all_input_nodes}
    for item, place in places.items():
        place.meta["val"] = item.meta["val"]
    call = graph.call_function(node.target, *torch.fx.map_arg((args, kwargs), places.__getitem__))  # type: ignore[arg-type]
    call.meta = dict(node.meta)
    value = node.meta["val"]
    if not isinstance(value, (list, tuple)):
        graph.output(call)
        return graph
    parts = [graph.call_function(operator.getitem, (call, index)) for index in range(len(value))]
    for part, item in zip(parts, value, strict=True):
        part.meta["val"] = item
    graph.output(tuple(parts))
    return graph


def _of_floats(node: Node) -> torch.fx.Graph | None:
    """The call with floats in the place of integers, for functions that give floats of them, which Core ML's do not take."""
    value = node.meta["val"]
    given = [item.meta["val"] for item in node.all_input_nodes]
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return None
    if not given or any(not isinstance(item, torch.Tensor) or item.is_floating_point() for item in given):
        return None
    return _traced(node, {}, lambda tensor: tensor.to(value.dtype))


def _decomposed(node: Node, depth: str) -> torch.fx.Graph | None:
    """What PyTorch makes of the call; None where it does not decompose it."""
    from torch._decomp import core_aten_decompositions

    if node.target in _RECURRENT and not _is_short(node):
        return None
    table = core_aten_decompositions() if depth == "deep" else _own_entries(node.target)
    graph = _traced(node, {**table, _ATEN.as_strided.default: _as_strided})
    calls = [item for item in graph.nodes if item.op != "placeholder"] if graph is not None else []
    same = any(item.target is node.target or item.op == "get_attr" for item in calls)
    return None if same else graph


def _is_short(node: Node) -> bool:
    """Whether a recurrent layer has few steps; of a flexible number of them only one would be written out."""
    batch_first = node.args[8]
    steps = node.all_input_nodes[0].meta["val"].shape[1 if batch_first else 0]
    return isinstance(steps, int) and steps <= _STEPS


def _traced(node: Node, table: Any, taken: Callable[[Any], Any] = lambda tensor: tensor) -> torch.fx.Graph | None:
    """What a call becomes by a table of decompositions, for inputs that are changed first; None where that fails."""
    inputs = node.all_input_nodes
    values = [item.meta["val"] for item in inputs]
    mode = next((value.fake_mode for value in values if isinstance(value, FakeTensor)), None)

    def call(*given: Any) -> Any:
        places = dict(zip(inputs, map(taken, given), strict=True))
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), places.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    try:
        with mode or nullcontext(), torch.no_grad():
            traced = make_fx(call, decomposition_table=table)(*values)
            return make_fx(torch.func.functionalize(traced), decomposition_table=table)(*values).graph
    except Exception:  # a decomposition that this call does not suit: it stays as it is
        return None


def _own_entries(target: Any) -> dict[Any, Any]:
    """PyTorch's decompositions of an operator's overloads, which often are each other's."""
    from torch._decomp import decomposition_table

    return {item: known for item, known in decomposition_table.items() if getattr(item, "overloadpacket", None) is target.overloadpacket}


def _as_strided(x: torch.Tensor, size: Sequence[Any], stride: Sequence[Any], storage_offset: Any = None) -> torch.Tensor:
    """What a view of memory shows, picked from the elements of the tensor that the memory is of.

    Raises:
        ValueError: the tensor has gaps, or the view reaches beyond it, or sizes are flexible.
    """
    begin = 0 if storage_offset is None else storage_offset - x.storage_offset()
    steps = x.stride()
    if _known(begin == 0) and _alike(size, stride, x.shape, steps):
        return _ATEN.alias.default(x)  # type: ignore[no-any-return]
    if not all(isinstance(number, int) for number in (*size, *stride, *x.shape, *steps, begin)):
        raise ValueError("as_strided with flexible sizes")
    order = sorted(range(x.dim()), key=lambda axis: -steps[axis])
    flat = x.permute(order)
    end = begin + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if not _alike(flat.shape, flat.stride(), flat.shape, make_contiguous_strides_for(flat.shape)) or begin < 0 or end >= x.numel():
        raise ValueError("as_strided of a tensor with gaps, or beyond one")
    place = torch.arange(begin, begin + 1, device=x.device)
    for count, step in zip(size, stride, strict=True):
        place = place[..., None] + torch.arange(count, device=x.device) * step
    return flat.reshape(-1).index_select(0, place.reshape(-1)).view(size)


def _alike(size: Sequence[Any], stride: Sequence[Any], other_size: Sequence[Any], other_stride: Sequence[Any]) -> bool:
    """Whether two tensors have the same layout in memory; in a dimension of one element the distance to the next makes no difference."""
    return len(size) == len(other_size) and all(
        _known(count == other_count) and (_known(count == 1) or _known(step == other_step))
        for count, step, other_count, other_step in zip(size, stride, other_size, other_stride, strict=True)
    )


def _known(condition: Any) -> bool:
    """Whether a statement about sizes holds whatever the flexible ones are; asking so puts no condition on the program."""
    return bool(statically_known_true(condition))
