"""The PyTorch engine: what it prepares once, what it drops, how it rounds, and what it says when an operation fails."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

from moka.engines.base import Segment
from moka.engines.null_engine import NullEngine
from moka.engines.torch_engine import TorchEngine
from moka.errors import ExecutionError, InputError, ProgramError, UnknownOperationError
from moka.formats.dtypes import FP16, FP32
from moka.ir.program import Block, Constant, Operation, Value
from moka.ir.types import StateType, TensorType

VECTOR = TensorType(FP32, (3,))


def operation(kind: str, name: str, value_type: TensorType = VECTOR, **inputs: Any) -> Operation:
    arguments = {key: item if isinstance(item, tuple) else (item,) for key, item in inputs.items()}
    made = Operation(kind, arguments)
    made.outputs.append(Value(name, value_type, made))
    return made


def constant(*numbers: float) -> Constant:
    return Constant(VECTOR, np.array(numbers, np.float32))


def segment(inputs: list[Value], *operations: Operation) -> Segment:
    return Segment(tuple(inputs), operations, tuple(operations[-1].outputs), "CoreML8")


def test_operations_on_constants_run_once_ahead() -> None:
    x = Value("x", VECTOR)
    total = operation("add", "total", x=constant(1, 2, 3), y=constant(1, 1, 1))
    result = operation("mul", "result", x=x, y=total.outputs[0])
    executable = TorchEngine().compile(segment([x], total, result))
    assert [step.operation.type for step in executable.code.steps] == ["mul"]
    assert executable.run({"x": np.array([1, 10, 100], np.float32)})["result"].tolist() == [2, 30, 400]


def test_random_numbers_are_not_made_ahead() -> None:
    shape = Constant(TensorType(FP32, (1,)), np.array([3], np.int32))
    made = operation("random_uniform", "noise", shape=shape)
    executable = TorchEngine().compile(segment([], made))
    assert len(executable.code.steps) == 1


def test_values_are_dropped_after_their_last_use(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Value("x", VECTOR)
    first = operation("relu", "first", x=x)
    second = operation("exp", "second", x=first.outputs[0])
    third = operation("abs", "third", x=second.outputs[0])
    executable = TorchEngine().compile(segment([x], first, second, third))
    rows, alive = executable.code._rows, []
    seen: list[weakref.ref[torch.Tensor]] = []

    def watched(call: Any) -> Any:
        def run(*operands: torch.Tensor) -> torch.Tensor:
            alive.append(sum(reference() is not None for reference in seen))
            result = call(*operands)
            seen.append(weakref.ref(result))
            return result

        return run

    executable.code._rows = [(step, watched(call), *rest) for step, call, *rest in rows]
    executable.run({"x": torch.ones(3)})
    assert alive == [0, 1, 1]


def test_weights_that_need_no_conversion_are_not_copied() -> None:
    x, numbers = Value("x", VECTOR), np.array([1, 2, 3], np.float32)
    result = operation("add", "result", x=x, y=Constant(VECTOR, numbers))
    executable = TorchEngine().compile(segment([x], result))
    pointers = {item.data_ptr() for item in executable.code.template if isinstance(item, torch.Tensor)}
    assert numbers.ctypes.data in pointers


def test_device_numerics_round_every_result() -> None:
    half = TensorType(FP16, (1,))
    x = Value("x", half)
    large = operation("add", "large", half, x=x, y=Constant(half, np.array([2048], np.float16)))
    result = operation("sub", "result", half, x=large.outputs[0], y=Constant(half, np.array([2048], np.float16)))
    given = {"x": np.array([1], np.float16)}
    fast, device = (TorchEngine(numerics=numerics).compile(segment([x], large, result)).run(given) for numerics in ("fast", "device"))
    assert fast["result"].item() == 1
    assert device["result"].item() == np.float16(2048) + np.float16(1) - np.float16(2048) == 0


def test_device_numerics_overflow_as_fp16_does() -> None:
    half = TensorType(FP16, (1,))
    x = Value("x", half)
    executable = TorchEngine(numerics="device").compile(segment([x], operation("square", "result", half, x=x)))
    assert executable.run({"x": np.array([300], np.float16)})["result"].item() == np.inf


def test_blocks_see_values_around_them() -> None:
    """cond(flag, x + y, x - y), where x and y belong to the block around."""
    x, y = Value("x", VECTOR), Value("y", VECTOR)
    flag = Value("flag", TensorType(FP32, ()))
    test = operation("greater", "test", TensorType(FP32, ()), x=flag, y=Constant(TensorType(FP32, ()), np.float32(0)))
    both = [operation(kind, kind, x=x, y=y) for kind in ("add", "sub")]
    chosen = operation("cond", "chosen", pred=test.outputs[0])
    chosen.blocks = [Block(operations=[item], outputs=item.outputs) for item in both]
    executable = TorchEngine().compile(segment([flag, x, y], test, chosen))
    given = {"x": np.array([1, 2, 3], np.float32), "y": np.array([1, 1, 1], np.float32)}
    assert executable.run({**given, "flag": np.float32(1)})["chosen"].tolist() == [2, 3, 4]
    assert executable.run({**given, "flag": np.float32(-1)})["chosen"].tolist() == [0, 1, 2]


def test_a_state_read_before_an_update_keeps_its_content() -> None:
    state = Value("state", StateType(VECTOR))
    before = operation("read_state", "before", input=state)
    update = operation("coreml_update_state", "after", state=state, value=constant(1, 2, 3))
    result = operation("sub", "result", x=update.outputs[0], y=before.outputs[0])
    executable = TorchEngine().compile(segment([state], before, update, result))
    buffers = executable.new_state()
    assert executable.run({}, buffers)["result"].tolist() == [1, 2, 3]
    assert executable.run({}, buffers)["result"].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="state 'state' is missing"):
        executable.run({})


def test_a_failing_operation_is_named_with_its_shapes() -> None:
    x, y = Value("x", TensorType(FP32, None)), Value("y", TensorType(FP32, None))
    executable = TorchEngine().compile(segment([x, y], operation("matmul", "product", x=x, y=y)))
    with pytest.raises(ExecutionError, match=r"matmul 'product' failed on inputs of shape \(2, 3\), \(2, 3\)"):
        executable.run({"x": torch.ones(2, 3), "y": torch.ones(2, 3)})
    with pytest.raises(InputError, match=r"input 'y' .* is missing; given are x"):
        executable.run({"x": torch.ones(2, 3)})


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (operation("no_such", "result"), UnknownOperationError, "'no_such' .* has no record"),
        (operation("relu", "result"), ProgramError, "relu 'result' lacks its input 'x'"),
        (operation("relu", "result", x=constant(1, 1, 1), z=constant(1, 1, 1)), ProgramError, "has no input z; it takes x"),
        (operation("relu", "result", x=Value("ghost", VECTOR)), ProgramError, "'ghost' is used but nothing defines it"),
    ],
)
def test_broken_operations_are_named(made: Operation, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TorchEngine().compile(segment([], made)).run({})


def test_reasons_are_empty_for_what_runs() -> None:
    engine = TorchEngine()
    assert engine.reasons(operation("relu", "result"), "CoreML5") == ()
    (reason,) = engine.reasons(operation("slice_update", "result"), "CoreML5")
    assert reason == "operation 'slice_update' exists from opset CoreML8 on; the program is for CoreML5"


def test_the_null_engine_runs_nothing_and_refuses_what_it_is_told_to() -> None:
    engine = NullEngine(refused={"conv": "no convolutions today"})
    assert engine.reasons(operation("conv", "a"), "CoreML5") == ("no convolutions today",)
    assert engine.reasons(operation("relu", "b"), "CoreML5") == ()
    assert engine.compile(segment([], operation("relu", "b"))).run({}) == {}


@pytest.mark.gpu
def test_runs_on_cuda() -> None:
    x = Value("x", VECTOR)
    executable = TorchEngine("cuda").compile(segment([x], operation("exp", "result", x=x)))
    result = executable.run({"x": np.zeros(3, np.float32)})["result"]
    assert result.device.type == "cuda"
    assert result.tolist() == [1, 1, 1]


def test_threads_are_those_of_the_engine_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    x = Value("x", VECTOR)
    program = segment([x], operation("relu", "y", x=x))
    seen = []

    def code(*values: Any) -> list[Any]:
        seen.append(torch.get_num_threads())
        return list(values)

    for threads in (0, 1, 3):
        executable = TorchEngine(threads=threads).compile(program)
        monkeypatch.setattr(executable, "_code", code)
        executable.run({"x": np.ones(3, np.float32)})
    assert seen == [torch.get_num_threads(), 1, 3]
