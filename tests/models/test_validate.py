"""``moka.validate`` finds everything that is wrong, each where it is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.models.neural_network import NeuralNetworkBuilder

import moka
from tests.builders import convert, traced


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = relu(x @ w) for x float32 [2, 30] and w in the weight file."""
    weight = torch.arange(600.0).reshape(30, 20)
    module = traced(lambda x: torch.relu(x @ weight), torch.zeros(2, 30))
    path = tmp_path_factory.mktemp("validate") / "model.mlpackage"
    return convert(module, path, inputs=[ct.TensorType("x", (2, 30))], outputs=[ct.TensorType("y")])


def changed(model: Path, folder: Path, change: Callable[[Any], Any]) -> Path:
    """A copy of the model with a changed specification."""
    path = folder / "changed.mlpackage"
    shutil.copytree(model, path)
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    specification = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    change(specification)
    file.write_bytes(specification.SerializeToString())
    return path


def operation(specification: Any, kind: str) -> Any:
    block = specification.mlProgram.functions["main"].block_specializations["CoreML6"]
    return next(item for item in block.operations if item.type == kind)


def rename_operation(specification: Any) -> None:
    operation(specification, "relu").type = "no_such_operation"


def wrong_type(specification: Any) -> None:
    operation(specification, "relu").outputs[0].type.tensorType.dataType = 23


def missing_input(specification: Any) -> None:
    del operation(specification, "relu").inputs["x"]


def undefined_name(specification: Any) -> None:
    operation(specification, "relu").inputs["x"].arguments[0].name = "nothing"


def wrong_version(specification: Any) -> None:
    specification.specificationVersion = 99


def wrong_output(specification: Any) -> None:
    specification.description.output[0].name = "z"


def two_inputs_of_one_name(specification: Any) -> None:
    specification.description.input.add().CopyFrom(specification.description.input[0])


def unknown_prediction(specification: Any) -> None:
    specification.description.predictedFeatureName = "label"


def moved_weight(specification: Any) -> None:
    for item in specification.mlProgram.functions["main"].block_specializations["CoreML6"].operations:
        for value in item.attributes.values():
            if value.WhichOneof("value") == "blobFileValue":
                value.blobFileValue.offset = 64 * 10**6
                return


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename_operation, "'no_such_operation'"),
        (wrong_type, "output %y has type int32"),
        (missing_input, "input 'x' is missing"),
        (undefined_name, "'nothing' is not defined before it is used"),
        (wrong_version, "found 99, known are 1 to 10"),
        (wrong_output, "output 'z' is in the description only; the program gives y"),
        (two_inputs_of_one_name, "2 of the inputs have the name 'x'"),
        (unknown_prediction, "found 'label', which is none of the outputs y"),
        (moved_weight, "blob at 64000000: offset"),
    ],
)
def test_a_problem_is_found_and_nothing_else(change: Callable[[Any], Any], message: str, model: Path, tmp_path: Path) -> None:
    found = moka.validate(changed(model, tmp_path, change))
    assert len(found) == 1, found
    assert message in str(found[0])
    assert "model.mlmodel" in found[0].where


def test_one_problem_does_not_hide_another(model: Path, tmp_path: Path) -> None:
    def change(specification: Any) -> None:
        rename_operation(specification)
        wrong_output(specification)
        wrong_version(specification)

    assert len(moka.validate(changed(model, tmp_path, change))) == 3


def test_problems_of_stages_name_the_stage(tmp_path: Path) -> None:
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    specification.pipeline.models.add(specificationVersion=77).identity.SetInParent()
    (tmp_path / "pipeline.mlmodel").write_bytes(specification.SerializeToString())
    (problem,) = moka.validate(tmp_path / "pipeline.mlmodel")
    assert "stage 'model0'" in problem.where
    assert "found 77" in problem.message


def test_real_models_are_right(corpus: Path) -> None:
    sources = [path for path in (*corpus.glob("models/*"), *corpus.glob("pairs/*/*")) if path.suffix in (".mlmodel", ".mlpackage")]
    if not sources:
        pytest.skip(f"no models at {corpus}")
    assert {path.name: found for path in sources if (found := list(map(str, moka.validate(path))))} == {}


def network(folder: Path, change: Callable[[Any], Any]) -> list[str]:
    """What is found in y = dense(relu(x)) for x [3], y [2], after a change of its layers."""
    builder = NeuralNetworkBuilder([("x", ct.models.datatypes.Array(3))], [("y", ct.models.datatypes.Array(2))])
    builder.add_activation("relu", "RELU", "x", "r")
    builder.add_inner_product("dense", np.ones((2, 3)), np.zeros(2), 3, 2, True, "r", "y")
    change(builder)
    (folder / "network.mlmodel").write_bytes(builder.spec.SerializeToString())
    found = moka.validate(folder / "network.mlmodel")
    assert all("network.mlmodel" in problem.where for problem in found)
    return [problem.message for problem in found]


def one_side_reads_the_other(builder: Any) -> None:
    branch = builder.add_branch("choice", "x").branch
    for nested, source, target in ((branch.ifBranch, "x", "inner"), (branch.elseBranch, "inner", "other")):
        NeuralNetworkBuilder(nn_spec=nested, disable_rank5_shape_mapping=True).add_copy("copy of " + source, source, target)


def bias_too_long(builder: Any) -> None:
    builder.nn_spec.layers[1].innerProduct.bias.floatValue.append(1)


def make_updatable(builder: Any) -> None:
    builder.make_updatable(["dense"])


def add_custom(builder: Any) -> None:
    params = ct.proto.NeuralNetwork_pb2.CustomLayerParams(className="moka.tests.NeverRegistered")
    builder.add_custom("own", ["r"], ["own"], params)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda builder: None, []),
        (add_custom, []),
        (bias_too_long, ["layer 'dense' (innerProduct): bias: has 3 weights"]),
        (lambda builder: builder.nn_spec.layers[1].input.append("x"), ["layer 'dense' (innerProduct) has 2 inputs; expected 1"]),
        (one_side_reads_the_other, ["layer 'copy of inner' (copy) reads the blob 'inner', which no input and no earlier layer writes"]),
        (make_updatable, ["the network has no loss layer", "updateParams.optimizer is not set"]),
    ],
    ids=["right", "custom", "weights", "inputs", "branch", "update"],
)
def test_problems_of_networks_name_the_layer(change: Callable[[Any], Any], expected: list[str], tmp_path: Path) -> None:
    found = network(tmp_path, change)
    assert len(found) == len(expected), found
    for message, part in zip(found, expected, strict=True):
        assert part in message


def test_all_problems_of_a_network_are_found(tmp_path: Path) -> None:
    def change(builder: Any) -> None:
        relu, dense = builder.nn_spec.layers
        relu.input[0] = "nothing"
        dense.output[0] = "z"
        builder.nn_spec.layers.add(name="new", input=["z"], output=["n"])

    found = network(tmp_path, change)
    assert [message.partition(" reads")[0] for message in found] == [
        "layer 'relu' (activation)",
        "layer 'new' is of no kind that Moka knows",
        "output 'y' is a blob that no layer writes",
    ]


def test_models_of_other_kinds_are_loaded_to_see(tmp_path: Path) -> None:
    specification = ct.proto.Model_pb2.Model(specificationVersion=1)
    specification.description.input.add(name="x").type.doubleType.SetInParent()
    specification.description.output.add(name="y").type.doubleType.SetInParent()
    specification.treeEnsembleRegressor.treeEnsemble.numPredictionDimensions = 1
    specification.treeEnsembleRegressor.treeEnsemble.nodes.add(trueChildNodeId=7)
    (tmp_path / "trees.mlmodel").write_bytes(specification.SerializeToString())
    (problem,) = moka.validate(tmp_path / "trees.mlmodel")
    assert "tree 0: node 0: its child 7 is missing" in problem.message
