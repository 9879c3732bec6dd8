"""``moka profile``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

import moka

Call = Callable[..., Result]


def test_shows_times_of_predictions_segments_and_operations(moka_command: Call, scaled: Path) -> None:
    result = moka_command("profile", scaled, "--runs", 4, "--warmup", 2)
    assert result.exit_code == 0, result.output
    for text in (
        "a prediction",
        "4 runs after 2",
        "first load",
        "Segments",
        "CPU · ",
        "Operations by type",
        "Operations that take most",
        "leaky_relu",
    ):
        assert text in result.stdout


def test_json_and_files(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    page, saved = tmp_path / "profile.html", tmp_path / "profile.json"
    result = moka_command("profile", scaled, "--runs", 3, "--json", "--html", page, "--save", saved)
    made = moka.Profile.from_json(result.stdout)
    assert made.predict.runs == 3
    assert made == moka.Profile.from_json(saved.read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8") == made.to_html()


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_runs_on_the_engine_asked_for(moka_command: Call, scaled: Path, engine: str) -> None:
    made = json.loads(moka_command("profile", scaled, "--runs", 2, "--engine", engine, "--threads", 1, "--json").stdout)
    assert [segment["engine"] for segment in made["segments"]] == [engine]
    assert "1 thread," in made["machine"]


def test_every_operation_if_asked_for(moka_command: Call, scaled: Path) -> None:
    result = moka_command("profile", scaled, "--runs", 2, "--operations")
    made = moka.profile(scaled, runs=1)
    assert all(item.operation in result.stdout for item in made.operations)
    assert "Operations that take most" not in result.stdout


def test_inputs_as_predict_takes_them(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3), np.float32))
    assert moka_command("profile", scaled, "--runs", 1, "-i", f"x={tmp_path / 'x.npy'}").exit_code == 0
    np.save(tmp_path / "x.npy", np.ones((2, 4), np.float32))
    result = moka_command("profile", scaled, "--runs", 1, "-i", f"x={tmp_path / 'x.npy'}")
    assert result.exit_code == 1
    assert "'x'" in result.output
    assert "Traceback" not in result.output


def test_stateful_models_and_images(moka_command: Call, counter: Path, classifier: Path) -> None:
    for path in (counter, classifier):
        result = moka_command("profile", path, "--runs", 2)
        assert result.exit_code == 0, result.output
        assert "a prediction" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--runs", "0"), "0 is not in the range x>=1"),
        (("--engine", "abacus"), "'abacus' is not one of"),
        (("-i", "z=1"), "inputs are x"),
        (("--runs", "1", "--html", "absent/page.html"), "can't be written"),
        (("--function", "other"), "other"),
    ],
)
def test_errors_are_one_line(moka_command: Call, scaled: Path, arguments: tuple[str, ...], message: str) -> None:
    result = moka_command("profile", scaled, *arguments)
    assert result.exit_code in (1, 2)
    assert message in result.output
    assert "Traceback" not in result.output
