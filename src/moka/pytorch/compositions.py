"""Core ML compositions of PyTorch's operators: those that coremltools lacks, and those that it converts to something else.

A composition gets what the operator is called with: tensors as coremltools' variables, numbers and lists of numbers as they are. It gives
a variable, or `NotImplemented` where coremltools' own conversion does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch

__all__ = ["COMPOSITIONS", "RECURRENT", "Composition"]

Composition: TypeAlias = Callable[..., Any]

_LARGEST_FLOAT = 3.4028234e38


def _builder() -> Any:
    from coremltools.converters.mil import Builder

    return Builder


def _is_float(value: Any) -> bool:
    from coremltools.converters.mil.mil import types

    return bool(types.is_float(value.dtype))


def _same_type(x: Any, y: Any) -> Any:
    """A variable and another, or a number, as variables of the type that PyTorch computes in."""
    from coremltools.converters.mil.frontend._utils import promote_input_dtypes
    from coremltools.converters.mil.mil import types

    if isinstance(y, (int, float)):
        natural = np.float32 if isinstance(y, float) else np.int32
        y = _builder().const(val=(types.nptype_from_builtin(x.dtype) if _is_float(x) else natural)(y))
    return promote_input_dtypes([x, y])


def _alias(x: Any) -> Any:
    return _builder().identity(x=x)


def _trunc(x: Any) -> Any:
    mb = _builder()
    return mb.mul(x=mb.sign(x=x), y=mb.floor(x=mb.abs(x=x))) if _is_float(x) else mb.identity(x=x)


def _fmod(x: Any, y: Any) -> Any:
    mb = _builder()
    if not _is_float(x) or (isinstance(y, (int, float)) and y == 0):
        raise NotImplementedError("fmod of integers, or by zero")
    x, y = _same_type(x, y)
    return mb.sub(x=x, y=mb.mul(x=_trunc(mb.real_div(x=x, y=y)), y=y))


def _hypot(x: Any, y: Any) -> Any:
    mb = _builder()
    return mb.sqrt(x=mb.add(x=mb.square(x=x), y=mb.square(x=y)))


def _isinf(x: Any) -> Any:
    mb = _builder()
    if not _is_float(x):
        raise NotImplementedError("isinf of integers, which never are")
    return mb.greater(x=mb.abs(x=x), y=_LARGEST_FLOAT)


def _prod(x: Any, axis: int, keep_dims: bool = False, *, dtype: Any = None) -> Any:
    if dtype is not None:
        raise NotImplementedError("prod with a type of its own")
    return _builder().reduce_prod(x=x, axes=[axis], keep_dims=bool(keep_dims))


def _bitwise_or(x: Any, y: Any) -> Any:
    return _logical("logical_or", x, y)


def _bitwise_xor(x: Any, y: Any) -> Any:
    return _logical("logical_xor", x, y)


def _logical(operation: str, x: Any, y: Any) -> Any:
    from coremltools.converters.mil.mil import types

    if x.dtype is not types.bool or y.dtype is not types.bool:
        raise NotImplementedError("bits of integers")
    return getattr(_builder(), operation)(x=x, y=y)


def _clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    """coremltools takes a bound that is not given for float32's, which makes integers floating-point numbers, and infinities finite."""
    mb = _builder()
    for bound, limit in ((low, mb.maximum), (high, mb.minimum)):
        if bound is not None:
            first, second = _same_type(x, bound)
            x = limit(x=first, y=second)
    return x


def _reciprocal(x: Any) -> Any:
    """Core ML's ``inverse`` adds 1e-4 to what it divides by."""
    mb = _builder()
    return mb.real_div(x=1.0, y=x if _is_float(x) else mb.cast(x=x, dtype="fp32"))


def _gelu(x: Any, *, approximate: str = "none") -> Any:
    return _builder().gelu(x=x, mode="TANH_APPROXIMATION" if approximate == "tanh" else "EXACT")


def _add(x: Any, y: Any, *, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else _scaled("add", x, y, alpha)


def _sub(x: Any, y: Any, *, alpha: Any = 1) -> Any:
    return NotImplemented if alpha == 1 else _scaled("sub", x, y, alpha)


def _scaled(operation: str, x: Any, y: Any, alpha: Any) -> Any:
    mb = _builder()
    y, alpha = _same_type(y, alpha)
    x, y = _same_type(x, mb.mul(x=y, y=alpha))
    return getattr(mb, operation)(x=x, y=y)


def _acosh(x: Any) -> Any:
    """log(x + sqrt(x^2 - 1))."""
    mb = _builder()
    return mb.log(x=mb.add(x=x, y=mb.sqrt(x=mb.sub(x=mb.square(x=x), y=1.0))))


def _asinh(x: Any) -> Any:
    """sign(x) log(abs(x) + sqrt(x^2 + 1))."""
    mb = _builder()
    root = mb.sqrt(x=mb.add(x=mb.square(x=x), y=1.0))
    return mb.mul(x=mb.sign(x=x), y=mb.log(x=mb.add(x=mb.abs(x=x), y=root)))


def _argmax(x: Any, axis: Any = None, keep_dims: bool = False) -> Any:
    return _of_all("reduce_argmax", x) if axis is None and not keep_dims else NotImplemented


def _argmin(x: Any, axis: Any = None, keep_dims: bool = False) -> Any:
    return _of_all("reduce_argmin", x) if axis is None and not keep_dims else NotImplemented


def _of_all(operation: str, x: Any) -> Any:
    mb = _builder()
    return getattr(mb, operation)(x=mb.reshape(x=x, shape=[-1]), axis=0, keep_dims=False)


def _var(x: Any, axes: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    """coremltools takes a correction that is not given for none; it is 1."""
    from coremltools.converters.mil.frontend.torch.ops import _var as variance

    return variance(x, axes, bool(keepdim), unbiased=True) if correction is None else NotImplemented


def _std(x: Any, axes: Any = None, *, correction: Any = None, keepdim: bool = False) -> Any:
    variance = _var(x, axes, correction=correction, keepdim=keepdim)
    return variance if variance is NotImplemented else _builder().sqrt(x=variance)


def _gru(
    x: Any, initial: Any, weights: list[Any], has_biases: bool, layers: int, dropout: float, train: bool, both: bool, batch_first: bool
) -> Any:
    """Core ML's ``gru`` resets after the matrix product, as PyTorch's does, from iOS 18."""
    from coremltools import target
    from coremltools.converters.mil.mil.block import is_current_opset_version_compatible_with

    if not is_current_opset_version_compatible_with(target.iOS18) or any(item.val is None for item in weights):
        raise NotImplementedError("gru of PyTorch's kind before iOS 18, or with weights that are computed")
    mb = _builder()
    taken = mb.transpose(x=x, perm=[1, 0, 2]) if batch_first else x
    count = 4 if has_biases else 2
    last: list[Any] = []
    for _ in range(layers):
        directions = []
        for backward in range(1 + both):
            index = len(last)
            state = mb.gather(x=initial, indices=index, axis=0)
            own = [_reset_new_update(item.val) for item in weights[index * count : (index + 1) * count]]
            biases = {"input_bias": own[2], "bias": own[3]} if has_biases else {}
            given = mb.reverse(x=taken, axes=[0]) if backward else taken
            sequence, final = mb.gru(
                x=given, initial_h=state, weight_ih=own[0], weight_hh=own[1], output_sequence=True, reset_after=True, **biases
            )
            directions.append(mb.reverse(x=sequence, axes=[0]) if backward else sequence)
            last.append(final)
        taken = mb.concat(values=directions, axis=2) if both else directions[0]
    return (mb.transpose(x=taken, perm=[1, 0, 2]) if batch_first else taken), mb.stack(values=last, axis=0)


def _reset_new_update(weight: Any) -> Any:
    """The gates in Core ML's order; PyTorch's is reset, update, new."""
    reset, update, new = np.split(weight, 3)
    return np.concatenate([reset, new, update])


_ATEN = torch.ops.aten

COMPOSITIONS: dict[torch._ops.OpOverload, Composition] = {
    _ATEN.acosh.default: _acosh,
    _ATEN.add.Tensor: _add,
    _ATEN.alias.default: _alias,
    _ATEN.argmax.default: _argmax,
    _ATEN.argmin.default: _argmin,
    _ATEN.asinh.default: _asinh,
    _ATEN.bitwise_or.Tensor: _bitwise_or,
    _ATEN.bitwise_xor.Tensor: _bitwise_xor,
    _ATEN.clamp.Tensor: _clamp,
    _ATEN.clamp.default: _clamp,
    _ATEN.fmod.Scalar: _fmod,
    _ATEN.fmod.Tensor: _fmod,
    _ATEN.gelu.default: _gelu,
    _ATEN.gru.input: _gru,
    _ATEN.hypot.default: _hypot,
    _ATEN.isinf.default: _isinf,
    _ATEN.prod.dim_int: _prod,
    _ATEN.reciprocal.default: _reciprocal,
    _ATEN.std.correction: _std,
    _ATEN.sub.Tensor: _sub,
    _ATEN.trunc.default: _trunc,
    _ATEN.var.correction: _var,
}

RECURRENT = {"lstm.input": "lstm", "rnn_tanh.input": "rnn_tanh", "rnn_relu.input": "rnn_relu"}
"""Layers that coremltools converts from TorchScript alone, under the names that exported programs have for them."""
