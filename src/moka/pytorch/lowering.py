"""What coremltools' frontend lacks although Core ML can do it, and operators of others.

coremltools knows fewer of PyTorch's operators than Core ML has the means for. Two ways lead there:

- *Decompositions*, PyTorch's own: an operator that coremltools refuses is written as others that it takes (`expand`).
- *Compositions* of Core ML's operations, for operators that PyTorch doesn't decompose: the table below, and `lowers` for anybody's.

| operator | in Core ML |
|---|---|
| ``aten.alias`` | the tensor itself |
| ``aten.trunc`` | sign(x) floor(abs(x)) |
| ``aten.fmod`` | x - y trunc(x / y) |
| ``aten.isinf`` | abs(x) = infinity |
| ``aten.prod`` | ``reduce_prod`` |
| ``aten.bitwise_or``, ``aten.bitwise_xor`` | ``logical_or``, ``logical_xor``, of truth values |
| ``aten.diff`` | the differences of two slices, as often as asked for |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch

__all__ = ["lowers", "register"]

Composition = Callable[..., Any]
F = TypeVar("F", bound=Composition)

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
