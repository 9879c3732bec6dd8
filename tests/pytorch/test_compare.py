"""Comparing PyTorch with Core ML, and Core ML with Core ML: down to the first operation that differs."""

from __future__ import annotations

import json
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import moka
from moka.pytorch.comparison import compare

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export's own


class Overflowing(nn.Module):
    """A norm written so that squares leave fp16 on the way, though inputs and outputs are small."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x)) * 100
        squares = h * h * 16
        return self.second(h / torch.sqrt(squares.mean(-1, keepdim=True)))


class Invalid(nn.Module):
    """NaN in fp16 without any overflow: 1 + 0.0006 is rounded up, so that what is under the root becomes negative."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(8e-4 - ((x + 6e-4) - x))


@pytest.fixture(scope="module")
def exported() -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    return torch.export.export(Overflowing().eval(), (torch.randn(2, 16),))


@pytest.fixture(scope="module")
def half(exported: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory) -> moka.Model:
    return moka.convert(exported, path=tmp_path_factory.mktemp("half") / "half.mlpackage", outputs=["y"])


@pytest.fixture(scope="module")
def full(exported: torch.export.ExportedProgram, tmp_path_factory: pytest.TempPathFactory) -> moka.Model:
    return moka.convert(exported, path=tmp_path_factory.mktemp("full") / "full.mlpackage", outputs=["y"], precision="float32")


@pytest.mark.parametrize("numerics", ["device", "fp16"])
def test_overflow_is_named_with_operation_and_line(exported: torch.export.ExportedProgram, half: moka.Model, numerics: str) -> None:
    found = compare(exported, half, numerics=numerics)  # type: ignore[arg-type]
    assert not found.agrees
    assert found.first is not None
    assert (found.first.status, found.first.type) == ("overflow", "mul")
    assert found.first.reference.startswith("mul")
    assert found.first.peak > 65504
    assert "test_compare.py" in found.first.source
    assert "squares = h * h * 16" in found.first.source
    assert "overflows: the value is" in str(found)
    before = found.layers[: found.layers.index(found.first)]
    assert len(before) >= 4
    assert all(layer.agrees for layer in before)


def test_the_same_model_in_fp32_agrees(exported: torch.export.ExportedProgram, half: moka.Model, full: moka.Model) -> None:
    assert compare(exported, half, numerics="fp32").agrees
    found = compare(exported, full)
    assert found.agrees
    assert found.first is None
    assert found.tolerance == 1e-4
    assert {layer.status for layer in found.layers} == {"agrees"}
    assert max(layer.error or 0 for layer in (*found.layers, *found.outputs)) < 1e-5
    assert found.unmatched == ()


def test_a_model_is_compared_with_itself(half: moka.Model, full: moka.Model) -> None:
    found = compare(half)
    assert found.reference == "half.mlpackage in fp32"
    assert found.first is not None
    assert found.first.status == "overflow"
    assert compare(full, numerics="device").agrees
    overflow = compare(full, numerics="fp16").first  # what would happen were it fp16
    assert overflow is not None
    assert (overflow.status, overflow.type) == ("overflow", "mul")


def test_nan_is_told_from_overflow() -> None:
    x = torch.ones(1, 3)
    found = compare(Invalid(), moka.convert(Invalid(), (x,)), {"x": x})
    assert found.first is not None
    statuses = {layer.type: layer.status for layer in found.layers}
    assert statuses["sqrt"] == "nan"
    assert "overflow" not in statuses.values()
    assert compare(Invalid(), moka.convert(Invalid(), (x,), precision="float32"), {"x": x}, tolerance=1e-2).agrees


def test_a_changed_weight_is_found_at_its_operation(exported: torch.export.ExportedProgram, full: moka.Model, tmp_path: Path) -> None:
    torch.manual_seed(0)
    changed = Overflowing().eval()
    with torch.no_grad():
        changed.second.weight[0] += 0.5
    other = moka.convert(changed, (torch.randn(2, 16),), path=tmp_path / "changed.mlpackage", outputs=["y"], precision="float32")
    for found in (compare(exported, other), compare(full, other, numerics="fp32")):
        assert not found.agrees
        assert found.first is not None
        assert (found.first.type, found.first.status) == ("linear", "differs")
        assert found.first is found.layers[-1]
        assert found.first.reference in ("linear_1", "y")


def test_values_are_found_without_names(exported: torch.export.ExportedProgram, tmp_path: Path) -> None:
    """A model whose values have other names than PyTorch's nodes."""
    torch.manual_seed(0)
    traced = torch.jit.trace(Overflowing().eval(), torch.randn(2, 16))
    package = ct.convert(
        traced,
        inputs=[ct.TensorType("features", (2, 16))],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    package.save(str(tmp_path / "traced.mlpackage"))
    found = compare(exported, tmp_path / "traced.mlpackage", {"features": torch.randn(2, 16)})
    assert found.agrees
    matched = [layer for layer in found.layers if layer.reference]
    assert len(matched) >= len(found.layers) - 1
    assert any(layer.reference not in layer.operation for layer in matched)


def test_images_reach_pytorch_as_the_network_sees_them() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    images = {"photo": moka.ImageInput("RGB", 1 / 255, (-0.4, -0.5, -0.6))}
    model = moka.convert(module, (torch.rand(1, 3, 8, 8),), inputs=["photo"], images=images, precision="float32")
    found = compare(module, model)
    assert found.agrees
    assert found.outputs[0].error is not None


def test_an_engine_is_compared_by_its_outputs(full: moka.Model) -> None:
    found = compare(full, engine="onnxruntime", numerics="fp32")
    assert found.agrees
    assert found.layers == ()
    assert found.outputs[0].error is not None
    assert found.outputs[0].error < 1e-5


def test_a_real_network_in_half_precision(corpus: Path) -> None:
    found = compare(corpus / "pairs/mnist-classifier/MNISTClassifier.mlmodel", numerics="fp16")
    assert found.agrees
    assert 0 < max(layer.error or 0 for layer in found.layers) < 2e-2


def test_the_report_as_json(exported: torch.export.ExportedProgram, half: moka.Model) -> None:
    found = compare(exported, half)
    data = json.loads(found.to_json())
    assert data["agrees"] is False
    assert data["first"]["status"] == "overflow"
    assert data["first"]["sentence"] in str(found)
    assert len(data["layers"]) == len(found.layers)
    assert np.isfinite(data["first"]["peak"])


def test_wrong_arguments_are_named(exported: torch.export.ExportedProgram, half: moka.Model, corpus: Path) -> None:
    with pytest.raises(moka.InputError, match="numerics is 'int8'"):
        compare(half, numerics="int8")  # type: ignore[arg-type]
    with pytest.raises(moka.InputError, match="model is missing"):
        compare(exported)
    with pytest.raises(moka.InputError, match=r"input 'x' .* is missing"):
        compare(exported, half, {})
    with pytest.raises(moka.UnsupportedError, match="are not compared"):
        compare(corpus / "models/UpdatableKNN.mlmodel")
