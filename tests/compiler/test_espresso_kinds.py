"""Every kind of layer compiled and read back: the tests of the importer, with compiled models in place of their sources.

Those tests build networks with coremltools' own builder, and compare what comes out with PyTorch, NumPy and ONNX Runtime.
"""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.utils import save_spec
from coremltools.proto import NeuralNetwork_pb2
from PIL import Image

import moka
from moka.formats.mlmodelc.analytics import read_analytics
from moka.formats.source import open_source
from moka.importers.neural_network.layers._nested import kinds
from moka.ops import custom
from tests.importers import neural_network

_MODULES = sorted(path.stem for path in Path(neural_network.__path__[0]).glob("test_*.py"))
_APART = ("test_complete", "test_corpus")
"""One counts what the others cover; the other is about real models, most of which are compiled elsewhere."""

_NOT_ABOUT_LAYERS = (
    "test_broken_networks_are_refused",
    "test_inputs_that_networks_do_not_take_are_refused",
    "test_the_default_limit_is_50",
)
"""What the compiler says of broken networks is tested beside it; the last reads the source's file, which there is none of then."""

_COVERED: set[str] = set()


_load = moka.load


@pytest.fixture(autouse=True)
def _networks_are_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is loaded is compiled first, with what no real model shows."""
    count = itertools.count()

    def load_compiled(path: Path | str, **options: Any) -> moka.Model:
        specification = open_source(path).specification
        _COVERED.update(kinds(getattr(specification, specification.WhichOneof("Type")).layers))
        return _load(moka.compile(path, tmp_path / str(next(count)), unverified=True), **options)

    monkeypatch.setattr(moka, "load", load_compiled)


def _tests() -> Iterator[tuple[str, Callable[..., None]]]:
    for name in _MODULES:
        if name not in _APART:
            module = importlib.import_module(f"{neural_network.__name__}.{name}")
            functions = {key: value for key, value in vars(module).items() if key.startswith("test_") and key not in _NOT_ABOUT_LAYERS}
            yield from ((f"{name}__{key.removeprefix('test_')}", function) for key, function in functions.items())


globals().update(_tests())


def test_zz_every_kind_went_there_and_back(request: pytest.FixtureRequest) -> None:
    if len(_COVERED) < 100:
        pytest.skip("counts the layers of all tests in this file; not all of them ran")
    fields = NeuralNetwork_pb2.NeuralNetworkLayer.DESCRIPTOR.oneofs_by_name["layer"].fields
    assert {field.name for field in fields} - _COVERED == set()


class _Swish:
    """A custom layer of one weight and one parameter."""

    def __init__(self, parameters: dict[str, Any], weights: list[Any]) -> None:
        self.slope, self.shift = parameters["slope"], torch.tensor(weights[0])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.sigmoid(self.slope * x) + self.shift


def _custom(folder: Path) -> Path:
    """A convolution, a custom layer, and what follows it, whose shape only the custom layer knows."""
    params = NeuralNetwork_pb2.CustomLayerParams(className="Swish", description="smooth")
    params.parameters["slope"].doubleValue = 0.5
    params.weights.add().floatValue.extend([1.0, 2.0])
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2, 3, 4))], [("y", None)])
    noise = np.random.default_rng(0).standard_normal((1, 1, 2, 2)).astype(np.float32)
    builder.add_convolution("conv", 2, 2, 1, 1, 1, 1, "valid", 1, noise, None, False, input_name="x", output_name="c")
    builder.add_permute("turn", (0, 2, 3, 1), "c", "t")
    builder.add_custom("swish", ["t"], ["s"], params)
    builder.add_permute("back", (0, 3, 1, 2), "s", "b")
    builder.add_activation("last", "SIGMOID", "b", "y")
    save_spec(builder.spec, str(folder / "swish.mlmodel"))
    return folder / "swish.mlmodel"


def test_custom_layers_are_compiled_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _custom(tmp_path)
    with pytest.raises(moka.UnsupportedError, match=r"layer 'swish' \(custom\): this kind of layer.*--unverified"):
        moka.compile(path, tmp_path)
    compiled = moka.compile(path, tmp_path, unverified=True)
    analytics = read_analytics(compiled / "analytics/coremldata.bin")
    assert analytics["NeuralNetworkModelDetails"]["containsCustomLayer"] == "1"
    marked = json.loads((compiled / "metadata.json").read_text())[0]["mokaUnverified"]
    assert any("layer 'swish' (custom)" in item for item in marked)
    shapes = json.loads((compiled / "model.espresso.shape").read_text())["layer_shapes"]
    assert shapes.keys() == {"x", "c", "t"}
    monkeypatch.setattr(custom, "_registered", {})
    moka.custom_layer("Swish", _Swish)
    x = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)
    expected = _load(path).predict({"x": x})["y"]
    back = moka.decompile(compiled, tmp_path / "back")
    for model in (compiled, back):
        np.testing.assert_allclose(_load(model).predict({"x": x})["y"], expected, rtol=1e-6)
    again = moka.compile(back, tmp_path / "again", unverified=True)
    for name in ("model.espresso.net", "model.espresso.shape"):
        assert json.loads((again / name).read_text()) == json.loads((compiled / name).read_text())
    assert (again / "model.espresso.weights").read_bytes() == (compiled / "model.espresso.weights").read_bytes()


def test_networks_without_custom_layers_say_so(tmp_path: Path) -> None:
    builder = NeuralNetworkBuilder([("x", datatypes.Array(2, 3, 4))], [("y", None)])
    builder.add_activation("last", "SIGMOID", "x", "y")
    save_spec(builder.spec, str(tmp_path / "plain.mlmodel"))
    compiled = moka.compile(tmp_path / "plain.mlmodel", tmp_path)
    assert read_analytics(compiled / "analytics/coremldata.bin")["NeuralNetworkModelDetails"]["containsCustomLayer"] == "0"


def _images(*colors: str, **preprocessing: Any) -> Any:
    """A network that adds up the images it takes."""
    names = [f"image{index}" for index in range(len(colors))]
    inputs = [(name, datatypes.Array(1 if color == "GRAYSCALE" else 3, 4, 6)) for name, color in zip(names, colors, strict=True)]
    builder = NeuralNetworkBuilder(inputs, [("y", None)])
    for index, name in enumerate(names):
        builder.add_reduce(f"r{index}", name, f"r{index}", axis="C", mode="sum")
    builder.add_elementwise("sum", [f"r{index}" for index in range(len(names))], "s", "ADD", alpha=0.5 if len(names) == 1 else None)
    builder.add_activation("last", "LINEAR", "s", "y", [0.5, 0.25])
    builder.set_pre_processing_parameters(
        names, is_bgr={name: color == "BGR" for name, color in zip(names, colors, strict=True)}, **preprocessing
    )
    for feature, color in zip(builder.spec.description.input, colors, strict=True):
        feature.type.imageType.colorSpace = feature.type.imageType.ColorSpace.Value(color)
    return builder.spec


def _mean_image(spec: Any) -> Any:
    spec.neuralNetwork.preprocessing.add(featureName="image0").meanImage.meanImage.extend(np.linspace(0, 9, 72).tolist())
    return spec


_PREPROCESSED = {
    "blue first": lambda: _images("BGR", red_bias=-1, green_bias=-2, blue_bias=-3),
    "other biases": lambda: _images("RGB", image_scale=0.5, red_bias=-1, green_bias=-2, blue_bias=-3),
    "gray": lambda: _images("GRAYSCALE", image_scale=0.25, gray_bias=-4),
    "several": lambda: _images("RGB", "GRAYSCALE", "BGR", image_scale={"image0": 0.5, "image1": 2, "image2": 1}),
    "mean image": lambda: _mean_image(_images("RGB", image_scale=0.5, red_bias=-1, green_bias=-1, blue_bias=-1)),
}


@pytest.mark.parametrize("make", _PREPROCESSED.values(), ids=_PREPROCESSED)
def test_what_is_done_to_images_is_read_back(tmp_path: Path, make: Callable[[], Any]) -> None:
    spec = make()
    save_spec(spec, str(tmp_path / "images.mlmodel"))
    with pytest.raises(moka.UnsupportedError, match="--unverified"):
        moka.compile(tmp_path / "images.mlmodel", tmp_path)
    compiled = moka.compile(tmp_path / "images.mlmodel", tmp_path, unverified=True)
    pixels = np.random.default_rng(2).integers(0, 256, (4, 6, 3), np.uint8)
    gray = {feature.name for feature in spec.description.input if feature.type.imageType.colorSpace == 10}
    data = {feature.name: Image.fromarray(pixels).convert("L" if feature.name in gray else "RGB") for feature in spec.description.input}
    expected, found = (_load(path).predict(data)["y"] for path in (tmp_path / "images.mlmodel", compiled))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
