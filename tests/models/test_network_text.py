"""Networks as text: what coremltools' builder was told stands there, one layer a line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.models.neural_network import NeuralNetworkBuilder

import moka


def lines(build: Callable[[Any], object], folder: Path) -> list[str]:
    """The text of a network from x [3] to y, without its first and last lines."""
    builder = NeuralNetworkBuilder([("x", ct.models.datatypes.Array(3))], [("y", None)], disable_rank5_shape_mapping=True)
    build(builder)
    (folder / "network.mlmodel").write_bytes(builder.spec.SerializeToString())
    (part,) = moka.inspect(folder / "network.mlmodel").parts
    first, *middle, returned, last = part.program_text().splitlines()
    assert (first, returned, last) == ("network(%x) {", "  return %y", "}")
    return middle


def test_layers_have_inputs_fields_and_names(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        builder.add_inner_product("dense", np.ones((2, 3)), None, 3, 2, False, "x", "h")
        builder.add_activation("leaky", "LEAKYRELU", "h", "l", params=[0.25])
        builder.add_reduce_sum("sum", "l", "s", axes=[-1], keepdims=True)
        builder.add_resize_bilinear("big", "s", "b", 4, 5, mode="ALIGN_ENDPOINTS_MODE")
        builder.add_concat_nd("both", ["b", "l"], "y", axis=0)

    assert lines(build, tmp_path) == [
        "  %h = innerProduct(%x, inputChannels=3, outputChannels=2, weights=fp32[6])  # dense",
        "  %l = activation(%h, leakyReLU={alpha=0.25})  # leaky",
        "  %s = reduceSum(%l, axes=[-1], keepDims=true)  # sum",
        "  %b = resizeBilinear(%s, targetSize=[4, 5], mode={samplingMethod=ALIGN_ENDPOINTS_MODE})  # big",
        "  %y = concatND(%b, %l)  # both",
    ]


def test_nested_networks_are_indented(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        loop = builder.add_loop("loop", max_iterations=4).loop
        NeuralNetworkBuilder(nn_spec=loop.bodyNetwork, disable_rank5_shape_mapping=True).add_copy("copy", "x", "y")

    assert lines(build, tmp_path) == [
        "  loop(maxLoopIterations=4) {  # loop",
        "    bodyNetwork:",
        "      %y = copy(%x)  # copy",
        "  }",
    ]


def test_weights_of_every_type_and_long_lists_are_short(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        layers = builder.nn_spec.layers
        quantized = layers.add(name="four bits", input=["x"], output=["y"]).innerProduct.weights
        quantized.rawValue, quantized.quantization.numberOfBits = b"\0" * 3, 4
        half = layers.add(name="half", input=["x"], output=["y"]).loadConstantND
        half.shape.extend(range(1, 12))
        half.data.float16Value = b"\0" * 8
        own = layers.add(name="own", input=["x"], output=["y"]).custom
        own.className = "Own"
        own.parameters["gain"].doubleValue = 0.5
        layers.add(name="new", input=["x"], output=["y"])

    assert lines(build, tmp_path) == [
        "  %y = innerProduct(%x, weights=uint4[6])  # four bits",
        "  %y = loadConstantND(%x, shape=[1, 2, 3, 4, 5, 6, 7, 8, ... 11 in all], data=fp16[4])  # half",
        "  %y = custom(%x, className='Own', parameters={gain: {doubleValue=0.5}})  # own",
        "  %y = unknown(%x)  # new",
    ]


def test_preprocessing_comes_first(tmp_path: Path) -> None:
    def build(builder: Any) -> None:
        builder.nn_spec.preprocessing.add(featureName="x").scaler.channelScale = 0.5
        builder.add_copy("copy", "x", "y")

    assert lines(build, tmp_path) == ["  preprocessing(featureName='x', scaler={channelScale=0.5})", "  %y = copy(%x)  # copy"]
