"""Rules on small programs: what stays, what goes, and that the program computes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.torch_engine import TorchEngine
from moka.ir.copying import copied
from moka.ir.program import Block, Constant, Function, Operation, Program, Value
from moka.ir.rewrite import Replacements, Uses, remove_unused, rewrite
from moka.ir.types import StateType, TensorType
from moka.ir.verify import problems
from tests.ir.programs import FLAG, FP32, const, function, operation

X = np.arange(6, dtype=np.float32).reshape(2, 3) - 2
TURNED = TensorType(FP32.dtype, (3, 2))


def drop_identity(operation: Operation, uses: Uses) -> Replacements:
    return operation.inputs["x"] if operation.type == "identity" else None


def _perm(operation: Operation) -> list[int]:
    (argument,) = operation.inputs["perm"]
    stated = argument if isinstance(argument, Constant) else argument.producer.attributes["val"]  # type: ignore[union-attr]
    return [int(axis) for axis in stated.value]


def cancel_transposes(operation: Operation, uses: Uses) -> Replacements:
    if operation.type != "transpose":
        return None
    (x,) = operation.inputs["x"]
    inner = x.producer if isinstance(x, Value) else None
    if inner is None or inner.type != "transpose":
        return None
    first, second = _perm(inner), _perm(operation)
    return inner.inputs["x"] if [first[axis] for axis in second] == list(range(len(first))) else None


def double_instead_of_add(operation: Operation, uses: Uses) -> Replacements:
    """x + x becomes x * 2, if nothing else uses x."""
    if operation.type != "add" or operation.inputs["x"] != operation.inputs["y"] or uses.count(operation.inputs["x"][0]) > 2:
        return None
    two = const(f"{operation.name}_two", 2.0)
    new = Operation("mul", {"x": operation.inputs["x"], "y": tuple(two.outputs)})
    new.outputs = [Value(operation.name, operation.outputs[0].type, new)]
    return new.outputs


def kinds(made: Function) -> list[str]:
    return [item.type for item in made.body.walk()]


def run(made: Function, **inputs: Any) -> dict[str, np.ndarray[Any, Any]]:
    assert problems(Program({"main": made})) == []
    return {name: value.numpy() for name, value in TorchEngine().compile(Segment.of(made)).run({"x": X, **inputs}).items()}


def test_an_identity_goes_and_its_user_reads_what_it_read() -> None:
    x = Value("x", FP32)
    middle = operation("identity", "middle", x=x)
    made = function([x], [middle, out := operation("relu", "y", x=middle)], [out])
    assert rewrite(made, [drop_identity]) == 1
    assert kinds(made) == ["relu"]
    np.testing.assert_array_equal(run(made)["y"], np.maximum(X, 0))


def test_an_output_keeps_its_name() -> None:
    x = Value("x", FP32)
    relu = operation("relu", "inner", x=x)
    made = function([x], [relu, last := operation("identity", "y", x=relu)], [last])
    assert rewrite(made, [drop_identity]) == 1
    assert kinds(made) == ["relu"]
    np.testing.assert_array_equal(run(made)["y"], np.maximum(X, 0))


@pytest.mark.parametrize("case", ["input", "two_outputs", "other_output"])
def test_what_would_rename_an_output_or_an_input_stays(case: str) -> None:
    x = Value("x", FP32)
    relu = operation("relu", "r", x=x)
    a, b = operation("identity", "a", x=relu), operation("identity", "b", x=relu)
    made = {
        "input": lambda: function([x], [only := operation("identity", "y", x=x)], [only]),
        "two_outputs": lambda: function([x], [relu, a, b], [a, b]),
        "other_output": lambda: function([x], [relu, a], [relu, a]),
    }[case]()
    names = [value.name for value in made.outputs]
    before = run(made)
    rewrite(made, [drop_identity])
    assert kinds(made).count("identity") == 1
    assert [value.name for value in made.outputs] == names
    after = run(made)
    assert all(np.array_equal(before[name], after[name]) for name in names)


def test_transposes_that_cancel_go_in_rounds() -> None:
    """The outer pair cancels only after the inner one is gone."""
    x = Value("x", FP32)
    perm = const("perm", [1, 0])
    turns = [perm]
    last: Any = x
    for index in range(4):
        last = operation("transpose", f"t{index}", x=last, perm=perm, type=FP32 if index % 2 else TURNED)
        turns.append(last)
    out = operation("relu", "y", x=last)
    made = function([x], [*turns, out], [out])
    assert rewrite(made, [cancel_transposes]) >= 2
    assert kinds(made) == ["relu"]
    np.testing.assert_array_equal(run(made)["y"], np.maximum(X, 0))


def test_new_operations_are_put_in_place_with_what_they_need() -> None:
    x = Value("x", FP32)
    relu = operation("relu", "r", x=x)
    made = function([x], [relu, out := operation("add", "y", x=relu, y=relu)], [out])
    assert rewrite(made, [double_instead_of_add]) == 1
    assert kinds(made) == ["relu", "const", "mul"]
    np.testing.assert_array_equal(run(made)["y"], 2 * np.maximum(X, 0))


def test_a_rule_sees_all_uses() -> None:
    x = Value("x", FP32)
    relu = operation("relu", "r", x=x)
    made = function([x], [relu, out := operation("add", "y", x=relu, y=relu), other := operation("abs", "z", x=relu)], [out, other])
    assert rewrite(made, [double_instead_of_add]) == 0
    assert kinds(made) == ["relu", "add", "abs"]


def test_nested_blocks_are_rewritten_and_keep_what_they_take_from_outside() -> None:
    x, flag = Value("x", FP32), Value("flag", FLAG)
    outer = operation("identity", "outer", x=x)
    inner = operation("identity", "inner", x=operation("relu", "r", x=outer))
    blocks = [Block([], [inner.inputs["x"][0].producer, inner], inner.outputs), Block([], [], outer.outputs)]  # type: ignore[union-attr, list-item]
    made = function([x, flag], [outer, out := operation("cond", "y", pred=flag, blocks=blocks)], [out])
    assert rewrite(made, [drop_identity]) == 2
    assert kinds(made) == ["relu", "cond"]
    np.testing.assert_array_equal(run(made, flag=np.array(True))["y"], np.maximum(X, 0))
    np.testing.assert_array_equal(run(made, flag=np.array(False))["y"], X)


def test_a_constant_does_not_become_an_output() -> None:
    def to_zero(operation: Operation, uses: Uses) -> Replacements:
        return [Constant(FP32, np.zeros((2, 3), np.float32))] if operation.type == "sub" else None

    x = Value("x", FP32)
    nothing = operation("sub", "nothing", x=x, y=x)
    made = function([x], [nothing, out := operation("add", "y", x=x, y=nothing)], [nothing, out])
    assert rewrite(made, [to_zero]) == 0
    made = function([x], [nothing, out], [out])
    assert rewrite(made, [to_zero]) == 1
    assert kinds(made) == ["add"]
    np.testing.assert_array_equal(run(made)["y"], X)


def test_rules_that_undo_each_other_are_an_error() -> None:
    def to_abs(operation: Operation, uses: Uses) -> Replacements:
        other = {"relu": "abs", "abs": "relu"}.get(operation.type)
        new = Operation(other or "", dict(operation.inputs))
        new.outputs = [Value(operation.outputs[0].name, FP32, new)]
        return new.outputs if other else None

    x = Value("x", FP32)
    made = function([x], [out := operation("relu", "y", x=x)], [out])
    with pytest.raises(RuntimeError, match=r"to_abs.*still changing function 'main' after 100 sweeps"):
        rewrite(made, [to_abs])


def test_unused_operations_go_but_not_those_that_touch_a_state() -> None:
    x, state = Value("x", FP32), Value("s", StateType(FP32))
    unused = operation("relu", "a", x=x)
    chain = operation("relu", "b", x=unused)
    write = operation("write_state", input=state, data=(kept := operation("abs", "c", x=x)))
    made = function([x, state], [unused, chain, kept, write, out := operation("exp", "y", x=x)], [out])
    remove_unused(made)
    assert kinds(made) == ["abs", "write_state", "exp"]


def test_rules_do_not_look_out_of_a_segment() -> None:
    """A segment's input has a producer in the program that it was cut from, of which the segment knows nothing."""
    x = Value("x", FP32)
    turn = operation("transpose", "turned", x=x, perm=const("first", [1, 0]), type=TURNED)
    perm = const("second", [1, 0])
    back = operation("transpose", "back", x=turn, perm=perm)
    segment = function([turn.outputs[0]], [perm, back], [back])
    cut = copied(segment)
    assert rewrite(cut, [cancel_transposes]) == 0
    assert cut.inputs[0].name == "turned"
    assert cut.inputs[0].producer is None
    (result,) = TorchEngine().compile(Segment.of(cut)).run({"turned": X.T}).values()
    np.testing.assert_array_equal(result.numpy(), X)
    assert segment.inputs == turn.outputs  # the original stays as it was
