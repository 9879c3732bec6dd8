"""``allow_low_precision``: bf16 for what a model declares fp16, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
import pytest
import torch

import moka
from tests.builders import convert, traced

HAS_BFLOAT16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
X = np.full((8, 64), 1 + 2**-9, np.float32)
"""Numbers that fp16 holds, and that bf16, which has 7 bits behind the point, rounds to 1."""


def package(folder: Path, precision: Any) -> Path:
    """relu(x I): gives what it takes, in the precision that it is computed in."""
    weight = torch.eye(64)
    program = traced(lambda x: torch.relu(x @ weight), torch.rand(8, 64))
    inputs, outputs = [ct.TensorType("x", (8, 64))], [ct.TensorType("y")]
    options: dict[str, Any] = {"compute_precision": precision, "minimum_deployment_target": ct.target.iOS17}
    return convert(program, folder / "identity.mlpackage", inputs=inputs, outputs=outputs, **options)


def half_but_relu() -> Any:
    return ct.transform.FP16ComputePrecision(op_selector=lambda operation: operation.op_type != "relu")


def predicted(path: Path, **options: Any) -> Any:
    return moka.load(path, engine="openvino", **options).predict({"x": X})["y"]


def test_what_is_declared_fp16_is_computed_in_bf16_if_allowed(tmp_path: Path) -> None:
    path = package(tmp_path, ct.precision.FLOAT16)
    np.testing.assert_array_equal(predicted(path), X)
    np.testing.assert_array_equal(predicted(path, allow_low_precision=True), np.ones_like(X) if HAS_BFLOAT16 else X)
    text = str(moka.load(path, allow_low_precision=True).plan())
    assert ("computed in bf16" in text) if HAS_BFLOAT16 else ("not fast at bf16" in text)
    assert "low precision" not in str(moka.load(path).plan())


@pytest.mark.parametrize("precision", [ct.precision.FLOAT32, half_but_relu()], ids=["all fp32", "mixed"])
def test_what_is_declared_fp32_stays_fp32(precision: Any, tmp_path: Path) -> None:
    path = package(tmp_path, precision)
    np.testing.assert_array_equal(predicted(path, allow_low_precision=True), X)
    plans = [moka.load(path, engine="openvino", allow_low_precision=allowed).plan() for allowed in (True, False)]
    assert "nothing is computed in bf16" in str(plans[0])
    assert plans[0].estimate == plans[1].estimate


def test_comparing_tells_what_it_costs(tmp_path: Path) -> None:
    path = package(tmp_path, ct.precision.FLOAT16)
    for allowed, error in ((True, 2**-9 / (1 + 2**-9) if HAS_BFLOAT16 else 0), (False, 0)):
        made = moka.pytorch.compare(path, None, {"x": X}, engine="openvino", allow_low_precision=allowed, tolerance=1e-3)
        assert made.outputs[0].error == pytest.approx(error, rel=1e-3)
        assert made.agrees == (error < 1e-3)
    assert "engine of its plan, low precision allowed" in moka.pytorch.compare(path, None, {"x": X}, allow_low_precision=True).summary()
