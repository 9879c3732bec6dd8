"""Every case of every family through ONNX, on both runtimes, beside the same oracles as PyTorch's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pytest

from moka.engines.base import Engine, Segment
from moka.engines.onnx.graph import Packed, Target, Unlowerable
from moka.engines.onnx.lower import Lowered, lower
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine, OnnxRuntimeExecutable
from moka.engines.onnx.registry import UNLOWERED, names
from moka.ops.table import records
from tests.cases.operations import Case, all_cases, run
from tests.ops.test_cases import check

LOWERED = set(names())
CASES = [case for case in all_cases() if case.operations <= LOWERED]
ENGINES: dict[str, Engine] = {"onnxruntime": OnnxRuntimeEngine(threads=1), "openvino": OpenVinoEngine(threads=1)}

REFUSED = (
    "computed while the program runs",
    "has no elements, which OpenVINO can't compute with",
    "OpenVINO multiplies matrices of integers in float32",
    "OpenVINO divides integers with other rounding",
    "is written and never read, which OpenVINO leaves out",
    "it checks its indices while it runs",
    "OpenVINO repeats more than 3 axes wrongly",
)
"""Reasons for which a case may have no form in ONNX, or none that the runtime computes right."""

NAN_LOST = "comparison, maximum and minimum leave NaN out"
INFINITE = "a quotient with infinity is rounded as zero is"
IN_FLOAT32 = "integers are divided in float32, which does not hold them all"
NOT_ROUNDED = "values stay wider than the fp16 that they are cast to"

DIFFERENCES: dict[str, dict[str, str]] = {
    "onnxruntime": {
        "floor_div-ios15-extremes": INFINITE,
        "max_pool-ios15-nan": NAN_LOST,
        "reduce_max-ios15-extremes": NAN_LOST,
        "reduce_min-ios15-extremes": NAN_LOST,
    },
    "openvino": {
        "cast-ios15-fp16": NOT_ROUNDED,
        "cast-ios15-fp16-from-int32": NOT_ROUNDED,
        "cast-ios15-fp16-rounds": NOT_ROUNDED,
        "cast-ios17-fp16": NOT_ROUNDED,
        "cast-ios17-fp16-from-int32": NOT_ROUNDED,
        "cast-ios17-fp16-rounds": NOT_ROUNDED,
        "clip-ios15": NAN_LOST,
        "clip-ios17": NAN_LOST,
        "exp-ios15-extremes": NAN_LOST,
        "floor_div-ios15-extremes": INFINITE,
        "greater-ios15-extremes": NAN_LOST,
        "greater_equal-ios15-extremes": NAN_LOST,
        "max_pool-ios15-nan": NAN_LOST,
        "maximum-ios15-by-zero": NAN_LOST,
        "maximum-ios15-extremes": NAN_LOST,
        "minimum-ios15-by-zero": NAN_LOST,
        "minimum-ios15-extremes": NAN_LOST,
        "mod-ios15-extremes": INFINITE,
        "mod-ios15-int32": IN_FLOAT32,
        "real_div-ios15-int32": IN_FLOAT32,
        "reduce_log_sum_exp-ios15-extremes": NAN_LOST,
        "reduce_max-ios15-extremes": NAN_LOST,
        "reduce_min-ios15-extremes": NAN_LOST,
        "relu-ios15-extremes": NAN_LOST,
        "relu6-ios15-extremes": NAN_LOST,
        "threshold-ios15": NAN_LOST,
    },
}
"""Cases in which a runtime is known to differ, by their ids, with what it does."""


@dataclass(frozen=True)
class StandardEngine:
    """Lowers for no runtime in particular, checks the model by ONNX's own rules, and runs it on ONNX Runtime."""

    name: str = "onnx"

    def reasons(self, operation: Any, opset: str) -> tuple[str, ...]:
        return ()

    def compile(self, segment: Segment) -> OnnxRuntimeExecutable:
        lowered = lower(segment, Target("onnx"))
        typed = onnx.shape_inference.infer_shapes(
            whole(lowered), strict_mode=True, data_prop=True
        )  # cases don't declare their results' shapes
        onnx.checker.check_model(typed, full_check=True)
        return OnnxRuntimeExecutable(lowered, ("CPUExecutionProvider",), 1)


def whole(lowered: Lowered) -> onnx.ModelProto:
    """The model with its large constants in it."""
    model = onnx.ModelProto()
    model.CopyFrom(lowered.model)
    for name, array in lowered.weights.items():
        if isinstance(array, Packed):
            kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.initializer.append(onnx.helper.make_tensor(name, kind, array.shape, array.data.tobytes(), raw=True))
        else:
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


def agrees(case: Case, engine: Engine, *, half: bool = False) -> None:
    try:
        results = run(case, engine=engine, half=half)
    except Unlowerable as reason:
        if not any(known in str(reason) for known in REFUSED):
            raise
        return
    tolerance = max(case.tolerance, 1e-5) if not half else case.fp16
    assert tolerance is not None
    differs = DIFFERENCES["onnxruntime" if engine.name == "onnx" else engine.name]
    if case.id in differs:
        with pytest.raises(AssertionError):  # what is no difference any more has no place in the table
            check(results, case.results(), tolerance)
    else:
        check(results, case.results(), tolerance)


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_agrees_with_the_oracle(case: Case, runtime: str) -> None:
    agrees(case, ENGINES[runtime])


@pytest.mark.parametrize("case", [case for case in CASES if case.fp16 is not None], ids=lambda case: case.id)
def test_standard_model_of_fp16_values_agrees_with_the_oracle(case: Case) -> None:
    agrees(case, StandardEngine(), half=True)


def test_every_operation_is_lowered_or_has_a_reason() -> None:
    assert set(records()) == LOWERED | set(UNLOWERED)
    assert not LOWERED & set(UNLOWERED)


def test_differences_are_those_of_cases() -> None:
    known = {case.id for case in CASES}
    assert not [name for differences in DIFFERENCES.values() for name in differences if name not in known]
    assert len(CASES) > 1000
    assert np.unique([case.operation for case in CASES]).size > 150
