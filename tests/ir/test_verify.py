"""Each rule of the verifier, broken once; what coremltools writes keeps all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from moka.errors import ProgramError
from moka.formats import dtypes
from moka.formats.source import open_source
from moka.importers.ml_program import import_program
from moka.ir.program import Block, Program, Value
from moka.ir.types import DictionaryType, StateType, TensorType
from moka.ir.verify import problems, verify
from tests.ir.programs import FLAG, FP32, INT32, const, operation, program

STATE = StateType(FP32)
FP16 = TensorType(dtypes.FP16, (2, 3))


def used_too_early() -> Program:
    x = Value("x", FP32)
    late = operation("relu", "late", x=x)
    return program([x], [operation("add", "y", x=x, y=late), late], [late])


def used_outside_its_block() -> Program:
    flag = Value("flag", FLAG)
    inner = const("inner", [[1.0] * 3] * 2)
    cond = operation("cond", "y", pred=flag, blocks=[Block([], [inner], inner.outputs), Block([], [inner], inner.outputs)])
    return program([flag], [cond, operation("relu", "z", x=inner)], [cond])


def two_of_a_name() -> Program:
    x = Value("x", FP32)
    y = operation("relu", "x", x=x)
    return program([x], [y], [y])


def two_inputs_of_a_name() -> Program:
    return program([Value("x", FP32), Value("x", FP32)], [], [])


def unknown_output() -> Program:
    return program([Value("x", FP32)], [], [Value("y", FP32)])


def dictionary_input() -> Program:
    return program([Value("x", DictionaryType(INT32, FP32))], [], [])


def state_output() -> Program:
    state = Value("s", STATE)
    return program([state], [], [state])


def state_from_an_operation() -> Program:
    made = operation("make", "s", type=STATE)
    return program([], [made], [])


def wrong_producer() -> Program:
    x = Value("x", FP32)
    first, second = operation("relu", "a", x=x), operation("relu", "b", x=x)
    second.outputs[0].producer = first
    return program([x], [first, second], [first])


def blocks_where_none_belong() -> Program:
    x = Value("x", FP32)
    return program([x], [operation("relu", "y", x=x, blocks=[Block()])], [x])


def cond_with_one_block() -> Program:
    flag = Value("flag", FLAG)
    return program([flag], [operation("cond", "y", pred=flag, blocks=[Block()])], [])


def cond_block_with_inputs() -> Program:
    flag, x, inner = Value("flag", FLAG), Value("x", FP32), Value("inner", FP32)
    cond = operation("cond", "y", pred=flag, blocks=[Block([inner], [], [inner]), Block([], [], [x])])
    return program([flag, x], [cond], [cond])


def cond_with_other_outputs() -> Program:
    flag, x, n = Value("flag", FLAG), Value("x", FP32), Value("n", INT32)
    cond = operation("cond", "y", pred=flag, blocks=[Block([], [], [x]), Block([], [], [n])])
    return program([flag, x, n], [cond], [cond])


def cond_with_too_few_outputs() -> Program:
    flag, x = Value("flag", FLAG), Value("x", FP32)
    cond = operation("cond", "y", pred=flag, blocks=[Block([], [], [x]), Block()])
    return program([flag, x], [cond], [cond])


def loop(condition: Callable[[Value], Block], body: Callable[[Value], Block], **options: object) -> Program:
    x, flag, i, j = Value("x", FP32), Value("flag", FLAG), Value("i", FP32), Value("j", FP32)
    outer = {"flag": flag}
    blocks = [condition(i), body(j)]
    for block in blocks:
        block.outputs = [outer.get(value.name, value) for value in block.outputs]
    made = operation("while_loop", "y", loop_vars=[x], blocks=blocks)
    return program([x, flag], [made], [made])


def goes_on(i: Value) -> Block:
    return Block([i], [], [Value("flag", FLAG)])


def same(j: Value) -> Block:
    return Block([j], [], [j])


BROKEN = {
    used_too_early: "operation add 'y': input 'y': %late is not defined before it is used",
    used_outside_its_block: "operation relu 'z': input 'x': %inner is not defined before it is used",
    two_of_a_name: "operation relu 'x': output %x: the name is taken already",
    two_inputs_of_a_name: "input %x: the name is taken already",
    unknown_output: "output %y of the body is not defined in it",
    dictionary_input: "input %x has type dict<tensor<int32, []>, tensor<fp32, [2, 3]>>; expected a tensor or a state",
    state_output: "output %s is a state; expected a value read from it",
    state_from_an_operation: "operation make 's': output %s is a state; states are inputs of functions only",
    wrong_producer: "operation relu 'b': output %b names another operation as its producer",
    blocks_where_none_belong: "operation relu 'y': has 1 blocks; expected 0",
    cond_with_one_block: "operation cond 'y': has 1 blocks; expected 2",
    cond_block_with_inputs: "operation cond 'y': the true block takes 1 inputs; expected none",
    cond_with_other_outputs: "operation cond 'y': outputs of the false block: number 0 has type tensor<int32, []>; expected tensor",
    cond_with_too_few_outputs: "operation cond 'y': outputs of the false block: found 0; expected 1, as many as the operation's outputs",
}

FLAG_VALUE = Value("flag", FLAG)
LOOPS = {
    "two_answers": (lambda i: Block([i], [], [FLAG_VALUE] * 2), same, "the condition gives tensor<bool, []>, tensor<bool, []>"),
    "float_answer": (lambda i: Block([i], [], [i]), same, "the condition gives tensor<fp32, [2, 3]>; expected one tensor<bool, []>"),
    "no_inputs": (lambda i: Block([], [], [FLAG_VALUE]), same, "inputs of the condition: found 0; expected 1"),
    "other_type": (goes_on, lambda j: Block([Value("k", FP16)], [], [j]), "inputs of the body: number 0 has type tensor<fp16"),
    "no_outputs": (goes_on, lambda j: Block([j], [], []), "outputs of the body: found 0; expected 1, as many as the inputs of"),
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_rule_is_named(make: Callable[[], Program]) -> None:
    found = problems(make())
    assert any(problem.startswith(f"function 'main': {BROKEN[make]}") for problem in found), found


@pytest.mark.parametrize("name", LOOPS)
def test_a_broken_loop_is_named(name: str) -> None:
    condition, body, expected = LOOPS[name]
    found = problems(loop(condition, body))
    assert any(problem.startswith(f"function 'main': operation while_loop 'y': {expected}") for problem in found), found


def test_a_right_loop_has_no_problems() -> None:
    assert problems(loop(goes_on, same)) == []


def test_a_const_without_its_value_or_of_another_type() -> None:
    empty = const("a", 1)
    del empty.attributes["val"]
    wrong = const("b", 1.0)
    wrong.outputs[0].type = INT32
    found = problems(program([], [empty, wrong], []))
    assert found == [
        "function 'main': operation const 'a': attribute 'val' is missing",
        "function 'main': operation const 'b': attribute 'val' has type tensor<fp32, []>; expected tensor<int32, []>, that of the output",
    ]


def test_all_problems_are_told_at_once() -> None:
    x = Value("x", FP32)
    wrong = program([x, Value("x", FP32)], [operation("relu", "y", x=Value("q", FP32))], [Value("z", FP32)])
    with pytest.raises(ProgramError) as caught:
        verify(wrong)
    lines = str(caught.value).splitlines()
    assert lines[0] == "the program has 3 problems:"
    assert len(lines) == 4
    assert "relu 'y'" in lines[2]


def test_real_programs_keep_the_rules(corpus: Path) -> None:
    packages = [path for path in sorted(corpus.glob("*/**/*.mlpackage")) if "compiled" not in path.parts]
    sources = [open_source(path) for path in packages]
    programs = [import_program(source) for source in sources if source.specification.WhichOneof("Type") == "mlProgram"]
    assert len(programs) >= 10
    for item in programs:
        verify(item)
