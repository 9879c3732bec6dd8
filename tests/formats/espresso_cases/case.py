"""What a case of a compiled layer is, and the blobs that cases share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from tests.formats.espresso_networks import Array, Layer

RANDOM = np.random.default_rng(5)


def noise(*shape: int) -> Array:
    """Seeded normal noise."""
    return RANDOM.normal(0, 1, shape).astype(np.float32)


def positive(*shape: int) -> Array:
    """Seeded noise between a half and two."""
    return RANDOM.uniform(0.5, 2, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A layer, what it reads, and what PyTorch makes of that.

    Attributes:
        name: of the case.
        layer: as it stands in the file.
        inputs: by blob; [channels, height, width], or of any rank where the network is exact.
        expected: what the layer makes of them, one array for each result.
        blobs: weights.
        exact: whether blobs have axes of their own.
    """

    name: str
    layer: Layer
    inputs: dict[str, Array]
    expected: Callable[..., Any]
    blobs: Sequence[Array] = field(default_factory=tuple)
    exact: bool = False

    def tensors(self) -> list[torch.Tensor]:
        """What PyTorch reads: inputs of networks with five axes get a batch axis, and those of one axis two more."""
        if self.exact:
            return [torch.tensor(array) for array in self.inputs.values()]
        return [torch.tensor(array if array.ndim == 3 else array[:, None, None])[None] for array in self.inputs.values()]

    def results(self) -> dict[str, Array]:
        """What PyTorch makes of them, by blob."""
        expected = self.expected(*self.tensors())
        items = expected if isinstance(expected, tuple) else (expected,)
        return {name: item.float().numpy() for name, item in zip(self.layer["top"].split(","), items, strict=True)}


X = noise(6, 7, 8)
"""A blob of an image: channels, height, width."""
WIDE = noise(2, 3, 4, 5)
"""A blob with axes of its own."""
