"""Small modules that show one thing each, and comparison with PyTorch, the oracle of all these tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

__all__ = ["Counting", "Middle", "assert_same", "exported"]


class Of(torch.nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Middle(torch.nn.Module):
    """Convolution, then an operator that Core ML has not (a Bessel function), then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.after = torch.nn.Linear(144, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.before(x))).flatten(1)
        return torch.softmax(self.after(torch.special.bessel_j0(y)), dim=-1)


class Counting(torch.nn.Module):
    """Counts its calls in a buffer, and keeps a running sum in another one."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("total", torch.zeros(4))
        self.scale = torch.nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.total += self.scale(x).sum(0)
        return self.total * 2 + self.calls


def exported(module: torch.nn.Module | Callable[..., Any], *args: Any, **options: Any) -> ExportedProgram:
    """A module in eval mode, or a function, as PyTorch exports it."""
    module = module if isinstance(module, torch.nn.Module) else Of(module)
    return torch.export.export(module.eval(), args, **options)


def assert_same(found: Any, wanted: Any, tolerance: float = 1e-4) -> None:
    """The same structure, types, shapes and values."""
    for ours, theirs in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
