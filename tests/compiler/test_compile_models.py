"""Models of all kinds, compiled: they predict what their sources predict, and come back as what they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder

import moka
from tests import builders
from tests.builders import convert, traced
from tests.models.classical import Array, Double, String, classifier, transformer
from tests.models.test_neighbors import updatable


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled_models")


def compiled(source: Path, unverified: bool = False) -> Path:
    """The compiled model, whose source can't be found any more."""
    made = moka.compile(source, source.parent / "compiled", unverified=unverified)
    source.rename(source.with_name(f"moved-{source.name}"))
    return made


def test_functions_are_chosen_by_name(folder: Path) -> None:
    parts = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("twice", 2.0), ("thrice", 3.0)):
        module = traced(lambda x, factor=factor: x @ (torch.eye(8) * factor), torch.zeros(2, 8))
        options: dict[str, Any] = {"inputs": [ct.TensorType("x", (2, 8))], "outputs": [ct.TensorType("y")]}
        path = convert(module, folder / f"{name}.mlpackage", minimum_deployment_target=ct.target.iOS18, **options)
        parts.add_function(str(path), "main", name)
    parts.default_function_name = "thrice"
    ct.utils.save_multifunction(parts, str(folder / "functions.mlpackage"))
    model = compiled(folder / "functions.mlpackage", unverified=True)
    x = np.arange(16, dtype=np.float32).reshape(2, 8)
    for name, factor in (("twice", 2), ("thrice", 3), (None, 3)):
        assert (moka.load(model, function=name).predict({"x": x})["y"] == factor * x).all()
    back = moka.decompile(model, folder / "back")
    assert moka.load(back, function="twice").predict({"x": x})["y"][1, 7] == 30
    assert {entry["name"] for entry in moka.metadata(model)[0]["functions"]} == {"thrice", "twice"}
    entry = (502).to_bytes(8, "little") + bytes(8)  # one for each function, as Apple's compiler was reported to write
    assert (model / "coremldata.bin").read_bytes().endswith(2 * entry)
    assert not (model / "coremldata.bin").read_bytes().endswith(3 * entry)


def test_states_are_kept(folder: Path) -> None:
    source = builders.counter(folder / "counter.mlpackage")
    path = compiled(source, unverified=True)
    for model in (moka.load(path), moka.load(moka.decompile(path, folder / "back"))):
        state = model.make_state()
        for expected in (1, 2, 3):
            assert model.predict({"step": np.ones(2, np.float16)}, state)["sum"].tolist() == [expected] * 2
    assert [entry["name"] for entry in moka.metadata(path)[0]["stateSchema"]] == ["total"]


@pytest.mark.parametrize(
    "shape",
    [ct.RangeDim(1, 50, default=3), ct.EnumeratedShapes([(3, 4), (7, 4), (50, 4)], default=(3, 4))],
    ids=["range", "enumeration"],
)
def test_shapes_stay_flexible(folder: Path, shape: Any) -> None:
    sizes = shape if isinstance(shape, ct.EnumeratedShapes) else ct.Shape((shape, 4))
    module = traced(lambda x: torch.relu(x).sum(dim=1), torch.zeros(3, 4))
    source = convert(module, folder / f"{type(shape).__name__}.mlpackage", inputs=[ct.TensorType("x", sizes)], outputs=[ct.TensorType("y")])
    model = compiled(source, unverified=True)
    back = moka.decompile(model, folder / "back")
    again = moka.compile(back, folder / "again", unverified=True)
    for path in (model, back, again):
        for rows in (3, 7, 50):
            assert moka.load(path).predict({"x": np.ones((rows, 4), np.float32)})["y"].tolist() == [4] * rows
        with pytest.raises(moka.InputError, match="x"):
            moka.load(path).predict({"x": np.ones((51, 4), np.float32)})
    assert (again / "model.mil").read_bytes() == (model / "model.mil").read_bytes()
    assert moka.metadata(model)[0]["inputSchema"][0]["hasShapeFlexibility"] == "1"


def test_program_that_classifies(folder: Path) -> None:
    module = traced(lambda x: torch.softmax(x, dim=1), torch.zeros(1, 3))
    config = ct.ClassifierConfig(["red", "green", "blue"])
    model = compiled(convert(module, folder / "colors.mlpackage", inputs=[ct.TensorType("x", (1, 3))], classifier_config=config))
    assert moka.load(model).predict({"x": [[0, 5, 1]]})["classLabel"] == "green"
    assert moka.inspect(model).class_labels == ["red", "green", "blue"]
    assert moka.metadata(model)[0]["classLabels"] == ["red", "green", "blue"]


@pytest.mark.parametrize("labels", [["a", "b", "c"], [10, 20, -30]], ids=["strings", "integers"])
def test_network_that_classifies(folder: Path, labels: list[Any]) -> None:
    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("scores", None)], mode="classifier")
    builder.add_softmax("softmax", "x", "scores")
    builder.set_class_labels(labels, prediction_blob="scores")
    source = folder / f"network{len(str(labels))}.mlmodel"
    ct.utils.save_spec(builder.spec, str(source))
    expected = moka.load(source).predict({"x": [0, 1, 5]})
    path = compiled(source)
    assert moka.load(path).predict({"x": [0, 1, 5]}) == expected
    assert moka.load(moka.decompile(path, folder / "back")).predict({"x": [0, 1, 5]}) == expected
    assert expected["classLabel"] == labels[2]
    assert moka.inspect(path).class_labels == labels


def test_updatable_network_predicts_but_does_not_learn(folder: Path) -> None:
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2))], [("scores", None)], mode="classifier")
    builder.add_inner_product("inner", np.array([[1.0, 0], [0, 2]]), np.zeros(2), 2, 2, True, "x", "inner")
    builder.add_softmax("softmax", "inner", "scores")
    builder.set_class_labels(["a", "b"], prediction_blob="scores")
    builder.make_updatable(["inner"])
    builder.set_categorical_cross_entropy_loss("loss", "scores")
    builder.set_sgd_optimizer(ct.models.neural_network.SgdParams())
    builder.set_epochs(1)
    ct.utils.save_spec(builder.spec, str(folder / "learns.mlmodel"))
    with pytest.raises(moka.UnsupportedError, match="an updatable network: has been seen in no model"):
        moka.compile(folder / "learns.mlmodel", folder)
    path = compiled(folder / "learns.mlmodel", unverified=True)
    model = moka.load(path)
    assert model.predict({"x": [0, 1]})["classLabel"] == "b"
    with pytest.raises(moka.UnsupportedError, match="not updatable"):
        model.update([{"x": [0, 1], "classLabel": "a"}])


NEIGHBORS = [
    ("inverse_distance", ["a", "b", "a", ""], "none", ["samples"]),
    ("uniform", [3, -4, 3, 2**40], 7, ["samples", "integer labels", "no default label of text", "uniform weights"]),
]


@pytest.mark.parametrize(("weighting", "labels", "default", "guesses"), NEIGHBORS, ids=["strings", "integers"])
def test_neighbors_keep_their_samples(folder: Path, weighting: str, labels: list[Any], default: Any, guesses: list[str]) -> None:
    source = folder / f"neighbors_{weighting}.mlmodel"
    ct.utils.save_spec(updatable(labels, default, weighting), str(source))
    rows = [{"input": [value, value]} for value in (0.0, 1.0, 4.0)]
    expected = moka.load(source).predict(rows)
    with pytest.raises(moka.UnsupportedError, match="kNearestNeighborsClassifier with samples"):
        moka.compile(source, folder)
    path = compiled(source, unverified=True)
    assert moka.load(path).predict(rows) == expected
    told = json.loads((path / "metadata.json").read_text())[0]["mokaUnverified"]
    assert {f"kNearestNeighborsClassifier with {guess}" for guess in guesses} <= set(told)


ON_DEVICE = {
    "visionFeaturePrint": lambda model: model.visionFeaturePrint.scene.SetInParent(),
    "audioFeaturePrint": lambda model: model.audioFeaturePrint.sound.SetInParent(),
    "wordTagger": lambda model: setattr(model.wordTagger, "revision", 1),
    "gazetteer": lambda model: setattr(model.gazetteer, "revision", 1),
    "wordEmbedding": lambda model: setattr(model.wordEmbedding, "revision", 1),
}


@pytest.mark.parametrize("kind", ON_DEVICE)
def test_models_that_apple_keeps_on_the_device_compile(folder: Path, kind: str) -> None:
    specification = transformer([("x", String())], [("y", String())])
    ON_DEVICE[kind](specification)
    ct.utils.save_spec(specification, str(folder / f"{kind}.mlmodel"))
    path = compiled(folder / f"{kind}.mlmodel", unverified=kind != "visionFeaturePrint")
    model = moka.load(path)
    assert model.kind == kind
    with pytest.raises(moka.UnsupportedError, match="register_feature_extractor"):
        model.predict({"x": "text"})


def test_pipeline_of_several_kinds(folder: Path) -> None:
    vectorizer = transformer([("a", Double()), ("b", Double())], [("ab", Array(2))])
    for name in ("a", "b"):
        vectorizer.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=1)
    linear = classifier("glmClassifier", [("ab", Array(2))], ["low", "high"])
    linear.glmClassifier.weights.add().value.extend([1.0, 1.0])
    linear.glmClassifier.offset.append(-3.0)
    pipeline = classifier("pipelineClassifier", [("a", Double()), ("b", Double())], ["low", "high"])
    del pipeline.pipelineClassifier.pipeline.models[:]
    pipeline.pipelineClassifier.pipeline.models.extend([vectorizer, linear])
    pipeline.pipelineClassifier.pipeline.names.extend(["join", "weigh"])
    ct.utils.save_spec(pipeline, str(folder / "pipeline.mlmodel"))
    rows = [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 9.0}]
    expected = moka.load(folder / "pipeline.mlmodel").predict(rows)
    path = compiled(folder / "pipeline.mlmodel")
    assert [item["label"] for item in expected] == ["low", "high"]
    for model in (path, moka.decompile(path, folder / "back")):
        assert moka.load(model).predict(rows) == expected
    names = b"".join(len(name).to_bytes(8, "little") + name for name in (b"join", b"weigh"))
    assert (path / "modelNames" / "coremldata.bin").read_bytes() == (2).to_bytes(8, "little") + names
    assert list(ct.utils.load_spec(str(folder / "back" / "pipeline.mlmodel")).pipelineClassifier.pipeline.names) == ["join", "weigh"]
    assert not (path / "updateParameters").exists()
