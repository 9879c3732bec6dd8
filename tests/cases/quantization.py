"""Cases of affine quantization at run time. Oracles: ONNX Runtime, and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.cases.onnx_oracle import onnx_run
from tests.cases.operations import Case, Fixed

X = np.random.default_rng(3).normal(0, 3, (2, 3, 4)).astype(np.float32)
SCALES = np.array([0.05, 0.1, 0.2], np.float32)
SIGNED = np.array([-100, 0, 100], np.int8)
UNSIGNED = np.array([0, 128, 255], np.uint8)
KINDS = {"int8": TensorProto.INT8, "uint8": TensorProto.UINT8}


def cases(dtype: str, scale: Any, zero_point: Any, axis: int | None, note: str) -> list[Case]:
    """Both directions with the same parameters; the two start from opposite ends."""
    parameters = np.asarray(scale, np.float32), np.asarray(zero_point, dtype)
    given = {} if axis is None else {"axis": axis}
    stored = onnx_run("QuantizeLinear", X, *parameters, result=KINDS[dtype], **given)
    constants = {"scale": Fixed(parameters[0]), "zero_point": Fixed(parameters[1]), **given}
    return [
        Case("quantize", {"input": X, "output_dtype": dtype, **constants}, stored, (dtype,), "ios17", fp16=None, note=note),
        Case(
            "dequantize",
            {"input": stored, **constants},
            onnx_run("DequantizeLinear", stored, *parameters, **given),
            opset="ios17",
            note=note,
        ),
    ]


CASES = [
    *cases("int8", 0.05, -3, None, "int8"),
    *cases("uint8", 0.05, 120, None, "uint8"),
    *cases("int8", SCALES, SIGNED, 1, "int8-axis1"),
    *cases("uint8", SCALES, UNSIGNED, -2, "uint8-axis-2"),
    *cases("uint8", SCALES[:2], UNSIGNED[1:], 0, "uint8-axis0"),
    Case(
        "quantize",
        {"input": np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32), "scale": np.array(1, np.float32), "output_dtype": "int8"},
        np.array([0, 2, 2, 0, -2], np.int8),
        outputs=("int8",),
        opset="ios17",
        note="halves",
    ),
    Case(
        "quantize",
        {"input": np.array([[0, 2, 4], [0, -2, 1e9]], np.float32), "scale": np.array(2, np.float32), "output_dtype": "uint8"},
        np.array([[0, 1, 2], [0, 0, 255]], np.uint8),
        outputs=("uint8",),
        opset="ios17",
        note="clips",
    ),
    Case(
        "quantize",
        {"input": np.array([5.0, -5.0], np.float32), "scale": np.array([1.0, 2.0], np.float32), "axis": 0, "output_dtype": "int8"},
        np.array([5, -2], np.int8),
        outputs=("int8",),
        opset="ios17",
        note="vector",
    ),
    Case(
        "dequantize",
        {"input": np.array([[0, 1, 2], [0, 1, -2]], np.int8), "scale": np.array(2, np.float32)},
        np.array([[0, 2, 4], [0, 2, -4]], np.float32),
        opset="ios17",
        note="no-zero-point",
    ),
    Case(
        "dequantize",
        {"input": np.array(3, np.uint8), "scale": np.array(2, np.float32), "zero_point": np.array(5, np.uint8)},
        np.array(-4, np.float32),
        opset="ios17",
        note="rank0",
    ),
]
