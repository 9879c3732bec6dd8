"""Missing values: models without a rule for them refuse them by the feature's name, alone, in a batch and in a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import sklearn.datasets
import sklearn.linear_model
import sklearn.neighbors
import sklearn.preprocessing
import sklearn.svm

import moka
from tests.models.classical import load, rows

MODELS = [
    sklearn.linear_model.LinearRegression(),
    sklearn.svm.LinearSVC(),
    sklearn.svm.SVC(),
    sklearn.svm.SVR(),
    sklearn.neighbors.KNeighborsClassifier(3),
]
REFUSED = "input 'input' holds NaN, a missing value, which the model has no rule for"


@pytest.mark.parametrize("estimator", MODELS, ids=lambda item: type(item).__name__)
def test_a_missing_value_names_the_feature(estimator: Any, tmp_path: Path) -> None:
    matrix, target = (part[:100] for part in sklearn.datasets.load_iris(return_X_y=True))  # two of the three classes
    trained = sklearn.base.clone(estimator).fit(matrix, target)
    model = load(ct.converters.sklearn.convert(trained, "input", "result"), tmp_path)
    assert len(model.predict(rows(matrix[:4]))) == 4
    matrix[2, 1] = np.nan
    for data in (rows(matrix[:4]), rows(matrix)[2]):
        with pytest.raises(moka.InputError, match=REFUSED):
            model.predict(data)


def test_the_feature_of_several_is_named(tmp_path: Path) -> None:
    matrix, target = sklearn.datasets.load_iris(return_X_y=True)
    trained = sklearn.linear_model.LinearRegression().fit(matrix, target)
    specification = ct.converters.sklearn.convert(trained, "input", "result").get_spec()
    del specification.description.input[:]
    for name in "abcd":
        specification.description.input.add(name=name).type.doubleType.SetInParent()
    model = load(specification, tmp_path)
    with pytest.raises(moka.InputError, match="input 'c' holds NaN"):
        model.predict(dict(zip("abcd", [1.0, 2.0, np.nan, 3.0], strict=True)))


def test_what_only_computes_hands_a_missing_value_on(tmp_path: Path) -> None:
    """A scaler before trees may be given one: the trees have a rule for it."""
    matrix, _ = sklearn.datasets.load_iris(return_X_y=True)
    scaler = sklearn.preprocessing.StandardScaler().fit(matrix)
    model = load(ct.converters.sklearn.convert(scaler, "input", "output"), tmp_path)
    matrix[0, 1] = np.nan
    np.testing.assert_allclose(model.predict({"input": matrix[0]})["output"], scaler.transform(matrix[:1])[0], rtol=1e-9)
