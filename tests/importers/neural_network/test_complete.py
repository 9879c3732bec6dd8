"""No kind of layer that the format has is forgotten."""

from __future__ import annotations

from coremltools.proto import NeuralNetwork_pb2

from moka.importers.neural_network.registry import LAYERS

KINDS = {field.name for field in NeuralNetwork_pb2.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields}


def test_every_kind_has_a_translation() -> None:
    assert len(KINDS) == 158
    assert LAYERS.keys() == KINDS


def test_every_kind_has_a_case(covered: set[str]) -> None:
    assert KINDS - covered == set()
