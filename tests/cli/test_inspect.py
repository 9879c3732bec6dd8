"""``moka inspect``: what it prints of models that coremltools wrote and of real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from click.testing import Result
from coremltools.models.neural_network import NeuralNetworkBuilder, SgdParams

Call = Callable[..., Result]


def test_shows_description_and_operations(moka_command: Call, scaled: Path) -> None:
    result = moka_command("inspect", scaled)
    assert result.exit_code == 0
    for text in (
        "mlProgram",
        "specification 7 (iOS 16.0, macOS 13.0)",
        "Halves what is negative",
        "A. Tester",
        "float32 [2, 3]",
        "any numbers",
    ):
        assert text in result.stdout
    assert "1 leaky_relu" in result.stdout


def test_shows_labels_images_and_states(moka_command: Call, classifier: Path, counter: Path) -> None:
    assert "3: red, green, blue" in moka_command("inspect", classifier).stdout
    assert "RGB image 4 x 4" in moka_command("inspect", classifier).stdout
    states = moka_command("inspect", counter).stdout.partition("States")[2]
    assert "total" in states
    assert "float16 [1]" in states


def test_prints_the_program(moka_command: Call, scaled: Path) -> None:
    lines = moka_command("inspect", "--operations", scaled).stdout.splitlines()
    assert lines[0].startswith("function main[CoreML6](%x: tensor<fp32, [2, 3]>)")
    assert any("= leaky_relu(x=%x, alpha=0.5)" in line for line in lines)


def test_json_says_what_coremltools_reads(moka_command: Call, scaled: Path, classifier: Path) -> None:
    for path in (scaled, classifier):
        found = json.loads(moka_command("inspect", "--json", path).stdout)
        specification = ct.utils.load_spec(str(path))
        assert found["kind"] == specification.WhichOneof("Type")
        assert found["specification_version"] == specification.specificationVersion
        function = found["functions"]["main"]
        assert [item["name"] for item in function["inputs"]] == [item.name for item in specification.description.input]
        assert [item["name"] for item in function["outputs"]] == [item.name for item in specification.description.output]
    assert found["class_labels"] == ["red", "green", "blue"]


def test_functions_are_shown_by_name(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    functions = ct.utils.MultiFunctionDescriptor()
    functions.add_function(str(scaled), src_function_name="main", target_function_name="first")
    functions.add_function(str(scaled), src_function_name="main", target_function_name="second")
    functions.default_function_name = "second"
    ct.utils.save_multifunction(functions, str(tmp_path / "several.mlpackage"))
    result = moka_command("inspect", tmp_path / "several.mlpackage")
    assert result.exit_code == 0
    assert "Function first\n" in result.stdout
    assert "Function second (default)\n" in result.stdout


def models(corpus: Path) -> list[Path]:
    return [path for place in ("models/*", "pairs/*/*") for path in sorted(corpus.glob(place)) if path.suffix in (".mlmodel", ".mlpackage")]


def test_every_real_model_can_be_inspected(moka_command: Call, corpus: Path) -> None:
    for path in models(corpus):
        found: dict[str, Any] = json.loads(moka_command("inspect", "--json", path).stdout)
        specification = ct.utils.load_spec(str(path))
        assert found["kind"] == specification.WhichOneof("Type"), path
        assert moka_command("inspect", path).exit_code == 0, path


def test_layers_of_a_pipeline_are_counted(moka_command: Call, corpus: Path) -> None:
    path = corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodel"
    if not path.exists():
        pytest.skip("the pipeline is not among the real models")
    network, neighbors = json.loads(moka_command("inspect", "--json", path).stdout)["parts"]
    specification = ct.utils.load_spec(str(path)).pipelineClassifier.pipeline.models[0]
    assert sum(network["operations"].values()) == len(specification.neuralNetwork.layers)
    assert (neighbors["kind"], neighbors["name"]) == ("kNearestNeighborsClassifier", "model1")


def test_shows_how_a_pipeline_learns(moka_command: Call, corpus: Path) -> None:
    path = corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodel"
    if not path.exists():
        pytest.skip("the pipeline is not among the real models")
    message = ct.utils.load_spec(str(path)).pipelineClassifier.pipeline.models[1].kNearestNeighborsClassifier.numberOfNeighbors
    shown = moka_command("inspect", path).stdout
    assert shown.count("Update parameters") == 1  # the network before the neighbors learns nothing
    (line,) = (line for line in shown.splitlines() if line.startswith("number_of_neighbors"))
    assert line.split() == [
        "number_of_neighbors",
        str(message.defaultValue),
        str(message.range.minValue),
        "to",
        str(message.range.maxValue),
    ]
    learned = [line.split()[0] for line in shown.partition("Training inputs")[2].splitlines()[2:4]]
    assert learned == ["drawing", "label"]


def test_shows_the_update_parameters_of_a_network(moka_command: Call, tmp_path: Path) -> None:
    builder = NeuralNetworkBuilder([("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(2))])
    builder.add_inner_product("dense", np.ones((2, 3)), np.zeros(2), 3, 2, True, "x", "scores")
    builder.add_softmax("softmax", "scores", "y")
    builder.make_updatable(["dense"])
    builder.set_categorical_cross_entropy_loss("loss", "y")
    optimizer = SgdParams(lr=0.25, batch=8)
    optimizer.set_batch(8, [4, 8])
    builder.set_sgd_optimizer(optimizer)
    builder.set_epochs(12, [6, 12])
    ct.utils.save_spec(builder.spec, str(tmp_path / "updatable.mlmodel"))
    shown = moka_command("inspect", tmp_path / "updatable.mlmodel").stdout
    lines = [" ".join(line.split()) for line in shown.partition("Update parameters\n")[2].splitlines()]
    assert lines == [
        "layers that learn: dense",
        "loss: categorical cross entropy of y against y_true",
        "optimizer: stochastic gradient descent",
        "parameter default allowed",
        "epochs 12 6, 12",
        "mini_batch_size 8 4, 8",
        "learning_rate 0.25 0.0 to 1.0",
        "momentum 0 0.0 to 1.0",
        "shuffle true any",
        "seed 0 any",
    ]


def test_prints_the_layers_of_networks(moka_command: Call, corpus: Path, tmp_path: Path) -> None:
    path = corpus / "pairs" / "updatable-drawing" / "UpdatableDrawingClassifier.mlmodel"
    if not path.exists():
        pytest.skip("the pipeline is not among the real models")
    layers = ct.utils.load_spec(str(path)).pipelineClassifier.pipeline.models[0].neuralNetwork.layers
    result = moka_command("inspect", "--operations", path)
    names = [line.rpartition("  # ")[2] for line in result.stdout.splitlines() if "  # " in line]
    assert names == [layer.name for layer in layers]
    assert result.stdout.startswith("# model0\n")
    assert json.loads(moka_command("inspect", "--operations", "--json", path).stdout)["programs"]["model0"] in result.stdout
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    specification.identity.SetInParent()
    (tmp_path / "identity.mlmodel").write_bytes(specification.SerializeToString())
    refused = moka_command("inspect", "--operations", tmp_path / "identity.mlmodel")
    assert refused.exit_code == 1
    assert "identity models have neither operations nor layers" in refused.stderr
