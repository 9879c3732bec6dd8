"""Operators that coremltools lacks, or converts to something else: each, delegated and converted, gives what PyTorch gives."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (PyTorch's habit)
from torch.utils._pytree import tree_leaves

import moka
from moka.pytorch import DelegateConfig, delegate
from tests.pytorch.programs import Of, assert_same, exported

X = torch.linspace(-2, 2, 24).reshape(4, 6)
IMAGE = torch.linspace(-1, 3, 2 * 3 * 7 * 6).reshape(2, 3, 7, 6)
STEPS = torch.linspace(-1, 1, 5 * 2 * 4).reshape(5, 2, 4)
WHOLE = torch.tensor([[-3, 0, 2**24 + 1], [5, -(2**24) - 3, 7]])
PADDED = torch.tensor([[False, True], [False, False]])


class Masked(nn.Module):
    """Attention that does not look at padding."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.attention(x, x, x, key_padding_mask=padding, need_weights=False)[0]


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "max_pool1d without a stride": (lambda x: F.max_pool1d(x, 2), (IMAGE[0],)),
    "max_pool2d without a stride": (lambda x: F.max_pool2d(x, 2), (IMAGE,)),
    "max_pool3d without a stride": (lambda x: F.max_pool3d(x, 2), (IMAGE[None],)),
    "rms_norm without an epsilon": (nn.RMSNorm(6), (X,)),
    "cosine_similarity with its defaults": (F.cosine_similarity, (X, X.flip(0))),
    "add and sub with alpha": (lambda x, y: (torch.add(x, y, alpha=3), torch.sub(x, y, alpha=0.5)), (X, X.exp())),
    "add of integers with alpha": (lambda i: torch.add(i, i, alpha=2), (WHOLE,)),
    "gelu by tanh": (lambda x: (F.gelu(x, approximate="tanh"), F.gelu(x)), (X,)),
    "softplus with beta and threshold": (lambda x: F.softplus(x, 2.0, 1.5), (X,)),
    "reciprocal": (lambda x, i: (torch.reciprocal(x), 1 / i), (X + 0.01, WHOLE + 1)),
    "functions of integers": (lambda i: (torch.sqrt(i), torch.sigmoid(i), torch.cos(i)), (WHOLE.clamp(0, 9),)),
    "clamped integers stay exact": (lambda i: (i.clamp(min=-3), i.clamp(max=7), i.clamp(-5, 2**24 + 1)), (WHOLE,)),
    "integers clamped at a fraction": (lambda i: i.clamp(max=0.5), (WHOLE.clamp(-9, 9),)),
    "clamp leaves infinities": (lambda x: (x.clamp(min=0), x.clamp(max=0)), (torch.tensor([np.inf, -np.inf, 2.0]),)),
    "clamp between tensors": (lambda x, low: torch.clamp(x, low, low + 1), (X, X.sin())),
    "argmax of all": (lambda x: (torch.argmax(x), torch.argmin(x)), (X.sin(),)),
    "spread": (lambda x: (torch.std(x), torch.var(x), torch.var(x, 1, keepdim=True), torch.std(x, 0, correction=0)), (X,)),
    "any of floats": (lambda x: (torch.any(x, 1), torch.all(x, 0)), (X * (X.abs() > 1),)),
    "zeros of another type": (lambda k, x: x + torch.zeros_like(k, dtype=torch.float32), (X > 0, X)),
    "inverse hyperbolic functions": (lambda x: (torch.asinh(x), torch.acosh(x.abs() + 1)), (X,)),
    "quantile, with a constant of one element that is repeated": (lambda x: torch.quantile(x, 0.3), (X,)),
    "pad around": (lambda x: F.pad(x, (2, 1, 0, 3), mode="circular"), (IMAGE,)),
    "bicubic": (lambda x: F.interpolate(x, scale_factor=1.5, mode="bicubic"), (IMAGE,)),
    "trilinear": (lambda x: F.interpolate(x[None], scale_factor=2, mode="trilinear"), (IMAGE,)),
    "padded attention": (Masked(), (STEPS[:2, :2], PADDED)),
    "RNN in both directions": (nn.RNN(4, 3, bidirectional=True), (STEPS,)),
    "RNN with relu": (nn.RNN(4, 3, nonlinearity="relu"), (STEPS,)),
    "LSTM of two layers": (nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True), (STEPS,)),
    "LSTM with a state": (nn.LSTM(4, 3), (STEPS, (torch.ones(1, 2, 3), -torch.ones(1, 2, 3)))),
    "GRU": (nn.GRU(4, 3, batch_first=True), (STEPS,)),
    "cells": (lambda cells, x: (cells[0](x), cells[1](x)), ()),
}
CELLS = nn.ModuleList([nn.LSTMCell(4, 3), nn.GRUCell(4, 3)])


def call(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    function, args = CALLS[name]
    if name == "cells":
        module = nn.Module()
        module.cells, module.forward = CELLS, lambda x: function(CELLS, x)  # type: ignore[assignment]
        return module.eval(), (STEPS[0],)
    return (function if isinstance(function, nn.Module) else Of(function)).eval(), args


@pytest.mark.parametrize("name", CALLS)
def test_delegated_calls(name: str) -> None:
    module, args = call(name)
    found = delegate(exported(module, *args), DelegateConfig(whole_graph=True))
    assert_same(found(*args), module(*args))


@pytest.mark.parametrize("name", CALLS)
def test_converted_calls(name: str) -> None:
    module, args = call(name)
    model = moka.convert(module, args, precision="float32")
    found = model.predict(dict(zip(model.function.inputs, tree_leaves(args), strict=True)))
    with torch.no_grad():
        wanted = [tensor.numpy() for tensor in tree_leaves(module(*args))]
    for ours, theirs in zip(found.values(), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(ours).reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("both", [False, True])
def test_gru_is_one_operation_a_direction_from_ios_18(both: bool) -> None:
    module = nn.GRU(4, 3, 2, bidirectional=both).eval()
    model = moka.convert(module, (STEPS,), precision="float32", target="iOS18")
    found = model.predict({next(iter(model.function.inputs)): STEPS})
    for ours, theirs in zip(found.values(), module(STEPS), strict=True):
        np.testing.assert_allclose(ours, theirs.detach(), rtol=1e-4, atol=1e-5)
    kinds = [operation.type for operation in model.program.functions["main"].body.operations]  # type: ignore[attr-defined]
    assert kinds.count("gru") == 2 * (1 + both)


STAYS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "sizes that depend on data": (lambda x: torch.nonzero(x > 0) + 1, (X,)),
    "repeated by a tensor": (lambda x: x.repeat_interleave(torch.tensor([1, 2, 3, 1]), 0) * 2, (X,)),
    "dilated pooling": (lambda x: F.max_pool2d(x, 2, 1, dilation=2).relu(), (IMAGE,)),
    "indices of pooling": (lambda x: F.max_pool2d(x, 2, return_indices=True), (IMAGE,)),
    "bits of integers": (lambda i: (i & 3) + 1, (WHOLE,)),
    "six dimensions": (lambda x: x.reshape(1, 2, 3, 1, 7, 6).permute(0, 2, 1, 4, 3, 5) * 2, (IMAGE,)),
}


@pytest.mark.parametrize("name", STAYS)
def test_what_can_not_be_delegated_stays_with_a_reason(name: str) -> None:
    function, args = STAYS[name]
    module = delegate(exported(function, *args))
    assert_same(module(*args), function(*args))
    kept = [node for node in module.report() if not node.delegated]
    assert kept
    assert all(node.reason for node in kept)


def test_long_recurrences_are_not_written_out() -> None:
    module, x = nn.GRU(4, 3), torch.rand(400, 1, 4)
    found = delegate(exported(module, x))
    assert_same(found(x), module(x))
    assert any("before iOS 18" in (node.reason or "") for node in found.report())


def test_a_call_that_coremltools_misreads_and_nobody_decomposes_is_refused() -> None:
    module = nn.InstanceNorm2d(3, track_running_stats=True).eval()
    with pytest.raises(moka.UnsupportedError, match=r"instance_norm.*makes something else of these arguments"):
        moka.convert(module, (IMAGE,))
    assert_same(delegate(exported(module, IMAGE))(IMAGE), module(IMAGE))


def test_keywords_that_coremltools_does_not_read_are_no_silent_change() -> None:
    q = torch.randn(1, 4, 5, 8)
    grouped = Of(partial(F.scaled_dot_product_attention, enable_gqa=True))
    args = (q, q[:, :2], q[:, :2])
    found = delegate(exported(grouped, *args))
    assert_same(found(*args), grouped(*args))
