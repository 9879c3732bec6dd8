"""Steps and loops around weights that are too large for the model's message."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moka.engines.base import Segment
from moka.engines.onnx.graph import Unlowerable
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine
from moka.engines.torch_engine import TorchEngine
from moka.formats import dtypes
from moka.formats.dtypes import BY_NAME
from moka.ir.program import Argument, Block, Constant, Operation, Value
from moka.ir.types import TensorType
from tests.cases.operations import constant

RNG = np.random.default_rng(0)
ENGINES = {"onnxruntime": OnnxRuntimeEngine(threads=1), "openvino": OpenVinoEngine(threads=1)}
INPUTS, HIDDEN = 48, 40


def weight(dtype: str, *shape: int) -> Constant:
    array = RNG.normal(0, 0.1, shape).astype(BY_NAME[dtype].numpy)
    assert array.nbytes > 2048
    return Constant(TensorType(BY_NAME[dtype], shape), array)


def operation(kind: str, outputs: dict[str, TensorType], blocks: Any = (), **inputs: Argument | tuple[Argument, ...]) -> Operation:
    made = Operation(kind, {name: item if isinstance(item, tuple) else (item,) for name, item in inputs.items()}, [], {}, list(blocks))
    made.outputs = [Value(name, type, made) for name, type in outputs.items()]
    return made


def agree(segment: Segment, runtime: str, inputs: dict[str, Any]) -> None:
    expected = TorchEngine().compile(segment).run(inputs)
    found = ENGINES[runtime].compile(segment).run(inputs)
    for name, result in expected.items():
        np.testing.assert_allclose(np.asarray(found[name]), result.numpy(), rtol=0, atol=1e-5)


def layer(kind: str, dtype: str, steps: int, *, computed: bool = False) -> Segment:
    """A recurrent layer of a kind that no runtime has a node for."""
    gates = {"nn_lstm": 4, "nn_gru": 3, "nn_rnn": 1}[kind]
    x = Value("x", TensorType(BY_NAME[dtype], (steps, 2, INPUTS)))
    states = {name: constant(np.zeros((2, HIDDEN), np.float32)) for name in ("initial_h", "initial_c")[: 2 if kind == "nn_lstm" else 1]}
    matrix = Value("matrix", TensorType(BY_NAME[dtype], (gates * HIDDEN, HIDDEN)))
    inner = matrix if computed else weight(dtype, gates * HIDDEN, HIDDEN)
    limited = {"clip": constant(0.05)} if kind == "nn_lstm" else {"activation": constant("relu")}
    results = {name: TensorType(BY_NAME[dtype], None) for name in ("sequence", "h", "c")[: 1 + len(states)]}
    outer = weight(dtype, gates * HIDDEN, INPUTS)
    made = operation(kind, results, x=x, weight_ih=outer, weight_hh=inner, output_sequence=constant(True), **states, **limited)
    return Segment((x, matrix) if computed else (x,), (made,), tuple(made.outputs), "ios15")


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", ["nn_lstm", "nn_gru", "nn_rnn"])
def test_recurrent_layers_step_by_step(kind: str, dtype: str, runtime: str) -> None:
    agree(layer(kind, dtype, 7), runtime, {"x": RNG.normal(size=(7, 2, INPUTS)).astype(np.float32)})


@pytest.mark.parametrize("runtime", ENGINES)
def test_a_single_step_takes_no_loop(runtime: str) -> None:
    executable = ENGINES[runtime].compile(layer("nn_lstm", "fp32", 1))
    assert "Scan" not in {node.op_type for node in executable.lowered.model.graph.node}  # type: ignore[attr-defined]
    agree(layer("nn_lstm", "fp32", 1), runtime, {"x": RNG.normal(size=(1, 2, INPUTS)).astype(np.float32)})


def test_weights_that_are_computed_stay_away_from_openvino() -> None:
    segment = layer("nn_rnn", "fp32", 5, computed=True)
    with pytest.raises(Unlowerable, match="'matrix'"):
        ENGINES["openvino"].compile(segment)
    matrix = RNG.normal(0, 0.1, (HIDDEN, HIDDEN)).astype(np.float32)
    agree(segment, "onnxruntime", {"x": RNG.normal(size=(5, 2, INPUTS)).astype(np.float32), "matrix": matrix})


@pytest.mark.parametrize("runtime", ENGINES)
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_loops_with_a_weight(dtype: str, runtime: str) -> None:
    """Five times x = tanh(linear(x))."""
    step, rows = TensorType(dtypes.INT32, ()), TensorType(BY_NAME[dtype], (3, INPUTS))
    x, i, y = Value("x", rows), Value("i", step), Value("y", rows)
    less = operation("less", {"go_on": TensorType(dtypes.BOOL, ())}, x=i, y=constant(5))
    condition = Block([i, y], [less], list(less.outputs))
    product = operation("linear", {"product": rows}, x=y, weight=weight(dtype, INPUTS, INPUTS))
    bent = operation("tanh", {"bent": rows}, x=product.outputs[0])
    following = operation("add", {"following": step}, x=i, y=constant(1))
    body = Block([i, y], [product, bent, following], [*following.outputs, *bent.outputs])
    first = constant(0)
    loop = operation("while_loop", {"count": step, "result": rows}, [condition, body], loop_vars=(first, x))
    segment = Segment((x,), (loop,), tuple(loop.outputs), "ios15")
    agree(segment, runtime, {"x": RNG.normal(size=(3, INPUTS)).astype(np.float32)})
