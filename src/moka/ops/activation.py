"""Activations: element-wise functions with a shape of their own."""

from __future__ import annotations

import torch

from moka.ops.table import FLOATS, T, operation


@operation("ios15", T=FLOATS)
def relu(x: T) -> T:
    """Rectified linear unit: max(0, x)."""
    return torch.relu(x)


@operation("ios15", T=FLOATS)
def leaky_relu(x: T, *, alpha: float = 0.01) -> T:
    """Leaky rectified linear unit: x if x >= 0, else alpha * x."""
    return torch.nn.functional.leaky_relu(x, alpha)
