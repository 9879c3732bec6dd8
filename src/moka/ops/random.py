"""Random numbers. A seed of 0 or more gives the same numbers in every run and on every device; -1 gives new ones each time.

The numbers are not those of Apple's generator, which is not published: they are drawn on the CPU by PyTorch's Mersenne twister.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from moka.ops.table import FLOATS, Ints, T, operation


def _generator(seed: int) -> torch.Generator | None:
    return None if seed < 0 else torch.Generator().manual_seed(seed)


def _uniform(shape: Ints, seed: int) -> Tensor:
    return torch.rand(shape, generator=_generator(seed), dtype=torch.float32)


@operation("ios15", folds=False)
def random_uniform(*, shape: Ints, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    """Numbers spread evenly over [low, high); all ``low`` where the two are equal."""
    return _uniform(shape, seed) * (high - low) + low


@operation("ios15", folds=False)
def random_normal(*, shape: Ints, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    """Numbers of the normal distribution with the given mean and standard deviation."""
    return torch.randn(shape, generator=_generator(seed), dtype=torch.float32) * stddev + mean


@operation("ios15", folds=False)
def random_bernoulli(*, shape: Ints, prob: float = 0.5, seed: int = -1) -> Tensor:
    """1 with probability ``prob``, else 0."""
    return (_uniform(shape, seed) < prob).float()


@operation("ios15", folds=False, T=FLOATS)
def random_categorical(x: T, *, mode: Literal["logits", "probs"] = "logits", size: int = 1, seed: int = -1) -> T:
    """Draws of a position along the last dimension, with replacement: position i with probability softmax(x)[i], or x[i] / sum(x).

    x: [*d, classes], logarithms of probabilities (logits) or probabilities (probs); result: [*d, size], positions as floats.
    """
    weights = torch.softmax(x.float(), -1) if mode == "logits" else x.float()
    heights = torch.cumsum(weights, -1)
    level = _uniform((*x.shape[:-1], size), seed).to(x.device) * heights[..., -1:]
    # The sum is rounded, so that a level may lie on its very end; the last position is the one meant then.
    return torch.searchsorted(heights, level, right=True).clamp(max=x.shape[-1] - 1).float()
