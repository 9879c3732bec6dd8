"""Real networks of 2017 to 2020: every one runs, and those that PyTorch can build agree with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image  # type: ignore[import-untyped]

import moka
from moka.models.images import ImageFeature
from tests.corpus import NETWORKS
from tests.importers.neural_network import pytorch_networks as built
from tests.importers.neural_network.networks import Array
from tests.importers.neural_network.pytorch_networks import Weights


@pytest.fixture(scope="session")
def photograph() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))


def fitting(photograph: Image.Image, feature: Any) -> Any:
    """The photograph as the input wants it; seeded noise where it wants no image."""
    if isinstance(feature, ImageFeature):
        return photograph.resize((feature.width, feature.height)).convert("L" if feature.color_space == "GRAYSCALE" else "RGB")
    return np.random.default_rng(0).uniform(0, 1, feature.shape).astype(feature.dtype)


def numbers(value: Any) -> Array:
    """Any output as an array."""
    if isinstance(value, dict):
        return np.array(list(value.values()))
    return np.asarray([value] if isinstance(value, (str, int)) else value)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_runs(corpus: Path, photograph: Image.Image, name: str) -> None:
    check_run(moka.load(corpus / name), photograph)


def test_networks_that_are_not_listed_run(corpus: Path, photograph: Image.Image) -> None:
    """All others, unless they need custom layers: then the error says how to register them."""
    files = [path for place in ("models/*", "pairs/*/*") for path in corpus.glob(place) if path.suffix in (".mlmodel", ".mlpackage")]
    others = [path for path in files if str(path.relative_to(corpus)) not in NETWORKS]
    summaries = [moka.inspect(path) for path in others]
    networks = [item for item in summaries if item.kind.startswith("neuralNetwork")]
    assert "FastStyleTransferVanGoghStarryNight" in [item.path.stem for item in networks]  # has custom layers
    for summary in networks:
        if "Custom" in summary.parts[0].operations:
            with pytest.raises(moka.UnsupportedError, match=r"@moka\.custom_layer\("):
                moka.load(summary.path)
        else:
            check_run(moka.load(summary.path), photograph)


def check_run(model: Any, photograph: Image.Image) -> None:
    """Outputs that are finite, depend on something, and come again."""
    inputs = {key: fitting(photograph, feature) for key, feature in model.function.inputs.items()}
    first, second = model.predict(inputs), model.predict(inputs)
    assert set(first) == set(model.function.outputs)
    for key, value in first.items():
        array = numbers(value)
        np.testing.assert_array_equal(array, numbers(second[key]))
        if array.dtype.kind == "f":
            assert np.isfinite(array).all(), key
            assert np.ptp(array) > 0, f"{key} is constant"


def tensor(image: Any) -> torch.Tensor:
    """An image as [1, channels, height, width]."""
    pixels = np.asarray(image, np.float32)
    return torch.tensor(pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None])


def agree(result: Any, expected: torch.Tensor) -> None:
    """Within 1e-4 of the largest value."""
    wanted = expected.numpy()
    assert result.size == wanted.size
    np.testing.assert_allclose(result.reshape(wanted.shape), wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_digits_agree_with_pytorch(corpus: Path) -> None:
    """On digits as the network knows them: white on black, drawn here."""
    path = corpus / "pairs/mnist-classifier/MNISTClassifier.mlmodel"
    model, weights = moka.load(path), Weights(path)
    stroke = np.zeros((28, 28), np.uint8)
    stroke[4:24, 13:16] = 255
    noisy = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    for picture in (stroke, noisy):
        result = model.predict({"image": Image.fromarray(picture)})
        agree(numbers(result["labelProbabilities"]), built.mnist(weights, tensor(picture)))
    assert model.predict({"image": Image.fromarray(stroke)})["classLabel"] == 1


def test_find_four_agrees_with_pytorch(corpus: Path, photograph: Image.Image) -> None:
    path = corpus / "pairs/find-four/FindFour.mlmodel"
    image = photograph.resize((480, 302))
    result = moka.load(path).predict({"input1": image})["output1"]
    assert result.shape == (3, 34, 51)
    agree(result, built.find_four(Weights(path), tensor(image)))


@pytest.mark.parametrize("name", ["waifu2x-anime-noise1/anime_noise1_model", "waifu2x-up-anime/up_anime_scale2x_model"])
def test_waifu2x_agrees_with_pytorch(corpus: Path, photograph: Image.Image, name: str) -> None:
    path = corpus / f"pairs/{name}.mlmodel"
    model: Any = moka.load(path)
    size = model.function.inputs["input"].shape[1]
    picture = tensor(photograph.resize((size, size))) / 255
    result = model.predict({"input": picture[0]})["conv7"]
    agree(result, built.waifu2x(Weights(path), picture))


POSE = [
    ("models/pose_mobilenet_260x200_5_8_large_1567123257.mlmodel", (200, 260), True, 4),
    ("models/human_pose_mobilenet_353x257_5_8_large_1569859486.mlmodel", (257, 353), False, 2),
]
"""The second is quantized to eight bits, with the normalization folded into its convolutions."""


@pytest.mark.parametrize(("name", "size", "normalized", "dilation"), POSE, ids=["plain", "quantized"])
def test_pose_agrees_with_pytorch(
    corpus: Path, photograph: Image.Image, name: str, size: tuple[int, int], normalized: bool, dilation: int
) -> None:
    image = photograph.resize(size)
    results = moka.load(corpus / name).predict({"image": image})
    expected = built.pose(Weights(corpus / name), tensor(image), normalized=normalized, last_dilation=dilation)
    assert results.keys() == expected.keys()
    for key, value in expected.items():
        agree(results[key], value)


@pytest.mark.parametrize(
    "name", ["hair_segmentation_mobilenet_256x256_5_1568564884", "people_segmentation_mobilenet_256x256_75_1568565137"]
)
def test_segmentation_agrees_with_pytorch(corpus: Path, photograph: Image.Image, name: str) -> None:
    path = corpus / f"models/{name}.mlmodel"
    image = photograph.resize((256, 256))
    agree(moka.load(path).predict({"image": image})["output"], built.segmentation(Weights(path), tensor(image)))


@pytest.mark.parametrize("size", [(360, 640), (640, 426), (102, 131)])
def test_style_transfer_of_any_size_agrees_with_pytorch(corpus: Path, photograph: Image.Image, size: tuple[int, int]) -> None:
    """Its output is a picture, so bytes: one step of 255 apart at most. Odd sizes come out rounded up to whole blocks of four."""
    path = corpus / "models/horses_on_seashore_512x512_a025_stable_flexible.mlmodel"
    image = photograph.resize(size)
    picture = moka.load(path).predict({"image": image})["stylizedImage"]
    expected = built.style_transfer(Weights(path), tensor(image))[0].permute(1, 2, 0).round().clamp(0, 255).numpy()
    assert picture.size == (-(-size[0] // 4) * 4, -(-size[1] // 4) * 4)
    difference = np.abs(np.asarray(picture, np.float32) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_style_transfer_refuses_images_outside_its_range(corpus: Path, photograph: Image.Image) -> None:
    model = moka.load(corpus / "models/horses_on_seashore_512x512_a025_stable_flexible.mlmodel")
    with pytest.raises(moka.InputError, match=r"image 'image' is 90 x 640 pixels .* expected 100 to 1920 x 100 to 1920"):
        model.predict({"image": photograph.resize((90, 640))})


def test_digits_of_one_vector_and_of_a_sequence_agree(corpus: Path) -> None:
    """A network of 2017 takes one array, or a sequence of batches of them."""
    model = moka.load(corpus / "models/Digits.mlmodel")
    x = np.random.default_rng(4).uniform(0, 1, (3, 2, 1, 28, 28))
    together = model.predict({"input1": x})["output1"]
    assert together.shape == (3, 2, 10, 1, 1)
    alone = np.stack([[model.predict({"input1": image})["output1"] for image in batch] for batch in x])
    np.testing.assert_allclose(together[..., 0, 0], alone, rtol=1e-4, atol=1e-7)
