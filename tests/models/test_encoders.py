"""Encoders, vectorizers, scaling and the like: against scikit-learn, and as the format documents unknown and missing values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import sklearn.datasets
import sklearn.feature_extraction
import sklearn.impute
import sklearn.pipeline
import sklearn.preprocessing

import moka
from tests.models.classical import Array, Dictionary, Double, Int64, String, load, rows, transformer

CATEGORIES = ["red", "green", "blue"]


def encoder(output: Any, *, sparse: bool = False, ignore: bool = False) -> Any:
    specification = transformer([("color", String())], [("encoded", output)])
    specification.oneHotEncoder.stringCategories.vector.extend(CATEGORIES)
    specification.oneHotEncoder.outputSparse = sparse
    specification.oneHotEncoder.handleUnknown = int(ignore)
    return specification


def test_one_hot(tmp_path: Path) -> None:
    dense = load(encoder(Array(3), ignore=True), tmp_path)
    np.testing.assert_array_equal(dense.predict({"color": "green"})["encoded"], [0, 1, 0])
    np.testing.assert_array_equal(dense.predict({"color": "pink"})["encoded"], [0, 0, 0])
    sparse = load(encoder(Dictionary(int), sparse=True, ignore=True), tmp_path)
    assert [item["encoded"] for item in sparse.predict([{"color": "blue"}, {"color": "pink"}])] == [{2: 1.0}, {}]


def test_an_unknown_category_is_an_error_that_names_the_feature(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="input 'color': unknown category 'pink'"):
        load(encoder(Array(3)), tmp_path).predict({"color": "pink"})


def test_one_hot_encoder_of_scikit_learn(tmp_path: Path) -> None:
    matrix = np.random.default_rng(0).integers(0, 4, (60, 3)).astype(float)
    trained = sklearn.preprocessing.OneHotEncoder().fit(matrix)
    outputs = load(ct.converters.sklearn.convert(trained, "input", "encoded"), tmp_path).predict(rows(matrix))
    np.testing.assert_array_equal([item["encoded"] for item in outputs], trained.transform(matrix).toarray())


def test_vectorizer_of_scikit_learn(tmp_path: Path) -> None:
    data = [{"a": 1.0, "b": 3.0}, {"b": 4.0, "c": 2.0}, {}, {"unknown": 5.0, "a": 2.0}]
    trained = sklearn.feature_extraction.DictVectorizer().fit(data[:2])
    outputs = load(ct.converters.sklearn.convert(trained, "input", "vector"), tmp_path).predict([{"input": item} for item in data])
    np.testing.assert_array_equal([item["vector"] for item in outputs], trained.transform(data).toarray())


def test_vectorizer_to_an_array_or_a_dictionary(tmp_path: Path) -> None:
    for output, expected in ((Array(4), [4.0, 8.0, 0.0, 0.0]), (Dictionary(int), {0: 4.0, 1: 8.0})):
        specification = transformer([("words", Dictionary(str))], [("vector", output)])
        specification.dictVectorizer.stringToIndex.vector.extend("acbz")
        found = load(specification, tmp_path).predict({"words": {"a": 4, "c": 8}})["vector"]
        np.testing.assert_equal(found, expected)


def test_integer_keys_in_a_dictionary_that_is_described_as_of_strings(tmp_path: Path) -> None:
    specification = transformer([("words", Dictionary(str))], [("vector", Array(2))])
    specification.dictVectorizer.int64ToIndex.vector.extend([44, 7])
    np.testing.assert_array_equal(load(specification, tmp_path).predict({"words": {7: 3.0}})["vector"], [0.0, 3.0])


def vectorizer() -> Any:
    inputs = [("number", Double()), ("array", Array(2)), ("sparse", Dictionary(int)), ("whole", Int64())]
    specification = transformer(inputs, [("vector", Array(7))])
    for name, size in (("array", 2), ("sparse", 3), ("number", 1), ("whole", 1)):
        specification.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=size)
    return specification


def test_features_side_by_side_in_the_order_of_the_list(tmp_path: Path) -> None:
    output = load(vectorizer(), tmp_path).predict({"number": 1.5, "array": [2.0, 3.0], "sparse": {2: 9.0}, "whole": 4})
    np.testing.assert_array_equal(output["vector"], [2.0, 3.0, 0.0, 0.0, 9.0, 1.5, 4.0])


def test_a_key_outside_the_vector_names_the_feature(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="input 'sparse' has the key 3; expected indices 0 to 2"):
        load(vectorizer(), tmp_path).predict({"number": 1.5, "array": [2.0, 3.0], "sparse": {3: 9.0}, "whole": 4})


def test_dimensions_that_nothing_could_hold_are_refused(tmp_path: Path) -> None:
    specification = vectorizer()
    specification.featureVectorizer.inputList[1].inputDimensions = 2**62
    with pytest.raises(moka.FormatError, match="inputDimensions sum up to"):
        load(specification, tmp_path)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_normalizer_of_scikit_learn(norm: Any, tmp_path: Path) -> None:
    matrix = np.abs(np.random.default_rng(0).normal(size=(20, 5)))  # the format's largest value has no sign, scikit-learn's has
    matrix[3] = 0
    trained = sklearn.preprocessing.Normalizer(norm=norm).fit(matrix)
    specification = ct.converters.sklearn.convert(trained, [("input", Array(5))], "output")
    outputs = load(specification, tmp_path).predict(rows(matrix))
    np.testing.assert_allclose([item["output"] for item in outputs], trained.transform(matrix), rtol=1e-12)


def test_scaler_of_scikit_learn(tmp_path: Path) -> None:
    matrix, _ = sklearn.datasets.load_wine(return_X_y=True)
    trained = sklearn.preprocessing.StandardScaler().fit(matrix)
    outputs = load(ct.converters.sklearn.convert(trained, "input", "output"), tmp_path).predict(rows(matrix))
    np.testing.assert_allclose([item["output"] for item in outputs], trained.transform(matrix), atol=1e-12)


def scaler(feature: Any, shift: list[float], scale: list[float]) -> Any:
    specification = transformer([("x", feature)], [("y", feature)])
    specification.scaler.shiftValue.extend(shift)
    specification.scaler.scaleValue.extend(scale)
    return specification


@pytest.mark.parametrize(
    ("feature", "shift", "scale", "value", "expected"),
    [
        (Array(3), [1.0], [2.0], [1.0, 2.0, 3.0], [4.0, 6.0, 8.0]),
        (Array(3), [], [2.0, 3.0, 4.0], [1.0, 2.0, 3.0], [2.0, 6.0, 12.0]),
        (Double(), [0.5], [], 2.0, 2.5),
        (Int64(), [1.0], [3.0], 2, 9),
    ],
)
def test_scaler(feature: Any, shift: list[float], scale: list[float], value: Any, expected: Any, tmp_path: Path) -> None:
    np.testing.assert_equal(load(scaler(feature, shift, scale), tmp_path).predict({"x": value})["y"], expected)


def test_scaling_an_integer_to_a_fraction_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="input 'x': scaled it is no integer"):
        load(scaler(Int64(), [], [0.5]), tmp_path).predict({"x": 3})


def test_scales_of_another_length_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(moka.InputError, match="input 'x' has 3 numbers; the scaler's scaleValue has 2"):
        load(scaler(Array(3), [], [1.0, 2.0]), tmp_path).predict({"x": [1.0, 2.0, 3.0]})


@pytest.mark.parametrize("strategy", ["mean", "median", "most_frequent"])
@pytest.mark.parametrize("missing", [np.nan, -999.0])
def test_imputer_of_scikit_learn(missing: float, strategy: str, tmp_path: Path) -> None:
    matrix, _ = sklearn.datasets.load_wine(return_X_y=True)
    matrix[::5, 2] = matrix[1::7, 4] = missing
    trained = sklearn.impute.SimpleImputer(missing_values=missing, strategy=strategy).fit(matrix)
    outputs = load(ct.converters.sklearn.convert(trained, "input", "output"), tmp_path).predict(rows(matrix))
    np.testing.assert_allclose([item["output"] for item in outputs], trained.transform(matrix), rtol=1e-12)


def imputer(feature: Any, field: str, value: Any, **replaced: Any) -> Any:
    specification = transformer([("x", feature)], [("y", feature)])
    specification.description.input[0].type.isOptional = True
    if isinstance(value, dict):
        getattr(specification.imputer, field).map.update(value)
    elif isinstance(value, list):
        getattr(specification.imputer, field).vector.extend(value)
    else:
        setattr(specification.imputer, field, value)
    for name, number in replaced.items():
        setattr(specification.imputer, name, number)
    return specification


@pytest.mark.parametrize(
    ("specification", "inputs", "expected"),
    [
        (imputer(Double(), "imputedDoubleValue", 7.0), {"x": float("nan")}, 7.0),
        (imputer(Double(), "imputedDoubleValue", 7.0), {"x": 2.0}, 2.0),
        (imputer(Double(), "imputedDoubleValue", 7.0), {}, 7.0),
        (imputer(Int64(), "imputedInt64Value", 3, replaceInt64Value=-1), {"x": -1}, 3),
        (imputer(String(), "imputedStringValue", "none", replaceStringValue=""), {"x": ""}, "none"),
        (imputer(Array(2), "imputedDoubleValue", 7.0), {"x": [float("nan"), 1.0]}, [7.0, 1.0]),
        (imputer(Array(2), "imputedDoubleArray", [5.0, 6.0], replaceDoubleValue=0.0), {"x": [0.0, 0.0]}, [5.0, 6.0]),
        (imputer(Array(2), "imputedDoubleArray", [5.0, 6.0]), {}, [5.0, 6.0]),
        (imputer(Dictionary(str), "imputedStringDictionary", {"a": 1.0}), {"x": {"a": float("nan"), "b": 2.0}}, {"a": 1.0, "b": 2.0}),
        (imputer(Dictionary(int), "imputedInt64Dictionary", {4: 1.5}), {}, {4: 1.5}),
    ],
)
def test_imputer(specification: Any, inputs: dict[str, Any], expected: Any, tmp_path: Path) -> None:
    np.testing.assert_equal(load(specification, tmp_path).predict(inputs)["y"], expected)


def test_a_missing_value_that_the_imputer_has_none_for(tmp_path: Path) -> None:
    model = load(imputer(Dictionary(str), "imputedStringDictionary", {"a": 1.0}), tmp_path)
    with pytest.raises(moka.InputError, match="input 'x': the value of 'b' is missing"):
        model.predict({"x": {"b": float("nan")}})


def test_extractor(tmp_path: Path) -> None:
    for output, indices, expected in ((Array(2), [5, 0], [50.0, 0.0]), (Double(), [3], 30.0), (Int64(), [4], 40)):
        specification = transformer([("x", Array(2, 3))], [("y", output)])
        specification.arrayFeatureExtractor.extractIndex.extend(indices)
        found = load(specification, tmp_path).predict({"x": np.arange(6).reshape(2, 3) * 10.0})["y"]
        np.testing.assert_equal(found, expected)


def test_extracting_what_is_not_there_names_the_feature(tmp_path: Path) -> None:
    specification = transformer([("x", Array(3))], [("y", Double())])
    specification.arrayFeatureExtractor.extractIndex.append(2**64 - 1)
    with pytest.raises(moka.InputError, match="input 'x' has 3 numbers"):
        load(specification, tmp_path).predict({"x": [1.0, 2.0, 3.0]})


def test_categorical_mapping(tmp_path: Path) -> None:
    specification = transformer([("x", String())], [("y", Int64())])
    for index, category in enumerate(CATEGORIES):
        specification.categoricalMapping.stringToInt64Map.map[category] = index * 10
    model = load(specification, tmp_path)
    assert model.predict({"x": "blue"})["y"] == 20
    with pytest.raises(moka.InputError, match="input 'x': unknown category 'pink'"):
        model.predict({"x": "pink"})
    specification.categoricalMapping.int64Value = -1
    assert load(specification, tmp_path).predict({"x": "pink"})["y"] == -1


def test_categorical_mapping_to_strings(tmp_path: Path) -> None:
    specification = transformer([("x", Int64())], [("y", String())])
    specification.categoricalMapping.int64ToStringMap.map[3] = "three"
    specification.categoricalMapping.strValue = "other"
    assert [item["y"] for item in load(specification, tmp_path).predict([{"x": 3}, {"x": 4}])] == ["three", "other"]


def test_identity(tmp_path: Path) -> None:
    features = [("a", Double()), ("b", Array(2)), ("c", Dictionary(str)), ("d", String())]
    specification = transformer(features, features)
    specification.identity.SetInParent()
    values = {"a": 1.5, "b": np.array([1.0, 2.0]), "c": {"x": 1.0}, "d": "text"}
    np.testing.assert_equal(load(specification, tmp_path).predict(values), values)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("oneHotEncoder", "no categories"),
        ("dictVectorizer", "no keys"),
        ("imputer", "no imputed value"),
        ("categoricalMapping", "no mapping"),
    ],
)
def test_models_without_their_parameters_are_refused(kind: str, message: str, tmp_path: Path) -> None:
    specification = transformer([("x", String())], [("y", Double())])
    getattr(specification, kind).SetInParent()
    with pytest.raises(moka.FormatError, match=message):
        load(specification, tmp_path)
