"""Sizes that are known only while a program runs: lowered with ONNX's arithmetic of shapes, or refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.onnx.graph import Unlowerable
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine
from moka.engines.torch_engine import TorchEngine
from moka.errors import ExecutionError
from moka.formats import dtypes
from moka.ir.program import Operation, Value
from moka.ir.types import TensorType
from tests.cases.operations import Fixed, constant

RNG = np.random.default_rng(0)
ENGINES = {"onnxruntime": OnnxRuntimeEngine(threads=1), "openvino": OpenVinoEngine(threads=1)}


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(0, 1, shape).astype(np.float32)


IMAGE = ("n", 4, "h", "w")
SEQUENCE = ("s", "b", 8)
LSTM = {"weight_ih": Fixed(normal(24, 8)), "weight_hh": Fixed(normal(24, 6)), "output_sequence": True}
CONV = {"weight": Fixed(normal(6, 4, 3, 3)), "pad_type": "same"}

CASES: dict[str, tuple[str, dict[str, Any], dict[str, tuple[Any, ...]]]] = {
    "conv_same": ("conv", CONV, {"x": IMAGE}),
    "conv_same_strides": ("conv", {**CONV, "strides": [2, 3]}, {"x": IMAGE}),
    "conv_same_lower_strides": ("conv", {**CONV, "strides": [2, 3], "pad_type": "same_lower"}, {"x": IMAGE}),
    "conv_same_dilations": ("conv", {**CONV, "dilations": [2, 2]}, {"x": IMAGE}),
    "conv_transpose_same": ("conv_transpose", {"weight": Fixed(normal(4, 6, 3, 3)), "strides": [2, 2], "pad_type": "same"}, {"x": IMAGE}),
    "max_pool": ("max_pool", {"kernel_sizes": [3, 3], "strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 1, 1]}, {"x": IMAGE}),
    "avg_pool": ("avg_pool", {"kernel_sizes": [3, 3], "pad_type": "same", "exclude_padding_from_average": True}, {"x": IMAGE}),
    "upsample_nearest": ("upsample_nearest_neighbor", {"scale_factor_height": 2.0, "scale_factor_width": 3.0}, {"x": IMAGE}),
    "upsample_bilinear": ("upsample_bilinear", {"scale_factor_height": 2.0, "align_corners": False}, {"x": IMAGE}),
    "upsample_corners": ("upsample_bilinear", {"scale_factor_height": 2.0, "scale_factor_width": 2.0}, {"x": IMAGE}),
    "resize_bilinear": ("resize_bilinear", {"target_size_height": 5, "target_size_width": 12}, {"x": IMAGE}),
    "crop": ("crop", {"crop_height": [1, 1], "crop_width": [0, 2]}, {"x": IMAGE}),
    "batch_norm": ("batch_norm", {"mean": Fixed(normal(4)), "variance": Fixed(np.float32([1, 2, 3, 4]))}, {"x": IMAGE}),
    "instance_norm": ("instance_norm", {}, {"x": IMAGE}),
    "l2_norm": ("l2_norm", {}, {"x": IMAGE}),
    "lrn_even": ("local_response_norm", {"size": 2}, {"x": IMAGE}),
    "layer_norm": ("layer_norm", {"axes": [-1], "gamma": Fixed(normal(8))}, {"x": SEQUENCE}),
    "layer_norm_of_unknown_sizes": ("layer_norm", {"axes": [-1]}, {"x": IMAGE}),
    "linear": ("linear", {"weight": Fixed(normal(5, 8)), "bias": Fixed(normal(5))}, {"x": SEQUENCE}),
    "matmul": ("matmul", {"transpose_y": True}, {"x": ("b", "s", 8), "y": ("b", "t", 8)}),
    "einsum": ("einsum", {"equation": "nchw,nwhu->nchu"}, {"values": ("n", 3, "h", "w"), "values_": ("n", "w", "h", 5)}),
    "attention": ("scaled_dot_product_attention", {}, {"query": (1, 2, "s", 8), "key": (1, 2, "t", 8), "value": (1, 2, "t", 8)}),
    "softmax": ("softmax", {"axis": -1}, {"x": SEQUENCE}),
    "reduce_mean": ("reduce_mean", {"axes": [-1], "keep_dims": True}, {"x": SEQUENCE}),
    "lstm": ("lstm", LSTM, {"x": ("s", 2, 8), "initial_h": (2, 6), "initial_c": (2, 6)}),
    "lstm_clipped": ("lstm", {**LSTM, "clip": 0.3}, {"x": ("s", 2, 8), "initial_h": (2, 6), "initial_c": (2, 6)}),
}
"""The operation, its constants, and the shapes of its inputs with names in place of sizes."""

REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, tuple[Any, ...]], str]] = {
    "conv_same_strides_dilations": (
        "conv", {**CONV, "strides": [2, 2], "dilations": [2, 2]}, {"x": IMAGE}, "pad_type 'same' with dilations needs the sizes of 'x'"
    ),
    "pool_ceil": (
        "max_pool", {"kernel_sizes": [3, 3], "strides": [2, 2], "pad_type": "valid", "ceil_mode": True}, {"x": IMAGE},
        "ceil_mode needs the sizes of 'x'",
    ),
    "upsample_by_a_fraction": (
        "upsample_nearest_neighbor", {"scale_factor_height": 1.5}, {"x": IMAGE}, "scale factors that are not whole need the sizes of 'x'"
    ),
    "resize_nearest": (
        "resize_nearest_neighbor", {"target_size_height": 4, "target_size_width": 4}, {"x": IMAGE}, "the size of axis 2 of 'x' is known"
    ),
}  # fmt: skip

SIZES = [{"n": 1, "h": 7, "w": 8, "s": 5, "b": 1, "t": 4}, {"n": 2, "h": 10, "w": 5, "s": 3, "b": 3, "t": 6}]


def segment(operation: str, constants: dict[str, Any], shapes: dict[str, tuple[Any, ...]]) -> Segment:
    values = {name: Value(name, TensorType(dtypes.FP32, shape)) for name, shape in shapes.items()}
    inputs: dict[str, Any] = {name: (constant(item),) for name, item in constants.items()}
    for name, value in values.items():
        inputs[name.rstrip("_")] = (*inputs.get(name.rstrip("_"), ()), value)
    user = Operation(operation, inputs)
    results = 3 if operation == "lstm" else 1
    user.outputs = [Value(f"y{i}", TensorType(dtypes.FP32, None), user) for i in range(results)]
    return Segment(tuple(values.values()), (user,), tuple(user.outputs), "ios18")


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("name", CASES)
def test_one_executable_takes_several_shapes(name: str, runtime: str) -> None:
    operation, constants, shapes = CASES[name]
    program = segment(operation, constants, shapes)
    executable = ENGINES[runtime].compile(program)
    for sizes in SIZES:
        feed = {key: normal(*[sizes.get(size, size) for size in shape]) for key, shape in shapes.items()}
        expected = TorchEngine().compile(program).run(feed)
        for key, found in executable.run(feed).items():
            np.testing.assert_allclose(np.asarray(found), expected[key].numpy(), rtol=0, atol=2e-5)


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_sizes_says_so(name: str, runtime: str) -> None:
    operation, constants, shapes, reason = REFUSED[name]
    with pytest.raises(Unlowerable, match=reason):
        ENGINES[runtime].compile(segment(operation, constants, shapes))


def test_openvino_is_not_given_what_it_could_not_survive() -> None:
    executable = ENGINES["openvino"].compile(segment("relu", {}, {"x": ("n", 3)}))
    np.testing.assert_array_equal(np.asarray(executable.run({"x": np.float32([[-1, 0, 2]])})["y0"]), [[0, 0, 2]])
    with pytest.raises(ExecutionError, match="without elements"):
        executable.run({"x": np.zeros((0, 3), np.float32)})


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("clip", [None, 0.3], ids=["native", "steps"])
def test_states_with_more_rows_than_the_batch(runtime: str, clip: float | None) -> None:
    """As coremltools writes packed sequences: a row for each step. Those beyond the batch change nothing."""
    constants = LSTM if clip is None else {**LSTM, "clip": clip}
    program = segment("lstm", constants, {"x": (5, 2, 8), "initial_h": ("n", 6), "initial_c": ("n", 6)})
    x, h, c = normal(5, 2, 8), normal(5, 6), normal(5, 6)
    executable = ENGINES[runtime].compile(program)
    found = executable.run({"x": x, "initial_h": h, "initial_c": c})
    expected = TorchEngine().compile(program).run({"x": x, "initial_h": h[:2], "initial_c": c[:2]})
    for key, value in found.items():
        np.testing.assert_allclose(np.asarray(value), expected[key].numpy(), rtol=0, atol=2e-5)
