"""What recurrent operations share: going through a sequence step by step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["returned", "scan"]


def scan(cell: Callable[..., tuple[Tensor, ...]], x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Every step's hidden state, ``[s, b, H]``, and the last state, from ``state = cell(x[t], *state)``; ``state[0]`` is hidden."""
    hidden = []
    for step in x:
        state = cell(step, *state)
        hidden.append(state[0])
    return torch.stack(hidden) if hidden else state[0].new_empty((0, *state[0].shape)), state


def returned(sequence: Tensor, hidden: Tensor, output_sequence: bool) -> Tensor:
    """The hidden states of all steps, or of the last one alone, ``[1, b, H]``."""
    return sequence if output_sequence else hidden.unsqueeze(0)
