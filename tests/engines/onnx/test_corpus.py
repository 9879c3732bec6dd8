"""Real models through ONNX: on both runtimes what PyTorch's kernels give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import moka
from moka.engines.base import Segment
from moka.engines.onnx.graph import Target, Unlowerable
from moka.engines.onnx.lower import lower
from moka.engines.onnx.openvino import OpenVinoEngine
from moka.engines.onnx.ort import OnnxRuntimeEngine
from moka.engines.torch_engine import TorchEngine
from moka.formats import dtypes
from moka.formats.source import open_source
from moka.importers.ml_program import import_program
from moka.importers.neural_network import import_network
from moka.ir.program import Function
from moka.ir.types import TensorType
from moka.models.network_model import NetworkModel
from moka.models.shapes import declared_shape
from tests.corpus import NETWORKS, PROGRAMS, WITH_LISTS
from tests.engines.onnx.test_cases import whole

LOOSE = {
    "nmp.mlpackage": 2e-3,  # logarithms of energies near zero, where float32 has few digits left
    "rigid_style_model.mlmodel": 5e-4,  # OpenVINO's sums over the 307,200 pixels that it normalizes
}
"""Tolerance of models for which float32 is not enough."""


def function(path: Path) -> Function:
    """The program of a model, for its inputs as declared."""
    source = open_source(path)
    if source.specification.WhichOneof("Type") == "mlProgram":
        return import_program(source).functions["main"]
    model = moka.load(path, engine="torch")
    assert isinstance(model, NetworkModel)
    shapes = {name: declared_shape(feature) for name, feature in model.function.inputs.items()}
    return import_network(model.network, {name: shape for name, shape in shapes.items() if shape}).functions["main"]


def without_labels(function: Function) -> Segment:
    """Everything but a classifier's last step, which makes a dictionary of its probabilities."""
    operations = [item for item in function.body.operations if item.type != "classify"]
    last = [item for item in function.body.operations if item.type == "classify"]
    made = {value for item in last for value in item.outputs}
    probabilities = [value for item in last for value in item.inputs["probabilities"] if hasattr(value, "producer")]
    outputs = [value for value in (*function.outputs, *probabilities) if value not in made]
    return Segment(tuple(function.inputs), tuple(operations), tuple(dict.fromkeys(outputs)), function.opset)


def feed(segment: Segment) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Seeded noise above zero: some of these networks take logarithms."""
    random = np.random.default_rng(0)
    for value in segment.inputs:
        assert isinstance(value.type, TensorType)
        assert value.type.dtype in (dtypes.FP16, dtypes.FP32)
        yield (
            value.name,
            random.uniform(0.01, 1, [size if isinstance(size, int) else 8 for size in value.type.shape or ()]).astype(np.float32),
        )


def is_half(segment: Segment) -> bool:
    values = [value.type for operation in segment.operations for value in operation.outputs]
    return any(isinstance(item, TensorType) and item.dtype == dtypes.FP16 for item in values)


@pytest.mark.parametrize("name", PROGRAMS + NETWORKS)
def test_both_runtimes_agree_with_pytorch(corpus: Path, name: str) -> None:
    segment = without_labels(function(corpus / name))
    inputs = dict(feed(segment))
    expected = TorchEngine().compile(segment).run(inputs)
    # OpenVINO does not round inputs to the fp16 that a program casts them to.
    tolerance = LOOSE.get(Path(name).name, 2e-3 if is_half(segment) else 1e-4)
    for engine in (OnnxRuntimeEngine(threads=2), OpenVinoEngine(threads=2)):
        found = engine.compile(segment).run(inputs)
        errors = {key: relative_error(np.asarray(found[key]), value.numpy()) for key, value in expected.items()}
        assert max(errors.values()) <= tolerance, (engine.name, errors)


def relative_error(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    """To the largest value, or a hundredth: ONNX Runtime's sigmoid is exact to 1e-7, however small its result."""
    assert found.shape == expected.shape
    assert np.isfinite(found).all()
    return float(np.abs(found - expected).max(initial=0) / max(np.abs(expected).max(initial=0), 1e-2))


@pytest.mark.parametrize("name", PROGRAMS + NETWORKS)
def test_standard_model_is_valid(corpus: Path, name: str) -> None:
    lowered = lower(without_labels(function(corpus / name)), Target("onnx"))
    onnx.checker.check_model(whole(lowered), full_check=True)
    assert len(lowered.model.graph.node) >= len(lowered.outputs)


@pytest.mark.parametrize("name", WITH_LISTS)
def test_lists_stay_with_pytorch(corpus: Path, name: str) -> None:
    with pytest.raises(Unlowerable, match="list"):
        lower(without_labels(function(corpus / name)), Target("onnx"))
