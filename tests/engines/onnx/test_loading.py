"""What OpenVINO is given to load: nothing that it would only have to compute away again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from moka.engines.base import Segment
from moka.engines.onnx import openvino as engine
from moka.engines.onnx.graph import Target
from moka.engines.onnx.lower import lower
from moka.formats.dtypes import BY_NAME
from moka.ir.program import Constant, Operation, Value
from moka.ir.types import TensorType

pytest.importorskip("openvino")

RNG = np.random.default_rng(5)
SHAPES = {"conv": ((32, 8, 3, 3), (1, 32, 10, 10)), "conv_transpose": ((8, 32, 3, 3), (1, 32, 14, 14))}


def weight(dtype: str, *shape: int) -> Constant:
    return Constant(TensorType(BY_NAME[dtype], shape), RNG.normal(0, 0.1, shape).astype(BY_NAME[dtype].numpy))


def convolution(kind: str, dtype: str) -> Segment:
    """Of 8 by 12 by 12 to 32 channels, with a bias."""
    x = Value("x", TensorType(BY_NAME[dtype], (1, 8, 12, 12)))
    kernel, result = SHAPES[kind]
    made = Operation(kind, {"x": (x,), "weight": (weight(dtype, *kernel),), "bias": (weight(dtype, 32),)})
    y = Value("y", TensorType(BY_NAME[dtype], result), made)
    made.outputs.append(y)
    return Segment((x,), (made,), (y,), "CoreML7")


def network(segment: Segment, **options: Any) -> list[str]:
    """The kinds of OpenVINO's operators before it compiles them."""
    found = engine._network(lower(segment, Target("openvino")), **{"widened": True} | options)
    return [item.get_type_name() for item in found.get_ops()]


@pytest.mark.parametrize("kind", SHAPES)
def test_a_bias_is_one_addition(kind: str) -> None:
    assert network(convolution(kind, "fp32")).count("Add") == 1
    assert "ShapeOf" not in network(convolution(kind, "fp32"))


def test_halves_are_widened_for_processors_alone() -> None:
    import openvino

    for widened, kind in ((True, openvino.Type.f32), (False, openvino.Type.f16)):
        found = engine._network(lower(convolution("conv", "fp16"), Target("openvino")), widened=widened)
        large = [item for item in found.get_ops() if item.get_type_name() == "Constant" and item.output(0).get_shape() == [32, 8, 3, 3]]
        assert [item.get_element_type() for item in large] == [kind]


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
@pytest.mark.parametrize("kind", SHAPES)
def test_results_are_those_of_torch(kind: str, dtype: str) -> None:
    segment = convolution(kind, dtype)
    x = RNG.normal(0, 1, (1, 8, 12, 12)).astype(np.float16).astype(np.float32)
    constants = [torch.from_numpy(segment.operations[0].inputs[name][0].value).float() for name in ("weight", "bias")]  # type: ignore[union-attr]
    function = torch.nn.functional.conv2d if kind == "conv" else torch.nn.functional.conv_transpose2d
    expected = function(torch.from_numpy(x), *constants).numpy()
    found = engine.OpenVinoEngine(threads=1).compile(segment).run({"x": x})["y"]
    np.testing.assert_allclose(found, expected, atol=1e-4)
