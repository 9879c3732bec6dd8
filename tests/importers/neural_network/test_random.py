"""Random layers: shapes, ranges and moments beside those of the distributions, and what a seed does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from tests.importers.neural_network.networks import Array, Build, built, loaded, run

SHAPE = (40, 50, 5)
DISTRIBUTIONS: dict[str, tuple[dict[str, float], Any]] = {
    "normal": ({"mean": 2.0, "stddev": 3.0}, stats.norm(2, 3)),
    "uniform": ({"minval": -1.0, "maxval": 4.0}, stats.uniform(-1, 5)),
    "bernoulli": ({"prob": 0.3}, stats.bernoulli(0.3)),
}


def check_moments(sample: Array, distribution: Any) -> None:
    """Mean and spread within five standard errors; nothing outside the distribution's range."""
    count = sample.size
    low, high = distribution.support()
    assert low <= sample.min()
    assert sample.max() <= high
    assert abs(sample.mean() - distribution.mean()) < 5 * distribution.std() / np.sqrt(count)
    assert abs(sample.std() - distribution.std()) < 0.03 * distribution.std()


def static(name: str, seed: int) -> Build:
    def build(builder: Any) -> None:
        getattr(builder, f"add_random_{name}_static")("r", "v", SHAPE, **DISTRIBUTIONS[name][0], seed=seed)
        builder.add_add_broadcastable("sum", ["x", "v"], "y")

    return build


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_stated_shape(name: str) -> None:
    (sample,) = run({"x": np.zeros(1, np.float32)}, static(name, 3), exact=True)
    assert sample.shape == SHAPE
    check_moments(sample, DISTRIBUTIONS[name][1])


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_shape_of_a_blob(name: str) -> None:
    parameters, distribution = DISTRIBUTIONS[name]

    def build(builder: Any) -> None:
        getattr(builder, f"add_random_{name}_like")("r", "x", "y", **parameters, seed=5)

    (sample,) = run({"x": np.zeros(SHAPE, np.float32)}, build, exact=True)
    assert sample.shape == SHAPE
    check_moments(sample, distribution)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_computed_shape(name: str) -> None:
    parameters, distribution = DISTRIBUTIONS[name]

    def build(builder: Any) -> None:
        getattr(builder, f"add_random_{name}_dynamic")("r", "x", "y", **parameters, seed=5)

    (sample,) = run({"x": np.array(SHAPE, np.float32)}, build, exact=True)
    assert sample.shape == SHAPE
    check_moments(sample, distribution)


@pytest.mark.parametrize(("seed", "repeats"), [(4, True), (-1, False)], ids=["seeded", "unseeded"])
def test_only_a_seed_repeats(seed: int, repeats: bool) -> None:
    model = loaded(built({"x": (1,)}, static("normal", seed), exact=True))
    first, second = (model.predict({"x": np.zeros(1, np.float32)})["y"] for _ in range(2))
    assert np.array_equal(first, second) is repeats


@pytest.mark.parametrize("logits", [True, False], ids=["logits", "probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_categorical(logits: bool, temperature: float) -> None:
    odds = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]], np.float32)
    x = np.log(odds + 1e-10) if logits else odds

    def build(builder: Any) -> None:
        builder.add_categorical_distribution("c", "x", "y", 20000, logits, temperature=temperature, seed=1)

    (sample,) = run({"x": x}, build, exact=True)
    assert sample.shape == (2, 20000)
    weights = odds ** (1 / temperature)
    for drawn, expected in zip(sample, weights / weights.sum(1, keepdims=True), strict=True):
        np.testing.assert_allclose(np.bincount(drawn.astype(int), minlength=3) / 20000, expected, atol=0.02)
