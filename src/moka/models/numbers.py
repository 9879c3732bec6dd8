"""The link functions that models put behind their sums, for float64 arrays."""

from __future__ import annotations

import math

import numpy as np

from moka.models.features import Array

__all__ = ["logistic", "normal_distribution", "softmax"]

_error_function = np.frompyfunc(math.erfc, 1, 1)


def logistic(scores: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow for any x."""
    small = np.exp(-np.abs(scores))
    return np.asarray(np.where(scores >= 0, 1 / (1 + small), small / (1 + small)))


def softmax(scores: Array) -> Array:
    """exp(x_i) / sum of exp(x_j) along the last axis, without overflow for any x."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def normal_distribution(scores: Array) -> Array:
    """The distribution function of the standard normal, erfc(-x / sqrt 2) / 2: the inverse of the probit link."""
    return np.asarray(_error_function(-np.asarray(scores, np.float64) / math.sqrt(2)) / 2).astype(np.float64)
