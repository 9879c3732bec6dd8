"""Memory that an engine writes large results to, used again as soon as nobody holds what was given of it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Buffer", "ResultMemory"]

_KEPT = 4
"""Buffers kept for one output; where callers hold more results than that, the older ones are theirs alone."""


class Buffer:
    """An array with the engine's own tensor over it."""

    __slots__ = ("array", "holders", "tensor")

    def __init__(self, shape: tuple[int, ...], dtype: Any, wrap: Callable[[np.ndarray[Any, Any]], Any]) -> None:
        self.array: np.ndarray[Any, Any] = np.empty(shape, dtype)  # in no variable beside this one, which would count as a holder
        self.tensor = wrap(self.array)
        self.holders = sys.getrefcount(self.array)

    @property
    def is_free(self) -> bool:
        """Whether no view of the array is left: each holds a reference to it."""
        return sys.getrefcount(self.array) == self.holders

    def give(self) -> np.ndarray[Any, Any]:
        """What the caller gets: a view, which keeps the buffer from being used again as long as it lives."""
        return self.array.view()


class ResultMemory:
    """The buffers of one output. Fresh memory costs more than the copy it saves: the system hands it out page by page."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, wrap: Callable[[np.ndarray[Any, Any]], Any]) -> None:
        self._make = functools.partial(Buffer, shape, dtype, wrap)
        self._buffers: list[Buffer] = []

    def take(self) -> Buffer:
        """A buffer that nobody holds; for one thread at a time."""
        free = next((buffer for buffer in self._buffers if buffer.is_free), None)
        if free is None:
            free = self._make()
            self._buffers = [*self._buffers[-_KEPT + 1 :], free]
        return free
