"""What simplification makes of small programs, and that they compute the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.torch_engine import TorchEngine
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME
from moka.ir.copying import copied
from moka.ir.program import Block, Constant, Function, Operation, Program, Value
from moka.ir.types import TensorType
from moka.ir.verify import problems
from moka.passes.pipelines import simplify

RNG = np.random.default_rng(0)


def constant(value: Any, dtype: str | None = None) -> Constant:
    if isinstance(value, str):
        return Constant(TensorType(dtypes.STRING, ()), value)
    array = np.asarray(value)
    name = dtype or {"f": "fp32", "i": "int32", "b": "bool"}[array.dtype.kind]
    return Constant(TensorType(BY_NAME[name], array.shape), array.astype(BY_NAME[name].numpy))


class Chain:
    """A program made step by step; shapes of results are those that PyTorch's kernels give."""

    def __init__(self, *shape: int) -> None:
        self.x = Value("x", TensorType(dtypes.FP32, shape))
        self.operations: list[Operation] = []

    def __call__(self, kind: str, gives: str = "fp32", **inputs: Any) -> Value:
        given = {name: self._arguments(item) for name, item in inputs.items()}
        operation = Operation(kind, given)
        operation.outputs = [Value(f"{kind}_{len(self.operations)}", TensorType(BY_NAME[gives], None), operation)]
        self.operations.append(operation)
        (result,) = self._run(operation.outputs).values()
        operation.outputs[0].type = TensorType(BY_NAME[gives], tuple(result.shape))
        return operation.outputs[0]

    def _arguments(self, item: Any) -> tuple[Any, ...]:
        if isinstance(item, list) and item and isinstance(item[0], Value):
            return tuple(item)
        return (item if isinstance(item, Value) else constant(item),)

    def function(self, *outputs: Value) -> Function:
        return Function("main", [self.x], "CoreML7", Block([], self.operations, list(outputs)))

    def _run(self, outputs: list[Value]) -> dict[str, Any]:
        return run(self.function(*outputs))


def run(function: Function) -> dict[str, Any]:
    shape = function.inputs[0].type.static_shape  # type: ignore[union-attr]
    x = np.random.default_rng(1).normal(0, 4, shape).astype(np.float32)
    return TorchEngine().compile(Segment.of(function)).run({"x": x})


def kinds_after(chain: Chain, *outputs: Value) -> list[str]:
    """The operations that are left, of a program that still gives the same under the same names."""
    before = chain.function(*outputs)
    expected = run(before)
    after = copied(before)
    simplify(after)
    assert problems(Program({"main": after})) == []
    found = run(after)
    assert list(found) == list(expected)
    for name, result in expected.items():
        np.testing.assert_allclose(found[name].numpy(), result.numpy(), rtol=1e-5, atol=1e-5)
    names = {operation.name for operation in before.body.operations}
    assert {operation.name for operation in after.body.operations} <= names
    assert [operation.type for operation in before.body.operations] == [operation.type for operation in chain.operations]
    return [operation.type for operation in after.body.operations]


W = RNG.normal(size=(6, 4, 3, 3)).astype(np.float32)
SLOPES = RNG.uniform(-1, 1, (4, 1, 1)).astype(np.float32)


def five(chain: Chain) -> Value:
    return chain("expand_dims", x=chain.x, axes=[0])


def back(chain: Chain, x: Value) -> Value:
    return chain("squeeze", x=x, axes=[0])


def test_axes_go_around_elementwise_operations() -> None:
    chain = Chain(1, 4, 5, 6)
    scaled = chain("mul", x=five(chain), y=0.5)
    shifted = chain("add", x=scaled, y=SLOPES)
    assert kinds_after(chain, back(chain, chain("relu", x=shifted))) == ["mul", "add", "relu"]


def test_axes_go_around_sums_of_values_that_have_them() -> None:
    chain = Chain(1, 4, 5, 6)
    left, right = chain("relu", x=five(chain)), chain("sigmoid", x=five(chain))
    assert sorted(kinds_after(chain, back(chain, chain("add", x=left, y=right)))) == ["add", "relu", "sigmoid"]


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        ("softmax", {"axis": -3}),
        ("softmax", {"axis": 2}),
        ("upsample_nearest_neighbor", {"scale_factor_height": 2.0, "scale_factor_width": 1.0}),
        ("pad", {"pad": [1, 0, 0, 2], "mode": "constant", "constant_val": 1.0}),
        ("cast", {"dtype": "int32"}),
    ],
    ids=str,
)
def test_axes_go_around(kind: str, inputs: dict[str, Any]) -> None:
    chain = Chain(1, 4, 5, 6)
    gives = "int32" if kind == "cast" else "fp32"
    result = chain(kind, gives, x=five(chain), **inputs)
    assert kinds_after(chain, chain("squeeze", gives, x=result, axes=[0])) == [kind]


def test_axes_go_around_concat() -> None:
    chain = Chain(1, 4, 5, 6)
    parts = [chain(kind, x=five(chain)) for kind in ("relu", "sigmoid")]
    assert sorted(kinds_after(chain, back(chain, chain("concat", values=parts, axis=-3, interleave=False)))) == [
        "concat",
        "relu",
        "sigmoid",
    ]


def test_axes_that_something_needs_stay() -> None:
    chain = Chain(4)
    row, column = chain("expand_dims", x=chain.x, axes=[0]), chain("expand_dims", x=chain.x, axes=[1])
    assert kinds_after(chain, chain("mul", x=row, y=column)) == ["expand_dims", "expand_dims", "mul"]
    wide = Chain(4)
    table = wide("mul", x=wide("expand_dims", x=wide.x, axes=[1]), y=RNG.normal(size=(4, 3)).astype(np.float32))
    assert kinds_after(wide, table) == ["expand_dims", "mul"]


@pytest.mark.parametrize("bound", [6.0, 0.5])
def test_clip_written_with_negations(bound: float) -> None:
    chain = Chain(2, 3)
    low = chain("linear_activation", x=chain("relu", x=chain.x), alpha=-1.0, beta=0.0)
    high = chain("maximum", x=low, y=-bound)
    assert kinds_after(chain, chain("linear_activation", x=high, alpha=-1.0, beta=0.0)) == ["clip"]


def test_clip_written_as_a_hard_sigmoid() -> None:
    chain = Chain(2, 3)
    small = chain("linear_activation", x=chain.x, alpha=1 / 6, beta=0.0)
    hard = chain("sigmoid_hard", x=small, alpha=1.0, beta=0.0)
    assert kinds_after(chain, chain("linear_activation", x=hard, alpha=6.0, beta=0.0)) == ["clip"]


def test_other_lines_of_hard_sigmoids_stay() -> None:
    chain = Chain(2, 3)
    hard = chain("sigmoid_hard", x=chain.x, alpha=0.2, beta=0.5)
    assert kinds_after(chain, chain("linear_activation", x=hard, alpha=3.0, beta=0.0)) == ["sigmoid_hard", "linear_activation"]


@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([("maximum", -1.0), ("minimum", 2.0)], ["clip"]),
        ([("minimum", 2.0), ("maximum", -1.0)], ["clip"]),
        ([("maximum", 0.0)], ["relu"]),
        ([("maximum", 0.0), ("maximum", 1.0)], ["maximum"]),
        ([("maximum", 2.0), ("minimum", 1.0)], ["maximum", "minimum"]),
        ([("minimum", 1.0), ("maximum", 2.0)], ["minimum", "maximum"]),
    ],
    ids=str,
)
def test_bounds(steps: list[tuple[str, float]], left: list[str]) -> None:
    chain = Chain(2, 3)
    x = chain.x
    for kind, bound in steps:
        x = chain(kind, x=x, y=bound)
    found = kinds_after(chain, x)
    assert found == left or (left == ["maximum"] and found == ["relu", "maximum"])


def test_a_bound_that_others_use_stays() -> None:
    chain = Chain(2, 3)
    inner = chain("maximum", x=chain.x, y=-1.0)
    assert kinds_after(chain, inner, chain("minimum", x=inner, y=1.0)) == ["maximum", "minimum"]


@pytest.mark.parametrize("condition", ["greater", "greater_equal", "less", "less_equal"])
@pytest.mark.parametrize("slopes", [0.1, SLOPES], ids=["leaky", "channels"])
def test_slopes_chosen_by_sign(condition: str, slopes: Any) -> None:
    chain = Chain(2, 4, 5, 6)
    above = chain(condition, gives="bool", x=chain.x, y=0.0)
    scaled = chain("mul", x=chain.x, y=slopes)
    a, b = (chain.x, scaled) if condition.startswith("greater") else (scaled, chain.x)
    assert kinds_after(chain, chain("select", cond=above, a=a, b=b)) == ["leaky_relu" if np.ndim(slopes) == 0 else "prelu"]


def test_slopes_chosen_the_wrong_way_stay() -> None:
    chain = Chain(2, 4, 5, 6)
    above = chain("greater", gives="bool", x=chain.x, y=0.0)
    scaled = chain("mul", x=chain.x, y=0.1)
    assert kinds_after(chain, chain("select", cond=above, a=scaled, b=chain.x)) == ["greater", "mul", "select"]


@pytest.mark.parametrize(("slope", "left"), [(0.2, ["leaky_relu"]), (1.5, ["mul", "maximum"]), (-0.5, ["mul", "maximum"])])
def test_larger_of_two_slopes(slope: float, left: list[str]) -> None:
    chain = Chain(2, 3)
    assert kinds_after(chain, chain("maximum", x=chain.x, y=chain("mul", x=chain.x, y=slope))) == left


@pytest.mark.parametrize(
    ("padding", "conv", "left"),
    [
        ([0, 0, 0, 0, 1, 0, 2, 1], {"pad_type": "valid"}, ["conv"]),
        ([1, 0, 2, 1], {"pad_type": "custom", "pad": [1, 1, 0, 0], "strides": [2, 2]}, ["conv"]),
        ([1, 0, 2, 1], {"pad_type": "same"}, ["pad", "conv"]),
        ([0, 0, 0, 0, -1, 0, 0, 0], {"pad_type": "valid"}, ["pad", "conv"]),
    ],
    ids=str,
)
def test_padding_before_a_convolution(padding: list[int], conv: dict[str, Any], left: list[str]) -> None:
    chain = Chain(1, 4, 7, 8)
    padded = chain("pad", x=chain.x, pad=padding, mode="constant", constant_val=0.0)
    assert kinds_after(chain, chain("conv", x=padded, weight=W, **conv)) == left


@pytest.mark.parametrize("changed", [{"constant_val": 1.0}, {"mode": "reflect"}, {"pad": [0, 0, 2, 2, 0, 0, 0, 0]}], ids=str)
def test_other_padding_stays(changed: dict[str, Any]) -> None:
    chain = Chain(1, 4, 7, 8)
    options = {"pad": [1, 1, 1, 1], "mode": "constant", "constant_val": 0.0, **changed}
    weight = RNG.normal(size=(6, 8 if len(options["pad"]) == 8 else 4, 3, 3)).astype(np.float32)
    padded = chain("pad", x=chain.x, **options)
    assert kinds_after(chain, chain("conv", x=padded, weight=weight, pad_type="valid")) == ["pad", "conv"]


def test_permutations_one_after_the_other() -> None:
    chain = Chain(2, 3, 4, 5)
    first = chain("transpose", x=chain.x, perm=[0, 2, 3, 1])
    both = chain("transpose", x=first, perm=[3, 0, 1, 2])
    again = Chain(2, 3, 4, 5)
    there = again("transpose", x=again.x, perm=[0, 2, 3, 1])
    assert kinds_after(chain, both) == ["transpose"]
    assert kinds_after(again, again("relu", x=again("transpose", x=there, perm=[0, 3, 1, 2]))) == ["relu"]


def test_a_permutation_of_axes_without_extent_is_a_reshape() -> None:
    chain = Chain(1, 3, 1, 5)
    assert kinds_after(chain, chain("transpose", x=chain.x, perm=[2, 1, 0, 3])) == ["reshape"]
    moved = Chain(1, 3, 1, 5)
    assert kinds_after(moved, moved("transpose", x=moved.x, perm=[0, 3, 2, 1])) == ["transpose"]


def test_reshapes_one_after_the_other() -> None:
    chain = Chain(2, 3, 4)
    flat = chain("reshape", x=chain.x, shape=[24])
    assert kinds_after(chain, chain("reshape", x=flat, shape=[4, -1])) == ["reshape"]
    there = Chain(2, 3, 4)
    once = there("reshape", x=there.x, shape=[24])
    assert kinds_after(there, there("relu", x=there("reshape", x=once, shape=[2, 3, 4]))) == ["relu"]


def test_sizes_that_are_not_known_are_left_alone() -> None:
    chain = Chain(1, 4, 5, 6)
    chain.x.type = TensorType(dtypes.FP32, (1, 4, "h", "w"))
    expand = Operation("expand_dims", {"x": (chain.x,), "axes": (constant([0]),)})
    expand.outputs = [Value("wide", TensorType(dtypes.FP32, (1, 1, 4, "h", "w")), expand)]
    squeeze = Operation("squeeze", {"x": tuple(expand.outputs), "axes": (constant([0]),)})
    squeeze.outputs = [Value("narrow", TensorType(dtypes.FP32, (1, 4, "h", "w")), squeeze)]
    function = Function("main", [chain.x], "CoreML7", Block([], [expand, squeeze], list(squeeze.outputs)))
    simplify(function)
    assert [operation.type for operation in function.body.operations] == ["expand_dims", "squeeze"]
