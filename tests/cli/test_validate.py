"""``moka validate``: one line a problem, and an exit status for scripts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Call = Callable[..., Result]


@pytest.fixture
def broken(classifier: Path, tmp_path: Path) -> Path:
    """A package whose description names an output that the program does not have, and a feature of no type."""
    import coremltools as ct

    path = tmp_path / "broken.mlpackage"
    shutil.copytree(classifier, path)
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    specification = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    specification.description.output[0].name = "missing"
    specification.description.input.add(name="untyped")
    file.write_bytes(specification.SerializeToString())
    return path


def test_a_right_model(moka_command: Call, classifier: Path) -> None:
    result = moka_command("validate", classifier)
    assert (result.exit_code, result.stdout) == (0, f"{classifier}: no problems\n")
    assert json.loads(moka_command("validate", "--json", classifier).stdout) == []


def test_every_problem_has_a_line(moka_command: Call, broken: Path) -> None:
    result = moka_command("validate", broken)
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert any("output 'missing' is in the description only" in line for line in lines)
    assert any("feature 'untyped'" in line for line in lines)
    assert any("input 'untyped' is in the description only" in line for line in lines)
    assert f"{len(lines)} problems" in result.stderr
    found = json.loads(moka_command("validate", "--json", broken).stdout)
    assert [f"{item['where']}: {item['message']}" for item in found] == lines


def test_a_file_that_is_no_model(moka_command: Call, tmp_path: Path) -> None:
    (tmp_path / "text.mlmodel").write_text("hello")
    result = moka_command("validate", tmp_path / "text.mlmodel")
    assert result.exit_code == 1
    assert result.stdout.startswith(str(tmp_path / "text.mlmodel"))
