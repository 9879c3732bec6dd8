"""Results of engines as features present them: without a copy where they are as declared, narrowed as NumPy narrows where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from moka.models.features import MultiArrayFeature, presented


def test_an_array_as_declared_is_given_as_it_is() -> None:
    array = np.ones((2, 3), np.float32)
    assert presented(MultiArrayFeature("y", "float32"), array) is array


def test_a_scalar_becomes_a_vector() -> None:
    assert presented(MultiArrayFeature("y", "float32"), np.array(3, np.float32)).shape == (1,)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("count", [10, 40_000])
def test_narrowing_is_numpys(count: int) -> None:
    special = [65504, 65519, 65520, 1e-8, 5.96e-8, 2.98e-8, 3e-8, np.inf, -1e9, 0.1]
    wide = np.resize(np.concatenate([special, np.random.default_rng(0).standard_normal(1000) * 100]).astype(np.float32), count)
    narrow = presented(MultiArrayFeature("y", "float16"), wide)
    assert narrow.dtype == np.float16
    np.testing.assert_array_equal(narrow.view(np.uint16), wide.astype(np.float16).view(np.uint16))
