"""What coremltools' frontend lacks although Core ML can do it, and operators of others.

coremltools knows fewer of PyTorch's operators than Core ML has the means for. Two ways lead there:

- *Decompositions*, PyTorch's own: an operator that coremltools refuses is written as others that it takes (`expand`).
- *Compositions* of Core ML's operations, for operators that PyTorch doesn't decompose: the table below, and `lowers` for anybody's.

| operator | in Core ML |
|---|---|
| ``aten.alias`` | the tensor itself |
| ``aten.trunc`` | sign(x) floor(abs(x)) |
| ``aten.fmod`` | x - y trunc(x / y) |
| ``aten.hypot`` | sqrt(x^2 + y^2) |
| ``aten.isinf`` | abs(x) = infinity |
| ``aten.prod`` | ``reduce_prod`` |
| ``aten.bitwise_or``, ``aten.bitwise_xor`` | ``logical_or``, ``logical_xor``, of truth values |

``aten.diff``, ``aten.new_ones`` and more than a hundred others need no entry: PyTorch decomposes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from types import CodeType
from typing import Any, TypeVar

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.export.graph_signature import OutputKind
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from moka.pytorch.config import DelegateConfig
from moka.pytorch.frontend import REFUSED, attempt
from moka.pytorch.partitioner import refuse_statically
from moka.pytorch.pieces import piece_of
from moka.pytorch.program import Program, prepare, takes_one_of_several

__all__ = ["composition_digest", "expand", "expandable", "lowers", "register"]

Composition = Callable[..., Any]
F = TypeVar("F", bound=Composition)

_LARGEST_FLOAT = 3.4028234e38
_DEPTHS = ("shallow", "deep")
"""How far PyTorch decomposes an operator: once, or to its core operators."""

_compositions: dict[torch._ops.OpOverload, Composition] = {}
_registered: set[torch._ops.OpOverload] = set()


def lowers(operator: Any) -> Callable[[F], F]:
    """Gives an operator a Core ML composition, so that it need not stay in PyTorch.

        from coremltools.converters.mil import Builder as mb

        @moka.pytorch.lowers(torch.ops.my.shifted_relu)
        def shifted_relu(x, shift):
            return mb.relu(x=mb.add(x=x, y=shift))

    The function gets what the operator is called with: tensors as coremltools' variables, numbers and lists of numbers as they are. It
    returns a variable, or a tuple of them where the operator gives several tensors. It takes the place of coremltools' own conversion if
    there is one.

    Args:
        operator: ``torch.ops.my.op`` for all of its overloads, or ``torch.ops.my.op.default`` for one.
    """

    def decorate(function: F) -> F:
        overloads = [operator]
        if isinstance(operator, torch._ops.OpOverloadPacket):
            overloads = [getattr(operator, name) for name in operator.overloads()]  # type: ignore[no-untyped-call]
        for overload in overloads:
            _compositions[overload] = function
            _registered.discard(overload)
        return function

    return decorate


def composition_digest() -> str:
    """A hash of all compositions, by which conversions before and after a change of them are told apart."""
    found = hashlib.sha256()
    for name, function in sorted((str(overload), function) for overload, function in _compositions.items()):
        found.update(f"{name} {_code_text(function.__code__)}".encode())
    return found.hexdigest()[:16]


def _code_text(code: CodeType) -> str:
    """What a function does, in words that are the same in every process."""
    constants = [_code_text(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def register() -> None:
    """Adds the compositions to coremltools' table, those that are not there yet."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    for overload, function in _compositions.items():
        if overload not in _registered:
            kind = sanitize_op_kind(overload.name())  # type: ignore[no-untyped-call]
            _TORCH_OPS_REGISTRY.set_func_by_name(_converter(function), kind)
            _registered.add(overload)


def _converter(function: Composition) -> Callable[[Any, Any], None]:
    """A composition in the form that coremltools calls."""

    def convert(context: Any, node: Any) -> None:
        def bound(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [bound(item) for item in value]
            return context[value] if isinstance(value, str) and value in context else value

        named = {name: bound(value[0]) for name, value in (node.kwinputs or {}).items()}
        context.add(function(*map(bound, node.inputs), **named), torch_name=node.name)

    return convert


def _builder() -> Any:
    from coremltools.converters.mil import Builder

    return Builder


def _is_float(value: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return bool(types.is_float(value.dtype))


@lowers(torch.ops.aten.alias.default)
def _alias(x: Any) -> Any:
    return _builder().identity(x=x)


@lowers(torch.ops.aten.trunc.default)
def _trunc(x: Any) -> Any:
    mb = _builder()
    return mb.mul(x=mb.sign(x=x), y=mb.floor(x=mb.abs(x=x))) if _is_float(x) else mb.identity(x=x)


@lowers(torch.ops.aten.fmod.Scalar)
def _fmod(x: Any, y: float) -> Any:
    mb = _builder()
    if not _is_float(x) or isinstance(y, int) or y == 0:
        raise NotImplementedError("fmod of integers, or by zero")
    return mb.sub(x=x, y=mb.mul(x=_trunc(mb.real_div(x=x, y=y)), y=y))


@lowers(torch.ops.aten.hypot.default)
def _hypot(x: Any, y: Any) -> Any:
    mb = _builder()
    return mb.sqrt(x=mb.add(x=mb.square(x=x), y=mb.square(x=y)))


@lowers(torch.ops.aten.isinf.default)
def _isinf(x: Any) -> Any:
    mb = _builder()
    if not _is_float(x):
        raise NotImplementedError("isinf of integers, which never are")
    return mb.greater(x=mb.abs(x=x), y=_LARGEST_FLOAT)


@lowers(torch.ops.aten.prod.dim_int)
def _prod(x: Any, axis: int, keep_dims: bool = False, *, dtype: Any = None) -> Any:
    if dtype is not None:
        raise NotImplementedError("prod with a type of its own")
    return _builder().reduce_prod(x=x, axes=[axis], keep_dims=bool(keep_dims))


@lowers(torch.ops.aten.bitwise_or.Tensor)
def _bitwise_or(x: Any, y: Any) -> Any:
    return _logical("logical_or", x, y)


@lowers(torch.ops.aten.bitwise_xor.Tensor)
def _bitwise_xor(x: Any, y: Any) -> Any:
    return _logical("logical_xor", x, y)


def _logical(operation: str, x: Any, y: Any) -> Any:
    from coremltools.converters.mil.mil import types

    if x.dtype is not types.bool or y.dtype is not types.bool:
        raise NotImplementedError("bits of integers")
    return getattr(_builder(), operation)(x=x, y=y)


def expandable(program: Program, reasons: Mapping[str, str], config: DelegateConfig) -> dict[str, str]:
    """The nodes that coremltools refuses, but takes once PyTorch has decomposed them; by name how far they are decomposed."""
    found: dict[str, str] = {}
    verdicts: dict[Any, str | None] = {}
    for node in program.module.graph.nodes:
        if not reasons.get(node.name, "").startswith(REFUSED) or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if node.target not in verdicts:
            verdicts[node.target] = next((depth for depth in _DEPTHS if _converts(program, node, depth, config)), None)
        depth = verdicts[node.target]
        if depth is not None:
            found[node.name] = depth
    return found


def expand(program: Program, names: Mapping[str, str]) -> None:
    """Replaces nodes by PyTorch's decompositions of them, in place."""
    graph = program.module.graph
    for node in [node for node in graph.nodes if node.name in names]:
        traced = _trace(node, names[node.name])
        if traced is None:
            continue
        with graph.inserting_before(node):
            places = dict(zip(traced.find_nodes(op="placeholder"), node.all_input_nodes, strict=True))
            result: Any = graph.graph_copy(traced, places)
        if isinstance(result, (list, tuple)):
            for user in [user for user in node.users if takes_one_of_several(user)]:
                user.replace_all_uses_with(result[user.args[1]])
                graph.erase_node(user)
        else:
            node.replace_all_uses_with(result)
        graph.erase_node(node)


def _converts(program: Program, node: Node, depth: str, config: DelegateConfig) -> bool:
    """Whether coremltools takes the decomposition of a node, on its own."""
    traced = _trace(node, depth)
    if traced is None:
        return False
    (given,) = traced.output_node().args
    outputs = tuple(given) if isinstance(given, (list, tuple)) else (given,)
    traced.output_node().args = (outputs,)
    inner = Program(GraphModule({}, traced), {}, results=((OutputKind.USER_OUTPUT, None),) * len(outputs), ranges=program.ranges)
    prepare(inner)
    nodes = [item for item in inner.module.graph.nodes if item.op == "call_function"]
    if refuse_statically(inner, config):
        return False
    return not nodes or attempt(piece_of(inner, nodes, config), config) is None


def _trace(node: Node, depth: str) -> torch.fx.Graph | None:
    """A graph of what PyTorch makes of a call; None where it does not decompose it."""
    from torch._decomp import core_aten_decompositions, decomposition_table

    inputs = node.all_input_nodes
    values = [item.meta["val"] for item in inputs]
    mode = next((value.fake_mode for value in values if isinstance(value, FakeTensor)), None)
    known: dict[Any, Any] = dict(decomposition_table if depth == "shallow" else core_aten_decompositions())
    table: Any = known if depth == "deep" else {target: known[target] for target in (node.target,) if target in known}

    def call(*given: Any) -> Any:
        places = dict(zip(inputs, given, strict=True))
        args, kwargs = torch.fx.map_arg((node.args, node.kwargs), places.__getitem__)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    try:
        with mode or nullcontext(), torch.no_grad():
            graph = make_fx(call, decomposition_table=table)(*values).graph
    except Exception:  # a decomposition that this call does not suit: it stays as it is
        return None
    calls = [item for item in graph.nodes if item.op != "placeholder"]
    same = any(item.target is node.target or item.op == "get_attr" for item in calls)
    return None if same else graph
