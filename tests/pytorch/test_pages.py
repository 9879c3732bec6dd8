"""The code on the pages about PyTorch runs as it is printed, one block after the other, in an empty folder."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PAGES = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

without_executorch = pytest.mark.skipif(importlib.util.find_spec("executorch") is None, reason="executorch is not installed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("page", ["pytorch.md", "compare.md", pytest.param("executorch.md", marks=without_executorch)])
def test_the_code_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    blocks = _BLOCK.findall((PAGES / page).read_text(encoding="utf-8"))
    assert {kind for kind, _ in blocks} == {"python", "sh"}
    for kind, code in blocks:
        if kind == "python":
            exec(compile(code, page, "exec"), names)
        for line in code.splitlines() if kind == "sh" else ():
            words = shlex.split(line, comments=True)
            run = subprocess.run([sys.executable, "-W", "ignore", "-m", *words], capture_output=True, text=True, check=False)
            assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
