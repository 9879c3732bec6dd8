"""Times of operations: what stands for those without one, and names that runtimes give to nodes."""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from moka.engines.base import Segment
from moka.engines.onnx.graph import Target
from moka.engines.onnx.lower import lower
from moka.engines.onnx.owners import Node, Owners
from moka.engines.times import absorbed, durations, traceless_before, typical
from moka.engines.torch_engine import TorchEngine
from moka.formats.dtypes import FP32
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import TensorType

TYPE = TensorType(FP32, (64, 64))


def chain(*kinds: str) -> Segment:
    """Operations of one operand, each on the result of the one before: named by position, ``relu_0``."""
    value = entry = Value("x", TYPE)
    operations = []
    for index, kind in enumerate(kinds):
        operation = Operation(kind, {"x": (value,)})
        value = Value(f"{kind}_{index}", TYPE, operation)
        operation.outputs.append(value)
        operations.append(operation)
    return Segment((entry,), tuple(operations), (value,), "CoreML5")


def test_operations_without_a_time_go_with_the_one_that_uses_them() -> None:
    operations = chain("relu", "tanh", "exp", "relu", "sigmoid").operations
    assert absorbed(operations, {"exp_2"}) == {"relu_0": "exp_2", "tanh_1": "exp_2", "relu_3": "exp_2", "sigmoid_4": "exp_2"}
    assert absorbed(operations, {"relu_0", "relu_3"}) == {"tanh_1": "relu_3", "exp_2": "relu_3", "sigmoid_4": "relu_3"}
    assert absorbed(operations, set()) == {}


def test_what_lost_its_name_is_what_the_next_operation_takes() -> None:
    operations = chain("relu", "tanh", "exp").operations
    assert traceless_before(operations, "exp_2", {"relu_0", "exp_2"}) == "tanh_1"
    assert traceless_before(operations, "exp_2", {"tanh_1", "exp_2"}) is None
    assert traceless_before(operations, "relu_0", set()) is None


def test_constants_are_never_what_lost_its_name() -> None:
    folded = Operation("exp", {"x": (Constant(TYPE, 1.0),)})
    folded.outputs.append(Value("folded", TYPE, folded))
    user = Operation("relu", {"x": (folded.outputs[0],)})
    user.outputs.append(Value("user", TYPE, user))
    assert traceless_before([folded, user], "user", {"user"}) is None


def test_means_over_the_faster_half() -> None:
    rounds = [[1.0, 2.0], [3.0, 4.0], [100.0, 1.0], [1.0, 200.0]]
    assert typical(rounds) == [statistics.fmean([1.0, 3.0]), statistics.fmean([2.0, 4.0])]
    assert typical([[5.0]]) == [5.0]


def test_durations_are_those_of_a_clock() -> None:
    found = durations(lambda: time.sleep(0.01), 3)
    assert len(found) == 3
    assert all(seconds >= 0.01 for seconds in found)


def test_steps_of_pytorch_take_what_they_take() -> None:
    """Step by step, a clock that counts its readings gives one tick to each."""
    executable = TorchEngine().compile(chain("relu", "tanh", "exp"))
    ticks = iter(range(100))
    with torch.inference_mode():
        assert executable.code.timed(lambda: float(next(ticks)), torch.zeros(64, 64)) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        ("relu_0::Relu", "relu_0"),
        ("relu_0::relu_nchwc", "relu_0"),
        ("fused relu_0::Relu", "relu_0"),
        ("x_abcd_acdb_tanh_1::Tanh", "tanh_1"),
        ("exp_2", "exp_2"),
        ("ReorderOutput", None),
        ("notrelu_0::Relu", None),
        ("::", None),
        ("", None),
    ],
)
def test_names_of_nodes(name: str, owner: str | None) -> None:
    owners = Owners(lower(chain("relu", "tanh", "exp"), Target("onnxruntime")))
    assert owners.named(name) == owner


def test_nameless_nodes_work_for_the_one_after() -> None:
    owners = Owners(lower(chain("relu", "tanh"), Target("onnxruntime")))
    nodes = [
        Node("relu_0::Relu", ("x",), ("relu_0::relu",)),
        Node("reorder", ("relu_0::relu",), ("reordered",)),
        Node("tanh_1::Tanh", ("reordered",), ("other",)),
        Node("skip", ("other",), ("relu_0::again",)),
        Node("last", ("other",), ("nowhere",)),
    ]
    assert owners.of(nodes) == {"relu_0::Relu": "relu_0", "reorder": "tanh_1", "tanh_1::Tanh": "tanh_1", "skip": "relu_0"}
