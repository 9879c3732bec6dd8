"""Generalized linear models against scikit-learn and SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.datasets
import sklearn.linear_model
import sklearn.svm

import moka
from tests.models.classical import Array, Double, classifier, load, probabilities, rows, transformer

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*multi_class:FutureWarning", "ignore:.*L-BFGS-B:DeprecationWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)

WEIGHTS = np.array([[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]])
ROW = np.array([1.0, -2.0, 0.5])


@pytest.mark.parametrize("data", ["iris", "breast_cancer", "digits", "wine"])
def test_logistic_regression(data: str, tmp_path: Path) -> None:
    matrix, target = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
    trained = sklearn.linear_model.LogisticRegression(multi_class="ovr", max_iter=200).fit(matrix, target)
    model = load(ct.converters.sklearn.convert(trained, "input", ["label", "probabilities"]), tmp_path)
    outputs = model.predict(rows(matrix))
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()
    found = probabilities(outputs, "probabilities", trained.classes_.tolist())
    np.testing.assert_allclose(found, trained.predict_proba(matrix), atol=1e-9)


@pytest.mark.parametrize(
    "trained",
    [sklearn.linear_model.LinearRegression(), sklearn.linear_model.Ridge(), sklearn.svm.LinearSVR(max_iter=500)],
    ids=lambda trained: type(trained).__name__,
)
def test_linear_regression(trained: Any, tmp_path: Path) -> None:
    matrix, target = sklearn.datasets.load_diabetes(return_X_y=True)
    trained.fit(matrix, target)
    model = load(ct.converters.sklearn.convert(trained, "input", "target"), tmp_path)
    np.testing.assert_allclose([item["target"] for item in model.predict(rows(matrix))], trained.predict(matrix), rtol=1e-9)


def test_linear_support_vector_classifier(tmp_path: Path) -> None:
    matrix, target = sklearn.datasets.load_wine(return_X_y=True)
    trained = sklearn.svm.LinearSVC(max_iter=300).fit(matrix, target)
    trained.multi_class = "ovr"
    outputs = load(ct.converters.sklearn.convert(trained, "input", ["label", "p"]), tmp_path).predict(rows(matrix))
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()


def glm_classifier(encoding: int, link: int, labels: list[Any], weights: Any, offset: list[float]) -> Any:
    specification = classifier("glmClassifier", [("input", Array(3))], labels)
    message = specification.glmClassifier
    message.classEncoding, message.postEvaluationTransform = encoding, link
    for row in weights:
        message.weights.add().value.extend(row)
    message.offset.extend(offset)
    return specification


def test_reference_class(tmp_path: Path) -> None:
    model = load(glm_classifier(0, 0, ["a", "b", "c"], WEIGHTS, [0.1, -0.2]), tmp_path)
    output = model.predict({"input": ROW})
    expected = scipy.special.softmax([0.0, *(WEIGHTS @ ROW + [0.1, -0.2])])
    assert list(output["probabilities"].values()) == pytest.approx(list(expected))
    assert output["label"] == "abc"[int(np.argmax(expected))]


@pytest.mark.parametrize("encoding", [0, 1])
def test_probit_of_two_classes(encoding: int, tmp_path: Path) -> None:
    model = load(glm_classifier(encoding, 1, [3, 5], WEIGHTS[:1], [0.3]), tmp_path)
    output = model.predict({"input": ROW})
    probability = scipy.stats.norm.cdf(WEIGHTS[0] @ ROW + 0.3)
    assert output["probabilities"] == pytest.approx({3: 1 - probability, 5: probability})
    assert output["label"] == 5


@pytest.mark.parametrize(
    ("link", "function"), [(0, lambda x: x), (1, scipy.special.expit), (2, scipy.stats.norm.cdf)], ids=["none", "logit", "probit"]
)
def test_regression_of_several_numbers(link: int, function: Any, tmp_path: Path) -> None:
    specification = transformer([("a", Double()), ("b", Array(2))], [("target", Array(2))])
    message = specification.glmRegressor
    message.postEvaluationTransform = link
    for row in WEIGHTS:
        message.weights.add().value.extend(row)
    message.offset.extend([1.0, -1.0])
    output = load(specification, tmp_path).predict({"a": ROW[0], "b": ROW[1:]})
    np.testing.assert_allclose(output["target"], function(WEIGHTS @ ROW + [1.0, -1.0]))


def test_large_scores_do_not_overflow(tmp_path: Path) -> None:
    model = load(glm_classifier(1, 0, ["a", "b"], [[1e5, 0.0, 0.0]], [0.0]), tmp_path)
    assert model.predict({"input": ROW})["probabilities"] == {"a": 0.0, "b": 1.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, ["a", "b", "c"], WEIGHTS[:1], [0.0]), "ReferenceClass with 3 classes needs 2"),
        ((1, 0, ["a", "b", "c"], WEIGHTS, [0.0, 0.0]), "OneVsRest with 3 classes needs 3"),
        ((0, 1, ["a", "b", "c"], WEIGHTS, [0.0, 0.0]), "Probit with 3 classes"),
        ((7, 0, ["a", "b"], WEIGHTS[:1], [0.0]), "classEncoding is 7"),
        ((0, 0, ["a", "b"], WEIGHTS[:1], [0.0, 1.0]), "offset: 2 values"),
        ((0, 0, ["a", "b"], [[1.0], [1.0, 2.0]], [0.0]), "rows of 1, 2 values"),
        ((0, 0, ["a", "b"], [[1.0] * 9], [0.0]), "3 columns together; the model looks at 9"),
    ],
)
def test_broken_models_are_refused(arguments: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(moka.FormatError, match=message):
        load(glm_classifier(*arguments), tmp_path)
