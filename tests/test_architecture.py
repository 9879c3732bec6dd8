"""Rules of the project as a whole: the direction of imports, the facade, and what importing Moka costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import moka

SOURCE = Path(moka.__file__).parent

# A room may import from itself and from rooms before it.
ROOMS = [
    "errors",
    "formats",
    "cache",
    "ir",
    "ops",
    "importers",
    "passes",
    "engines",
    "planning",
    "models",
    "compiler",
    "pytorch",
    "bridge",
    "cli",
]
HEAVY = ["torch", "coremltools", "onnxruntime", "openvino", "numpy", "PIL"]


def imports(path: Path) -> list[str]:
    """Full names of the modules of Moka that a file imports, wherever in the file it does."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module != "moka" else [f"moka.{alias.name}" for alias in node.names]
    return [name for name in found if name.split(".")[0] == "moka"]


def room(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else None


def files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if path.parent != SOURCE or path.name == "errors.py")


def test_every_folder_is_a_room() -> None:
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= set(ROOMS)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_to_earlier_rooms(path: Path) -> None:
    own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    later = [name for name in imports(path) if (target := room(name)) is not None and ROOMS.index(target) > ROOMS.index(own)]
    assert later == []


def test_the_command_line_calls_only_what_users_can_call() -> None:
    allowed = {"moka.cli", "moka.errors"}
    wrong = [
        f"{path.name}: {name}"
        for path in (SOURCE / "cli").rglob("*.py")
        for name in imports(path)
        if not any(name == home or name.startswith(f"{home}.") for home in allowed)
        and name != "moka"
        and name.removeprefix("moka.") not in moka.__all__
    ]
    assert wrong == []


def test_facade_names_exist_and_are_sorted() -> None:
    assert list(moka.__all__) == sorted(moka.__all__)
    for name in moka.__all__:
        assert getattr(moka, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = moka.no_such_name


def test_public_modules_state_what_they_offer() -> None:
    for path in files():
        names = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)]
        stated = [ast.literal_eval(node.value) for node in names if any(getattr(t, "id", "") == "__all__" for t in node.targets)]
        for name in stated[0] if stated else []:
            assert name in path.read_text(encoding="utf-8"), f"{path}: {name}"


def test_importing_moka_imports_nothing_heavy() -> None:
    code = f"import sys, moka; print([name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
