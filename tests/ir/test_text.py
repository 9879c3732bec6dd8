"""The printer, on a program with every kind of thing in it, and on real programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from moka.formats import dtypes
from moka.formats.source import open_source
from moka.importers.ml_program import import_program
from moka.ir.program import Block, Constant, Value
from moka.ir.text import constant_text, text
from moka.ir.types import DictionaryType, ListType, TensorType
from tests.ir.programs import FLAG, FP32, INT32, const, operation, program

VECTOR, TEXT = TensorType(dtypes.FP32, (20,)), TensorType(dtypes.STRING, ())


def test_a_program_with_branches() -> None:
    x, flag = Value("x", FP32), Value("flag", FLAG)
    two = const("two", 2.0)
    double = operation("mul", "double", y=two, x=x)
    cond = operation("cond", "chosen", pred=flag, blocks=[Block([], [double], double.outputs), Block([], [], [x])])
    weight = Constant(FP32, load=lambda: pytest.fail("a weight is read to be printed"), file=("@model_path/weights/weight.bin", 64))
    last = operation("concat", "y", values=[cond, weight], axis=const("axis", 0), interleave=Constant(FLAG, np.array(False)))
    made = program([x, flag], [two, cond, last.inputs["axis"][0].producer, last], [last])
    assert text(made).splitlines() == [
        "function main[CoreML7](%x: tensor<fp32, [2, 3]>, %flag: tensor<bool, []>) {",
        "  %chosen: tensor<fp32, [2, 3]> = cond(pred=%flag) block() {",
        "    %double: tensor<fp32, [2, 3]> = mul(x=%x, y=2)",
        "    return %double",
        "  } block() {",
        "    return %x",
        "  }",
        "  %y: tensor<fp32, [2, 3]> = concat(values=(%chosen, tensor<fp32, [2, 3]> @ weight.bin+64), axis=0, interleave=false)",
        "  return %y",
        "}",
    ]
    assert "  %two: tensor<fp32, []> = const(val=2)" in text(made, constants=True).splitlines()
    assert "mul(x=%x, y=%two)" in text(made, constants=True)


@pytest.mark.parametrize(
    ("constant", "expected"),
    [
        (Constant(VECTOR, np.arange(20, dtype=np.float32)), "[0, 1, 2, 3, 4, 5, 6, 7, ... 20 in all]"),
        (Constant(FP32, np.arange(6, dtype=np.float32).reshape(2, 3)), "[[0, 1, 2], [3, 4, 5]]"),
        (Constant(TensorType(dtypes.INT32, (4, 5)), np.arange(20).reshape(4, 5)), "[4, 5] of [0, 1, 2, 3, 4, 5, 6, 7, ... 20 in all]"),
        (Constant(TensorType(dtypes.INT32, (0,)), np.zeros(0, np.int32)), "[]"),
        (Constant(INT32, np.array(-7, np.int32)), "-7"),
        (Constant(TEXT, "a 'quoted' word"), "\"a 'quoted' word\""),
        (Constant(TEXT, "x" * 100), "'" + "x" * 57 + "...'"),
        (Constant(ListType(TEXT, 3), ["a", "b", "c"]), "['a', 'b', 'c']"),
        (Constant(DictionaryType(TEXT, INT32), {"a": np.array(1)}), "{'a': 1}"),
    ],
    ids=str,
)
def test_constants_are_shortened(constant: Constant, expected: str) -> None:
    assert constant_text(constant) == expected


def test_a_real_program_has_a_line_an_operation(corpus: Path) -> None:
    made = import_program(open_source(corpus / "models" / "nmp.mlpackage"))
    (function,) = made.functions.values()
    lines = text(made, constants=True).splitlines()
    assert len(lines) == len(function.body.operations) + 3
    assert len(text(made).splitlines()) == sum(item.type != "const" for item in function.body.operations) + 3
    assert max(map(len, lines)) < 1000
