"""What the models that are not networks share: features as the columns of a matrix, results by their names, labels, whole batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from moka.errors import FormatError, InputError
from moka.models.description import FunctionDescription
from moka.models.features import Array, DictionaryFeature, Feature, MultiArrayFeature, ScalarFeature
from moka.models.model import Model, ModelState

__all__ = ["BatchModel", "ClassifierOutputs", "Label", "RegressorOutputs", "Row", "RowMatrix", "label_vector"]

Label: TypeAlias = str | int
Row: TypeAlias = dict[str, Any]


class BatchModel(Model):
    """A model that predicts for many rows as fast as for one: it defines `_predict_batch` alone."""

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        if state is not None:
            raise InputError(f"{self.path.name} has no states; predict takes none")
        return self._predict_batch([inputs])[0]

    @abstractmethod
    def _predict_batch(self, rows: list[Row]) -> list[Row]: ...


class RowMatrix:
    """Makes rows of features a matrix: the numbers of all features side by side, in the order of the description.

    Args:
        features: the inputs: numbers and multi-arrays.
        width: how many columns the model needs; None where any number will do.
        where: the model, for messages.
        takes_missing: whether the model has rules for missing values, which are NaN. Else they are refused: what would come out of
            them looks like a prediction and is none.

    Raises:
        FormatError: an input is neither number nor multi-array, or the inputs have too few columns.
    """

    def __init__(self, features: Mapping[str, Feature], width: int | None, where: object, *, takes_missing: bool = False) -> None:
        self._names = list(features)
        self._takes_missing = takes_missing
        self._scalars = all(isinstance(feature, ScalarFeature) for feature in features.values())
        self._needed = width
        for name, feature in features.items():
            if not isinstance(feature, MultiArrayFeature) and getattr(feature, "kind", "string") == "string":
                raise FormatError(where, f"input {name!r} is a {feature.summary()}; expected a number or a multi-array")
        sizes = [_size(feature) for feature in features.values()]
        declared = None if None in sizes else sum(size or 0 for size in sizes)
        if declared is not None and width is not None and declared < width:
            raise FormatError(where, f"the inputs have {declared} columns together; the model looks at {width}")

    def __call__(self, rows: Sequence[Row]) -> Array:
        """The matrix, float64 [rows, columns].

        Raises:
            InputError: a missing value that the model has no rule for; too few columns, or rows of different lengths, where the
                description leaves the size open.
        """
        matrix = self._joined(rows)
        if not self._takes_missing and np.isnan(matrix).any():
            name = next(name for name in self._names if any(np.isnan(row[name]).any() for row in rows))
            raise InputError(f"input {name!r} holds NaN, a missing value, which the model has no rule for; an imputer before it would")
        return matrix

    def _joined(self, rows: Sequence[Row]) -> Array:
        if self._scalars:
            numbers = np.array([[row[name] for name in self._names] for row in rows], np.float64)
            return numbers.reshape(len(rows), len(self._names))
        columns = [_columns(name, [row[name] for row in rows]) for name in self._names]
        matrix: Array = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        if self._needed is not None and matrix.shape[1] < self._needed:
            raise InputError(f"input {', '.join(self._names)}: {matrix.shape[1]} numbers; the model needs {self._needed}")
        return matrix


def _size(feature: Feature) -> int | None:
    """How many numbers a feature always has; None where its size is open."""
    if not isinstance(feature, MultiArrayFeature):
        return 1
    return int(np.prod(feature.shape)) if feature.shape and not feature.shapes and not feature.ranges else None


def _columns(name: str, values: list[Any]) -> Array:
    arrays = [value if getattr(value, "ndim", 0) == 1 else np.reshape(value, -1) for value in values]
    if len({len(array) for array in arrays}) > 1:
        raise InputError(f"input {name!r} has {', '.join(sorted({str(len(array)) for array in arrays}))} numbers in different rows")
    return np.asarray(np.concatenate(arrays), np.float64).reshape(len(values), -1)


def label_vector(message: Any, where: object) -> list[Label]:
    """The class labels of a message with the fields ``stringClassLabels`` and ``int64ClassLabels``.

    Raises:
        FormatError: it has none.
    """
    field = message.WhichOneof("ClassLabels")
    if field is None:
        raise FormatError(where, "has no class labels; expected stringClassLabels or int64ClassLabels")
    return list(getattr(message, field).vector)


class ClassifierOutputs:
    """Puts classes and probabilities under the names that the description gives them.

    Args:
        function: what the model gives: a label, and where it is described a dictionary of probabilities by label.
        labels: the classes, in the order of the probabilities' columns.
        where: the model, for messages.

    Raises:
        FormatError: an output is neither, or the labels are not of the type that it has.
    """

    def __init__(self, function: FunctionDescription, labels: Sequence[Label], where: object) -> None:
        outputs = function.outputs
        self.label = function.predicted or next((name for name, item in outputs.items() if isinstance(item, ScalarFeature)), "")
        dictionaries = [name for name, item in outputs.items() if isinstance(item, DictionaryFeature)]
        self.probabilities = function.probabilities or next(iter(dictionaries), "")
        if unknown := [name for name in outputs if name not in (self.label, self.probabilities)]:
            raise FormatError(where, f"output {unknown[0]!r} is neither the label ({self.label!r}) nor the probabilities")
        self._labels = list(labels)
        self._names = {name for name in (self.label, self.probabilities) if name in outputs}
        self._check(outputs, where)

    @property
    def wants_probabilities(self) -> bool:
        return self.probabilities in self._names

    def _check(self, outputs: Mapping[str, Feature], where: object) -> None:
        wanted = "string" if any(isinstance(label, str) for label in self._labels) else "int64"
        for name in self._names if self._labels else ():
            feature = outputs[name]
            found = feature.key if isinstance(feature, DictionaryFeature) else getattr(feature, "kind", feature.summary())
            if found != wanted:
                raise FormatError(where, f"output {name!r} is a {feature.summary()}, but the class labels are of type {wanted}")

    def __call__(self, winners: Array, probabilities: Array | None) -> list[Row]:
        """One dict of outputs a row.

        Args:
            winners: the predicted class of each row, by its index.
            probabilities: [rows, classes]; None where the model has none.
        """
        labels, indices = self._labels, winners.tolist()
        if self.probabilities not in self._names or probabilities is None:
            return [{self.label: labels[index]} for index in indices]
        dictionaries = [dict(zip(labels, row, strict=True)) for row in probabilities.tolist()]
        if self.label not in self._names:
            return [{self.probabilities: item} for item in dictionaries]
        first, second = self.label, self.probabilities
        return [{first: labels[index], second: item} for index, item in zip(indices, dictionaries, strict=True)]


class RegressorOutputs:
    """Puts predicted numbers under the name that the description gives them, as a number or a multi-array.

    Raises:
        FormatError: the description has another number of outputs than one, or a number where there are several.
    """

    def __init__(self, function: FunctionDescription, width: int, where: object) -> None:
        if len(function.outputs) != 1:
            raise FormatError(where, f"a regressor has one output; the description has {', '.join(function.outputs) or 'none'}")
        self._name, self._feature = next(iter(function.outputs.items()))
        self._single = isinstance(self._feature, ScalarFeature)
        if self._single and width != 1:
            raise FormatError(where, f"output {self._name!r} is one number; the model predicts {width}: expected a multi-array")

    def __call__(self, values: Array) -> list[Row]:
        """One dict of outputs a row, of ``values`` [rows, width]."""
        if self._single:
            return [{self._name: self._feature.present(value)} for value in values[:, 0].tolist()]
        return [{self._name: self._feature.present(value)} for value in values]
