"""Random operations: their distributions, and what a seed promises."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from moka.ops import lookup
from tests.cases.operations import Case, run

N = 20_000
LOGITS = np.array([[0.0, 1.0, 2.0, -np.inf], [1.0, 1.0, 1.0, 1.0]], np.float32)
OPERATIONS: dict[str, dict[str, Any]] = {
    "random_uniform": {"shape": [64]},
    "random_normal": {"shape": [64]},
    "random_bernoulli": {"shape": [64]},
    "random_categorical": {"x": LOGITS, "size": 64},
}


def draw(operation: str, **inputs: Any) -> np.ndarray[Any, Any]:
    (result,) = run(Case(operation, inputs, None))
    return np.asarray(result)


def test_uniform_fills_its_interval_evenly() -> None:
    drawn = draw("random_uniform", shape=[N // 4, 4], low=-1.0, high=3.0, seed=7)
    assert drawn.shape == (N // 4, 4)
    assert drawn.min() >= -1
    assert drawn.max() < 3
    assert scipy.stats.kstest(drawn.reshape(-1), scipy.stats.uniform(-1, 4).cdf).pvalue > 1e-3


def test_normal_has_its_mean_and_deviation() -> None:
    drawn = draw("random_normal", shape=[N], mean=2.0, stddev=0.5, seed=7)
    assert scipy.stats.kstest(drawn, scipy.stats.norm(2, 0.5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
def test_bernoulli_has_its_probability(prob: float) -> None:
    drawn = draw("random_bernoulli", shape=[N], prob=prob, seed=7)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert scipy.stats.binomtest(int(drawn.sum()), N, prob).pvalue > 1e-3


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categorical_has_its_probabilities(mode: str) -> None:
    probabilities = scipy.special.softmax(LOGITS, axis=-1)
    drawn = draw("random_categorical", x=LOGITS if mode == "logits" else probabilities * 5, mode=mode, size=N, seed=7)
    assert drawn.shape == (2, N)
    for row, expected in zip(drawn, probabilities, strict=True):
        counts = np.bincount(row.astype(int), minlength=4)
        possible = expected > 0
        assert counts[~possible].sum() == 0
        assert scipy.stats.chisquare(counts[possible], expected[possible] * N).pvalue > 1e-3


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_seed_gives_the_same_numbers_every_time(operation: str) -> None:
    inputs = OPERATIONS[operation]
    first = draw(operation, **inputs, seed=5)
    torch.manual_seed(1)
    np.testing.assert_array_equal(draw(operation, **inputs, seed=5), first)
    assert not np.array_equal(draw(operation, **inputs, seed=6), first)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_a_seed_numbers_differ_within_one_program(operation: str) -> None:
    inputs = OPERATIONS[operation]
    assert not np.array_equal(draw(operation, **inputs), draw(operation, **inputs))
    assert not np.array_equal(draw(operation, **inputs, seed=-1), draw(operation, **inputs, seed=-1))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_random_numbers_are_never_computed_ahead(operation: str) -> None:
    assert not lookup(operation, "ios15").folds
