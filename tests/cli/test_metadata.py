"""``moka metadata``: the same data as the function gives, and a compiled model's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import moka

Call = Callable[..., Result]


def test_prints_what_the_function_gives(moka_command: Call, scaled: Path) -> None:
    plain, as_json = moka_command("metadata", scaled), moka_command("metadata", scaled, "--json")
    assert plain.exit_code == 0
    assert json.loads(plain.stdout) == json.loads(as_json.stdout) == moka.metadata(scaled)
    assert json.loads(plain.stdout)[0]["generatedClassName"] == "scaled_1_0"


def test_a_compiled_model_has_its_own(moka_command: Call, corpus: Path) -> None:
    path = corpus / "compiled" / "Argmax.mlmodelc"
    if not path.exists():
        pytest.skip("the compiled model is not among the real models")
    assert json.loads(moka_command("metadata", path).stdout) == json.loads((path / "metadata.json").read_text())


def test_a_compiled_model_without_metadata(moka_command: Call, tmp_path: Path) -> None:
    (tmp_path / "old.mlmodelc").mkdir()
    result = moka_command("metadata", tmp_path / "old.mlmodelc")
    assert result.exit_code == 1
    assert "has no metadata.json" in result.stderr
