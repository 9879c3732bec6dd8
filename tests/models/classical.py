"""Models that are not networks, for tests: specifications loaded with Moka, and rows of data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.models import datatypes
from coremltools.models._interface_management import set_classifier_interface_params, set_transform_interface_params

import moka

Array = datatypes.Array
Dictionary = datatypes.Dictionary
Double = datatypes.Double
Int64 = datatypes.Int64
String = datatypes.String


def load(model: Any, folder: Path) -> Any:
    """A specification or coremltools' model, written and loaded."""
    specification = model.get_spec() if hasattr(model, "get_spec") else model
    path = folder / "model.mlmodel"
    path.write_bytes(specification.SerializeToString())
    return moka.load(path)


def rows(matrix: Any, name: str = "input") -> list[dict[str, Any]]:
    """Each row of a matrix as the one multi-array that a model takes."""
    return [{name: row} for row in np.asarray(matrix)]


def transformer(inputs: Sequence[tuple[str, Any]], outputs: Sequence[tuple[str, Any]]) -> Any:
    """A specification with features and no model yet."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=4)
    return set_transform_interface_params(specification, list(inputs), list(outputs))


def classifier(kind: str, inputs: Sequence[tuple[str, Any]], labels: Sequence[Any]) -> Any:
    """A specification of a classifier with the outputs ``label`` and ``probabilities``."""
    specification = ct.proto.Model_pb2.Model(specificationVersion=4)
    return set_classifier_interface_params(specification, list(inputs), list(labels), kind, output_features=["label", "probabilities"])


def probabilities(outputs: Sequence[dict[str, Any]], name: str, labels: Sequence[Any]) -> Any:
    """[rows, labels]"""
    return np.array([[item[name][label] for label in labels] for item in outputs])
