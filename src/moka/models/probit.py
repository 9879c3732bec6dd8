"""Bayesian probit regression (Graepel et al., 2010): weights are Gaussians, features are discrete."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Feature, MultiArrayFeature
from moka.models.model import Model, ModelState
from moka.models.rows import Row

__all__ = ["BayesianProbitRegressor"]

_STANDARD = NormalDist()


class BayesianProbitRegressor(Model):
    """P(y | x) = Phi(mean / sqrt(1 + variance)), with mean and variance the sums over the bias and the weight of each feature's value.

    The steepness of the link is 1, for the format has no field for it. Further outputs, where the description has them: mean and variance;
    the pessimistic probability, of the mean moved by ``optimism`` standard deviations; a sampled one, of a mean drawn from the Gaussian
    with its standard deviation times ``samplingScale``, cut off at ``samplingTruncation`` standard deviations.

    The features are an array of values, the index being the feature, or rows of (feature, value).
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        message: Any = source.specification.bayesianProbitRegressor
        self._message = message
        self._features = message.regressionInputFeatureName or next(iter(self.function.inputs), "")
        if self._features not in self.function.inputs:
            raise FormatError(self.path, f"regressionInputFeatureName {self._features!r} is no input")
        self._bias = self._gaussian(message.bias, "bias")
        self._weights = {
            feature.featureId: {
                weight.featureValue: self._gaussian(weight.featureWeight, f"feature {feature.featureId}") for weight in feature.weights
            }
            for feature in message.features
        }
        given = {message.meanOutputFeatureName, message.varianceOutputFeatureName, message.pessimisticProbabilityOutputFeatureName}
        given |= {message.sampledProbabilityOutputFeatureName, self.function.predicted}
        if unknown := [name for name in self.function.outputs if name not in given]:
            raise FormatError(self.path, f"output {unknown[0]!r}: the model gives none of that name")

    def _gaussian(self, message: Any, where: str) -> tuple[float, float]:
        """(mean, variance)"""
        if not message.precision > 0:
            raise FormatError(self.path, f"{where}: precision is {message.precision}; expected more than 0")
        return message.mean, 1 / message.precision

    def _absent(self, feature: Feature) -> Any:
        return None

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        mean, variance = self._sum(np.asarray(inputs[self._features]))
        message, deviation = self._message, math.sqrt(variance)
        optimism = self._number(inputs, message.optimismInputFeatureName, 0.0)
        results = {
            self.function.predicted: _probability(mean, variance),
            message.meanOutputFeatureName: mean,
            message.varianceOutputFeatureName: variance,
            message.pessimisticProbabilityOutputFeatureName: _probability(mean + optimism * deviation, variance),
            message.sampledProbabilityOutputFeatureName: _probability(self._sample(inputs, mean, deviation), variance),
        }
        return {name: _present(feature, results[name]) for name, feature in self.function.outputs.items()}

    def _sum(self, values: Any) -> tuple[float, float]:
        pairs = values.tolist() if values.ndim == 2 else list(enumerate(values.reshape(-1).tolist()))
        mean, variance = self._bias
        for pair in pairs:
            feature, value = map(int, pair)
            if value not in self._weights.get(feature, {}):
                raise InputError(f"input {self._features!r}: feature {feature} has the value {value}, for which the model has no weight")
            mean += self._weights[feature][value][0]
            variance += self._weights[feature][value][1]
        return mean, variance

    def _number(self, inputs: Row, name: str, default: float) -> float:
        value = inputs.get(name)
        return default if value is None else float(np.reshape(value, -1)[0])

    def _sample(self, inputs: Row, mean: float, deviation: float) -> float:
        scale = self._number(inputs, self._message.samplingScaleInputFeatureName, 1.0)
        limit = abs(self._number(inputs, self._message.samplingTruncationInputFeatureName, math.inf))
        low, high = _STANDARD.cdf(-limit), _STANDARD.cdf(limit)
        place = min(max(np.random.default_rng().uniform(low, high), 1e-16), 1 - 1e-16)
        return mean + scale * deviation * _STANDARD.inv_cdf(place)


def _probability(mean: float, variance: float) -> float:
    return _STANDARD.cdf(mean / math.sqrt(1 + variance))


def _present(feature: Feature, value: float) -> Any:
    return feature.present([value] if isinstance(feature, MultiArrayFeature) else value)
