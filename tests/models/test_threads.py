"""Several threads, and event loops, that predict on one model at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from benchmarks.threads import ALLOWED, ENGINES, Outcome, build, hammer

import moka
from tests.builders import counter


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("threads"))


@pytest.mark.parametrize("engine", ENGINES)
def test_eight_threads_on_one_model(package: Path, engine: str) -> None:
    outcome = hammer(package, engine, threads=8, seconds=2)
    assert outcome.errors == []
    assert outcome.wrong == 0
    assert outcome.predictions >= 8
    assert outcome.growth is None or outcome.growth <= ALLOWED


def test_a_wrong_result_is_noticed(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: results that are off by a little, now and then, are counted."""
    predict, calls = moka.Model.predict, iter(range(10**9))

    def now_and_then_off(self: moka.Model, *arguments: object) -> object:
        found = predict(self, *arguments)  # type: ignore[call-overload]
        return {name: value + 1e-3 * (next(calls) % 100 == 99) for name, value in found.items()}

    monkeypatch.setattr(moka.Model, "predict", now_and_then_off)
    outcome = hammer(package, "onnxruntime", threads=2, seconds=1)
    assert outcome.wrong > 0
    assert not outcome.passed
    assert not Outcome("torch").passed, "no prediction at all"


@pytest.mark.parametrize("engine", ENGINES)
def test_predictions_in_one_event_loop(package: Path, engine: str) -> None:
    model = moka.load(package, engine=engine, threads=1)  # type: ignore[arg-type]
    samples = [moka.random_inputs(model.function.inputs, seed) for seed in range(24)]

    async def all_at_once() -> list[object]:
        return await asyncio.gather(*map(model.predict_async, samples))

    results = asyncio.run(all_at_once())
    reference = moka.load(package, engine="torch")
    for sample, result in zip(samples, results, strict=True):
        expected = reference.predict(sample)
        for name, value in expected.items():
            np.testing.assert_allclose(result[name], value, rtol=1e-4, atol=1e-5)  # type: ignore[index]


@pytest.mark.parametrize("engine", ENGINES)
def test_states_of_threads_stay_apart(engine: str, tmp_path: Path) -> None:
    """Each task adds its own number to a state of its own, in turns with all others."""
    path = counter(tmp_path / "sum.mlpackage")
    model = moka.load(path, engine=engine)  # type: ignore[arg-type]

    async def count(step: int) -> np.ndarray:
        state = model.make_state()
        for _ in range(20):
            result = await model.predict_async({"step": np.full(2, step, np.float16)}, state)
        return result["sum"]  # type: ignore[call-overload, no-any-return]

    async def together() -> list[np.ndarray]:
        return await asyncio.gather(*map(count, range(6)))

    assert [float(total[0]) for total in asyncio.run(together())] == [20.0 * step for step in range(6)]
