"""A state's buffer where a runtime keeps it as a NumPy array."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from moka.engines.onnx.lower import Lowered
from moka.errors import InputError

__all__ = ["ArrayState", "new_states", "states_of"]


class ArrayState:
    """What a state holds: ``array`` for the runtime, ``tensor`` for everybody else. It is replaced, never written into."""

    __slots__ = ("array",)

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    @property
    def tensor(self) -> torch.Tensor:
        return torch.from_numpy(self.array)

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self.array = value.detach().cpu().numpy().astype(self.array.dtype, copy=False)


def new_states(lowered: Lowered) -> dict[str, ArrayState]:
    """Zeros for every state of a lowered segment."""
    return {before.value.name: ArrayState(np.zeros(before.operand.static_shape, before.operand.dtype)) for before, _ in lowered.states}


def states_of(lowered: Lowered, state: Any) -> list[ArrayState]:
    """The states that a run uses, in the order of the segment.

    Raises:
        InputError: one is missing.
    """
    names = [before.value.name for before, _ in lowered.states]
    if missing := [name for name in names if state is None or name not in state]:
        raise InputError(f"state {missing[0]!r} is missing: make one with make_state() and pass it to predict(..., state=state)")
    return [state[name] for name in names]
