"""Compressed weights: kept as few bits where a runtime multiplies with them, decompressed ahead elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.onnx.graph import Packed, Target
from moka.engines.onnx.lower import Lowered, lower
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine
from moka.engines.torch_engine import TorchEngine
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import TensorType

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 96)).astype(np.float32)
RANGES = {"int4": (-8, 8), "uint4": (0, 16), "int8": (-128, 128), "uint8": (0, 256)}
BLOCKS = [(80, 3), (80, 1), (1, 1), (1, 3), (80, 12)]
"""Scales of an 80 x 96 weight: for blocks of 32, rows, the whole, columns of blocks, blocks of 8."""


def constant(array: Any, dtype: str | None = None) -> Constant:
    array = np.asarray(array)
    return Constant(TensorType(BY_NAME[dtype or {"float32": "fp32", "bool": "bool"}[array.dtype.name]], array.shape), array)


def weight(dtype: str, shape: tuple[int, ...], blocks: tuple[int, ...], *, offset: bool = True, transposed: bool = False) -> Value:
    """The result of a blockwise compressed constant."""
    held = np.int8 if dtype.startswith("int") else np.uint8
    arrays = {"data": RNG.integers(*RANGES[dtype], shape).astype(held), "offset": RNG.integers(*RANGES[dtype], blocks).astype(held)}
    parts = {name: constant(array.T.copy() if transposed else array, dtype) for name, array in arrays.items() if offset or name == "data"}
    scale = RNG.uniform(0.5, 1, blocks).astype(np.float32)
    parts["scale"] = constant(scale.T.copy() if transposed else scale)
    operation = Operation("constexpr_blockwise_shift_scale", {name: (item,) for name, item in parts.items()})
    operation.outputs = [Value("weight", TensorType(dtypes.FP32, parts["data"].type.shape), operation)]  # type: ignore[union-attr]
    return operation.outputs[0]


def product(operation: str, compressed: Value, x: np.ndarray[Any, Any] = X, **inputs: Any) -> Segment:
    """A program that multiplies its input with a compressed weight."""
    name = {"linear": "weight", "matmul": "y"}.get(operation, "weight")
    given = Value("x", TensorType(dtypes.FP32, x.shape))
    user = Operation(operation, {"x": (given,), name: (compressed,), **{key: (constant(item),) for key, item in inputs.items()}})
    user.outputs = [Value("y", TensorType(dtypes.FP32, None), user)]
    assert compressed.producer is not None
    return Segment((given,), (compressed.producer, user), tuple(user.outputs), "ios18")


def runs_alike(segment: Segment, engine: Any, x: np.ndarray[Any, Any] = X) -> Lowered:
    expected = TorchEngine().compile(segment).run({"x": x})["y"].numpy()
    executable = engine.compile(segment)
    found = np.asarray(executable.run({"x": x})["y"])
    assert np.abs(found - expected).max() <= 2e-6 * np.abs(expected).max()
    return executable.lowered  # type: ignore[no-any-return]


def kinds(lowered: Lowered) -> set[str]:
    return {node.op_type for node in lowered.model.graph.node}


def largest(lowered: Lowered) -> int:
    """Bytes of the largest constant outside the message."""
    return max((item.data if isinstance(item, Packed) else item).nbytes for item in lowered.weights.values())


@pytest.mark.parametrize("form", ["linear", "matmul", "matmul_transposed"])
@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
@pytest.mark.parametrize("dtype", RANGES)
def test_products_with_compressed_weights(dtype: str, blocks: tuple[int, int], form: str) -> None:
    compressed = weight(dtype, (80, 96), blocks, offset=blocks != (80, 1), transposed=form == "matmul")
    segment = product("linear", compressed) if form == "linear" else product("matmul", compressed, transpose_y=form != "matmul")
    assert "DequantizeLinear" in kinds(runs_alike(segment, OpenVinoEngine(threads=1)))
    lowered = runs_alike(segment, OnnxRuntimeEngine(threads=1))
    four = dtype.endswith("4") and blocks != (80, 12)  # ONNX Runtime has no blocks of fewer than 16
    assert ("MatMulNBits" in kinds(lowered)) == four
    assert (largest(lowered) < 80 * 96) == four


def test_four_bits_stay_four_bits_in_openvino() -> None:
    executable = OpenVinoEngine(threads=1).compile(product("linear", weight("uint4", (80, 96), (80, 3))))
    assert largest(executable.lowered) == 80 * 96 // 2
    notes = [node.get_rt_info() for node in executable._compiled.get_runtime_model().get_ops()]
    found = {note["runtimePrecision"].astype(str) for note in notes if note["layerType"].astype(str) == "FullyConnected"}
    assert found == {"u4"}


def test_odd_rows_are_filled_up() -> None:
    x = RNG.normal(size=(2, 5, 41)).astype(np.float32)
    lowered = runs_alike(product("linear", weight("int4", (7, 41), (7, 1)), x), OnnxRuntimeEngine(threads=1), x)
    assert "MatMulNBits" in kinds(lowered)


def test_other_uses_get_a_dense_constant() -> None:
    x = RNG.normal(size=(1, 8, 9, 9)).astype(np.float32)
    segment = product("conv", weight("int8", (16, 8, 3, 3), (16, 1, 1, 1)), x)
    for engine in (OnnxRuntimeEngine(threads=1), OpenVinoEngine(threads=1)):
        lowered = runs_alike(segment, engine, x)
        assert kinds(lowered) == {"Conv", "Identity"}
        assert [item.dtype for item in lowered.weights.values()] == [np.float32]


def test_exported_models_keep_any_use_compressed() -> None:
    x = RNG.normal(size=(1, 8, 9, 9)).astype(np.float32)
    lowered = lower(product("conv", weight("int8", (16, 8, 3, 3), (16, 1, 1, 1)), x), Target("onnx"))
    assert kinds(lowered) == {"DequantizeLinear", "Conv", "Identity"}
    assert [item.dtype for item in lowered.weights.values()] == [np.int8]
