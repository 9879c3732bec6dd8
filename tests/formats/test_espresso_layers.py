"""Every type of compiled layer, written by hand, against PyTorch and NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from moka.formats.espresso.reading import READERS
from tests.formats.espresso_cases import FAMILIES
from tests.formats.espresso_cases.case import Case, noise
from tests.formats.espresso_networks import layer, run

CASES = [pytest.param(case, id=f"{family}: {case.name}") for family, cases in FAMILIES.items() for case in cases()]


@pytest.mark.parametrize("case", CASES)
def test_layer(case: Case) -> None:
    expected = case.results()
    found = run([case.layer], case.inputs, {name: array.shape for name, array in expected.items()}, case.blobs, exact=case.exact)
    for name, array in expected.items():
        result = found[name]
        assert result.size == array.size, f"{result.shape}, expected {array.shape}"
        if case.exact:
            assert result.shape == array.shape
        np.testing.assert_allclose(result.reshape(array.shape), array, rtol=2e-4, atol=2e-5)


def test_every_type_of_layer_has_a_case() -> None:
    covered = {case.layer["type"] for cases in FAMILIES.values() for case in cases()}
    assert covered | {"sequence_concat"} == set(READERS)


def test_sequence_concat() -> None:
    """Two blobs that a reshape gave a sequence, joined along it."""
    to = {"dst_seq": -1, "dst_n": 0, "dst_k": 3, "dst_h": 1, "dst_w": 1, "mode": 0, "version": 1}
    layers = [
        {**layer("reshape", "x", "a", **to), "name": "a"},
        {**layer("reshape", "y", "b", **to), "name": "b"},
        layer("sequence_concat", "a,b", "c", simple_concat=1),
    ]
    x, y = noise(6, 1, 1), noise(9, 1, 1)
    found = run(layers, {"x": x, "y": y}, {"a": (2, 1, 3, 1, 1), "b": (3, 1, 3, 1, 1), "c": (5, 1, 3, 1, 1)})
    np.testing.assert_array_equal(found["c"].ravel(), np.concatenate([x.ravel(), y.ravel()]))


def test_reshape_to_a_shape_that_is_a_blob() -> None:
    layers = [layer("reshape", "x,s", mode=0, dynamic_shape=True, dst_nd_rank=2)]
    x = noise(2, 6)
    found = run(layers, {"x": x, "s": np.float32([3, 4])}, {"out": (3, 4)}, exact=True)
    np.testing.assert_array_equal(found["out"], x.reshape(3, 4))
