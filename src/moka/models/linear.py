"""Generalized linear models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from moka.errors import FormatError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Array
from moka.models.numbers import logistic, normal_distribution, softmax
from moka.models.rows import BatchModel, ClassifierOutputs, RegressorOutputs, Row, RowMatrix, label_vector

__all__ = ["LinearClassifier", "LinearRegressor"]

_REGRESSOR_LINKS = ("NoTransform", "Logit", "Probit")
_CLASSIFIER_LINKS = ("Logit", "Probit")
_ENCODINGS = ("ReferenceClass", "OneVsRest")


class _LinearModel(BatchModel):
    """What both kinds do: scores [rows, outputs] = features @ weights.T + offset."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._message: Any = getattr(source.specification, self.kind)
        self.weights, self.offset = _weights(self._message, self.path)
        self._matrix = RowMatrix(self.function.inputs, self.weights.shape[1], self.path)

    def _scores(self, rows: list[Row]) -> Array:
        matrix = self._matrix(rows)[:, : self.weights.shape[1]]
        return np.asarray(matrix @ self.weights.T + self.offset)


class LinearRegressor(_LinearModel):
    """Linear, logit or probit regression, of one or several numbers."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self.link = _choice(self._message.postEvaluationTransform, _REGRESSOR_LINKS, "postEvaluationTransform", self.path)
        self._outputs = RegressorOutputs(self.function, len(self.weights), self.path)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        scores = self._scores(rows)
        return self._outputs(scores if self.link == "NoTransform" else _inverse_link(self.link, scores))


class LinearClassifier(_LinearModel):
    """Logistic or probit classification.

    ``ReferenceClass``: the first class has score 0 and the others one row of weights each; probabilities are the softmax of the scores.
    ``OneVsRest``: one row of weights a class, their inverse links scaled to sum 1; with two classes one row, for the second.
    Probit takes two classes, as the format states.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        labels = label_vector(self._message, self.path)
        self.link = _choice(self._message.postEvaluationTransform, _CLASSIFIER_LINKS, "postEvaluationTransform", self.path)
        self.encoding = _choice(self._message.classEncoding, _ENCODINGS, "classEncoding", self.path)
        needed = len(labels) - 1 if self.encoding == "ReferenceClass" or len(labels) == 2 else len(labels)
        if len(self.weights) != needed or not needed:
            raise FormatError(
                self.path, f"has {len(self.weights)} rows of weights; {self.encoding} with {len(labels)} classes needs {needed}"
            )
        if self.link == "Probit" and len(labels) != 2:
            raise FormatError(self.path, f"Probit with {len(labels)} classes; the format allows two")
        self._outputs = ClassifierOutputs(self.function, labels, self.path)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        scores = self._scores(rows)
        probabilities = self._probabilities(scores)
        winners = (scores[:, 0] > 0).astype(int) if scores.shape[1] == 1 else probabilities.argmax(axis=1)
        return self._outputs(winners, probabilities)

    def _probabilities(self, scores: Array) -> Array:
        if scores.shape[1] == 1:
            return np.concatenate([_inverse_link(self.link, -scores), _inverse_link(self.link, scores)], axis=1)
        if self.encoding == "ReferenceClass":
            return softmax(np.concatenate([np.zeros((len(scores), 1)), scores], axis=1))
        shares = _inverse_link(self.link, scores)
        return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def _inverse_link(link: str, scores: Array) -> Array:
    return logistic(scores) if link == "Logit" else normal_distribution(scores)


def _choice(value: int, names: Sequence[str], field: str, where: object) -> str:
    if not 0 <= value < len(names):
        raise FormatError(where, f"{field} is {value}; expected 0 to {len(names) - 1} ({', '.join(names)})")
    return names[value]


def _weights(message: Any, where: object) -> tuple[Array, Array]:
    """(weights [outputs, features], offset [outputs]), float64."""
    lengths = {len(row.value) for row in message.weights}
    if len(lengths) != 1 or not all(lengths):
        raise FormatError(where, f"weights: rows of {', '.join(map(str, sorted(lengths))) or 'no'} values; expected one length for all")
    weights = np.array([row.value for row in message.weights], np.float64)
    if len(message.offset) not in (0, len(weights)):
        raise FormatError(where, f"offset: {len(message.offset)} values; expected {len(weights)}, one for each row of weights")
    return weights, np.array(message.offset or np.zeros(len(weights)), np.float64)
