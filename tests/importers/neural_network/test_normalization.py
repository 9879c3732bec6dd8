"""Normalization and softmax beside PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.importers.neural_network.networks import Build, both, check, noise

X = noise(4, 5, 3, 6)
GAMMA, BETA, MEAN = noise(5), noise(5), noise(5)
VARIANCE = np.abs(noise(5)) + 0.5


def batchnorm(**options: Any) -> Build:
    return lambda builder: builder.add_batchnorm("b", 5, GAMMA, BETA, input_name="x", output_name="y", **options)


def tensors(*arrays: Any) -> list[torch.Tensor]:
    return [torch.tensor(array) for array in arrays]


def test_batch_normalization_with_given_statistics() -> None:
    x, mean, variance, gamma, beta = tensors(X, MEAN, VARIANCE, GAMMA, BETA)
    expected = functional.batch_norm(x, mean, variance, gamma, beta, eps=0.01)
    both(X, batchnorm(mean=MEAN, variance=VARIANCE, epsilon=0.01), expected)


def test_batch_normalization_with_statistics_of_the_batch() -> None:
    x, gamma, beta = tensors(X, GAMMA, BETA)
    expected = functional.batch_norm(x, None, None, gamma, beta, training=True, eps=0.01)

    def build(builder: Any) -> None:
        batchnorm(mean=MEAN, variance=VARIANCE, epsilon=0.01)(builder)
        builder.spec.neuralNetwork.layers[0].batchnorm.computeMeanVar = True

    both(X, build, expected)


def test_batch_normalization_with_statistics_of_each_instance() -> None:
    x, gamma, beta = tensors(X, GAMMA, BETA)
    expected = functional.instance_norm(x, weight=gamma, bias=beta, eps=0.01)
    both(X, batchnorm(compute_mean_var=True, instance_normalization=True, epsilon=0.01), expected)


def test_instances_of_one_pixel_become_beta() -> None:
    x = noise(2, 5, 1, 1)
    expected = np.broadcast_to(BETA[:, None, None], x.shape)
    check({"x": x}, batchnorm(compute_mean_var=True, instance_normalization=True), expected, exact=True, tolerance=1e-3)


def test_batch_normalization_of_a_single_image_and_its_default_epsilon() -> None:
    x, mean, variance, gamma, beta = tensors(X[0], MEAN, VARIANCE * 1e-5, GAMMA, BETA)
    expected = functional.batch_norm(x[None], mean, variance, gamma, beta, eps=1e-5)[0]
    check({"x": X[0]}, batchnorm(mean=MEAN, variance=VARIANCE * 1e-5, epsilon=0.0), expected, exact=True)


@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("variance", [True, False])
def test_mean_and_variance_normalization(across: bool, variance: bool) -> None:
    x = torch.tensor(X)
    axes = (-3, -2, -1) if across else (-2, -1)
    whole = functional.layer_norm(x, x.shape[axes[0] :], eps=0.1)
    expected = whole if variance else x - torch.mean(x, axes, keepdim=True)
    both(X, lambda builder: builder.add_mvn("m", "x", "y", across, variance, 0.1), expected)


def test_l2_normalization() -> None:
    x = torch.tensor(X)
    expected = functional.normalize(torch.cat([x.flatten(1), torch.full((4, 1), 0.5)], 1))[:, :-1].reshape(x.shape)
    both(X, lambda builder: builder.add_l2_normalize("l", "x", "y", epsilon=0.25), expected)


def test_softmax() -> None:
    expected = torch.softmax(torch.tensor(X), 1)
    both(X, lambda builder: builder.add_softmax("s", "x", "y"), expected)
    check({"x": X[0]}, lambda builder: builder.add_softmax("s", "x", "y"), expected[0], exact=True)


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response_normalization(size: int) -> None:
    expected = functional.local_response_norm(torch.tensor(X), size, alpha=0.7, beta=0.6, k=2)
    both(X, lambda builder: builder.add_lrn("l", "x", "y", alpha=0.7, beta=0.6, local_size=size, k=2), expected)


def test_local_response_normalization_of_a_single_image_with_the_default_k() -> None:
    expected = functional.local_response_norm(torch.tensor(X[:1]), 3, alpha=0.7, beta=0.6, k=1)[0]
    check({"x": X[0]}, lambda builder: builder.add_lrn("l", "x", "y", alpha=0.7, beta=0.6, local_size=3, k=0), expected, exact=True)
