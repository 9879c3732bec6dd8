"""Programs that look at memory: Core ML gives PyTorch's numbers however tensors lie in it, and PyTorch finds them as it knows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import moka
import moka.pytorch.backend as backend
from moka.pytorch import delegate, load, save
from tests.pytorch.programs import Of, assert_same, exported


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def across(*shape: int) -> torch.Tensor:
    """A tensor whose elements do not lie in the order of its dimensions."""
    torch.manual_seed(0)
    return torch.rand(*shape[::-1]).permute(*reversed(range(len(shape))))


def last(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(*shape).to(memory_format=torch.channels_last)


class Pooled(torch.nn.Module):
    """Ends in a pooling of everything, which torch.compile's graphs have as `as_strided`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.out = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.pool(self.conv(x)).flatten(1))


WHOLE = {
    "pooled": (Pooled(), (last(2, 3, 9, 9),)),
    "pooled in lines": (Of(lambda x: torch.nn.functional.adaptive_avg_pool1d(x.exp().transpose(1, 2), 1).flatten(1)), (across(2, 5, 7),)),
    "weights of their own order": (Pooled().to(memory_format=torch.channels_last), (last(2, 3, 9, 9),)),
    "frames": (Of(lambda x: (x.unfold(-1, 40, 16) * torch.hann_window(40)).square().sum(-1)), (across(1, 200),)),
    "overlapping": (Of(lambda x: torch.as_strided(x.exp(), (3, 4), (2, 1), 1) * 2), (torch.rand(3, 10),)),
    "as it lies": (Of(lambda x: torch.as_strided(x.exp(), (2, 4, 4, 3), (48, 12, 3, 1)) * 2), (last(2, 3, 4, 4),)),
    "beyond a view": (Of(lambda x: torch.as_strided(x.exp()[:, 1:3], (2, 7), (2, 1)) * 2), (torch.rand(4, 5),)),
}

PARTS = {
    "view": (Of(lambda x: x.exp().transpose(0, 1).double().transpose(0, 1).view(-1)), (torch.rand(3, 4),)),
    "last": (Of(lambda x: (x.exp() * 2).double().permute(0, 2, 3, 1).view(2, -1)), (last(2, 3, 4, 5),)),
    "complex": (Of(lambda x: torch.view_as_complex((x.exp() * 2).double().permute(0, 2, 3, 1)).abs()), (last(2, 2, 4, 5),)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_all_becomes_one_model(name: str) -> None:
    module, inputs = WHOLE[name]
    fast = delegate(exported(module, *inputs))
    assert_same(fast(*inputs), module(*inputs).detach())
    assert fast.report().partitions == fast.report().share_of_nodes == 1


@pytest.mark.parametrize("name", WHOLE)
def test_compiled_it_becomes_one_model(name: str) -> None:
    module, inputs = WHOLE[name]
    with torch.no_grad():
        assert_same(torch.compile(module, backend="moka")(*inputs), module(*inputs))
    report = backend.reports()[-1]
    assert report.partitions == report.share_of_nodes == 1


def test_flexible_sizes() -> None:
    module = Pooled().eval()
    fast = torch.compile(module, backend="moka", dynamic=True)
    with torch.no_grad():
        for count in (2, 3, 5):
            assert_same(fast(last(count, 3, 9, 9)), module(last(count, 3, 9, 9)))
    assert backend.reports()[-1].share_of_nodes == 1


@pytest.mark.parametrize("name", PARTS)
def test_pytorch_goes_on_with_the_memory_that_it_knows(name: str, tmp_path: Path) -> None:
    module, inputs = PARTS[name]
    fast = delegate(exported(module, *inputs))
    wanted = module(*inputs)
    assert_same(fast(*inputs), wanted)
    assert fast.report().partitions == 1
    assert 0 < fast.report().share_of_nodes < 1
    save(fast, tmp_path / "a.moka")
    assert_same(load(tmp_path / "a.moka")(*inputs), wanted)


def test_results_lie_as_those_of_pytorch() -> None:
    conv, x = torch.nn.Conv2d(3, 8, 3).eval(), last(2, 3, 9, 9)

    def rows(x: torch.Tensor) -> torch.Tensor:
        y = conv(x)
        torch._dynamo.graph_break()
        return y.permute(0, 2, 3, 1).view(2, -1)

    with torch.no_grad():
        assert_same(torch.compile(rows, backend="moka")(x), rows(x))
        fast = delegate(exported(conv, x))
        assert fast(x).stride() == conv(x).stride()
        assert_same(fast(x), conv(x))


@pytest.mark.parametrize("case", [Pooled(), WHOLE["frames"][0]])
def test_converted(case: Any) -> None:
    x = last(2, 3, 9, 9) if isinstance(case, Pooled) else across(1, 200)
    model = moka.convert(case, (x,), precision="float32", inputs=["x"], outputs=["y"])
    assert_same(torch.from_numpy(model.predict({"x": x.numpy()})["y"]), case(x).detach())
