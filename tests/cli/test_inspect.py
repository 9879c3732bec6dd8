"""``moka inspect``: what it prints of models that coremltools wrote and of real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import pytest
from click.testing import Result

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
