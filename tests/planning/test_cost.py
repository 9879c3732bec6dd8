"""Arithmetic, bytes and weights of operations: by hand, and against PyTorch's own counter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from moka.formats import dtypes
from moka.formats.source import open_source
from moka.importers.ml_program import import_program
from moka.ir.program import Block, Constant, Function, Operation, Value
from moka.ir.types import TensorType
from moka.planning.cost import Work, work
from moka.planning.sizes import Sizes
from tests.builders import convert
from tests.ir.programs import const, operation
from tests.planning.programs import speed, state, tensor, weight

MATRIX = ("convolution", "depthwise", "product")


def value(name: str, *shape: Any, dtype: Any = dtypes.FP32) -> Value:
    return Value(name, tensor(*shape, dtype=dtype))


def count(function: Function, families: tuple[str, ...] = MATRIX) -> int:
    works = [work(item, Sizes()) for item in function.body.operations]
    return sum(item.flops for item in works if item.family in families)


def counted_by_pytorch(module: torch.nn.Module, *inputs: Any, **named: Any) -> int:
    """Attention is computed by its definition there: the counter does not know the CPU's fused kernel."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        module(*inputs, **named)
    return int(counter.get_total_flops())


class Mixed(torch.nn.Module):
    """Convolutions of every kind, a linear layer, matrix products and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = torch.nn.Conv2d(8, 8, (5, 3), groups=8, dilation=2)
        self.grouped = torch.nn.Conv2d(8, 12, 1, groups=4)
        self.transposed = torch.nn.ConvTranspose2d(12, 6, 3, stride=2)
        self.linear = torch.nn.Linear(6, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.transposed(self.grouped(self.depthwise(self.first(x)))).flatten(2).transpose(1, 2)
        y = self.linear(y)
        return torch.matmul(torch.matmul(y, y.transpose(1, 2)), y)


def test_matrix_arithmetic_is_what_pytorch_counts(tmp_path: Path) -> None:
    module, x = Mixed().eval(), torch.rand(2, 3, 24, 20)
    import coremltools as ct

    path = convert(torch.jit.trace(module, x), tmp_path / "mixed.mlpackage", inputs=[ct.TensorType("x", x.shape)])
    function = import_program(open_source(path)).functions["main"]
    assert count(function) == counted_by_pytorch(module, x)
    assert {work(item, Sizes()).family for item in function.body.operations} >= {"convolution", "depthwise", "product", "none"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "distilbert", "whisper_tiny_encoder"])
def test_networks_of_the_zoo_are_what_pytorch_counts(name: str, tmp_path: Path) -> None:
    from examples.networks import ZOO

    built = ZOO[name].build()
    path, _ = ZOO[name].package(tmp_path, "fp16")
    found = count(import_program(open_source(path)).functions["main"])
    assert found == pytest.approx(counted_by_pytorch(built.module, **built.steps[0]), rel=0.01)


def test_recurrent_layers_are_their_products() -> None:
    """As many as one step of PyTorch's cell, for every step."""
    made = operation("lstm", "y", type=tensor(4, 2, 7), x=value("x", 4, 2, 5))
    made.inputs |= {"weight_ih": (weight(28, 5),), "weight_hh": (weight(28, 7),), "bias": (weight(28),)}
    cell = torch.nn.LSTMCell(5, 7)
    assert work(made, Sizes()).family == "recurrent"
    assert work(made, Sizes()).flops == 4 * counted_by_pytorch(cell, torch.rand(2, 5))


def test_attention_is_two_products_and_a_softmax() -> None:
    query, key, other = value("q", 2, 3, 5, 8), value("k", 2, 3, 7, 8), value("v", 2, 3, 7, 4)
    made = operation("scaled_dot_product_attention", "y", type=tensor(2, 3, 5, 4), query=query, key=key, value=other)
    products = counted_by_pytorch(lambda q, k, v: (q @ k.mT) @ v, *(torch.rand(item.type.static_shape) for item in (query, key, other)))  # type: ignore[arg-type]
    assert work(made, Sizes()).flops == products + 5 * (2 * 3 * 5 * 7)


@pytest.mark.parametrize(
    ("equation", "x", "y", "z"),
    [("nchw,nwqk->ncqk", (2, 3, 1, 5), (2, 5, 7, 1), (2, 3, 7, 1)), ("...ij,...jk->...ik", (4, 2, 3, 5), (4, 2, 5, 6), (4, 2, 3, 6))],
)
def test_einsum_counts_every_combination(equation: str, x: Any, y: Any, z: Any) -> None:
    made = operation("einsum", "z", type=tensor(*z), values=[value("x", *x), value("y", *y)])
    made.inputs["equation"] = (Constant(TensorType(dtypes.STRING), equation),)
    assert work(made, Sizes()).flops == counted_by_pytorch(lambda a, b: torch.einsum(equation, a, b), torch.rand(x), torch.rand(y))  # type: ignore[arg-type]


def conv(**inputs: Any) -> Operation:
    made = operation("conv", "y", type=tensor(1, 4, 6, 6, dtype=dtypes.FP16), x=value("x", 1, 3, 8, 8, dtype=dtypes.FP16), **inputs)
    made.inputs["weight"] = (weight(4, 3, 3, 3),)
    return made


def test_bytes_are_those_of_declared_types() -> None:
    assert work(conv(), Sizes()) == Work(
        "convolution", "fp16", flops=2 * 4 * 6 * 6 * 27, read=2 * 3 * 64, written=2 * 4 * 36, weights=2 * 108, stored=2 * 108
    )


def test_compressed_weights_count_dense_and_as_stored() -> None:
    made = conv()
    stored = Constant(TensorType(dtypes.UINT4, (4, 3, 3, 3)), None, file=("weight.bin", 64))
    table = Constant(TensorType(dtypes.FP16, (1, 1, 1, 1, 16, 1)), None, file=("weight.bin", 128))
    dense = Operation("constexpr_lut_to_dense", {"indices": (stored,), "lut": (table,)})
    dense.outputs = [Value("weight", tensor(4, 3, 3, 3, dtype=dtypes.FP16), dense)]
    made.inputs["weight"] = (dense.outputs[0],)
    found = work(made, Sizes())
    assert (found.weights, found.stored) == (216, 54 + 32)
    assert work(dense, Sizes()).family == "none"


def test_gathering_reads_only_what_it_gives() -> None:
    made = operation("gather", "y", type=tensor(1, 5, 16, dtype=dtypes.FP16), indices=value("i", 1, 5, dtype=dtypes.INT32))
    made.inputs["x"] = (weight(30000, 16),)
    found = work(made, Sizes())
    assert (found.family, found.weights, found.written) == ("move", 160, 160)


def test_views_cost_nothing() -> None:
    made = operation("reshape", "y", type=tensor(6), x=value("x", 2, 3), shape=const("shape", [6]))
    assert (work(made, Sizes()).bytes, work(made, Sizes()).flops) == (0, 0)


def test_a_condition_costs_its_larger_branch() -> None:
    flag, x = value("flag", dtype=dtypes.BOOL), value("x", 4)
    small, large = operation("relu", "a", type=tensor(4), x=x), operation("softmax", "b", type=tensor(4), x=x)
    blocks = [Block([], [small], [small.outputs[0]]), Block([], [large], [large.outputs[0]])]
    made = operation("cond", "y", type=tensor(4), blocks=blocks, pred=flag)
    assert work(made, Sizes()).flops == work(large, Sizes()).flops == 20
    assert work(made, Sizes()).exact


def test_a_loop_counts_once_and_says_so() -> None:
    x = value("x", 4)
    body = operation("softmax", "b", type=tensor(4), x=x)
    test = operation("less", "t", type=TensorType(dtypes.BOOL, ()), x=x, y=x)
    blocks = [Block([x], [test], [test.outputs[0]]), Block([x], [body], [body.outputs[0]])]
    found = work(operation("while_loop", "y", type=tensor(4), blocks=blocks, loop_vars=[x]), Sizes())
    assert found.flops == 20 + 4
    assert not found.exact


def test_open_sizes_count_one_until_they_are_known() -> None:
    x = value("x", None, 8)
    made = operation("softmax", "y", type=tensor("n", 8), x=x)
    assert (work(made, Sizes()).flops, work(made, Sizes()).exact) == (40, False)
    known = Sizes({x: (3, 8), made.outputs[0]: (3, 8)})
    assert (work(made, known).flops, work(made, known).exact) == (120, True)


def test_an_update_keeps_what_it_does_not_change() -> None:
    x, row = value("x", 4, 8), value("row", 1, 8)
    ends = {"begin": const("begin", [0, 0]), "end": const("end", [1, 8])}
    found = work(operation("slice_update", "y", type=tensor(4, 8), x=x, update=row, **ends), Sizes())
    assert (found.read, found.written, found.kept) == (32, 32, 96)


def test_a_state_is_handed_over() -> None:
    cache = state("cache", 4, 8)
    made = operation("write_state", input=cache, data=value("data", 4, 8, dtype=dtypes.FP16))
    assert speed().seconds(work(made, Sizes())) == 0.0


def test_what_is_kept_is_copied_at_the_rate_of_the_cache_or_of_memory() -> None:
    device = speed(copying=1e8, cache=1000.0)
    assert device.seconds(Work("move", "fp32", kept=1000)) == pytest.approx(1000 / 1e9)
    assert device.seconds(Work("move", "fp32", kept=2000)) == pytest.approx(2000 / 1e8)
    assert speed().seconds(Work("move", "fp32", kept=2000)) == 0.0


def test_moving_data_of_open_sizes_costs_more_where_code_is_made_for_each_size() -> None:
    made = operation("transpose", "y", type=tensor(8, "n"), x=value("x", "n", 8), perm=const("perm", [1, 0]))
    known = Sizes({value: (8, 8) for value in (made.inputs["x"][0], made.outputs[0]) if isinstance(value, Value)})
    found = work(made, known)
    assert (found.exact, found.dynamic) == (True, True)
    assert speed(dynamic=1.0).seconds(found) == pytest.approx(1.0 + speed().seconds(found))
    assert speed(dynamic=1.0).seconds(work(operation("relu", "y", type=tensor("n"), x=value("x", "n")), Sizes())) < 1.0


def test_open_sizes_can_be_assumed() -> None:
    made = operation("softmax", "y", type=tensor("n", 8), x=value("x", None, 8))
    assert work(made, Sizes(assumed=3)).flops == 3 * work(made, Sizes()).flops
    assert not work(made, Sizes(assumed=3)).exact


def test_weights_are_not_read() -> None:
    assert isinstance(work(conv(), Sizes()), Work)  # `weight` raises when it is
    with pytest.raises(AssertionError, match="was read"):
        _ = weight(1).value


def test_every_operation_of_the_table_has_a_cost() -> None:
    """Whatever the table knows can be counted, without its inputs too."""
    from moka.ops import records

    counters: Callable[[Operation], Work] = lambda item: work(item, Sizes())  # noqa: E731
    for name in records():
        made = Operation(name)
        made.outputs = [Value("y", tensor(2, 3), made)]
        assert counters(made).flops >= 0, name
