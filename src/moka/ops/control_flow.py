"""Control flow and lists: branches, loops, and lists of tensors that grow while a program runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from moka.formats.dtypes import BY_NAME
from moka.ops.table import BOOL, COMPUTED, FLOATS, INT32, BlockFunction, Ints, T, TensorList, Tensors, operation


def _outputs(values: tuple[Any, ...]) -> Any:
    """What a block gave, as a kernel gives it: one value bare, several as a tuple."""
    return values[0] if len(values) == 1 else values


@operation("ios15", T=BOOL)
def cond(pred: T, _true_fn: BlockFunction, _false_fn: BlockFunction) -> Tensors:
    """The results of one of two blocks: of the first if ``pred`` is true, else of the second. Only the chosen block runs."""
    return _outputs(_true_fn() if pred else _false_fn())  # type: ignore[no-any-return]


@operation("ios15")
def while_loop(loop_vars: Tensors, _cond: BlockFunction, _body: BlockFunction) -> Tensors:
    """Repeats a block: as long as ``_cond(*loop_vars)`` is true, ``loop_vars = _body(*loop_vars)``; the last ones are the result."""
    while _cond(*loop_vars)[0]:
        loop_vars = _body(*loop_vars)
    return _outputs(loop_vars)  # type: ignore[no-any-return]


@operation("ios15")
def make_list(*, init_length: int = 1, dynamic_length: bool = True, elem_shape: Any, dtype: str = "fp32") -> TensorList:
    """A list of ``init_length`` tensors of zeros, each of shape ``elem_shape`` and of type ``dtype``.

    A size in ``elem_shape`` may be a symbol's name: it is 1 until an element is written and then that element's. ``dynamic_length``
    false is the converter's promise never to write past the end; such a write grows the list all the same.
    """
    sizes = np.asarray(elem_shape, dtype=object).reshape(-1)
    zero = torch.zeros([1 if isinstance(size, str) else int(size) for size in sizes], dtype=COMPUTED[BY_NAME[dtype]])
    return TensorList([None] * init_length, zero)


@operation("ios15")
def list_length(ls: TensorList) -> Tensor:
    """The number of elements, an int32 scalar."""
    return torch.tensor(len(ls), dtype=torch.int32)


@operation("ios15")
def list_read(ls: TensorList, *, index: int) -> Tensor:
    """The element at ``index``; zeros if nothing was written there."""
    return ls.element(index)


@operation("ios15", T=FLOATS | INT32 | BOOL)
def list_write(ls: TensorList, value: T, *, index: int) -> TensorList:
    """The list with ``value`` at ``index``; it grows if it has to, by elements of zeros."""
    return ls.replaced({index: value})


@operation("ios15")
def list_gather(ls: TensorList, *, indices: Ints) -> Tensor:
    """The elements at ``indices``, stacked: shape ``[len(indices), *elem_shape]``."""
    if not indices:
        return ls.zero.new_zeros((0, *ls.zero.shape))
    return torch.stack([ls.element(index) for index in indices])


@operation("ios15", T=FLOATS | INT32 | BOOL)
def list_scatter(ls: TensorList, value: T, *, indices: Ints) -> TensorList:
    """The list with ``value[i]`` at ``indices[i]`` for every i; it grows if it has to, by elements of zeros."""
    return ls.replaced(dict(zip(indices, value.unbind(), strict=True)))
