"""Every case of every family, run the ways a program may run it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from moka.engines.torch_engine import TorchEngine
from tests.cases.operations import Case, all_cases, run, run_on_meta

CASES = all_cases()
HALF = [case for case in CASES if case.fp16 is not None]
META = [case for case in CASES if not case.meta and not case.blocks]


def check(results: list[Any], expected: list[np.ndarray[Any, Any]], tolerance: float) -> None:
    assert len(results) == len(expected)
    for result, reference in zip(results, expected, strict=True):
        got = result.numpy() if isinstance(result, torch.Tensor) else np.asarray(result)
        assert got.shape == reference.shape
        if reference.dtype.kind == "f":
            finite = np.abs(reference[np.isfinite(reference)])
            scale = max(1.0, float(finite.max())) if finite.size else 1.0
            np.testing.assert_allclose(got, reference, rtol=0, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(got, reference)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_agrees_with_the_oracle(case: Case) -> None:
    check(run(case), case.results(), case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_folded_agrees_with_the_oracle(case: Case) -> None:
    check(run(case, fold=True), case.results(), case.tolerance)


@pytest.mark.parametrize("case", HALF, ids=lambda case: case.id)
def test_fp16_agrees_with_the_oracle(case: Case) -> None:
    assert case.fp16 is not None
    check(run(case, half=True), case.results(), case.fp16)


@pytest.mark.parametrize("case", HALF, ids=lambda case: case.id)
def test_device_numerics_agree_with_the_oracle(case: Case) -> None:
    assert case.fp16 is not None
    check(run(case, half=True, engine=TorchEngine(numerics="device")), case.results(), case.fp16)


@pytest.mark.parametrize("case", META, ids=lambda case: case.id)
def test_shapes_on_the_meta_device(case: Case) -> None:
    assert run_on_meta(case) == [result.shape for result in case.results()]
