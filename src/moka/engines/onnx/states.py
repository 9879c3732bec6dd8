"""What the runtimes' states have in common: they are looked up by name, and looked into as PyTorch tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch

from moka.errors import InputError

__all__ = ["RuntimeState", "states_of"]


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
