"""Compiled layers that no pair shows, in the very form that public networks have them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moka.formats.espresso.files import WEIGHT_FILE, EspressoWeights
from moka.formats.source import open_source
from tests.compiler.test_espresso import compiled_net, instances, unbiased


def test_normalization_of_instances_as_public_networks_have_it(tmp_path: Path) -> None:
    """The fields of the 35 such layers in a public network, whose numbers are those of its first."""
    layer = compiled_net(tmp_path, instances)["layers"][1]
    written = {name: layer[name] for name in layer.keys() - {"name", "debug_info", "bottom", "top", "attributes"}}
    assert written == {
        "type": "batchnorm", "C": 4, "blob_batchnorm_params": 3, "training": 1, "training_instancenorm": 1,
        "training_eps": 9.999999974752427e-07, "training_momentum": 0.8999999761581421, "weights": {},
    }  # fmt: skip
    gamma, beta, mean, variance = EspressoWeights(tmp_path / WEIGHT_FILE).array(3, "<f4", 16).reshape(4, 4).T
    source = open_source(tmp_path / "network.mlmodel").specification.neuralNetwork.layers[1].batchnorm
    np.testing.assert_array_equal([gamma, beta], [source.gamma.floatValue, source.beta.floatValue])
    np.testing.assert_array_equal([mean, variance], [[0] * 4, [1] * 4])


def test_inner_products_without_biases_have_no_blob_for_them(tmp_path: Path) -> None:
    first, second = compiled_net(tmp_path, unbiased)["layers"][1:]
    assert (first["has_biases"], first["blob_weights"], "blob_biases" in first) == (0, 1, False)
    assert (second["has_biases"], second["blob_biases"], second["blob_weights"]) == (1, 3, 5)
