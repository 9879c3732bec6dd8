"""What the runtimes' states have in common: they are looked up by name, and looked into as PyTorch tensors, of which rows may be parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from moka.errors import InputError

__all__ = ["RuntimeState", "joined", "parted", "states_of"]


class RuntimeState(Protocol):
    """A state that lives where its runtime wants it; ``tensor`` copies it out, and into it what is assigned."""

    @property
    def tensor(self) -> torch.Tensor: ...
    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None: ...


def states_of(names: tuple[str, ...], state: Mapping[str, Any] | None) -> list[Any]:
    """The states that a run uses, in the order of the names.

    Raises:
        InputError: one is missing.
    """
    if missing := [name for name in names if state is None or name not in state]:
        raise InputError(f"state {missing[0]!r} is missing: make one with make_state() and pass it to predict(..., state=state)")
    return [] if state is None else [state[name] for name in names]


def joined(parts: Sequence[Any]) -> torch.Tensor:
    """A state's content from its parts along the first axis."""
    return torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))


def parted(content: torch.Tensor, count: int, dtype: Any) -> list[Any]:
    """A state's content as so many parts along the first axis, each an array of its own."""
    array = np.array(content.detach().cpu().numpy(), dtype, order="C")
    return [array] if count == 1 else [part.copy() for part in np.split(array, count)]
