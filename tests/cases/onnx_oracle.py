"""ONNX Runtime as an oracle: one operator of the standard, run on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from onnx import TensorProto, helper


def onnx_run(
    operator: str, *inputs: np.ndarray[Any, Any] | None, opset: int = 19, result: int = TensorProto.FLOAT, **attributes: Any
) -> np.ndarray[Any, Any]:
    """The first output, of element type ``result``, of one ONNX operator; None leaves an optional input out."""
    return onnx_outputs(operator, *inputs, count=1, opset=opset, result=result, **attributes)[0]


def onnx_outputs(
    operator: str, *inputs: np.ndarray[Any, Any] | None, count: int, opset: int = 19, result: int = TensorProto.FLOAT, **attributes: Any
) -> list[np.ndarray[Any, Any]]:
    """The first ``count`` outputs, of element type ``result``, of one ONNX operator; None leaves an optional input out."""
    outputs = [f"out{i}" for i in range(count)]
    given = {f"in{i}": array for i, array in enumerate(inputs) if array is not None}
    names = ["" if array is None else f"in{i}" for i, array in enumerate(inputs)]
    kinds = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in given.items()}
    values = [helper.make_tensor_value_info(name, kinds[name], array.shape) for name, array in given.items()]
    node = helper.make_node(operator, names, outputs, **attributes)
    results = [helper.make_tensor_value_info(name, result, None) for name in outputs]
    graph = helper.make_graph([node], "oracle", values, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(outputs, given)]
