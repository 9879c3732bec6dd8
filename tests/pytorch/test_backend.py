"""``torch.compile(model, backend="moka")`` gives what PyTorch gives."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import moka.pytorch.backend as backend
from tests.pytorch.programs import Counting, Middle, assert_same


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Each test compiles on its own."""
    torch._dynamo.reset()
    backend._reports.clear()
    yield
    torch._dynamo.reset()


class Broken(torch.nn.Module):
    """A graph break between two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        torch._dynamo.graph_break()
        return self.second(x).softmax(-1)


def compiled(model: torch.nn.Module, **options: Any) -> Any:
    return torch.compile(model.eval(), backend="moka", **options)


def test_the_backend_is_registered() -> None:
    assert "moka" in torch._dynamo.list_backends()


def test_operators_that_core_ml_lacks_stay_in_pytorch() -> None:
    model, x = Middle(), torch.rand(2, 3, 8, 8)
    fast = compiled(model)
    with torch.no_grad():
        assert_same(fast(x), model(x))
    (report,) = backend.reports()
    assert report.partitions == 2
    assert [node.target for node in report if not node.delegated] == ["aten.special_bessel_j0.default"]


def test_graph_breaks_and_flexible_sizes() -> None:
    model = Broken()
    fast = compiled(model)
    with torch.no_grad():
        for rows in (2, 5, 7, 1):
            x = torch.rand(rows, 6)
            assert_same(fast(x), model(x))
    assert len(backend.reports()) >= 4
    assert all(report.share_of_flops == 1 for report in backend.reports())


def test_buffers_and_weights_that_change() -> None:
    ours, theirs = Counting(), Counting()
    theirs.load_state_dict(ours.state_dict())
    fast, x = compiled(ours), torch.rand(3, 4)
    with torch.no_grad():
        for _ in range(3):
            assert_same(fast(x), theirs(x))
        for model in (ours, theirs):
            model.scale.weight.mul_(2)
        assert_same(fast(x), theirs(x))
        weights = {name: value * 3 for name, value in theirs.state_dict().items()}
        for model in (ours, theirs):
            model.load_state_dict(weights)
        assert_same(fast(x), theirs(x))
    assert_same(ours.total, theirs.total)


def test_training_runs_in_pytorch_and_says_so_once() -> None:
    backend._warned = False
    model, x = Broken(), torch.rand(2, 6)
    fast = torch.compile(model.train(), backend="moka")
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fast(x).square().sum().backward()
    ours = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    model(x).square().sum().backward()
    assert_same(ours, [parameter.grad for parameter in model.parameters()])
    assert sum("backend 'moka'" in str(item.message) for item in found) == 1
    assert backend.reports() == ()


def test_options_are_those_of_delegation() -> None:
    model, x = Middle(), torch.rand(2, 3, 8, 8)
    fast = compiled(model, options={"keep_out": ("aten.relu",), "engine": "torch"})
    with torch.no_grad():
        assert_same(fast(x), model(x))
    assert any(node.target.startswith("aten.relu") and not node.delegated for node in backend.reports()[0])


def test_the_next_process_converts_nothing() -> None:
    code = (
        "import sys, torch; torch.manual_seed(0); m = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.GELU()).eval();"
        "f = torch.compile(m, backend='moka'); x = torch.ones(2, 4)\n"
        "with torch.no_grad(): assert torch.allclose(f(x), m(x), atol=1e-5)\n"
        "print('coremltools' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["True", "False"]
