"""Networks that Apple's compiler made: they run, and do what their sources do."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image  # type: ignore[import-untyped]

import moka
from moka.formats.mlmodel import read_specification, write_specification

EXACT = {
    "image-quality": "ImageQualityCP20",
    "mnist-classifier": "MNISTClassifier",
    "waifu2x-anime-noise1": "anime_noise1_model",
    "waifu2x-photo-noise0": "photo_noise0_model",
    "waifu2x-up-anime": "up_anime_scale2x_model",
}
"""Pairs whose compiled weights are those of the source."""
FOLDED = {"find-four": "FindFour", "ssd-ocr": "SSDOcr"}
"""Pairs with batch norms that the compiler folded into weights, which it stored in half precision."""
ALONE = ["compiled/face_detection_short_range.mlmodelc", "compiled/uxmodel.mlmodelc"]
STAGE = "pairs/updatable-drawing/UpdatableDrawingClassifier.mlmodelc/model0"
COMPILED = [*ALONE, STAGE, *(f"pairs/{folder}/{name}.mlmodelc" for folder, name in (EXACT | FOLDED).items())]


def inputs_of(model: Any) -> dict[str, Any]:
    """A photograph for each image, seeded noise for each array."""
    photograph, random = Image.fromarray(load_sample_image("china.jpg")), np.random.default_rng(0)
    inputs: dict[str, Any] = {}
    for name, feature in model.function.inputs.items():
        if hasattr(feature, "color_space"):
            mode = "L" if feature.color_space == "GRAYSCALE" else "RGB"
            inputs[name] = photograph.resize((feature.width, feature.height)).convert(mode)
        else:
            inputs[name] = random.normal(0, 1, feature.shape).astype(np.float32)
    return inputs


def loaded(specification: Any) -> Any:
    """A specification saved to a file and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.mlmodel"
        write_specification(specification, path)
        return moka.load(path)


def arrays(outputs: dict[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs as arrays, the probabilities of a classifier in the order of its labels; labels are left out."""
    numbers = {name: list(value.values()) if isinstance(value, dict) else value for name, value in outputs.items()}
    return {name: np.asarray(value) for name, value in numbers.items() if not isinstance(value, (str, int))}


def largest_difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of two models' outputs, relative to the largest number of each output."""
    one, other = arrays(found), arrays(expected)
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max() / np.abs(other[name]).max()) for name in other)


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_network_runs(corpus: Path, name: str) -> None:
    model = moka.load(corpus / name)
    outputs = arrays(model.predict(inputs_of(model)))
    assert outputs
    for key, value in outputs.items():
        assert np.isfinite(value).all(), key
        assert np.ptp(value) > 0, f"{key} is constant"


@pytest.mark.parametrize("folder", EXACT)
def test_does_what_its_source_does(corpus: Path, folder: str) -> None:
    source = moka.load(corpus / "pairs" / folder / f"{EXACT[folder]}.mlmodel")
    compiled = moka.load(corpus / "pairs" / folder / f"{EXACT[folder]}.mlmodelc")
    inputs = inputs_of(source)
    assert largest_difference(compiled.predict(inputs), source.predict(inputs)) <= 1e-5


def test_stage_of_a_pipeline_does_what_its_source_does(corpus: Path) -> None:
    pipeline = read_specification(corpus / "pairs/updatable-drawing/UpdatableDrawingClassifier.mlmodel")
    source = loaded(pipeline.pipelineClassifier.pipeline.models[0])
    inputs = inputs_of(source)
    assert largest_difference(moka.load(corpus / STAGE).predict(inputs), source.predict(inputs)) <= 1e-5


def numbers(message: Any) -> np.ndarray[Any, Any]:
    """A ``WeightParams`` message in double precision."""
    if message.float16Value:
        return np.frombuffer(message.float16Value, np.float16).astype(np.float64)
    return np.array(message.floatValue, np.float64)


def fold(specification: Any, *, half: bool) -> None:
    """Makes the batch norms of a network part of the convolutions before them; ``half`` rounds the weights as the compiler does."""
    network = specification.neuralNetwork
    kept: list[Any] = []
    for layer in network.layers:
        if layer.WhichOneof("layer") == "batchnorm" and kept and kept[-1].output[0] == layer.input[0]:
            fold_into(kept[-1].convolution, layer.batchnorm)
            kept[-1].output[0] = layer.output[0]
        else:
            kept.append(layer)
    for layer in kept if half else []:
        if layer.WhichOneof("layer") == "convolution":
            layer.convolution.weights.float16Value = numbers(layer.convolution.weights).astype(np.float32).astype(np.float16).tobytes()
            layer.convolution.weights.ClearField("floatValue")
    layers = [type(layer).FromString(layer.SerializeToString()) for layer in kept]
    del network.layers[:]
    network.layers.extend(layers)


def fold_into(convolution: Any, norm: Any) -> None:
    """Weights in single precision, from left to right: what half of them round to depends on it; biases in double precision."""
    gamma, beta, mean, variance = (numbers(getattr(norm, field)) for field in ("gamma", "beta", "mean", "variance"))
    deviation = np.sqrt(np.float32(variance) + np.float32(norm.epsilon))
    weights = numbers(convolution.weights).astype(np.float32).reshape(len(gamma), -1)
    weights = weights * np.float32(gamma)[:, None] / deviation[:, None]
    bias = numbers(convolution.bias) if convolution.hasBias else 0
    scale = gamma / deviation
    convolution.weights.ClearField("float16Value")
    convolution.weights.floatValue[:] = weights.ravel()
    convolution.bias.ClearField("float16Value")
    convolution.bias.floatValue[:] = (bias - mean) * scale + beta
    convolution.hasBias = True


@pytest.mark.parametrize("folder", FOLDED)
def test_differs_from_its_source_only_by_folding(corpus: Path, folder: str) -> None:
    """The source with its batch norms folded does what it did; with weights rounded on top, what the compiled network does."""
    path = corpus / "pairs" / folder / f"{FOLDED[folder]}.mlmodel"
    source, folded, rounded = (read_specification(path) for _ in range(3))
    fold(folded, half=False)
    fold(rounded, half=True)
    inputs = inputs_of(moka.load(path))
    compiled = moka.load(path.with_suffix(".mlmodelc")).predict(inputs)
    assert largest_difference(loaded(folded).predict(inputs), loaded(source).predict(inputs)) <= 1e-4
    assert largest_difference(compiled, loaded(rounded).predict(inputs)) <= 1e-4
