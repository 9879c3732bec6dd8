"""Core ML to ONNX: the same numbers under the model's own names, valid for ONNX's checker, or a refusal that names every operation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from coremltools.converters.mil import Builder as mb  # noqa: N813

import moka
from tests.builders import convert

REAL = [
    "models/tiny.mlpackage",
    "models/short.mlpackage",
    "models/nmp.mlpackage",
    "models/hand_detector.mlpackage",
    "models/Digits.mlmodel",
    "models/rigid_style_model.mlmodel",
    "pairs/mnist-classifier/MNISTClassifier.mlmodel",
    "pairs/silero-int8/unified_int8.mlpackage",
    "pairs/silero-palette-2bit/unified_palette_2bit.mlpackage",
    "pairs/ssd-ocr/SSDOcr.mlmodel",
]


@pytest.mark.parametrize("name", REAL)
def test_real_models(corpus: Path, tmp_path: Path, name: str) -> None:
    model = moka.load(corpus / name)
    made = moka.export(model, tmp_path / "model.onnx", check=True)
    onnx.checker.check_model(str(made.path), full_check=True)
    assert set(made.inputs) == set(model.function.inputs)
    assert set(made.differences) == set(made.outputs)
    assert set(made.outputs) <= set(model.function.outputs)
    assert max(made.differences.values()) < 5e-3


def test_weights_beside_the_file_are_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 64)
    path = convert(torch.jit.trace(layer.eval(), torch.zeros(2, 64)), tmp_path / "m.mlpackage", inputs=[ct.TensorType("x", (2, 64))])
    inside = moka.export(path, tmp_path / "inside.onnx")
    outside = moka.export(path, tmp_path / "outside.onnx", external=True)
    assert inside.data is None
    assert outside.data == tmp_path / "outside.onnx.data"
    assert outside.data.stat().st_size >= 64 * 64 * 4
    assert outside.path.stat().st_size < 8192 < inside.path.stat().st_size
    x = torch.randn(2, 64)
    for made in (inside, outside):
        (found,) = onnxruntime.InferenceSession(made.path).run(None, {"x": x.numpy()})
        np.testing.assert_allclose(found, layer(x).detach().numpy(), atol=1e-5)


def test_weights_that_no_message_holds_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = torch.nn.Linear(64, 64).eval()
    path = convert(torch.jit.trace(layer, torch.zeros(2, 64)), tmp_path / "m.mlpackage", inputs=[ct.TensorType("x", (2, 64))])
    monkeypatch.setattr("moka.engines.onnx.file._INSIDE", 1000)  # in place of 2 GB
    made = moka.export(path, tmp_path / "m.onnx", check=True)
    assert made.data == tmp_path / "m.onnx.data"
    assert max(made.differences.values()) < 1e-5
    tensors = {item.name: item for item in onnx.load(made.path, load_external_data=False).graph.initializer}
    offsets = [int(entry.value) for item in tensors.values() for entry in item.external_data if entry.key == "offset"]
    assert offsets
    assert all(offset % 4096 == 0 for offset in offsets)


def test_names_that_onnx_would_use_itself_are_kept(tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=ct.target.iOS16)
    def program(add: Any) -> Any:
        return mb.mul(x=mb.add(x=mb.relu(x=add), y=1.0), y=2.0, name="relu")

    path = convert(program, tmp_path / "m.mlpackage")
    made = moka.export(path, tmp_path / "m.onnx", check=True)
    assert made.inputs == ("add",)
    assert made.outputs == ("relu",)
    assert made.differences["relu"] < 1e-6


def test_every_operation_without_a_form_is_named(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(moka.UnsupportedError, match=r"no form in ONNX: .*make_list.*list_scatter"):
        moka.export(corpus / "models/DTLN_AEC_128_Part1.mlpackage", tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_flexible_network_is_written_for_a_shape(corpus: Path, tmp_path: Path) -> None:
    path = corpus / "models/horses_on_seashore_512x512_a025_stable_flexible.mlmodel"
    made = moka.export(path, tmp_path / "m.onnx", shapes={"image": (1, 3, 256, 320)})
    (item,) = onnx.load(made.path).graph.input
    assert [size.dim_value for size in item.type.tensor_type.shape.dim] == [1, 3, 256, 320]
    with pytest.raises(moka.InputError, match="no input 'picture'"):
        moka.export(path, tmp_path / "n.onnx", shapes={"picture": (1, 3, 8, 8)})


def test_other_models_and_paths_are_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(moka.UnsupportedError, match="kNearestNeighborsClassifier are not exported"):
        moka.export(corpus / "models/UpdatableKNN.mlmodel", tmp_path / "m.onnx")
    (tmp_path / "file").write_text("")
    with pytest.raises(moka.InputError, match="can't be written"):
        moka.export(corpus / "models/tiny.mlpackage", tmp_path / "file" / "m.onnx")
