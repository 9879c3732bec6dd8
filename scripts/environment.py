"""Makes the virtual environment that the scripts run in, once, and names its Python. Needs only Python and the package registry."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path(os.environ.get("MOKA_VENV", ROOT / ".venv"))
PYTHON = FOLDER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = FOLDER / "moka-installed"


def fingerprint() -> str:
    """Changes when the dependencies do."""
    return hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()


def pip(*arguments: str) -> None:
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def ensure() -> Path:
    """The environment's Python, with Moka (editable) and everything that its tests and examples import."""
    if sys.version_info < (3, 11):  # noqa: UP036  whatever Python is on the machine runs this file
        sys.exit(f"Moka needs Python 3.11 or newer; this is {sys.version.split()[0]}")
    if STAMP.exists() and STAMP.read_text() == fingerprint():
        return PYTHON
    print(f"making the environment in {FOLDER} (once; a few minutes)", file=sys.stderr, flush=True)
    if not PYTHON.exists():
        venv.create(FOLDER, with_pip=True)
    pip("torch==2.13.0")  # first: whatever else asks for torch is then content with this one
    pip("--editable", f"{ROOT}[dev]")
    STAMP.write_text(fingerprint())
    return PYTHON


if __name__ == "__main__":
    print(ensure())
