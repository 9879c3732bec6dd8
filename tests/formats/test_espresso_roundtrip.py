"""Networks compiled by Moka and read back: the same layers, and the same compiled network when they are compiled again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import moka
from moka.errors import UnsupportedError
from moka.formats.espresso import read_network
from moka.formats.espresso.files import NET_FILE, SHAPE_FILE, WEIGHT_FILE
from moka.formats.mlmodel import write_specification
from tests.formats.espresso_cases import FAMILIES
from tests.formats.espresso_cases.case import Case
from tests.formats.espresso_networks import blob_shapes, read, specification

CASES = [pytest.param(case, id=f"{family}: {case.name}") for family, cases in FAMILIES.items() for case in cases()]


def compiled(source: Any, folder: Path) -> Path:
    """A specification compiled, with what no real file shows; the source stands beside."""
    folder.mkdir()
    write_specification(source, folder / "network.mlmodel")
    return moka.compile(folder / "network.mlmodel", folder, unverified=True)


@pytest.mark.parametrize("case", CASES)
def test_layer_there_and_back(tmp_path: Path, case: Case) -> None:
    """Compiled, read, compiled again; or refused by name, where Moka does not know how Apple's compiler writes the layer."""
    outputs = {name: array.shape for name, array in case.results().items()}
    shapes = blob_shapes(case.inputs, exact=case.exact) | outputs
    first = specification(case.inputs, outputs, read([case.layer], shapes, case.blobs, exact=case.exact), exact=case.exact)
    source = tmp_path / "first" / "network.mlmodel"
    try:
        path = compiled(first, tmp_path / "first")
    except UnsupportedError as error:
        if not str(error).startswith("layer 'layer'"):
            raise
        return
    second = read_network(path, first.description)
    assert_same(source, path, case)
    if "W_U8" in case.layer["weights"]:
        return  # quantized weights are compiled to the numbers that they stand for
    assert list(second.layers) == list(first.neuralNetwork.layers)
    first.neuralNetwork.CopyFrom(type(first.neuralNetwork).FromString(second.SerializeToString()))
    again = compiled(first, tmp_path / "second")
    for name in (NET_FILE, SHAPE_FILE):
        assert json.loads((again / name).read_text()) == json.loads((path / name).read_text())
    assert (again / WEIGHT_FILE).read_bytes() == (path / WEIGHT_FILE).read_bytes()


def assert_same(one: Path, other: Path, case: Case) -> None:
    """Checks that two models do the same."""
    expected, found = (moka.load(path).predict(dict(case.inputs)) for path in (one, other))
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), np.asarray(value), rtol=1e-6, atol=1e-6)
