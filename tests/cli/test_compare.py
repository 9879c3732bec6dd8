"""``moka compare``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result

import moka

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export's own


class Overflowing(torch.nn.Module):
    """Too large for fp16 in the middle."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = torch.exp(x) * 40000
        return large / 40000


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A program that overflows in fp16, and packages of it in fp16 and fp32."""
    folder = tmp_path_factory.mktemp("overflowing")
    exported = torch.export.export(Overflowing(), (torch.linspace(-1, 2, 8)[None],))
    torch.export.save(exported, folder / "net.pt2")
    for precision in ("float16", "float32"):
        moka.convert(exported, path=folder / f"{precision}.mlpackage", precision=precision, outputs=["y"])
    return folder / "net.pt2", folder / "float16.mlpackage", folder / "float32.mlpackage"


def test_device_numerics_name_the_operation_that_overflows(moka_command: Callable[..., Result], files: tuple[Path, Path, Path]) -> None:
    program, half, _ = files
    result = moka_command("compare", program, half, "--numerics", "device")
    assert result.exit_code == 1
    line = next(line for line in result.output.splitlines() if line.startswith("first:"))
    assert "overflows" in line
    assert "test_compare.py" in line
    assert "torch.exp(x) * 40000" in result.output


def test_what_agrees_has_exit_status_0(moka_command: Callable[..., Result], files: tuple[Path, Path, Path]) -> None:
    program, half, full = files
    result = moka_command("compare", program, full, "--layers")
    assert result.exit_code == 0, result.output
    assert "agrees" in result.output
    assert "exp" in result.output
    assert moka_command("compare", half, "--numerics", "fp32").exit_code == 0
    assert moka_command("compare", full, half, "--numerics", "fp32").exit_code == 0
    assert moka_command("compare", full, "--engine", "onnxruntime").exit_code == 0


def test_json_and_inputs(moka_command: Callable[..., Result], files: tuple[Path, Path, Path]) -> None:
    _, half, _ = files
    result = moka_command("compare", half, "--json", "-i", "x=[[-9,-9,-9,-9,-9,-9,-9,-9]]", "--tolerance", "0.05")
    data = json.loads(result.output)
    assert result.exit_code == 0, result.output
    assert data["agrees"] is True
    assert data["first"] is None
    assert [layer["status"] for layer in data["layers"]].count("agrees") == len(data["layers"])


def test_wrong_arguments_are_named(moka_command: Callable[..., Result], files: tuple[Path, Path, Path]) -> None:
    program, half, _ = files
    assert "give the Core ML model as well" in moka_command("compare", program).output
    assert "inputs are x" in moka_command("compare", half, "-i", "z=1").output
    assert moka_command("compare", half, program).exit_code == 1
