"""What kernels of several families need."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar, overload

import torch
from torch import Tensor

__all__ = ["like", "memoized"]

P = ParamSpec("P")
R = TypeVar("R")


def memoized(function: Callable[P, R]) -> Callable[P, R]:
    """``function``, which depends on attributes and sizes alone, computed once for each of them; symbolic sizes can't be remembered."""
    remembered = functools.lru_cache(maxsize=4096)(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if torch.compiler.is_compiling():  # the compiler remembers the result itself, and warns of caches
            return function(*args, **kwargs)
        try:
            return remembered(*args, **kwargs)  # type: ignore[arg-type]  # hashable or not is what is tried here
        except TypeError:
            return function(*args, **kwargs)

    return call


@overload
def like(x: Tensor, parameter: Tensor) -> Tensor: ...
@overload
def like(x: Tensor, parameter: Tensor | None) -> Tensor | None: ...
def like(x: Tensor, parameter: Tensor | None) -> Tensor | None:
    """A parameter in the dtype of ``x``, from which its own may differ."""
    return parameter if parameter is None or parameter.dtype is x.dtype else parameter.to(x.dtype)
