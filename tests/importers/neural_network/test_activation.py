"""Activations beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import both, check, noise

X = noise(2, 3, 4, 5) * 2
ALPHA, BETA = np.array([[0.25, -0.5, 2.0], [1.5, 0.5, -1.0]], np.float32)

ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "LINEAR": ([2.0, -0.5], lambda x: torch.lerp(torch.tensor(-0.5), torch.tensor(1.5), x)),
    "RELU": (None, functional.relu),
    "LEAKYRELU": ([0.3], lambda x: functional.leaky_relu(x, 0.3)),
    "THRESHOLDEDRELU": (0.7, lambda x: functional.threshold(x, 0.7, 0.0)),
    "TANH": (None, torch.tanh),
    "SCALED_TANH": ([1.7, 0.6], lambda x: torch.tanh(x * 0.6) * 1.7),
    "SIGMOID": (None, torch.sigmoid),
    "SIGMOID_HARD": ([1 / 6, 0.5], functional.hardsigmoid),
    "ELU": (0.8, lambda x: functional.elu(x, 0.8)),
    "SOFTSIGN": (None, functional.softsign),
    "SOFTPLUS": (None, functional.softplus),
    "PRELU": (ALPHA, lambda x: functional.prelu(x, torch.tensor(ALPHA))),
    "PARAMETRICSOFTPLUS": (
        [ALPHA, BETA],
        lambda x: torch.stack([functional.softplus(x[:, i], float(BETA[i])) * float(ALPHA[i] * BETA[i]) for i in range(3)], 1),
    ),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str) -> None:
    params, oracle = ACTIVATIONS[name]
    both(X, lambda builder: builder.add_activation("a", name, "x", "y", params), oracle(torch.tensor(X)))


def test_one_slope_for_all_channels() -> None:
    def build(builder: Any) -> None:
        builder.add_activation("a", "PRELU", "x", "y", np.array([0.3], np.float32))

    both(X, build, functional.prelu(torch.tensor(X), torch.tensor([0.3])))


def test_slopes_of_a_single_image() -> None:
    expected = functional.prelu(torch.tensor(X[:1]), torch.tensor(ALPHA))[0]
    check({"x": X[0]}, lambda builder: builder.add_activation("a", "PRELU", "x", "y", ALPHA), expected, exact=True)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_activation_of_any_rank(rank: int) -> None:
    x = noise(*range(2, 2 + rank))
    check({"x": x}, lambda builder: builder.add_activation("a", "SOFTSIGN", "x", "y"), functional.softsign(torch.tensor(x)), exact=True)
