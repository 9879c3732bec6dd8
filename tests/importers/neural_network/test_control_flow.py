"""Branches and loops beside the same program in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from coremltools.models.neural_network import NeuralNetworkBuilder

from moka.errors import ProgramError
from tests.importers.neural_network.networks import Array, Build, built, loaded, run


def inner(network: Any) -> Any:
    """A builder for a nested network."""
    return NeuralNetworkBuilder(nn_spec=network)


def constant(builder: Any, name: str, *numbers: float) -> None:
    builder.add_load_constant_nd(f"load {name}", name, np.array(numbers, np.float32), (len(numbers),))


def added(builder: Any, name: str, number: float) -> None:
    """``name += number``."""
    constant(builder, f"{name} step", number)
    builder.add_add_broadcastable(f"add to {name}", [name, f"{name} step"], f"{name} sum")
    builder.add_copy(f"set {name}", f"{name} sum", name)


def predict(build: Build, outputs: tuple[str, ...] = ("y",), **inputs: Any) -> list[Array]:
    return run({name: np.asarray(item, np.float32) for name, item in inputs.items()}, build, outputs, exact=True)


@pytest.mark.parametrize(("condition", "expected"), [(1.0, [3, 4]), (-0.5, [3, 4]), (0.0, [-1, -2]), (1e-7, [-1, -2])])
def test_branch(condition: float, expected: list[float]) -> None:
    def build(builder: Any) -> None:
        branch = builder.add_branch("b", "c").branch
        yes, no = inner(branch.ifBranch), inner(branch.elseBranch)
        constant(yes, "two", 2)
        yes.add_add_broadcastable("sum", ["x", "two"], "y")
        no.add_activation("minus", "LINEAR", "x", "y", [-1, 0])

    (y,) = predict(build, x=[1, 2], c=[condition])
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("condition", [0.0, 1.0])
def test_branch_overwrites_and_a_missing_side_leaves_as_it_was(condition: float) -> None:
    def build(builder: Any) -> None:
        builder.add_copy("start", "x", "y")
        branch = builder.add_branch("b", "c").branch
        added(inner(branch.ifBranch), "y", 10)

    (y,) = predict(build, x=[1, 2], c=[condition])
    np.testing.assert_array_equal(y, np.array([1, 2]) + 10 * condition)


@pytest.mark.parametrize("condition", [0.0, 1.0])
def test_sides_of_different_shapes(condition: float) -> None:
    def build(builder: Any) -> None:
        branch = builder.add_branch("b", "c").branch
        inner(branch.ifBranch).add_concat_nd("twice", ["x", "x"], "v", 0)
        inner(branch.elseBranch).add_copy("once", "x", "v")
        builder.add_reduce_sum("sum", "v", "y", [0])

    (y,) = predict(build, x=[1, 2], c=[condition])
    np.testing.assert_array_equal(y, [3 + 3 * condition])


def test_what_one_side_writes_is_there_for_a_branch_of_the_same_condition() -> None:
    def build(builder: Any) -> None:
        builder.add_copy("start", "x", "y")
        inner(builder.add_branch("first", "c").branch.ifBranch).add_exp2("power", "x", "v")
        inner(builder.add_branch("second", "c").branch.ifBranch).add_copy("use", "v", "y")

    for condition, expected in ((1, [2, 4]), (0, [1, 2])):
        (y,) = predict(build, x=[1, 2], c=[condition])
        np.testing.assert_array_equal(y, expected)


def test_branch_decided_by_a_shape_needs_only_the_side_that_runs() -> None:
    def build(builder: Any) -> None:
        builder.add_get_shape("s", "x", "shape")
        builder.add_reduce_sum("count", "shape", "rows", [0])
        builder.add_greater_than("many", ["rows"], "c", alpha=2)
        branch = builder.add_branch("b", "c").branch
        inner(branch.ifBranch).add_slice_static("s", "x", "y", [0], [2], [1], [False], [False])
        inner(branch.elseBranch).add_reshape_static("r", "x", "y", (7, 7))

    (y,) = predict(build, x=[1, 2, 3])
    np.testing.assert_array_equal(y, [1, 2])


def counting(builder: Any, **limits: Any) -> Any:
    """Adds a loop after ``y = x`` and ``i = 0``; gives its message."""
    builder.add_copy("start", "x", "y")
    constant(builder, "i", 0)
    return builder.add_loop("loop", **limits).loop


def test_loop_of_stated_length() -> None:
    def build(builder: Any) -> None:
        body = inner(counting(builder, max_iterations=5).bodyNetwork)
        added(body, "i", 1)
        body.add_add_broadcastable("grow", ["y", "i"], "next")
        body.add_copy("keep", "next", "y")

    y, i = predict(build, ("y", "i"), x=[1, 2])
    np.testing.assert_array_equal(y, np.array([1, 2]) + sum(range(1, 6)))
    np.testing.assert_array_equal(i, [5])


@pytest.mark.parametrize("count", [0, 1, 4])
def test_loop_of_computed_length(count: int) -> None:
    def build(builder: Any) -> None:
        added(inner(counting(builder, input_name="n", max_iterations=99).bodyNetwork), "y", 3)

    (y,) = predict(build, x=[1], n=[count])
    np.testing.assert_array_equal(y, [1 + 3 * count])


def condition(loop: Any, limit: float) -> None:
    """The loop goes on while y < limit."""
    loop.conditionVar = "go"
    inner(loop.conditionNetwork).add_less_than("test", ["y"], "go", alpha=limit)


@pytest.mark.parametrize(("maximum", "expected"), [(None, 128), (3, 8), (99, 128)], ids=["while", "limit_first", "condition_first"])
def test_loop_with_a_condition(maximum: int | None, expected: float) -> None:
    def build(builder: Any) -> None:
        loop = counting(builder, max_iterations=maximum)
        condition(loop, 100)
        body = inner(loop.bodyNetwork)
        body.add_add_broadcastable("double", ["y", "y"], "twice")
        body.add_copy("keep", "twice", "y")

    (y,) = predict(build, x=[1])
    np.testing.assert_array_equal(y, [expected])


def test_condition_that_is_false_at_once() -> None:
    def build(builder: Any) -> None:
        loop = counting(builder)
        condition(loop, 100)
        added(inner(loop.bodyNetwork), "y", 1)

    (y,) = predict(build, x=[100])
    np.testing.assert_array_equal(y, [100])


def leaving(body: Any, kind: str, name: str, value: float) -> None:
    """Adds: if name == value, break or continue."""
    body.add_equal(f"{kind} {name}", [name], f"{kind} now", alpha=value)
    branch = inner(body.add_branch(f"{kind} if", f"{kind} now").branch.ifBranch)
    getattr(branch, f"add_loop_{kind}")(f"{kind}!")


def test_break_and_continue() -> None:
    """y = sum of i from 1 to 9, without 3 and 5, as far as 7 (exclusive)."""

    def build(builder: Any) -> None:
        body = inner(counting(builder, max_iterations=9).bodyNetwork)
        added(body, "i", 1)
        leaving(body, "break", "i", 7)
        leaving(body, "continue", "i", 3)
        body.add_equal("five", ["i"], "is five", alpha=5)
        branch = body.add_branch("deep", "is five").branch
        inner(branch.ifBranch).add_loop_continue("skip")
        body.add_add_broadcastable("grow", ["y", "i"], "next")
        body.add_copy("keep", "next", "y")

    y, i = predict(build, ("y", "i"), x=[0])
    np.testing.assert_array_equal(y, [1 + 2 + 4 + 6])
    np.testing.assert_array_equal(i, [7])


def test_break_that_nothing_guards_runs_the_body_once() -> None:
    def build(builder: Any) -> None:
        body = inner(counting(builder, max_iterations=9).bodyNetwork)
        added(body, "y", 1)
        body.add_loop_break("stop")
        body.add_exp2("never", "y", "i")

    y, i = predict(build, ("y", "i"), x=[5])
    np.testing.assert_array_equal(y, [6])
    np.testing.assert_array_equal(i, [0])


def test_the_condition_does_not_run_after_a_break() -> None:
    def build(builder: Any) -> None:
        loop = counting(builder)
        loop.conditionVar = "go"
        test = inner(loop.conditionNetwork)
        added(test, "i", 1)
        test.add_less_than("test", ["y"], "go", alpha=100)
        body = inner(loop.bodyNetwork)
        added(body, "y", 1)
        leaving(body, "break", "y", 3)

    y, i = predict(build, ("y", "i"), x=[0])
    np.testing.assert_array_equal(y, [3])
    np.testing.assert_array_equal(i, [3])


@pytest.mark.parametrize("limit", [2**31 - 1, 2**31, 2**40, 2**64 - 1])
def test_a_limit_that_no_loop_reaches(limit: int) -> None:
    def build(builder: Any) -> None:
        loop = counting(builder, max_iterations=1)
        loop.maxLoopIterations = limit
        body = inner(loop.bodyNetwork)
        added(body, "y", 3)
        leaving(body, "break", "y", 10)

    (y,) = predict(build, x=[1])
    np.testing.assert_array_equal(y, [10])


def test_loops_in_loops_break_on_their_own() -> None:
    """for 4 times: i += 1; for 10 times: y += 1; if y is a multiple of 3: break."""

    def build(builder: Any) -> None:
        body = inner(counting(builder, max_iterations=4).bodyNetwork)
        added(body, "i", 1)
        nested = inner(body.add_loop("nested", max_iterations=10).loop.bodyNetwork)
        added(nested, "y", 1)
        constant(nested, "three", 3)
        nested.add_mod_broadcastable("rest", ["y", "three"], "remainder")
        leaving(nested, "break", "remainder", 0)

    y, i = predict(build, ("y", "i"), x=[0])
    np.testing.assert_array_equal(y, [12])
    np.testing.assert_array_equal(i, [4])


def test_a_blob_grows_in_a_loop() -> None:
    def build(builder: Any) -> None:
        body = inner(counting(builder, max_iterations=3).bodyNetwork)
        body.add_concat_nd("append", ["y", "i"], "longer", 0)
        body.add_copy("keep", "longer", "y")
        added(body, "i", 1)

    (y,) = predict(build, x=[7, 8])
    np.testing.assert_array_equal(y, [7, 8, 0, 1, 2])


def test_a_blob_that_only_the_body_writes_is_there_after_the_loop() -> None:
    def build(builder: Any) -> None:
        body = inner(counting(builder, max_iterations=2).bodyNetwork)
        added(body, "i", 1)
        body.add_multiply_broadcastable("product", ["x", "i"], "v")
        builder.add_copy("end", "v", "y")

    (y,) = predict(build, x=[3, 4])
    np.testing.assert_array_equal(y, [6, 8])


def nothing_changes(builder: Any) -> None:
    loop = counting(builder)
    condition(loop, 100)
    added(inner(loop.bodyNetwork), "i", 1)


def no_limit(builder: Any) -> None:
    added(inner(counting(builder).bodyNetwork), "y", 1)


def endless(builder: Any) -> None:
    loop = counting(builder)
    loop.maxLoopIterations = 2**31
    added(inner(loop.bodyNetwork), "y", 1)


def endless_condition(builder: Any) -> None:
    nothing_changes(builder)
    builder.spec.neuralNetwork.layers[-1].loop.maxLoopIterations = 2**64 - 1


def no_variable(builder: Any) -> None:
    loop = counting(builder)
    condition(loop, 100)
    loop.conditionVar = ""


def unwritten_variable(builder: Any) -> None:
    loop = counting(builder, max_iterations=2)
    condition(loop, 100)
    loop.conditionVar = "ready"


def break_outside(builder: Any) -> None:
    builder.add_copy("start", "x", "y")
    builder.add_loop_break("stop")


def read_before_written(builder: Any) -> None:
    body = inner(counting(builder, max_iterations=2).bodyNetwork)
    body.add_copy("early", "late", "y")
    body.add_exp2("writes", "x", "late")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (nothing_changes, r"'loop' \(loop\) never ends once it has begun: maxLoopIterations is 0, bodyNetwork has no loopBreak"),
        (no_limit, r"'loop' \(loop\): maxLoopIterations is 0; expected 1 to 2147483647, an input"),
        (endless, r"'loop' \(loop\): maxLoopIterations is 2147483648; expected 1 to 2147483647, an input, or a conditionNetwork"),
        (endless_condition, r"'loop' \(loop\) never ends once it has begun: maxLoopIterations is 18446744073709551615"),
        (no_variable, r"'loop' \(loop\): conditionVar is empty"),
        (unwritten_variable, r"'loop' \(loop\): conditionVar is 'ready', a blob that conditionNetwork does not write"),
        (break_outside, r"'stop' \(loopBreak\) is outside a loop"),
        (read_before_written, r"'early' \(copy\) reads the blob 'late'"),
    ],
    ids=lambda item: getattr(item, "__name__", None),
)
def test_broken_loops_are_refused(build: Build, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        loaded(built({"x": (1,)}, build, exact=True))
