"""Tree ensembles: decision trees, random forests, boosted trees."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import FormatError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Array, Feature, MultiArrayFeature, ScalarFeature
from moka.models.forest import Forest, build_forest
from moka.models.numbers import logistic, softmax
from moka.models.rows import BatchModel, ClassifierOutputs, RegressorOutputs, Row, RowMatrix, label_vector

__all__ = ["TreeEnsembleClassifier", "TreeEnsembleRegressor"]

_NO_TRANSFORM, _SOFTMAX, _LOGISTIC, _SOFTMAX_ZERO_REFERENCE = range(4)


class _TreeEnsemble(BatchModel):
    """What both kinds of tree ensemble do: sum the leaves that each row ends at. An optional feature that was left out is missing (NaN)."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._message: Any = getattr(source.specification, self.kind)
        inputs = self.function.inputs
        whole = any(isinstance(item, ScalarFeature) and item.kind == "int64" for item in inputs.values())
        self.forest: Forest = build_forest(self._message.treeEnsemble, whole, self.path)
        self._matrix = RowMatrix(inputs, self.forest.width, self.path, takes_missing=True)
        self._transform = self._message.postEvaluationTransform
        if not _NO_TRANSFORM <= self._transform <= _SOFTMAX_ZERO_REFERENCE:
            raise FormatError(self.path, f"postEvaluationTransform is {self._transform}; expected 0 to {_SOFTMAX_ZERO_REFERENCE}")

    def _absent(self, feature: Feature) -> Any:
        return np.full(feature.shape, np.nan) if isinstance(feature, MultiArrayFeature) else np.nan

    def _scores(self, rows: list[Row]) -> Array:
        """Transformed predictions, [rows, dimensions]; one dimension more where the first class is the reference with score 0."""
        scores = self.forest.evaluate(self._matrix(rows))
        if self._transform == _LOGISTIC:
            return logistic(scores)
        if self._transform == _SOFTMAX_ZERO_REFERENCE:
            return softmax(np.concatenate([np.zeros((len(scores), 1)), scores], axis=1))
        return softmax(scores) if self._transform == _SOFTMAX else scores


class TreeEnsembleRegressor(_TreeEnsemble):
    """Trees that predict one or several numbers."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._outputs = RegressorOutputs(self.function, self.forest.dimensions + (self._transform == _SOFTMAX_ZERO_REFERENCE), self.path)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        return self._outputs(self._scores(rows))


class TreeEnsembleClassifier(_TreeEnsemble):
    """Trees that predict a class.

    One dimension for two classes is the probability of the second; else every class has its dimension. The most probable class is
    predicted, among equals the first, as scikit-learn and XGBoost do it.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        labels = label_vector(self._message, self.path)
        self._binary = len(labels) == 2 and self.forest.dimensions == 1 and self._transform in (_NO_TRANSFORM, _LOGISTIC)
        expected = len(labels) - (self._transform == _SOFTMAX_ZERO_REFERENCE)
        if not self._binary and self.forest.dimensions != expected:
            raise FormatError(self.path, f"treeEnsemble: predicts {self.forest.dimensions} numbers; {len(labels)} classes need {expected}")
        self._outputs = ClassifierOutputs(self.function, labels, self.path)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        scores = self._scores(rows)
        if self._binary:
            return self._outputs((scores[:, 0] > 0.5).astype(int), np.concatenate([1 - scores, scores], axis=1))
        return self._outputs(scores.argmax(axis=1), scores)
