"""coremltools with the bridge installed, in this process, and small models made with it; the oracle is PyTorch."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import moka.bridge


class Network(torch.nn.Module):
    """Two products with a ReLU between them: enough weights for a weight file."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(40, 48)
        self.second = torch.nn.Linear(48, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


class Sum(torch.nn.Module):
    """Adds its input to what it was given before."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.total += x
        return self.total * 2


@pytest.fixture(scope="module")
def ct() -> Iterator[Any]:
    moka.bridge.install()
    import coremltools

    yield coremltools
    moka.bridge.uninstall()


@pytest.fixture(scope="module")
def network(ct: Any) -> SimpleNamespace:
    """A network in PyTorch and as a Core ML model, and an input."""
    torch.manual_seed(0)
    module, x = Network().eval(), torch.randn(2, 40)
    model = ct.convert(
        torch.jit.trace(module, x),
        inputs=[ct.TensorType(name="x", shape=x.shape)],
        outputs=[ct.TensorType(name="y")],
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
    )
    return SimpleNamespace(model=model, x=x.numpy(), y=module(x).detach().numpy())


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., str]:
    """Runs Python with arguments in a new process and an empty folder, and gives what it printed."""

    def run(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MOKA_BRIDGE": "", **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip()

    return run
