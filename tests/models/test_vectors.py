"""Support vector machines against scikit-learn and LIBSVM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import sklearn.datasets
import sklearn.svm
from libsvm import svmutil

import moka
from tests.models.classical import load, probabilities, rows

KERNELS: list[dict[str, Any]] = [
    {"kernel": "linear"},
    {"kernel": "rbf", "gamma": 0.1},
    {"kernel": "poly", "degree": 2, "coef0": 1.5, "gamma": 0.05},
    {"kernel": "sigmoid", "gamma": 0.01, "coef0": 0.2},
]


def scaled(name: str) -> tuple[Any, Any]:
    matrix, target = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return (matrix - matrix.mean(axis=0)) / matrix.std(axis=0), target


@pytest.mark.parametrize("data", ["iris", "breast_cancer"])
@pytest.mark.parametrize("parameters", KERNELS, ids=lambda parameters: parameters["kernel"])
@pytest.mark.parametrize("kind", [sklearn.svm.SVC, sklearn.svm.NuSVC])
def test_classifiers_of_scikit_learn(kind: Any, parameters: dict[str, Any], data: str, tmp_path: Path) -> None:
    matrix, target = scaled(data)
    options = {"nu": 0.2} if kind is sklearn.svm.NuSVC else {}
    trained = kind(**parameters, **options, max_iter=2000, random_state=0)
    trained.fit(matrix, target)
    outputs = load(ct.converters.sklearn.convert(trained, "input", "label"), tmp_path).predict(rows(matrix))
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()


@pytest.mark.parametrize("data", ["iris", "wine"])
def test_coupled_probabilities_of_scikit_learn(data: str, tmp_path: Path) -> None:
    matrix, target = scaled(data)
    trained = sklearn.svm.SVC(probability=True, random_state=0).fit(matrix, target)
    outputs = load(ct.converters.sklearn.convert(trained, "input", ["label", "p"]), tmp_path).predict(rows(matrix))
    np.testing.assert_allclose(probabilities(outputs, "p", trained.classes_.tolist()), trained.predict_proba(matrix), atol=1e-6)


@pytest.mark.parametrize("parameters", KERNELS, ids=lambda parameters: parameters["kernel"])
@pytest.mark.parametrize("kind", [sklearn.svm.SVR, sklearn.svm.NuSVR])
def test_regressors_of_scikit_learn(kind: Any, parameters: dict[str, Any], tmp_path: Path) -> None:
    matrix, target = scaled("diabetes")
    trained = kind(**parameters, max_iter=2000).fit(matrix, target)
    outputs = load(ct.converters.sklearn.convert(trained, "input", "target"), tmp_path).predict(rows(matrix))
    np.testing.assert_allclose([item["target"] for item in outputs], trained.predict(matrix), rtol=1e-6, atol=1e-6)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Any:
    """coremltools' converter, with LIBSVM's constants where it looks for them: newer versions have them in enumerations."""
    import libsvm
    from libsvm import svm

    monkeypatch.setattr(libsvm, "__version__", "3", raising=False)
    for enumeration in (svm.svm_forms, svm.kernel_names):
        for constant in enumeration:
            monkeypatch.setattr(svm, constant.name, int(constant), raising=False)
    return ct.converters.libsvm.convert


@pytest.mark.parametrize("data", ["iris", "breast_cancer"])
@pytest.mark.parametrize("kernel", ["-t 0", "-t 1 -g 0.1 -r 1", "-t 2 -g 0.1", "-t 3 -g 0.01"])
@pytest.mark.parametrize("kind", ["-s 0", "-s 1 -n 0.2"])
def test_probabilities_of_libsvm(converter: Any, kind: str, kernel: str, data: str, tmp_path: Path) -> None:
    matrix, target = scaled(data)
    trained = svmutil.svm_train(target.tolist(), matrix.tolist(), f"{kind} {kernel} -b 1 -q")
    labels, _, expected = svmutil.svm_predict(target.tolist(), matrix.tolist(), trained, "-b 1 -q")
    model = load(converter(trained, "input", "label", "p", input_length=matrix.shape[1]), tmp_path)
    outputs = model.predict(rows(matrix))
    assert [item["label"] for item in outputs] == labels
    np.testing.assert_allclose(probabilities(outputs, "p", trained.get_labels()), expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["-s 3", "-s 4"])
def test_regressors_of_libsvm(converter: Any, kind: str, tmp_path: Path) -> None:
    matrix, target = scaled("diabetes")
    matrix[:, -1] = 0  # sparse vectors then end before the features do
    trained = svmutil.svm_train(target.tolist(), matrix.tolist(), f"{kind} -t 2 -g 0.05 -q")
    matrix[:, -1] = np.linspace(-1, 1, len(matrix))
    expected, _, _ = svmutil.svm_predict(target.tolist(), matrix.tolist(), trained, "-q")
    outputs = load(converter(trained, "input", "target", input_length=matrix.shape[1]), tmp_path).predict(rows(matrix))
    np.testing.assert_allclose([item["target"] for item in outputs], expected, rtol=1e-6)


def trained_specification() -> Any:
    matrix, target = scaled("iris")
    trained = sklearn.svm.SVC(probability=True, random_state=0).fit(matrix, target)
    return ct.converters.sklearn.convert(trained, "input", ["label", "p"]).get_spec()


def drop_rho(message: Any) -> None:
    del message.rho[:]


def drop_probabilities(message: Any) -> None:
    del message.probA[:], message.probB[:]


def uneven_counts(message: Any) -> None:
    message.numberOfSupportVectorsPerClass[0] += 1


def drop_kernel(message: Any) -> None:
    message.ClearField("kernel")


def huge_index(message: Any) -> None:
    message.sparseSupportVectors.vectors.add().nodes.add(index=2**31 - 1, value=1.0)


def many_wide_vectors(message: Any) -> None:
    for _ in range(100):
        message.sparseSupportVectors.vectors.add().nodes.add(index=2**24, value=1.0)


def drop_coefficient(message: Any) -> None:
    del message.coefficients[0].alpha[-1]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (drop_rho, "rho: 0 values; 3 classes have 3 pairs"),
        (drop_probabilities, "neither probA nor probB"),
        (uneven_counts, "numberOfSupportVectorsPerClass"),
        (drop_kernel, "kernel: none is set"),
        (huge_index, "indices 2147483647"),
        (many_wide_vectors, "100 vectors up to index 16777216"),
        (drop_coefficient, "coefficients: expected 2 rows"),
    ],
)
def test_broken_models_are_refused(edit: Any, message: str, tmp_path: Path) -> None:
    specification = trained_specification()
    edit(specification.supportVectorClassifier)
    with pytest.raises(moka.FormatError, match=message):
        load(specification, tmp_path)
