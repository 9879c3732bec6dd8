"""A custom layer between layers of exact arrays; what users see of custom layers is tested beside models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from coremltools.proto import NeuralNetwork_pb2

import moka
from moka.ops import custom
from tests.importers.neural_network.networks import check, noise


def test_custom_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(custom, "_registered", dict(custom._registered))
    moka.custom_layer("Spread")(lambda x: torch.stack([x, -x], -1))

    def build(builder: Any) -> None:
        builder.add_exp2("before", "x", "power")
        builder.add_custom("mine", ["power"], ["pair"], NeuralNetwork_pb2.CustomLayerParams(className="Spread"))
        builder.add_reduce_max("after", "pair", "y", [-1], False)

    x = noise(2, 3)
    check({"x": x}, build, np.exp2(x), exact=True)
