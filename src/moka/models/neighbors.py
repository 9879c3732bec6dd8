"""k-nearest neighbors. The index that a file asks for, linear or kd-tree, changes no result: every sample is looked at, in vector work."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from moka.errors import FormatError
from moka.formats.source import ModelSource
from moka.formats.updates import neighbors_parameter
from moka.models.configuration import Configuration
from moka.models.features import Array, Feature, ScalarFeature
from moka.models.rows import BatchModel, ClassifierOutputs, Label, Row, RowMatrix
from moka.models.update import Learned, Progress, Sample, UpdatableModel, chosen_values

__all__ = ["NearestNeighborsClassifier"]

_CHUNK = 2**22
"""Differences between rows and samples that are kept at once."""


class NearestNeighborsClassifier(UpdatableModel, BatchModel):
    """Predicts the label with the most weight among the k nearest samples, by squared Euclidean distance.

    Weights are 1, or 1 / distance with inverse-distance weighting, where samples at distance 0 outweigh all others. Among equal labels the
    smallest is predicted; among equally distant samples the first counts. A model without samples predicts its default label. An update
    adds samples.

    Attributes:
        samples: [samples, dimensions] float32.
        sample_labels: the label of each sample.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._source = source
        message: Any = source.specification.kNearestNeighborsClassifier
        self._dimensions = message.nearestNeighborsIndex.numberOfDimensions
        self.samples, self.sample_labels = _samples(message, self.path)
        self._inverse = message.WhichOneof("WeightingScheme") == "inverseDistanceWeighting"
        default = message.WhichOneof("DefaultClassLabel")
        self._default: Label | None = getattr(message, default) if default else None
        self._parameter = neighbors_parameter(message)
        self._neighbors = self._parameter.default
        if self._neighbors < 1:
            raise FormatError(self.path, f"numberOfNeighbors: defaultValue is {self._neighbors}; expected at least 1")
        self._matrix = RowMatrix(self.function.inputs, self._dimensions, self.path)
        self.classes: list[Any] = sorted(set(self.sample_labels))
        self._class_of = np.searchsorted(np.array(self.classes), np.array(self.sample_labels)) if self.classes else np.zeros(0, np.int64)
        self._outputs = ClassifierOutputs(self.function, self.classes, self.path)
        if not self.classes and self._default is None:
            raise FormatError(self.path, "has neither samples nor a default label")

    @property
    def number_of_neighbors(self) -> int:
        """How many neighbors vote; may be set, to what the model allows."""
        return int(self._neighbors)

    @number_of_neighbors.setter
    def number_of_neighbors(self, count: int) -> None:
        self._neighbors = self._parameter.checked(count)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        matrix = self._matrix(rows)[:, : self._dimensions].astype(np.float32).astype(np.float64)
        if not self.classes:
            return [self._without_samples() for _ in rows]
        shares = np.concatenate([self._shares(part) for part in self._parts(matrix)])
        return self._outputs(shares.argmax(axis=1), shares)

    def _without_samples(self) -> Row:
        empty: Row = {self._outputs.probabilities: {}} if self._outputs.wants_probabilities else {}
        return {self._outputs.label: self._default, **empty}

    def _parts(self, matrix: Array) -> list[Array]:
        step = max(1, _CHUNK // max(1, self.samples.size))
        return [matrix[start : start + step] for start in range(0, len(matrix), step)]

    def _shares(self, rows: Array) -> Array:
        """Each class's share of the neighbors' weights, [rows, classes]."""
        distances = ((rows[:, None, :] - self.samples) ** 2).sum(axis=2)
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : self._neighbors]
        weights = self._weights(np.take_along_axis(distances, nearest, axis=1))
        sums = np.zeros((len(rows), len(self.classes)))
        np.add.at(sums, (np.arange(len(rows))[:, None], self._class_of[nearest]), weights)
        return np.asarray(sums / sums.sum(axis=1, keepdims=True))

    def _weights(self, distances: Array) -> Array:
        if not self._inverse:
            return np.ones_like(distances)
        same = distances == 0
        with np.errstate(divide="ignore"):
            return np.where(same.any(axis=1, keepdims=True), same.astype(np.float64), 1 / distances)

    def _learned(self, samples: list[Sample], progress: Progress | None, parameters: Mapping[str, Any]) -> Learned:
        specification = copy.deepcopy(self._source.specification)
        message = specification.kNearestNeighborsClassifier
        message.numberOfNeighbors.defaultValue = chosen_values([neighbors_parameter(message)], parameters)["number_of_neighbors"]
        inputs = [self._inputs({name: sample[name] for name in self.function.inputs}) for sample in samples]
        matrix = self._matrix(inputs)[:, : self._dimensions].astype(np.float32)
        target = _target(self.training_inputs, self.function.inputs, self.path)
        labels = [target.coerce(sample[target.name]) for sample in samples]
        field = message.WhichOneof("ClassLabels") or f"{target.kind}ClassLabels"
        if field != f"{target.kind}ClassLabels":
            raise FormatError(self.path, f"training input {target.name!r} is of type {target.kind}, but the model has {field}")
        getattr(message, field).vector.extend(labels)
        for row in matrix.tolist():
            message.nearestNeighborsIndex.floatSamples.add().vector.extend(row)
        return specification, []


def _target(training: Mapping[str, Feature], inputs: Mapping[str, Feature], where: object) -> ScalarFeature:
    """The label among the training inputs: the one that is no input."""
    targets = [feature for name, feature in training.items() if name not in inputs]
    if len(targets) != 1 or not isinstance(targets[0], ScalarFeature) or targets[0].kind == "double":
        found = ", ".join(feature.summary() for feature in targets) or "none"
        raise FormatError(where, f"trainingInput: the features that are no inputs are {found}; expected one string or int64, the label")
    return targets[0]


def _samples(message: Any, where: object) -> tuple[Array, list[Label]]:
    index = message.nearestNeighborsIndex
    lengths = {len(sample.vector) for sample in index.floatSamples}
    if index.numberOfDimensions < 1 or lengths - {index.numberOfDimensions}:
        raise FormatError(where, f"floatSamples: {sorted(lengths)} values each; expected numberOfDimensions, {index.numberOfDimensions}")
    samples = np.array([sample.vector for sample in index.floatSamples], np.float32).reshape(-1, index.numberOfDimensions)
    field = message.WhichOneof("ClassLabels")
    labels = list(getattr(message, field).vector) if field else []
    if len(labels) != len(samples):
        raise FormatError(where, f"class labels: {len(labels)} for {len(samples)} samples; expected one for each")
    return samples, labels
