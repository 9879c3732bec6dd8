"""``moka plan``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import moka

Call = Callable[..., Result]


def test_shows_where_what_runs(moka_command: Call, scaled: Path) -> None:
    result = moka_command("plan", scaled, "--operations")
    assert result.exit_code == 0, result.output
    for text in ("plan for this machine", "compute units ALL", "Segments", "Operations by type", "leaky_relu", "CPU · "):
        assert text in result.stdout
    assert "modelled" not in result.stdout


def test_options_say_how_the_model_is_loaded(moka_command: Call, scaled: Path) -> None:
    shown = moka_command("plan", scaled, "--threads", 1, "--compute-units", "cpu_only", "--engine", "torch", "--allow-low-precision").stdout
    words = " ".join(shown.split())
    for text in ("(1 thread, ", "compute units CPU_ONLY", "CPU · torch", "nothing is computed in bf16"):
        assert text in words


def test_shows_a_modelled_plan_with_rules_sources_and_changes(moka_command: Call, scaled: Path) -> None:
    lines = moka_command("plan", scaled, "--device", "iphone 15 pro", "--compute-units", "CPU_AND_NE").stdout
    words = " ".join(lines.split())
    for text in (
        "modelled plan for iPhone 15 Pro (A17 Pro)",
        "Can't run there",
        "Neural Engine",
        "(high",
        "confidence)",
        "compute_precision=FLOAT16",
    ):
        assert text in words
    assert "GPU · Core ML" not in words


def test_json_is_the_plan(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    result = moka_command("plan", scaled, "--json", "--save", tmp_path / "plan.json", "--device", "M1")
    assert json.loads(result.stdout) == json.loads((tmp_path / "plan.json").read_text())
    assert moka.load_plan(tmp_path / "plan.json") == moka.plan(scaled, "M1")


def test_saved_plans_are_followed(moka_command: Call, scaled: Path, tmp_path: Path) -> None:
    made = moka.load(scaled, engine="torch").plan()
    (tmp_path / "plan.json").write_text(made.to_json())
    result = moka_command("plan", scaled, "--json", "--pins", tmp_path / "plan.json")
    assert {item["engine"] for item in json.loads(result.stdout)["placements"]} == {"torch"}


def test_layers_of_a_network(moka_command: Call, corpus: Path) -> None:
    result = moka_command("plan", corpus / "models" / "Digits.mlmodel", "--layers")
    if not (corpus / "models" / "Digits.mlmodel").exists():
        pytest.skip("the network is not among the real models")
    assert "Layers" in result.stdout
    assert "(convolution)" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "Nokia 3310"), "known are A14"),
        (("--shape", "x"), "expected NAME=SIZES"),
        (("--shape", "x=2,4"), "shape of 'x' is [2, 4]"),
        (("--pins", "absent.json"), "absent.json"),
        (("--device", "A14", "--measure"), "is not this machine"),
    ],
)
def test_errors_are_one_line(moka_command: Call, scaled: Path, arguments: tuple[str, ...], message: str) -> None:
    result = moka_command("plan", scaled, *arguments)
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output
