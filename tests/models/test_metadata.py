"""Metadata against what Apple's compiler wrote for real models."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

import moka
from moka.models.metadata_names import layer_type, operation_type
from tests.builders import convert, traced


def without_drift(model: dict[str, Any]) -> dict[str, Any]:
    """Drops what two releases of Apple's compiler write differently for one and the same source."""
    model = json.loads(json.dumps(model))
    model.pop("stateSchema", None)
    for system in ("visionOS", "macCatalyst"):
        model["availability"].pop(system, None)
    if "classLabels" in model:
        model["classLabels"] = [str(label) for label in model["classLabels"]]
    layers = model.get("neuralNetworkLayerTypeHistogram", {})
    for kind in [kind for kind in layers if kind.startswith("Pooling")]:
        layers["Pooling"] = layers.get("Pooling", 0) + layers.pop(kind)
    return model


def pairs(corpus: Path) -> list[tuple[Path, Path]]:
    """(source, metadata of its compiled model) of the real models that have both."""
    found = []
    for file in sorted(corpus.glob("pairs/*/*.mlmodelc/metadata.json")):
        sources = [path for path in file.parents[1].iterdir() if path.suffix in (".mlmodel", ".mlpackage")]
        found += [(source, file) for source in sources]
    return found


def test_equals_what_apples_compiler_wrote(corpus: Path) -> None:
    found = pairs(corpus)
    if not found:
        pytest.skip(f"no compiled models with their sources at {corpus / 'pairs'}")
    for source, file in found:
        (apple,) = json.loads(file.read_text(encoding="utf-8"))
        (ours,) = moka.metadata(source)
        assert without_drift(ours) == without_drift(apple), source


def test_texts_of_compiled_programs_give_the_stated_histogram(corpus: Path) -> None:
    texts = [path for path in corpus.rglob("model.mil") if (path.parent / "metadata.json").exists()]
    if not texts:
        pytest.skip(f"no compiled ML Programs at {corpus}")
    for path in texts:
        (apple,) = json.loads((path.parent / "metadata.json").read_text(encoding="utf-8"))
        text = path.read_text(encoding="utf-8")
        opset = {"ios15": "CoreML5", "ios16": "CoreML6", "ios17": "CoreML7", "ios18": "CoreML8"}[re.findall(r"func main<(\w+)>", text)[0]]
        operations = [name for name in re.findall(r"^ *[^=]+? = (\w+)\(", text, re.MULTILINE) if name != "const"]
        assert Counter(operation_type(name, opset) for name in operations) == apple["mlProgramOperationTypeHistogram"], path


# Histograms that published metadata files state for programs of an opset, beyond those that the real models show.
PUBLISHED = {
    ("CoreML5", "max_pool real_div matmul upsample_nearest_neighbor"): "MaxPool RealDiv Matmul UpsampleNearestNeighbor",
    ("CoreML6", "batch_norm square split reduce_mean"): "Ios16.batchNorm Ios16.square Split Ios16.reduceMean",
    (
        "CoreML7",
        "softmax transpose select gather_along_axis range_1d",
    ): "Ios16.softmax Ios17.transpose Select Ios17.gatherAlongAxis Range1d",
    ("CoreML7", "constexpr_lut_to_dense instance_norm stack silu"): "Ios16.constexprLutToDense Ios17.instanceNorm Stack Ios16.silu",
}


@pytest.mark.parametrize(("program", "stated"), PUBLISHED.items(), ids=[" ".join(key) for key in PUBLISHED])
def test_names_of_operations(program: tuple[str, str], stated: str) -> None:
    opset, names = program
    assert [operation_type(name, opset) for name in names.split()] == stated.split()


def test_names_of_layers() -> None:
    layers = ct.proto.NeuralNetwork_pb2.NeuralNetwork().layers
    cases = {
        "UnaryThreshold": lambda layer: setattr(layer.unary, "type", layer.unary.THRESHOLD),
        "PoolingAverage": lambda layer: setattr(layer.pooling, "type", layer.pooling.AVERAGE),
        "ActivationSigmoidHard": lambda layer: layer.activation.sigmoidHard.SetInParent(),
        "PaddingConstant": lambda layer: layer.padding.constant.SetInParent(),
        "SubtractBroadcastable": lambda layer: layer.subtractBroadcastable.SetInParent(),
        "BatchNorm": lambda layer: layer.batchnorm.SetInParent(),
        "LoadConstantND": lambda layer: layer.loadConstantND.SetInParent(),
    }
    for name, fill in cases.items():
        layer = layers.add()
        fill(layer)
        assert layer_type(layer) == name


def test_flexible_shapes(tmp_path: Path) -> None:
    module = traced(lambda x: x * 2, torch.zeros(1, 4))
    ranged = ct.TensorType("x", (1, ct.RangeDim(2, 4000, default=266)))
    (entry,) = moka.metadata(convert(module, tmp_path / "ranged.mlpackage", inputs=[ranged]))
    (feature,) = entry["inputSchema"]
    # As in a published file of such an input.
    assert feature["shapeFlexibility"] == "1 × 2...4000"
    assert feature["shapeRange"] == "[[1, 1], [2, 4000]]"
    assert (feature["formattedType"], feature["hasShapeFlexibility"]) == ("MultiArray (Float32 1 × 266)", "1")
    listed = ct.TensorType("x", ct.EnumeratedShapes([(1, 4), (1, 8)], default=(1, 4)))
    (entry,) = moka.metadata(convert(module, tmp_path / "listed.mlpackage", inputs=[listed]))
    assert entry["inputSchema"][0]["shapeFlexibility"] == "1 × 4 | 1 × 8"
    assert entry["inputSchema"][0]["enumeratedShapes"] == "[[1, 4], [1, 8]]"


def test_labels_of_a_program(tmp_path: Path) -> None:
    module = traced(lambda x: torch.softmax(x, dim=1), torch.zeros(1, 3))
    labels = ["first", "second", "third"]
    inputs = [ct.TensorType("x", (1, 3))]
    (entry,) = moka.metadata(convert(module, tmp_path / "c.mlpackage", inputs=inputs, classifier_config=ct.ClassifierConfig(labels)))
    assert entry["classLabels"] == labels
    assert entry["outputSchema"][0]["type"] == "String"


def test_an_updatable_network_is_refused(tmp_path: Path) -> None:
    specification = ct.proto.Model_pb2.Model(specificationVersion=4, isUpdatable=True)
    specification.neuralNetwork.updateParams.epochs.defaultValue = 1
    (tmp_path / "updatable.mlmodel").write_bytes(specification.SerializeToString())
    with pytest.raises(moka.UnsupportedError, match="updatable network"):
        moka.metadata(tmp_path / "updatable.mlmodel")


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    specification = ct.proto.Model_pb2.Model(specificationVersion=99)
    specification.identity.SetInParent()
    (tmp_path / "future.mlmodel").write_bytes(specification.SerializeToString())
    with pytest.raises(moka.UnsupportedError, match="specification version 99"):
        moka.metadata(tmp_path / "future.mlmodel")


def test_precision_of_a_program_without_weights(tmp_path: Path) -> None:
    """As a published file of a single multiplication of two float16 inputs states it: a computing precision, none of storage."""
    module = traced(lambda x, y: x * y, torch.zeros(1, 10), torch.zeros(1, 10))
    inputs = [ct.TensorType(name, (1, 10), dtype=np.float16) for name in "xy"]
    options = {"compute_precision": ct.precision.FLOAT16, "outputs": [ct.TensorType("z", dtype=np.float16)]}
    (entry,) = moka.metadata(convert(module, tmp_path / "product.mlpackage", inputs=inputs, **options))
    assert entry["computePrecision"] == "Float16"
    assert "storagePrecision" not in entry
    assert entry["mlProgramOperationTypeHistogram"] == {"Ios16.mul": 1}
