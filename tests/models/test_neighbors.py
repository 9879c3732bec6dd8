"""k-nearest neighbors against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import sklearn.datasets
import sklearn.neighbors
from coremltools.models.nearest_neighbors import KNearestNeighborsClassifierBuilder

import moka
from tests.models.classical import load, probabilities, rows


@pytest.mark.parametrize("data", ["iris", "wine", "digits"])
@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_labels_of_scikit_learn(algorithm: str, data: str, tmp_path: Path) -> None:
    matrix, target = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
    matrix = matrix.astype(np.float32)
    trained = sklearn.neighbors.KNeighborsClassifier(3, algorithm=algorithm).fit(matrix[::2], target[::2])
    outputs = load(ct.converters.sklearn.convert(trained, "input", "label"), tmp_path).predict(rows(matrix[1::2]))
    expected = trained.predict(matrix[1::2]).tolist()
    distances = np.sort(((matrix[1::2, None].astype(float) - matrix[::2]) ** 2).sum(axis=2), axis=1)
    clear = distances[:, 2] < distances[:, 3]  # else the third and the fourth sample are equally near, and either may vote
    assert clear.mean() > 0.9
    assert [(item["label"], row) for row, item in enumerate(outputs) if clear[row]] == [
        (label, row) for row, label in enumerate(expected) if clear[row]
    ]


def updatable(labels: list[Any], default: Any, weighting: str = "inverse_distance") -> Any:
    builder = KNearestNeighborsClassifierBuilder(
        input_name="input",
        output_name="label",
        number_of_dimensions=2,
        default_class_label=default,
        number_of_neighbors=3,
        weighting_scheme=weighting,
    )
    if labels:
        builder.add_samples([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [5.0, 5.0]], labels)
    return builder.spec


@pytest.mark.parametrize("weighting", ["uniform", "inverse_distance"])
def test_probabilities_are_shares_of_the_weights(weighting: str, tmp_path: Path) -> None:
    model = load(updatable(["b", "a", "a", "c"], "none", weighting), tmp_path)
    matrix = np.array([[0.25, 0.5], [3.0, 3.0], [0.1, 0.0]], np.float32)
    weights: Any = "uniform" if weighting == "uniform" else lambda distances: 1 / distances**2
    trained = sklearn.neighbors.KNeighborsClassifier(3, weights=weights)
    trained.fit([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [5.0, 5.0]], ["b", "a", "a", "c"])
    outputs = model.predict(rows(matrix))
    name = model.function.probabilities
    np.testing.assert_allclose(probabilities(outputs, name, ["a", "b", "c"]), trained.predict_proba(matrix), rtol=1e-6)
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()


def test_a_sample_at_distance_zero_decides(tmp_path: Path) -> None:
    model = load(updatable([4, 9, 9, 9], 0), tmp_path)
    output = model.predict({"input": [0.0, 0.0]})
    assert (output["label"], output[model.function.probabilities]) == (4, {4: 1.0, 9: 0.0})


@pytest.mark.parametrize("default", ["unknown", 17])
def test_without_samples_the_default_is_predicted(default: Any, tmp_path: Path) -> None:
    assert load(updatable([], default), tmp_path).predict({"input": [1.0, 2.0]})["label"] == default


def test_the_number_of_neighbors_may_be_set_within_what_the_model_allows(tmp_path: Path) -> None:
    specification = updatable(["b", "a", "a", "c"], "none", "uniform")
    specification.kNearestNeighborsClassifier.numberOfNeighbors.range.maxValue = 3
    model = load(specification, tmp_path)
    assert model.number_of_neighbors == 3
    assert model.predict({"input": [0.1, 0.1]})["label"] == "a"
    model.number_of_neighbors = 1
    assert model.predict({"input": [0.1, 0.1]})["label"] == "b"
    with pytest.raises(moka.InputError, match="allows 1 to 3"):
        model.number_of_neighbors = 4


def test_samples_of_other_lengths_and_counts_are_refused(tmp_path: Path) -> None:
    specification = updatable(["a", "a", "b", "b"], "none")
    specification.kNearestNeighborsClassifier.nearestNeighborsIndex.floatSamples[1].vector.append(1.0)
    with pytest.raises(moka.FormatError, match=r"floatSamples: \[2, 3\] values"):
        load(specification, tmp_path)
    specification = updatable(["a", "a", "b", "b"], "none")
    del specification.kNearestNeighborsClassifier.stringClassLabels.vector[-1]
    with pytest.raises(moka.FormatError, match="class labels: 3 for 4 samples"):
        load(specification, tmp_path)
