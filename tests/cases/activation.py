"""Cases of the activations."""

from __future__ import annotations

import numpy as np
import torch

from tests.cases.operations import Case

X = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 5)).astype(np.float32)

CASES = [
    Case("relu", {"x": X}, np.where(X > 0, X, 0)),
    Case("leaky_relu", {"x": X, "alpha": 0.3}, lambda: torch.nn.LeakyReLU(0.3)(torch.from_numpy(X))),
]
