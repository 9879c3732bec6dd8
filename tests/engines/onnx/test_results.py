"""Large inputs are read where they lie, and large results written where the caller gets them, in memory that is used again."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.onnx.openvino import OpenVinoEngine, OpenVinoExecutable
from moka.engines.onnx.results import ResultMemory
from moka.formats.dtypes import FP16, FP32, INT32, STRING, DType
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import TensorType
from tests.ir.programs import operation

pytest.importorskip("openvino")

SHAPE = (64, 1024)


def single(kind: str, taken: TensorType, given: TensorType, engine: OpenVinoEngine) -> OpenVinoExecutable:
    """One operation from x to y."""
    x = Value("x", taken)
    operation = Operation(kind, {"x": (x,)})
    y = Value("y", given, operation)
    operation.outputs.append(y)
    return engine.compile(Segment((x,), (operation,), (y,), "CoreML5"))


@pytest.fixture(scope="module")
def sine() -> OpenVinoExecutable:
    return single("sin", TensorType(FP32, SHAPE), TensorType(FP32, SHAPE), OpenVinoEngine(threads=1))


ARRAYS = {
    "read-only": lambda array: np.frombuffer(array.tobytes(), np.float32).reshape(SHAPE),
    "turned": np.asfortranarray,
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
}


@pytest.mark.parametrize("arrange", ARRAYS.values(), ids=ARRAYS)
@pytest.mark.parametrize("sizes", [SHAPE, ("rows", SHAPE[1])], ids=["constant", "dynamic"])
@pytest.mark.parametrize("kind", ["relu", "identity"])
def test_inputs_are_read_as_they_lie(kind: str, sizes: tuple[int | str, ...], arrange: Callable[[Any], Any]) -> None:
    executable = single(kind, TensorType(FP32, sizes), TensorType(FP32, sizes), OpenVinoEngine(threads=1))
    numbers = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    x = arrange(numbers)
    found = [executable.run({"x": x})["y"] for _ in range(3)]
    np.testing.assert_array_equal(x, numbers)
    for y in found:
        np.testing.assert_array_equal(y, np.maximum(numbers, 0) if kind == "relu" else numbers)
        assert not np.shares_memory(x, y)


def test_low_precision_gives_large_results_as_declared() -> None:
    executable = single("sin", TensorType(FP16, SHAPE), TensorType(FP16, SHAPE), OpenVinoEngine(threads=1, low_precision=True))
    inputs = [np.linspace(-number, number, int(np.prod(SHAPE)), dtype=np.float32).reshape(SHAPE) for number in (1, 2, 3)]
    found = [executable.run({"x": x})["y"] for x in inputs]
    for x, y in zip(inputs, found, strict=True):
        assert y.dtype == np.float16
        np.testing.assert_allclose(y, np.sin(x), atol=2e-2)


def test_the_same_input_may_have_changed(sine: OpenVinoExecutable) -> None:
    x = np.zeros(SHAPE, np.float32)
    for number in (1, 2, 3):
        x[:] = number
        np.testing.assert_allclose(sine.run({"x": x})["y"], np.sin(number), atol=1e-6)


def test_what_is_held_stays(sine: OpenVinoExecutable) -> None:
    inputs = [np.full(SHAPE, number, np.float32) for number in range(12)]
    held = []
    for x in inputs:
        result = sine.run({"x": x})["y"]
        held.append(result if len(held) % 2 else result[3:5].T)
        del result
    for x, result in zip(inputs, held, strict=True):
        np.testing.assert_allclose(result, np.sin(x[0, 0]), atol=1e-6)


def test_what_nobody_holds_is_used_again(sine: OpenVinoExecutable) -> None:
    x = np.ones(SHAPE, np.float32)
    gc.collect()
    places = {sine.run({"x": x})["y"].ctypes.data for _ in range(8)}
    assert len(places) == 1


def test_the_caller_may_write_to_a_result(sine: OpenVinoExecutable) -> None:
    x = np.ones(SHAPE, np.float32)
    first = sine.run({"x": x})["y"]
    first[:] = 7
    np.testing.assert_allclose(sine.run({"x": x})["y"], np.sin(1), atol=1e-6)
    assert (first == 7).all()


def test_few_buffers_are_kept() -> None:
    memory = ResultMemory((4,), np.float32, lambda array: None)
    given = [memory.take().give() for _ in range(10)]
    places = [item.ctypes.data for item in given]
    assert len(set(places)) == 10
    del given
    assert memory.take().array.ctypes.data in places[-4:]


@pytest.mark.parametrize(("taken", "between"), [(FP32, FP16), (FP32, FP32), (INT32, INT32)], ids=["narrowed", "floats", "integers"])
def test_inputs_that_pass_through_are_not_written_to_by_later_runs(taken: DType, between: DType) -> None:
    held = TensorType(taken, ("rows", 8))
    x = Value("x", held)
    narrow = operation("cast", "narrow", type=TensorType(between, ("rows", 8)), x=x, dtype=text(between.name))
    wide = operation("cast", "y", type=held, x=narrow, dtype=text(taken.name))
    executable = OpenVinoEngine(threads=1).compile(Segment((x,), (narrow, wide), (wide.outputs[0],), "CoreML5"))
    arrays = [np.full((1, 8), number, np.float32 if taken is FP32 else np.int32) for number in range(6)]
    results = [executable.run({"x": array})["y"] for array in arrays]
    for number, (array, result) in enumerate(zip(arrays, results, strict=True)):
        np.testing.assert_array_equal(array, np.full((1, 8), number))
        np.testing.assert_array_equal(result, np.full((1, 8), number))


def text(word: str) -> Constant:
    return Constant(TensorType(STRING), word)
