"""Cases of `moka.ops.custom`: what users' functions give is their own affair; the cases are about what goes in and comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from moka.ops.custom import CustomLayer, custom_layer, make_custom_layer
from tests.cases.operations import Case

X = np.random.default_rng(3).uniform(-1, 1, (2, 3)).astype(np.float32)


def _layer(function: Any, inputs: int, outputs: int, parameters: dict[str, Any], weights: list[Any]) -> CustomLayer:
    name = f"moka.tests.{function.__name__}"
    custom_layer(name, function)
    return make_custom_layer(name, parameters, weights, inputs, outputs, "a case")


def affine(x: torch.Tensor, *, parameters: dict[str, Any], weights: list[Any]) -> Any:
    return x * parameters["scale"] + torch.from_numpy(weights[0])


def both_ways(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x - y, y - x


BIAS = np.array([1.0, 2.0, 3.0], np.float32)

CASES = [
    Case("nn_custom", {"inputs": [X], "layer": _layer(affine, 1, 1, {"scale": 2.0}, [BIAS])}, np.float32(2) * X + BIAS, note="affine"),
    Case(
        "nn_custom",
        {"inputs": [X, 2 * X], "layer": _layer(both_ways, 2, 2, {}, [])},
        [-X, X],
        outputs=("fp32", "fp32"),
        note="two",
    ),
]
