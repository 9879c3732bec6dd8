"""Programs and candidates made by hand, for tests of planning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moka.formats import dtypes
from moka.ir.program import Constant, Function, Operation, Value
from moka.ir.types import StateType, TensorType, Type
from moka.planning.devices import Speed
from moka.planning.planner import Candidate
from tests.ir.programs import function, operation


def tensor(*shape: int | str | None, dtype: Any = dtypes.FP32) -> TensorType:
    return TensorType(dtype, shape)


def weight(*shape: int, dtype: Any = dtypes.FP16) -> Constant:
    """A constant as one in a weight file, which is not to be read."""

    def load() -> Any:
        raise AssertionError("a weight was read")

    return Constant(TensorType(dtype, shape), load=load, file=("weight.bin", 64))


def chain(*kinds: str, type: Type | None = None) -> Function:
    """Operations by element, each on what the one before gave: ``relu_0``, ``sin_1``, ..."""
    type = type or tensor(4, 8)
    x = Value("x", type)
    made: list[Operation] = []
    for index, kind in enumerate(kinds):
        made.append(operation(kind, f"{kind}_{index}", type=type, x=made[-1] if made else x))
    return function([x], made, [made[-1]])


def state(name: str, *shape: int) -> Value:
    return Value(name, StateType(tensor(*shape, dtype=dtypes.FP16)))


def speed(**changes: Any) -> Speed:
    """A device that does 1 GFLOP/s and moves 1 GB/s; everything else costs nothing."""
    usual: dict[str, Any] = {
        "peak": {"fp32": 1e9},
        "share": dict.fromkeys(("convolution", "depthwise", "product", "recurrent", "elementwise"), 1.0),
    }
    return Speed(**{"profile": "torch-cpu", "weights": 1e9, "passing": 1e9, **usual, **changes})


def candidate(engine: str, device: str = "cpu", refuses: Mapping[str, str] | None = None, **changes: Any) -> Candidate:
    """An engine that refuses operations by type, each for a reason."""
    refused = refuses or {}
    return Candidate(engine, device, speed(**changes), lambda item: (refused[item.type],) if item.type in refused else ())
