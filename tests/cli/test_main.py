"""The command as a whole: help, version, errors and what it costs."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import moka
from moka.cli import VERBS

Call = Callable[..., Result]


def test_help_lists_every_verb(moka_command: Call) -> None:
    result = moka_command("--help")
    assert result.exit_code == 0
    for name, line in VERBS.items():
        assert name in result.stdout
        assert line in result.stdout


def test_every_module_of_a_verb_is_listed() -> None:
    files = {path.stem for path in Path(moka.__file__).parent.joinpath("cli").glob("*.py")}
    assert files - {"__init__", "common", "inputs", "program", "values"} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, moka_command: Call) -> None:
    command = importlib.import_module(f"moka.cli.{verb}").command
    assert command.name == verb
    assert (command.help or "").splitlines()[0] == VERBS[verb]
    result = moka_command(verb, "--help")
    assert result.exit_code == 0
    assert "--json" in result.stdout
    assert "--debug" in result.stdout


def test_version(moka_command: Call) -> None:
    assert moka_command("--version").stdout == f"moka {moka.__version__}\n"


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom moka.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "sys.exit(str([name for name in ('torch', 'numpy', 'coremltools', 'google.protobuf', 'PIL', 'rich') if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "[]"


def test_looking_at_a_model_imports_no_torch(scaled: Path) -> None:
    code = (
        "import sys\nfrom moka.cli import main\n"
        f"for verb in ('inspect', 'metadata'):\n    main([verb, {str(scaled)!r}], standalone_mode=False)\n"
        "sys.exit(str([name for name in ('torch', 'coremltools') if name in sys.modules]))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == "[]"


@pytest.mark.parametrize("verb", ["inspect", "metadata", "predict"])
def test_an_error_is_one_line_and_status_1(verb: str, moka_command: Call, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mlmodel"
    broken.write_bytes(b"\xff\xff\xff")
    result = moka_command(verb, broken)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"Error: {broken}: ")
    assert len(result.stderr.splitlines()) == 1


def test_debug_shows_the_traceback(moka_command: Call, tmp_path: Path) -> None:
    result = moka_command("inspect", "--debug", tmp_path / "none.mlmodel")
    assert isinstance(result.exception, moka.FormatError)
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "arguments", [["no_such_verb"], ["inspect"], ["inspect", "--no-such-option", "x"], ["predict", "x", "--repeat", "many"]]
)
def test_wrong_usage_is_status_2(arguments: list[str], moka_command: Call) -> None:
    result = moka_command(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr
