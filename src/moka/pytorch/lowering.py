"""What coremltools converts PyTorch's operators to: its own conversions, compositions in their place, and a look at what they give.

coremltools knows fewer of PyTorch's operators than Core ML has the means for, and some it converts to something else: it reads arguments by
their place, as TorchScript has them, and leaves out what exported programs name. So `faithful` refuses results of another shape and
arguments that were not read, and gives results the type that PyTorch states.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from types import CodeType
from typing import Any, TypeVar

import torch
from torch.fx import Node

from moka.pytorch.compositions import COMPOSITIONS, RECURRENT, Composition

__all__ = ["composition_digest", "faithful", "lowers", "misread", "register"]

F = TypeVar("F", bound=Composition)

_compositions: dict[torch._ops.OpOverload, Composition] = dict(COMPOSITIONS)
_registered: set[torch._ops.OpOverload] = set()
_originals: dict[str, Any] = {}
"""coremltools' own conversions where compositions have taken their place."""

_TYPES = {
    torch.float32: ("fp32", "is_float"),
    torch.float16: ("fp16", "is_float"),
    torch.int64: ("int32", "is_int"),
    torch.int32: ("int32", "is_int"),
    torch.bool: ("bool", "is_bool"),
}
"""coremltools' names of types, and of the functions that tell what is of their kind."""


_ATEN = torch.ops.aten

_MISREAD: dict[Any, Callable[[Node], bool]] = {
    _ATEN.softplus.default: lambda node: len(node.args) > 1,
    _ATEN.instance_norm.default: lambda node: not node.args[5],
    **dict.fromkeys((_ATEN.any.default, _ATEN.any.dim, _ATEN.all.default, _ATEN.all.dim), lambda node: _of_floats(node)),
    **dict.fromkeys(
        (_ATEN.mean.default, _ATEN.mean.dim, _ATEN.full_like.default), lambda node: "dtype" in node.kwargs and not _of_floats(node)
    ),
    **dict.fromkeys((_ATEN._upsample_bilinear2d_aa.vec, _ATEN._upsample_bilinear2d_aa.default), lambda node: True),
}
"""Calls that coremltools converts to something else: without a threshold, with other statistics than those given, as if of integers ..."""


def misread(node: Node) -> bool:
    """Whether coremltools converts a call to something else than it is."""
    return node.target in _MISREAD and _MISREAD[node.target](node)


def _of_floats(node: Node) -> bool:
    return bool(node.all_input_nodes[0].meta["val"].dtype.is_floating_point)


def lowers(operator: Any) -> Callable[[F], F]:
    """Gives an operator a Core ML composition, so that it need not stay in PyTorch.

        from coremltools.converters.mil import Builder as mb

        @moka.pytorch.lowers(torch.ops.my.shifted_relu)
        def shifted_relu(x, shift):
            return mb.relu(x=mb.add(x=x, y=shift))

    The function gets what the operator is called with: tensors as coremltools' variables, numbers and lists of numbers as they are. It
    returns a variable, or a tuple of them where the operator gives several tensors. It takes the place of coremltools' own conversion if
    there is one, except for calls that it returns `NotImplemented` for.

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
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
    from coremltools.converters.mil.frontend.torch.utils import sanitize_op_kind

    for overload, function in _compositions.items():
        if overload not in _registered:
            kind = sanitize_op_kind(overload.name())  # type: ignore[no-untyped-call]
            own = _originals.setdefault(kind, REGISTRY.get_func(kind))
            REGISTRY.set_func_by_name(_converter(function, own), kind)
            _registered.add(overload)
    for kind, name in RECURRENT.items():
        REGISTRY.set_func_by_name(_with_one_name(REGISTRY.get_func(name)), kind)


def _converter(function: Composition, own: Any) -> Callable[[Any, Any], None]:
    """A composition in the form that coremltools calls; TorchScript, which names no arguments, is left to its own conversion."""

    def convert(context: Any, node: Any) -> None:
        def bound(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return [bound(item) for item in value]
            return context[value] if isinstance(value, str) and value in context else value

        if own is not None and not node.meta:
            own(context, node)
            return
        named = {name: bound(value[0]) for name, value in (node.kwinputs or {}).items() if value}
        result = function(*map(bound, node.inputs), **named)
        if result is not NotImplemented:
            node.kwinputs = None  # all of them were taken
            context.add(result, torch_name=node.name)
        elif own is None:
            raise NotImplementedError(f"{node.kind} with these arguments")
        else:
            own(context, node)

    return convert


def _with_one_name(convert: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """A conversion that names each of its results, as TorchScript does, for programs where a tuple of them has one name."""

    def converted(context: Any, node: Any) -> None:
        inner = copy.copy(node)
        inner.outputs = [f"{node.name}_{index}" for index in range(len(node.meta["val"]))]
        convert(context, inner)
        context.add(tuple(context[name] for name in inner.outputs), torch_name=node.name)

    return converted


@contextlib.contextmanager
def faithful() -> Iterator[None]:
    """While it lasts, coremltools refuses calls of exported programs that it would convert to something else."""
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY

    find = REGISTRY.get_func
    REGISTRY.get_func = lambda kind: _checked(find(kind))
    try:
        yield
    finally:
        REGISTRY.get_func = find


class _Read(dict[str, Any]):
    """Keyword arguments, and which of them nobody has asked for; ``()`` is what coremltools makes of devices and layouts."""

    def __init__(self, given: dict[str, Any]) -> None:
        super().__init__(given)
        self.unread = {name for name, value in given.items() if value and value[0] is not False} - {"dtype"}

    def get(self, name: str, default: Any = None) -> Any:
        self.unread.discard(name)
        return super().get(name, default)


def _checked(convert: Callable[[Any, Any], None] | None) -> Callable[[Any, Any], None] | None:
    """A conversion whose results are those that PyTorch states."""
    if convert is None:
        return None

    def checked(context: Any, node: Any) -> None:
        if node.kwinputs is not None:
            node.kwinputs = _Read(node.kwinputs)
        convert(context, node)
        if node.kwinputs is not None and node.kwinputs.unread:
            raise NotImplementedError(f"{node.kind} with {', '.join(sorted(node.kwinputs.unread))}")
        stated = (node.meta or {}).get("val")
        if isinstance(stated, torch.Tensor) and node.name in context:
            _settle(context, node, stated)

    return checked


def _settle(context: Any, node: Any, stated: torch.Tensor) -> None:
    """Gives the result of a call the type that PyTorch states; NotImplementedError where it has another shape."""
    result = context[node.name]
    if not hasattr(result, "dtype") or stated.dtype not in _TYPES:
        return
    if not _fits(result.shape, stated.shape):
        raise NotImplementedError(f"{node.kind}, which gives shape {list(result.shape)} and not {list(stated.shape)}")
    name, is_such = _TYPES[stated.dtype]
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import types

    if getattr(types, is_such)(result.dtype):
        return
    context.add(Builder.cast(x=result, dtype=name), torch_name=node.name, override=True)


def _fits(found: Sequence[Any], stated: Sequence[Any]) -> bool:
    """Whether shapes are the same, as far as they are known; tensors of one element may have any number of dimensions."""
    if all(size == 1 for size in (*found, *stated)):
        return True
    known = [(ours, theirs) for ours, theirs in zip(found, stated, strict=False) if isinstance(theirs, int) and isinstance(ours, int)]
    return len(found) == len(stated) and all(ours == theirs for ours, theirs in known)
