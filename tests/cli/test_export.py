"""``moka export``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from click.testing import Result

import moka


def test_a_model_with_its_metadata(moka_command: Callable[..., Result], scaled: Path, tmp_path: Path) -> None:
    path = tmp_path / "scaled.onnx"
    result = moka_command("export", scaled, path, "--check")
    assert result.exit_code == 0, result.output
    assert str(path) in result.output.replace("\n", "")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.doc_string == "Halves what is negative"
    assert {item.key: item.value for item in model.metadata_props}["author"] == "A. Tester"
    x = np.array([[-2, 0, 2], [4, -6, 8]], np.float32)
    (y,) = onnxruntime.InferenceSession(path).run(["y"], {"x": x})
    np.testing.assert_array_equal(y, [[-1, 0, 2], [4, -3, 8]])


def test_states_go_in_and_out(moka_command: Callable[..., Result], counter: Path, tmp_path: Path) -> None:
    path = tmp_path / "counter.onnx"
    result = moka_command("export", counter, path, "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    assert data["inputs"] == ["step", "total"]
    assert data["outputs"] == ["sum", "total_out"]
    session, total = onnxruntime.InferenceSession(path), np.zeros(1, np.float32)
    for expected in (3, 6, 9):
        found, total = session.run(["sum", "total_out"], {"step": np.full(1, 3, np.float32), "total": total})
        assert found == total == expected


def test_a_classifier_gives_probabilities(moka_command: Callable[..., Result], classifier: Path, tmp_path: Path) -> None:
    path = tmp_path / "classifier.onnx"
    assert moka_command("export", classifier, path, "--external").exit_code == 0
    assert sorted(item.name for item in tmp_path.iterdir()) == ["classifier.onnx", "classifier.onnx.data"]
    properties = {item.key: item.value for item in onnx.load(path).metadata_props}
    assert json.loads(properties["classes"]) == ["red", "green", "blue"]
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    expected = moka.load(classifier, engine="torch").predict({"image": image})["classLabel_probs"]
    (found,) = onnxruntime.InferenceSession(path).run(None, {"image": image.transpose(2, 0, 1)[None].astype(np.float32)})
    np.testing.assert_allclose(found.reshape(-1), [expected[name] for name in ("red", "green", "blue")], atol=1e-6)


def test_wrong_arguments_are_named(moka_command: Callable[..., Result], scaled: Path, tmp_path: Path) -> None:
    assert "ends in .onnx" in moka_command("export", scaled, tmp_path / "m.pb").output
    assert "expected NAME=SIZES" in moka_command("export", scaled, tmp_path / "m.onnx", "--shape", "x").output
    assert not list(tmp_path.iterdir())
