"""Results in memory that is used again: what a caller holds never changes, and what nobody holds is not allocated anew."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.onnx.openvino import OpenVinoEngine, OpenVinoExecutable
from moka.engines.onnx.results import ResultMemory
from moka.formats.dtypes import FP32
from moka.ir.program import Operation, Value
from moka.ir.types import TensorType

pytest.importorskip("openvino")

SHAPE = (64, 1024)


@pytest.fixture(scope="module")
def sine() -> OpenVinoExecutable:
    kind = TensorType(FP32, SHAPE)
    x = Value("x", kind)
    operation = Operation("sin", {"x": (x,)})
    y = Value("y", kind, operation)
    operation.outputs.append(y)
    return OpenVinoEngine(threads=1).compile(Segment((x,), (operation,), (y,), "CoreML5"))


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
