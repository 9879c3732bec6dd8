"""Quantized activations: on both runtimes the values that PyTorch's kernels give, in whole numbers where OpenVINO has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine
from moka.engines.torch_engine import TorchEngine
from moka.formats.dtypes import BY_NAME
from moka.ir.program import Operation, Value
from moka.ir.types import TensorType
from tests.cases.operations import Fixed, constant

RNG = np.random.default_rng(0)
SHAPES = {"conv": ((1, 16, 20, 20), (32, 16, 3, 3), (1, 32, 20, 20)), "linear": ((99, 64), (32, 64), (99, 32))}
STEP = 0.05


class Layers:
    """A program made step by step."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.x = Value("x", TensorType(BY_NAME["fp32"], shape))
        self.operations: list[Operation] = []

    def add(self, kind: str, dtype: str, shape: tuple[int, ...], **inputs: Any) -> Value:
        operation = Operation(kind, {name: (item if isinstance(item, Value) else constant(item),) for name, item in inputs.items()})
        operation.outputs = [Value(f"{kind}_{len(self.operations)}", TensorType(BY_NAME[dtype], shape), operation)]
        self.operations.append(operation)
        return operation.outputs[0]

    def rounded(self, x: Value, dtype: str, shape: tuple[int, ...], scale: float) -> Value:
        """A value quantized and dequantized."""
        grid = {"scale": np.float32(scale), "zero_point": Fixed(np.array(128 if dtype == "uint8" else 0, dtype))}
        return self.add("dequantize", "fp32", shape, input=self.add("quantize", dtype, shape, input=x, output_dtype=dtype, **grid), **grid)

    def weight(self, shape: tuple[int, ...], kind: str) -> Any:
        if kind == "float":
            return Fixed(RNG.normal(0, 0.1, shape).astype(np.float32))
        scale = RNG.uniform(0.001, 0.002, (shape[0],) + (1,) * (len(shape) - 1)).astype(np.float32)
        parts = {"data": Fixed(RNG.integers(-127, 128, shape).astype(np.int8)), "scale": Fixed(scale)}
        if kind == "shifted":
            parts["offset"] = Fixed(RNG.integers(-20, 20, scale.shape).astype(np.int8))
        return self.add("constexpr_blockwise_shift_scale", "fp32", shape, **parts)


def layer(kind: str, weight: str, activations: str) -> Segment:
    given, weights, made = SHAPES[kind]
    layers = Layers(given)
    x = layers.rounded(layers.x, activations, given, 0.03)
    more = {"pad_type": "same"} if kind == "conv" else {}
    bias = Fixed(RNG.normal(size=32).astype(np.float32))
    y = layers.add(kind, "fp32", made, x=x, weight=layers.weight(weights, weight), bias=bias, **more)
    y = layers.rounded(layers.add("relu", "fp32", made, x=y), activations, made, STEP)
    return Segment((layers.x,), tuple(layers.operations), (y,), "ios18")


@pytest.mark.parametrize("activations", ["int8", "uint8"])
@pytest.mark.parametrize("weight", ["whole", "shifted", "float"])
@pytest.mark.parametrize("kind", SHAPES)
def test_layer_between_quantized_activations(kind: str, weight: str, activations: str) -> None:
    segment = layer(kind, weight, activations)
    x = RNG.normal(size=SHAPES[kind][0]).astype(np.float32)
    (expected,) = TorchEngine().compile(segment).run({"x": x}).values()
    for engine in (OnnxRuntimeEngine(threads=1), OpenVinoEngine(threads=1)):
        (found,) = engine.compile(segment).run({"x": x}).values()
        steps = np.rint(np.abs(np.asarray(found) - expected.numpy()) / STEP)
        assert steps.max() <= 1
        assert (steps > 0).mean() < 2e-3, engine.name  # sums that lie between two steps


@pytest.mark.parametrize("kind", SHAPES)
def test_openvino_computes_in_whole_numbers(kind: str) -> None:
    executable = OpenVinoEngine(threads=1).compile(layer(kind, "whole", "uint8"))
    notes = [node.get_rt_info() for node in executable._compiled.get_runtime_model().get_ops()]
    found = {note["runtimePrecision"].astype(str) for note in notes if note["layerType"].astype(str) in ("Convolution", "FullyConnected")}
    assert found == {"u8"}
