"""Support vector machines: classifiers (C, nu) and regressors (epsilon, nu), which differ in training alone."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from moka.errors import FormatError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Array
from moka.models.numbers import logistic
from moka.models.rows import BatchModel, ClassifierOutputs, RegressorOutputs, Row, RowMatrix, label_vector

__all__ = ["SupportVectorClassifier", "SupportVectorRegressor", "couple"]

_LARGEST_INDEX = 2**24
_MOST_VALUES = 2**28
"""Numbers in all support vectors together; sparse ones are filled up."""

_CHUNK = 2**24
"""Kernel values computed together."""

_NEAREST_TO_CERTAIN = 1e-7


class _SupportVectorModel(BatchModel):
    """What both kinds do: the kernel between rows and support vectors."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._message: Any = getattr(source.specification, self.kind)
        self.vectors = _vectors(self._message, self.path)
        self._norms = (self.vectors**2).sum(axis=1)
        self._kernel = self._message.kernel.WhichOneof("kernel")
        if self._kernel is None:
            raise FormatError(self.path, "kernel: none is set; expected linear, RBF, polynomial or sigmoid")
        self._parameters = getattr(self._message.kernel, self._kernel)
        self._matrix = RowMatrix(self.function.inputs, self.vectors.shape[1], self.path)

    def _decisions(self, rows: list[Row], coefficients: Array, rho: Array) -> Array:
        """kernel(rows, vectors) @ coefficients.T - rho, [rows, decisions]."""
        matrix = self._matrix(rows)
        step = max(1, _CHUNK // max(1, len(self.vectors)))
        parts = [self._kernel_values(matrix[start : start + step]) @ coefficients.T for start in range(0, len(matrix), step)]
        return np.asarray(np.concatenate(parts) - rho)

    def _kernel_values(self, rows: Array) -> Array:
        products = rows[:, : self.vectors.shape[1]] @ self.vectors.T  # the values that sparse vectors leave out at their end are zeros
        parameters = self._parameters
        if self._kernel == "rbfKernel":
            distances = (rows**2).sum(axis=1)[:, None] + self._norms - 2 * products
            return np.asarray(np.exp(-parameters.gamma * np.maximum(distances, 0)))
        if self._kernel == "polyKernel":
            return np.asarray((parameters.gamma * products + parameters.c) ** parameters.degree)
        if self._kernel == "sigmoidKernel":
            return np.asarray(np.tanh(parameters.gamma * products + parameters.c))
        return np.asarray(products)


class SupportVectorRegressor(_SupportVectorModel):
    """The sum of kernels with the support vectors, less rho."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._coefficients = np.array([self._message.coefficients.alpha], np.float64)
        if self._coefficients.shape[1] != len(self.vectors):
            raise FormatError(self.path, f"coefficients: {self._coefficients.shape[1]} for {len(self.vectors)} support vectors")
        self._outputs = RegressorOutputs(self.function, 1, self.path)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        return self._outputs(self._decisions(rows, self._coefficients, np.array([self._message.rho])))


class SupportVectorClassifier(_SupportVectorModel):
    """One decision for each pair of classes. The class that wins most pairs is predicted, the first of several.

    Where the model has probabilities they come from the pairs' by coupling (`couple`), and the most probable class is predicted, as
    LIBSVM does with ``-b 1``.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        labels = label_vector(self._message, self.path)
        self._pairs = list(combinations(range(len(labels)), 2))
        self._coefficients = _pair_coefficients(self._message, self._pairs, len(labels), len(self.vectors), self.path)
        self._rho, self._a, self._b = (np.array(getattr(self._message, name), np.float64) for name in ("rho", "probA", "probB"))
        if len(self._rho) != len(self._pairs):
            raise FormatError(self.path, f"rho: {len(self._rho)} values; {len(labels)} classes have {len(self._pairs)} pairs")
        if len(self._a) != len(self._b) or len(self._a) not in (0, len(self._pairs)):
            raise FormatError(self.path, f"probA, probB: {len(self._a)} and {len(self._b)} values; expected {len(self._pairs)} or none")
        self._outputs = ClassifierOutputs(self.function, labels, self.path)
        if self._outputs.wants_probabilities and not len(self._a):
            raise FormatError(
                self.path, f"output {self._outputs.probabilities!r}: the model has neither probA nor probB to compute it with"
            )
        self._classes = len(labels)

    def _predict_batch(self, rows: list[Row]) -> list[Row]:
        decisions = self._decisions(rows, self._coefficients, self._rho)
        if len(self._a):
            probabilities = self._probabilities(decisions)
            return self._outputs(probabilities.argmax(axis=1), probabilities)
        votes = np.zeros((len(rows), self._classes), np.int64)
        for (first, second), decision in zip(self._pairs, decisions.T, strict=True):
            votes[:, first] += decision > 0
            votes[:, second] += decision <= 0
        return self._outputs(votes.argmax(axis=1), None)

    def _probabilities(self, decisions: Array) -> Array:
        """[rows, classes], from Platt's 1 / (1 + exp(a x + b)) for each pair."""
        certain = np.clip(logistic(-(decisions * self._a + self._b)), _NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
        if self._classes == 2:
            return np.concatenate([certain, 1 - certain], axis=1)
        pairwise = np.zeros((len(decisions), self._classes, self._classes))
        for (first, second), probability in zip(self._pairs, certain.T, strict=True):
            pairwise[:, first, second] = probability
            pairwise[:, second, first] = 1 - probability
        return couple(pairwise)


def couple(pairwise: Array) -> Array:
    """Class probabilities from pairwise ones: the second method of Wu, Lin and Weng (2004), stopped as LIBSVM stops.

    Finds p that minimizes the sum over i != j of (r_ji p_i - r_ij p_j)^2 with sum p = 1, by the fixed-point iteration on
    Q p = (p' Q p) e, Q_ii = sum of r_ji^2, Q_ij = -r_ji r_ij.

    Args:
        pairwise: r [rows, classes, classes]; r_ij is the probability of i against j. The diagonal is zero.

    Returns:
        [rows, classes]
    """
    classes = pairwise.shape[1]
    against = pairwise.transpose(0, 2, 1)
    matrix = -pairwise * against
    diagonal = (against**2).sum(axis=2)
    matrix[:, range(classes), range(classes)] = diagonal
    result = np.full(pairwise.shape[:2], 1 / classes)
    active = np.arange(len(pairwise))
    for _ in range(max(100, classes)):
        products = np.einsum("rij,rj->ri", matrix[active], result[active])
        value = (result[active] * products).sum(axis=1)
        moving = np.abs(products - value[:, None]).max(axis=1) >= 0.005 / classes
        active, products, value = active[moving], products[moving], value[moving]
        if not len(active):
            break
        result[active] = _sweep(matrix[active], diagonal[active], result[active], products, value)
    return result


def _sweep(matrix: Array, diagonal: Array, result: Array, products: Array, value: Array) -> Array:
    """One update of every class in turn, each followed by scaling to sum 1."""
    for index in range(result.shape[1]):
        change = (value - products[:, index]) / diagonal[:, index]
        result[:, index] += change
        scale = 1 + change
        value = (value + change * (change * diagonal[:, index] + 2 * products[:, index])) / scale**2
        products = (products + change[:, None] * matrix[:, index]) / scale[:, None]
        result /= scale[:, None]
    return result


def _pair_coefficients(message: Any, pairs: list[tuple[int, int]], classes: int, vectors: int, where: object) -> Array:
    """[pairs, vectors]: what each support vector counts in the decision of each pair.

    The format keeps, for a vector of class i, its coefficient against class j in row j - 1 where j > i, else in row j.
    """
    counts = list(message.numberOfSupportVectorsPerClass)
    alphas = [list(item.alpha) for item in message.coefficients]
    if len(counts) != classes or sum(counts) != vectors or min(counts, default=0) < 0:
        raise FormatError(where, f"numberOfSupportVectorsPerClass is {counts}; expected {classes} counts with the sum {vectors}")
    if len(alphas) != classes - 1 or any(len(alpha) != vectors for alpha in alphas):
        raise FormatError(where, f"coefficients: expected {classes - 1} rows of {vectors}; found {[len(alpha) for alpha in alphas]}")
    starts = np.cumsum([0, *counts])
    result = np.zeros((len(pairs), vectors))
    for row, (first, second) in enumerate(pairs):
        for own, other in ((first, second - 1), (second, first)):
            part = slice(starts[own], starts[own + 1])
            result[row, part] = alphas[other][part]
    return result


def _vectors(message: Any, where: object) -> Array:
    """The support vectors [vectors, features]; the indices of sparse ones count from 1, as LIBSVM's."""
    if message.WhichOneof("supportVectors") == "denseSupportVectors":
        lengths = {len(vector.values) for vector in message.denseSupportVectors.vectors}
        if len(lengths) > 1:
            raise FormatError(where, f"denseSupportVectors: vectors of {', '.join(map(str, sorted(lengths)))} values; expected one length")
        return np.array([vector.values for vector in message.denseSupportVectors.vectors], np.float64).reshape(-1, max(lengths, default=0))
    vectors = message.sparseSupportVectors.vectors
    indices = [node.index for vector in vectors for node in vector.nodes]
    if indices and not 1 <= min(indices) <= max(indices) <= _LARGEST_INDEX:
        raise FormatError(where, f"sparseSupportVectors: indices {min(indices)} to {max(indices)}; expected 1 to {_LARGEST_INDEX}")
    if len(vectors) * max(indices, default=0) > _MOST_VALUES:
        raise FormatError(
            where, f"sparseSupportVectors: {len(vectors)} vectors up to index {max(indices)} are more than memory should hold"
        )
    result = np.zeros((len(vectors), max(indices, default=0)))
    for row, vector in zip(result, vectors, strict=True):
        for node in vector.nodes:
            row[node.index - 1] = node.value
    return result
