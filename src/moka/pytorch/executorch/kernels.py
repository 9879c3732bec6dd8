"""Operators of ExecuTorch programs that were not delegated, run by PyTorch's operators of the same names.

ExecuTorch calls the ``out`` variants of ATen's core operators: the arguments in the order of the schema, the tensor to write to last, and
once more as the result. Only core operators are called, whatever a file asks for: others can do more than compute.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from moka.errors import ExecutionError
from moka.formats.pte import ListValue, TensorValue

__all__ = ["Kernel", "constant", "find_kernel"]

_COMPUTING = {torch.Tag.core, torch.Tag.view_copy}
"""Tags of the operators that are called: ATen's core, and its views as copies, which ExecuTorch has in the place of views."""

Kernel = Callable[[list[Any], Sequence[int]], None]
"""Reads its arguments from a method's values, by their indices, and writes its results there."""


def find_kernel(name: str) -> Kernel | None:
    """What runs an operator (``aten::add.out``); None where nothing here does."""
    if name in _OWN:
        return _OWN[name]
    space, _, rest = name.partition("::")
    operator, _, overload = rest.partition(".")
    packet = getattr(torch.ops.aten, operator, None) if space == "aten" else None
    if packet is None or not overload or overload not in packet.overloads():
        return None
    tags = {tag for other in packet.overloads() for tag in getattr(packet, other).tags}
    if not tags & _COMPUTING:
        return None
    found = getattr(packet, overload)
    outs = [argument for argument in found._schema.arguments if argument.is_out]
    return _out_variant(found) if outs and all(str(argument.type) == "Tensor" for argument in outs) else None


def constant(value: Any) -> Any:
    """A constant's tensor, as a copy, for operators may write where they should not; other values as they are."""
    if not isinstance(value, TensorValue) or value.data is None:
        return value
    dtype = getattr(torch, value.dtype)
    order = value.order or tuple(range(len(value.sizes)))
    raw = torch.from_numpy(np.frombuffer(value.data, np.uint8).copy())
    stored = raw.view(dtype).reshape([value.sizes[dimension] for dimension in order])
    return stored.permute([order.index(dimension) for dimension in range(len(order))])


def _out_variant(operator: Any) -> Kernel:
    arguments = operator._schema.arguments

    def run(values: list[Any], indices: Sequence[int]) -> None:
        positional, keywords, outs = [], {}, []
        for argument, index in zip(arguments, indices, strict=False):
            if argument.is_out:
                outs.append(index)
                keywords[argument.name] = torch.empty(0, dtype=_dtype(values[index]))
            elif argument.kwarg_only:
                keywords[argument.name] = _resolved(values, index)
            else:
                positional.append(_resolved(values, index))
        try:
            with torch.no_grad():
                results = operator(*positional, **keywords)
        except Exception as error:
            raise ExecutionError(f"operator {operator}: {error}") from error
        for index, result in zip(outs, results if isinstance(results, tuple) else (results,), strict=True):
            values[index] = result

    return run


def _convert(values: list[Any], indices: Sequence[int]) -> None:
    """``dim_order_ops::_to_dim_order_copy.out``: a tensor in the type of the output."""
    values[indices[-1]] = values[indices[0]].to(_dtype(values[indices[-1]]), copy=True)


def _view(values: list[Any], indices: Sequence[int]) -> None:
    """``executorch_prim::et_view.default``: a tensor in another shape."""
    values[indices[2]] = values[indices[0]].reshape(_resolved(values, indices[1]))


_OWN: dict[str, Kernel] = {
    "dim_order_ops::_to_dim_order_copy.out": _convert,
    "executorch_prim::et_view.default": _view,
}
"""ExecuTorch's own operators."""


def _dtype(value: Any) -> torch.dtype:
    dtype: torch.dtype = value.dtype if isinstance(value, torch.Tensor) else getattr(torch, value.dtype)
    return dtype


def _resolved(values: list[Any], index: int) -> Any:
    value = values[index]
    if isinstance(value, ListValue):
        return [None if item == -1 else values[item] for item in value.items]
    return list(value) if isinstance(value, tuple) else value
