"""Type rules: each broken once; what coremltools and others wrote keeps all of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.formats.source import open_source
from moka.importers.ml_program import import_program
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import StateType, TensorType
from moka.ops.check import check, check_program
from tests.cases.operations import constant
from tests.ir.programs import FP32, INT32, const, operation, program

X, HALF, INTEGER = Value("x", FP32), Value("half", TensorType(dtypes.FP16, (2, 3))), Value("integer", TensorType(dtypes.INT32, (2, 3)))
WORD = TensorType(dtypes.STRING, (2, 3))
STATE = Value("s", StateType(FP32))
CONV = {"x": X, "weight": X}

BROKEN = [
    (operation("relu", "y", x=X, z=X), "operation relu 'y': input 'z' is unknown; expected x"),
    (operation("add", "y", x=X), "operation add 'y': input 'y' is missing"),
    (operation("add", "y", x=X, y=HALF), "operation add 'y': input 'y' has type fp16; expected fp32, that of input 'x'"),
    (operation("relu", "y", x=INTEGER), "operation relu 'y': input 'x' has type int32; expected one of fp16, fp32"),
    (operation("relu", "y", x=Value("w", WORD)), "operation relu 'y': input 'x' has type string; expected one of fp16, fp32"),
    (operation("relu", "y", x=X, type=INTEGER.type), "operation relu 'y': output %y has type int32; expected one of fp16, fp32"),
    (operation("relu", "y", x=X, type=HALF.type), "operation relu 'y': output %y has type fp16; expected fp32, that of input 'x'"),
    (operation("relu", "y", "z", x=X), "operation relu 'y': has 2 outputs; expected 1"),
    (operation("topk", "a", "b", "c", x=X), "operation topk 'a': has 3 outputs; expected 1 or 2"),
    (operation("relu", "y", x=STATE), "operation relu 'y': input 'x': found state<tensor<fp32, [2, 3]>>; expected a tensor"),
    (operation("read_state", "y", input=X), "operation read_state 'y': input 'input': found tensor<fp32, [2, 3]>; expected a state"),
    (operation("list_length", "y", ls=X), "operation list_length 'y': input 'ls': found tensor<fp32, [2, 3]>; expected a list"),
    (operation("relu", "y", x=[X, X]), "operation relu 'y': input 'x': found 2 arguments; expected 1"),
    (operation("concat", "y", values=[X, HALF], axis=constant(0)), "input 'values' has type fp16; expected fp32, that of input 'values'"),
    (
        operation("conv", "y", **CONV, pad_type=constant("sane")),
        "operation conv 'y': input 'pad_type': found 'sane'; expected one of valid, ",
    ),
    (
        operation("softmax", "y", x=X, axis=constant("last")),
        "operation softmax 'y': input 'axis': found Constant(tensor<string, []>, 'last')",
    ),
    (operation("no_such", "y", x=X), "operation 'no_such' (opset CoreML8) has no record"),
]


@pytest.mark.parametrize(("wrong", "expected"), BROKEN, ids=lambda item: str(item)[:60])
def test_a_broken_rule_is_named(wrong: Operation, expected: str) -> None:
    found = check(wrong, "CoreML8")
    assert any(expected in problem for problem in found), found


RIGHT = [
    operation("relu", "y", x=X),
    operation("add", "y", x=INTEGER, y=INTEGER, type=INTEGER.type),
    operation("softmax", "y", x=X, axis=const("axis", -1)),
    operation("softmax", "y", x=X, axis=Value("computed", INT32)),
    operation("conv", "y", **CONV, pad_type=Value("computed", TensorType(dtypes.STRING, ()))),
    operation("split", "a", "b", "c", x=X, num_splits=constant(3), axis=constant(1)),
    operation("topk", "a", x=X, return_indices=constant(False)),
    operation("cast", "y", x=X, dtype=constant("int32"), type=INTEGER.type),
    operation("write_state", input=STATE, data=X),
    operation("cond", "a", "b", pred=constant(True)),
    operation("const", "y", attributes={"val": Constant(FP32, np.zeros((2, 3), np.float32))}),
]


@pytest.mark.parametrize("right", RIGHT, ids=str)
def test_a_right_operation_has_no_problems(right: Operation) -> None:
    assert check(right, "CoreML8") == []


def test_the_opset_of_the_program_counts() -> None:
    half = operation("lstm", "a", "b", "c", x=HALF, initial_h=HALF, initial_c=HALF, weight_ih=HALF, weight_hh=HALF, type=HALF.type)
    assert check(half, "CoreML7") == []
    assert any("input 'x' has type fp16; expected one of fp32" in problem for problem in check(half, "CoreML6"))


def test_all_problems_are_told_at_once() -> None:
    wrong = program([X, HALF], [operation("relu", "a", z=X), operation("add", "b", x=X, y=HALF)], [])
    with pytest.raises(ProgramError) as caught:
        check_program(wrong)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the program has 3 problems:"
    assert [line.split(": ")[1] for line in lines[1:]] == ["operation relu 'a'", "operation relu 'a'", "operation add 'b'"]


def test_real_programs_keep_the_rules(corpus: Path) -> None:
    packages = [path for path in sorted(corpus.glob("*/**/*.mlpackage")) if "compiled" not in path.parts]
    sources = [open_source(path) for path in packages]
    programs = [import_program(source) for source in sources if source.specification.WhichOneof("Type") == "mlProgram"]
    assert len(programs) >= 10
    for item in programs:
        check_program(item)


def test_the_result_of_mixed_types_may_have_either() -> None:
    x, y = Value("x", TensorType(dtypes.INT32, (2, 2))), Value("y", TensorType(dtypes.FP16, (2, 2)))
    for dtype, problems in ((dtypes.INT32, 0), (dtypes.FP16, 0), (dtypes.FP32, 1)):
        made = Operation("matmul", {"x": (x,), "y": (y,)})
        made.outputs.append(Value("product", TensorType(dtype, (2, 2)), made))
        assert len(check(made, "ios17")) == problems
