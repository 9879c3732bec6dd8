"""Programs that delegate to Core ML give what PyTorch gives, whatever they are made of."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.export import Dim

import moka
from moka.pytorch import DelegateConfig, DelegationReport, delegate
from tests.pytorch.programs import Counting, Middle, assert_same, exported

X = torch.linspace(-2, 2, 24).reshape(4, 6)

CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "several outputs": (lambda x: (x.sum(1), {"max": x.max(), "pair": [x * 2, x - 1]}), (X,)),
    "the same output twice": (lambda x: (y := x * 2, y, y.clone(), x), (X,)),
    "int64": (lambda x, i: (x[i], i * 3 + 1, x.argmax(1)), (X, torch.tensor([3, 0, 2]))),
    "bool": (lambda x, keep: (x > 0, torch.logical_and(keep, x > 1), torch.where(keep, x, 0.0)), (X, X.abs() > 1)),
    "without dimensions": (lambda x, s: (x * s, s + 1, x.mean()), (X, torch.tensor(3.0))),
    "decomposed by PyTorch": (lambda x: (torch.diff(x, n=2, dim=1), torch.lerp(x, x * 2, 0.3), x.new_ones(3)), (X,)),
    "composed by Moka": (lambda x: torch.trunc(3 * x) + torch.fmod(x, 0.75) + torch.prod(x, 1, True) + torch.hypot(x, x), (X,)),
    "truth values": (lambda x: ((x > 0) | (x < -1), (x > 0) ^ (x > 1)), (X,)),
    "several results": (lambda x: (*torch.topk(x, 2), *x.split(3, dim=1)), (X,)),
    "in another order": (lambda x, y, z: tuple(reversed(torch.topk(z - x, 2))), (X, X + 1, X * X)),
    "not contiguous": (lambda x: x.relu() + 1, (X.t(),)),
}


@pytest.mark.parametrize("name", CASES)
def test_everything_becomes_one_model(name: str) -> None:
    function, args = CASES[name]
    module = delegate(exported(function, *args), DelegateConfig(whole_graph=True))
    assert_same(module(*args), function(*args))
    assert module.report().share_of_nodes == 1
    assert module.report().partitions == 1


@pytest.mark.parametrize(
    "x",
    [
        torch.complex(X, -X).conj().imag,
        X.clone().requires_grad_(),
        torch.nn.Parameter(X.clone()).t().contiguous().t(),
        X.flip(0)[::2].expand(2, 2, 6)[0],
    ],
    ids=["negated when it is read", "requires gradients", "made of a parameter", "with steps"],
)
def test_tensors_of_any_memory(x: torch.Tensor) -> None:
    function = CASES["several outputs"][0]
    module = delegate(exported(function, torch.zeros(x.shape)), DelegateConfig(whole_graph=True))
    with torch.no_grad():
        assert_same(module(x), function(x))


def test_an_operator_in_the_middle_makes_three_parts() -> None:
    model, x = Middle(), torch.rand(2, 3, 8, 8)
    module = delegate(exported(model, x))
    assert_same(module(x), model(x))
    report = module.report()
    assert report.partitions == 2
    kept = [node for node in report if not node.delegated]
    assert [node.target for node in kept] == ["aten.special_bessel_j0.default"]
    assert "special_bessel_j0" in (kept[0].reason or "")
    assert 0.99 < report.share_of_flops <= 1
    assert "special_bessel_j0" in str(report)
    assert DelegationReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["partitions"] == 2


def test_paths_around_an_operator_make_no_cycles_and_no_more_partitions() -> None:
    def branches(x: torch.Tensor) -> torch.Tensor:
        first = torch.special.bessel_j0(x * 2)
        side = torch.special.bessel_j0(x.sin()) + x.cos()
        return (first + x.exp()) * side.tanh() + torch.special.bessel_j0(first + x)

    module = delegate(exported(branches, X))
    assert_same(module(X), branches(X))
    assert module.report().partitions == 3  # before the first, between, and after the second Bessel function of a path


def test_sizes_stay_flexible() -> None:
    model, size = Middle(), Dim("batch", min=1, max=32)
    module = delegate(exported(model, torch.rand(4, 3, 8, 8), dynamic_shapes=({0: size},)))
    for batch in (1, 4, 7, 32):
        x = torch.rand(batch, 3, 8, 8)
        assert_same(module(x), model(x))
    assert module.report().partitions == 2


@pytest.mark.parametrize("dim", [Dim.AUTO, Dim.DYNAMIC, Dim("n", max=9)], ids=["auto", "dynamic", "named"])
def test_a_flexible_size_may_be_1(dim: Any) -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x @ x.t(), dim=-1) @ x - x.mean(0)

    program = exported(function, X, dynamic_shapes=(({0: dim},),))
    module = delegate(program)
    for size in (1, 3, 4):
        x = torch.rand(size, 6)
        assert_same(module(x), program.module()(x))
        assert_same(module(x), function(x))


def test_arithmetic_on_sizes_crosses_no_border() -> None:
    def halves(x: torch.Tensor) -> torch.Tensor:
        y = torch.special.bessel_j0(torch.cat([x, x * 2], dim=0))
        return y.view(2, x.shape[0], -1).sum(0).reshape(x.shape[0] * 2, -1) * x.shape[0]

    module = delegate(_flexible(halves))
    for rows in (2, 4, 9):
        x = torch.rand(rows, 6)
        assert_same(module(x), halves(x))


def _flexible(function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    class Rows(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    return torch.export.export(Rows().eval(), (X,), dynamic_shapes=({0: Dim("rows", min=2, max=64)},))


@pytest.mark.parametrize("options", [{}, {"engine": "torch"}])
def test_buffers_change_in_place(options: dict[str, Any]) -> None:
    model, x = Counting(), torch.rand(3, 4)
    module = delegate(exported(model, x), DelegateConfig(**options))
    for _ in range(3):
        assert_same(module(x), model(x))
    state = module.state_dict()
    assert_same((state["calls"], state["total"]), (model.calls, model.total))
    module.load_state_dict({**state, "total": torch.ones(4), "calls": torch.tensor(7)})
    model.total.fill_(1), model.calls.fill_(7)
    assert_same(module(x), model(x))


def test_buffers_become_states() -> None:
    class Running(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.full((4,), 0.5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.copy_(self.total + x)
            return self.total * 2

    model, x = Running(), torch.tensor([0.5, 1.0, -2.0, 4.0])
    module = delegate(exported(model, x), DelegateConfig(states=True))
    (segment,) = module.segments.values()
    assert segment.ports.states
    for _ in range(3):
        assert_same(module(x), model(x))  # numbers that half precision holds
    assert_same(module.state_dict()["total"], model.total)
    module.load_state_dict({"total": torch.ones(4)})
    model.total.fill_(1)
    assert_same(module(x), model(x))


def test_inputs_change_in_place() -> None:
    def fill(x: torch.Tensor) -> torch.Tensor:
        x.mul_(2)
        return x + 1

    ours, theirs = X.clone(), X.clone()
    module = delegate(exported(fill, X.clone()))
    assert_same(module(ours), fill(theirs))
    assert_same(ours, theirs)


def test_integers_beyond_int32_stay_right() -> None:
    def shift(i: torch.Tensor) -> torch.Tensor:
        return i - 1

    module = delegate(exported(shift, torch.tensor([1, 2])))
    big = torch.tensor([2**40, -(2**50)])
    assert_same(module(big), shift(big))
    assert delegate(exported(lambda i: i * 2**40, torch.tensor([1, 2]))).report().partitions == 0


def test_wide_types_and_random_numbers_stay_in_pytorch() -> None:
    def mixed(x: torch.Tensor) -> torch.Tensor:
        return (x.double() / 3).float() + torch.dropout(x, 0.5, True) * 0 + x

    report = delegate(exported(mixed, X)).report()
    reasons = " ".join(report.reasons)
    assert "float64" in reasons
    assert "random" in reasons


def test_what_core_ml_computes_otherwise_stays_in_pytorch() -> None:
    module = delegate(exported(lambda x: torch.reciprocal(torch.relu(x)) + 1, X))
    assert_same(module(X), torch.reciprocal(torch.relu(X)) + 1)


def test_numbers_and_keywords() -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: torch.Tensor, *, factor: int = 2, bias: torch.Tensor | None = None) -> torch.Tensor:
            return x * factor if bias is None else x * factor + bias

    program = torch.export.export(Scaled(), (X,), {"factor": 3, "bias": X})
    module = delegate(program)
    assert_same(module(X, factor=3, bias=X), X * 4)
    assert_same(module(X, bias=X, factor=3), X * 4)
    with pytest.raises(moka.InputError, match=r"'factor' is 4.*exported for 3 alone"):
        module(X, factor=4, bias=X)
    with pytest.raises(moka.InputError, match="the program takes x, factor, bias"):
        module(X, factor=3)


def test_options_keep_nodes_out() -> None:
    model, x = Middle(), torch.rand(2, 3, 8, 8)
    program = exported(model, x)
    kept = delegate(program, DelegateConfig(keep_out=(torch.ops.aten.linear, "aten.softmax")))
    assert {node.reason for node in kept.report() if "linear" in node.target or "softmax" in node.target} == {
        "kept out by the configuration"
    }
    few = delegate(program, DelegateConfig(minimum_nodes=3))
    assert few.report().partitions == 1
    assert any("minimum_nodes is 3" in reason for reason in few.report().reasons)
    one = delegate(program, DelegateConfig(maximum_partitions=1))
    assert one.report().partitions == 1
    for module in (kept, few, one):
        assert_same(module(x), model(x))
    with pytest.raises(moka.UnsupportedError, match="special_bessel_j0"):
        delegate(program, DelegateConfig(whole_graph=True))


def test_options_of_conversion() -> None:
    model, x = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU()), torch.rand(2, 64)
    half = delegate(exported(model, x), DelegateConfig(precision="float16"))
    assert_same(half(x), model(x), tolerance=1e-2)
    (segment,) = half.segments.values()
    weights = segment.package() / "Data/com.apple.CoreML/weights/weight.bin"
    assert weights.stat().st_size < 64 * 64 * 3


def test_shapes_are_enumerated() -> None:
    program = _flexible(lambda x: x * 2 + 1)
    module = delegate(program, DelegateConfig(enumerated_shapes={"x": ((4, 6), (8, 6))}))
    x = torch.rand(8, 6)
    assert_same(module(x), x * 2 + 1)
    with pytest.raises(moka.InputError, match="expected one of"):
        module(torch.rand(5, 6))


def test_weights_are_compressed() -> None:
    from moka.pytorch.frontend import coremltools

    coremltools()
    from coremltools.optimize import coreml as optimize

    quantizer = optimize.OptimizationConfig(optimize.OpLinearQuantizerConfig(weight_threshold=16))
    model, x = torch.nn.Linear(64, 64), torch.rand(2, 64)
    module = delegate(exported(model, x), DelegateConfig(quantizer=quantizer))
    (segment,) = module.segments.values()
    weights = segment.package() / "Data/com.apple.CoreML/weights/weight.bin"
    assert weights.stat().st_size < 64 * 64 * 2
    assert_same(module(x), model(x), tolerance=3e-2)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"precision": "float64"}, "precision is 'float64'"),
        ({"minimum_deployment_target": "iOS12"}, "minimum_deployment_target is 'iOS12'"),
        ({"minimum_deployment_target": "iOS17", "states": True}, "states need 'iOS18'"),
        ({"minimum_nodes": 0}, "minimum_nodes is 0"),
        ({"engine": "abacus"}, "engine is 'abacus'"),
    ],
)
def test_wrong_options_are_named(option: dict[str, Any], message: str) -> None:
    with pytest.raises(moka.InputError, match=message):
        DelegateConfig(**option)


def test_wrong_use_says_what_to_do() -> None:
    module = delegate(exported(lambda x: x * 2, X))
    with pytest.raises(moka.InputError, match=r"shape \[5, 6\].*takes \[4, 6\].*dynamic_shapes"):
        module(torch.rand(5, 6))
    with pytest.raises(moka.InputError, match=r"dtype torch.float64.*torch.float32: convert"):
        module(X.double())
    with pytest.raises(moka.InputError, match=r"on meta.*exported on cpu: move it"):
        module(X.to("meta"))
    with pytest.raises(moka.InputError, match="is a int; expected a tensor"):
        module(3)
    with pytest.raises(moka.InputError, match="eval mode only: train the original"):
        module.train()
    with pytest.raises(moka.InputError, match="requires gradients"):
        module(X.clone().requires_grad_())
    assert module.eval() is module


def test_custom_operators_stay_or_are_lowered() -> None:
    library = torch.library.Library("moka_tests", "DEF")
    library.define("shifted_relu(Tensor x, float shift) -> Tensor")
    library.impl("shifted_relu", lambda x, shift: torch.relu(x + shift), "CompositeExplicitAutograd")
    library.impl("shifted_relu", lambda x, shift: torch.empty_like(x), "Meta")
    operator = torch.ops.moka_tests.shifted_relu

    def program(x: torch.Tensor) -> torch.Tensor:
        return operator(x * 2, 0.5) - 1

    left = delegate(exported(program, X))
    assert left.report().partitions == 2

    @moka.pytorch.lowers(operator)
    def shifted_relu(x: Any, shift: float) -> Any:
        from coremltools.converters.mil import Builder

        return Builder.relu(x=Builder.add(x=x, y=shift))

    lowered = delegate(exported(program, X))
    assert lowered.report().partitions == 1
    assert_same(lowered(X), program(X))
    assert_same(left(X), program(X))
