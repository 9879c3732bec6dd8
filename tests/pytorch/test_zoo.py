"""The networks of the zoo, delegated and compiled: PyTorch's outputs, one Core ML model each, all floating-point operations in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("transformers")

from examples.networks.check import TOLERANCES, relative_error

import moka
import moka.pytorch.backend as backend
from tests.pytorch.zoo import SMALL


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch._dynamo.reset()
    backend._reports.clear()
    yield
    torch._dynamo.reset()


def error(found: object, wanted: tuple[torch.Tensor, ...]) -> float:
    outputs = found if isinstance(found, tuple) else (found,)
    return relative_error(tuple(output.numpy() for output in outputs), tuple(output.numpy() for output in wanted))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_delegated(name: str) -> None:
    built = SMALL[name].build()
    module = moka.pytorch.delegate(torch.export.export(built.module, (), kwargs=built.steps[0]))
    expected = built()
    assert error(module(**built.steps[0]), expected[0]) <= TOLERANCES["fp32"]
    report = module.report()
    assert report.partitions == 1
    assert report.share_of_flops == 1
    assert report.share_of_nodes == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_compiled(name: str) -> None:
    built, again = SMALL[name].build(), SMALL[name].build()
    fast = torch.compile(again.module, backend="moka", dynamic=len(built.steps) > 1 or None)
    with torch.inference_mode():
        for step, expected in zip(again.steps, built(), strict=True):
            assert error(fast(**step), expected) <= TOLERANCES["fp32"]
    assert all(report.share_of_flops > 0.99 for report in backend.reports())
    assert backend.reports()


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_there_and_back(name: str) -> None:
    built = SMALL[name].build()
    there = moka.convert(built.module, built.steps[0], precision="float32")
    inputs = {feature: built.steps[0][feature] for feature in there.function.inputs}
    back = moka.convert(moka.pytorch.to_module(there), tuple(inputs.values()), precision="float32")
    found = back.predict(inputs, back.make_state() if back.function.states else None)
    wanted = tuple(output.numpy() for output in built()[0])
    assert relative_error(tuple(found.values()), wanted) <= TOLERANCES["fp16" if back.function.states else "fp32"]
