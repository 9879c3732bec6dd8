"""Pipelines: what scikit-learn trained, what coremltools puts together, and real files on real text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import sklearn.datasets
import sklearn.ensemble
import sklearn.feature_extraction
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
from coremltools.models.pipeline import Pipeline, PipelineClassifier
from PIL import Image

import moka
from tests.models.classical import Array, Dictionary, Double, Int64, load, probabilities, rows, transformer

pytestmark = pytest.mark.filterwarnings("ignore:.*multi_class:FutureWarning", "ignore:.*L-BFGS-B:DeprecationWarning")


@pytest.mark.parametrize("data", ["wine", "breast_cancer"])
def test_scaler_and_logistic_regression(data: str, tmp_path: Path) -> None:
    matrix, target = getattr(sklearn.datasets, f"load_{data}")(return_X_y=True)
    steps = [sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression(multi_class="ovr")]
    trained = sklearn.pipeline.make_pipeline(*steps).fit(matrix, target)
    model = load(ct.converters.sklearn.convert(trained, "input", ["label", "p"]), tmp_path)
    outputs = model.predict(rows(matrix))
    assert [item["label"] for item in outputs] == trained.predict(matrix).tolist()
    np.testing.assert_allclose(probabilities(outputs, "p", trained.classes_.tolist()), trained.predict_proba(matrix), atol=1e-9)
    assert model.predict(rows(matrix)[5])["p"] == pytest.approx(outputs[5]["p"], rel=1e-9)


def test_named_columns_and_boosted_trees(tmp_path: Path) -> None:
    matrix, target = sklearn.datasets.load_diabetes(return_X_y=True)
    matrix = matrix.astype(np.float32).astype(float)
    steps = [sklearn.preprocessing.Normalizer(), sklearn.ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0)]
    trained = sklearn.pipeline.make_pipeline(*steps).fit(matrix, target)
    names = [f"column {index}" for index in range(matrix.shape[1])]
    model = load(ct.converters.sklearn.convert(trained, names, "target"), tmp_path)
    found = [item["target"] for item in model.predict([dict(zip(names, row, strict=True)) for row in matrix])]
    normalized = steps[0].transform(matrix).astype(np.float32)
    near = np.isclose(found, trained.predict(matrix), rtol=1e-9)
    assert near.mean() > 0.99, normalized[~near]  # scikit-learn rounds to float32 between its steps, which moves a row across a threshold


def test_dictionaries_of_words(tmp_path: Path) -> None:
    data = [{"a": 1.0, "b": 2.0}, {"b": 1.0}, {"c": 4.0}, {"a": 1.0, "c": 3.0}]
    steps = [sklearn.feature_extraction.DictVectorizer(), sklearn.linear_model.LogisticRegression(multi_class="ovr")]
    trained = sklearn.pipeline.make_pipeline(*steps).fit(data, ["x", "x", "y", "y"])
    model = load(ct.converters.sklearn.convert(trained, "words", ["label", "p"]), tmp_path)
    asked: list[dict[str, float]] = [*data, {}, {"unknown": 3.0}]
    outputs = model.predict([{"words": words} for words in asked])
    assert [item["label"] for item in outputs] == trained.predict(asked).tolist()
    np.testing.assert_allclose(probabilities(outputs, "p", ["x", "y"]), trained.predict_proba(asked), atol=1e-9)


def doubler(source: str, target: str) -> Any:
    specification = transformer([(source, Double())], [(target, Double())])
    specification.scaler.scaleValue.append(2.0)
    return specification


def test_pipelines_in_pipelines(tmp_path: Path) -> None:
    inner = Pipeline([("x", Double())], [("y", Double())])
    inner.add_model(doubler("x", "y"))
    outer = Pipeline([("x", Double())], [("z", Double()), ("y", Double())])
    outer.add_model(inner.spec)
    outer.add_model(doubler("y", "z"))
    assert load(outer.spec, tmp_path).predict({"x": 3.0}) == {"z": 12.0, "y": 6.0}


def test_a_stage_may_overwrite_a_feature(tmp_path: Path) -> None:
    pipeline = Pipeline([("x", Double())], [("x", Double())])
    pipeline.add_model(doubler("x", "x"))
    pipeline.add_model(doubler("x", "x"))
    assert load(pipeline.spec, tmp_path).predict({"x": 3.0}) == {"x": 12.0}


def test_an_optional_input_that_is_left_out_is_missing_for_the_stage(tmp_path: Path) -> None:
    pipeline = Pipeline([("x", Double())], [("y", Double())])
    imputer = transformer([("x", Double())], [("filled", Double())])
    imputer.imputer.imputedDoubleValue = 5.0
    imputer.description.input[0].type.isOptional = True
    pipeline.add_model(imputer)
    pipeline.add_model(doubler("filled", "y"))
    pipeline.spec.description.input[0].type.isOptional = True
    model = load(pipeline.spec, tmp_path)
    assert [item["y"] for item in model.predict([{}, {"x": 1.0}])] == [10.0, 2.0]


def test_a_network_as_a_stage(tmp_path: Path) -> None:
    builder = ct.models.neural_network.NeuralNetworkBuilder([("x", Array(3))], [("h", Array(3))])
    builder.add_elementwise("twice", ["x"], "h", "MULTIPLY", alpha=2.0)
    extractor = transformer([("h", Array(3))], [("y", Double())])
    extractor.arrayFeatureExtractor.extractIndex.append(1)
    pipeline = Pipeline([("x", Array(3))], [("y", Double())])
    pipeline.add_model(builder.spec)
    pipeline.add_model(extractor)
    assert load(pipeline.spec, tmp_path).predict({"x": [1.0, 4.0, 9.0]})["y"] == pytest.approx(8.0)


def test_images_pass_through(tmp_path: Path) -> None:
    def image(name: str) -> Any:
        specification = transformer([(name, Array(1))], [("out", Array(1))])
        specification.identity.SetInParent()
        for feature in (*specification.description.input, *specification.description.output):
            feature.type.imageType.width, feature.type.imageType.height = 5, 4
            feature.type.imageType.colorSpace = ct.proto.FeatureTypes_pb2.ImageFeatureType.ColorSpace.Value("BGR")
        return specification

    pipeline = image("in")
    pipeline.pipeline.models.add().CopyFrom(image("in"))
    pipeline.pipeline.models.add().CopyFrom(image("out"))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8))
    np.testing.assert_array_equal(load(pipeline, tmp_path).predict({"in": picture})["out"], picture)


def test_errors_name_the_stage(tmp_path: Path) -> None:
    pipeline = Pipeline([("x", Double())], [("y", Double())])
    pipeline.add_model(doubler("unheard", "y"))
    with pytest.raises(moka.FormatError, match="stage 'model0' takes 'unheard', which is no input"):
        load(pipeline.spec, tmp_path)
    broken = PipelineClassifier([("x", Double())], ["a", "b"])
    vectorizer = transformer([("x", Dictionary(str))], [("y", Int64())])
    vectorizer.dictVectorizer.SetInParent()
    broken.add_model(vectorizer)
    with pytest.raises(moka.FormatError, match="stage 'model0': has no keys"):
        load(broken.spec, tmp_path)
    empty = Pipeline([("x", Double())], [("y", Double())])
    empty.spec.pipeline.SetInParent()
    with pytest.raises(moka.FormatError, match="output 'y': no stage"):
        load(empty.spec, tmp_path)


def words(text: str) -> dict[str, float]:
    return {word: float(count) for word, count in Counter(re.findall(r"\w+", text.lower())).items()}


def name_parts(name: str) -> dict[str, float]:
    """The features that the author's application makes of a first name."""
    low = name.lower()
    ends = {"letter": 1, "2-letters": 2, "3-letters": 3}
    first = {f"first{'-' if count == 1 else ''}{end}={low[:count]}": 1.0 for end, count in ends.items()}
    return first | {f"last{'-' if count == 1 else ''}{end}={low[-count:]}": 1.0 for end, count in ends.items()}


def test_names(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "NamesDT.mlmodel")
    names = {"F": ["Anna", "Maria", "Julia", "Sophia", "Emma", "Laura"], "M": ["John", "Peter", "Mark", "Robert", "Frank", "Kevin"]}
    right = [model.predict({"input": name_parts(name)})["classLabel"] == label for label, group in names.items() for name in group]
    assert sum(right) >= 11


def test_sentiment(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "SentimentPolarity.mlmodel")
    texts = {
        "Pos": ["This is a wonderful movie and I loved every minute of it", "Great hotel, friendly and helpful staff, a perfect location"],
        "Neg": [
            "The room was dirty and the staff was rude, a terrible experience",
            "Boring plot and awful acting, the worst film this year",
        ],
    }
    for label, group in texts.items():
        assert [item["classLabel"] for item in model.predict([{"input": words(text)} for text in group])] == [label] * len(group)


def test_documents(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "DocumentClassification.mlmodel")
    texts = {
        "Sports": "The striker scored twice as the team won the cup final after extra time at the stadium",
        "Business": "Shares of the bank fell after quarterly profit missed estimates, the market closed lower",
        "Politics": "The prime minister lost the vote in parliament and called an election",
        "Technology": "The new smartphone has a faster processor and its software update fixes security bugs for users",
        "Entertainment": "The singer's new album tops the charts and her film wins an award at the festival",
    }
    outputs = model.predict([{"input": words(text)} for text in texts.values()])
    assert [item["classLabel"] for item in outputs] == list(texts)
    assert all(sum(item["classProbability"].values()) == pytest.approx(1) for item in outputs)


def test_one_hot_of_eight_columns(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "onehot_simple.mlmodel")
    encoded = model.predict({"input": [2, 0, 3, 1, 5, 4, 1, 9]})["transformed_features"]
    assert encoded.shape == (102,)
    assert np.flatnonzero(encoded)[:3].tolist() == [2, 9, 28]
    assert encoded.sum() == 8
    with pytest.raises(moka.InputError, match="unknown category 2"):
        model.predict({"input": [2, 0, 3, 1, 5, 4, 2, 9]})


def test_updatable_neighbors_without_samples(corpus: Path) -> None:
    model = moka.load(corpus / "models" / "UpdatableKNN.mlmodel")
    assert model.predict({"input": np.zeros(21)}) == {"output": "defaultLabel", "outputProbs": {}}
    assert model.number_of_neighbors == 3
