"""Compiled networks as a whole: inputs, ranks, images, and what several layers do together."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coremltools.models import datatypes
from coremltools.models.neural_network import NeuralNetworkBuilder
from coremltools.models.utils import save_spec
from PIL import Image

import moka
from moka.errors import FormatError, UnsupportedError
from moka.formats import schema
from moka.formats.espresso import read_network
from moka.formats.espresso.files import NET_FILE
from moka.formats.espresso.preprocessing import TRANSFORM_FILE
from tests.formats.espresso_networks import layer, read, run, write

LINEAR = layer("activation", "image", "out", mode=6, beta=0)
SHAPE = {"image": (3, 4, 5), "out": (3, 4, 5)}
SCALED = {"scale": 0.5, "bias_r": -1, "bias_g": -2, "bias_b": -3, "bias_a": 0, "center_mean": 0, "is_network_bgr": 0, "is_image_bgr": 0}


def scaler(transform: dict[str, Any], shapes: dict[str, tuple[int, ...]] = SHAPE) -> Any:
    """The preprocessing that a transformation of an image becomes."""
    (message,) = read([LINEAR], shapes, transform_params={"image": transform}).preprocessing
    assert message.featureName == "image"
    return message.scaler


def test_scale_and_biases() -> None:
    found = scaler(SCALED)
    assert (found.channelScale, found.redBias, found.greenBias, found.blueBias, found.grayBias) == (0.5, -1, -2, -3, 0)


def test_an_image_of_one_channel_has_the_bias_of_gray() -> None:
    found = scaler({**SCALED, "bias_a": 4}, {"image": (1, 4, 5), "out": (1, 4, 5)})
    assert (found.channelScale, found.grayBias, found.redBias) == (0.5, 4, 0)


def test_one_bias_of_colors_says_nothing_of_gray() -> None:
    with pytest.raises(UnsupportedError, match="an image of one channel has a bias of -1"):
        scaler({**SCALED, "bias_g": -1, "bias_b": -1}, {"image": (1, 4, 5), "out": (1, 4, 5)})


@pytest.mark.parametrize(("name", "value"), [("center_mean", 1), ("is_image_bgr", 1), ("gamma", 2.2)])
def test_other_transformations_are_refused(name: str, value: float) -> None:
    with pytest.raises(UnsupportedError, match=f"{name} is {value}, which has no known meaning"):
        scaler({**SCALED, name: value})


def test_what_changes_nothing_is_no_preprocessing() -> None:
    same = {**dict.fromkeys(SCALED, 0), "scale": 1}
    assert not read([LINEAR], SHAPE, transform_params={"image": same}).preprocessing


def image_model(color: str, channels: int = 3) -> Any:
    """The description of a model with an image."""
    description = schema.model().Model().description
    image = description.input.add(name="image").type.imageType
    image.height, image.width, image.colorSpace = 4, 5, image.ColorSpace.Value(color)
    return description


def test_an_order_of_colors_that_is_not_the_descriptions(tmp_path: Path) -> None:
    write(tmp_path, [LINEAR], SHAPE, transform_params={"image": {**SCALED, "is_network_bgr": 1}})
    assert read_network(tmp_path, image_model("BGR")).preprocessing
    with pytest.raises(UnsupportedError, match="is_network_bgr is 1, but the model's description says RGB"):
        read_network(tmp_path, image_model("RGB"))


def binary(*maps: float, name: bytes = b"image") -> bytes:
    """The binary file, with one number for the image in each map."""
    return b"".join(struct.pack("<QQ", 1, len(name)) + name + struct.pack("<f", number) for number in maps)


def in_binary(folder: Path, data: bytes) -> Any:
    """The message of a network of 2017, which states nothing of its images in JSON."""
    write(folder, [LINEAR], SHAPE)
    (folder / TRANSFORM_FILE).parent.mkdir(exist_ok=True)
    (folder / TRANSFORM_FILE).write_bytes(data)
    return read_network(folder, image_model("RGB"))


def test_networks_of_2017_state_scale_and_bias_in_the_binary_file(tmp_path: Path) -> None:
    (message,) = in_binary(tmp_path, binary(1, 0, 0, -1, -1, -1, 0, 0.5)).preprocessing
    assert (message.featureName, message.scaler.channelScale, message.scaler.greenBias) == ("image", 0.5, -1)


def test_biases_in_an_order_that_is_inferred_come_with_a_warning(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="in an order that no real file shows"):
        (message,) = in_binary(tmp_path, binary(1, 0, 0, -1, -2, -3, 0, 0.5)).preprocessing
    assert (message.scaler.redBias, message.scaler.greenBias, message.scaler.blueBias) == (-1, -2, -3)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (binary(1, 0, 0), "bias"),
        (struct.pack("<Q", 2**60), "entries don't fit"),
        (binary(1, 0, 0, 0, 0, 0, 0, float("nan")), "is nan, expected a finite number"),
        (binary(1, 0, 0, 0, 0, 0, 0, 1, name=b"\xff"), "is not UTF-8"),
    ],
)
def test_damaged_binary_file(tmp_path: Path, data: bytes, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        in_binary(tmp_path, data)


def test_ranks_tell_how_inputs_enter() -> None:
    five = read([LINEAR], SHAPE)
    exact = read([LINEAR], SHAPE, exact=True)
    assert (five.arrayInputShapeMapping, five.imageInputShapeMapping) == (0, 0)
    assert (exact.arrayInputShapeMapping, exact.imageInputShapeMapping) == (1, 1)


def test_what_a_net_holds_beside_is_refused() -> None:
    assert read([LINEAR], SHAPE, configurations={}, analyses={}, metadata_in_weights=[]).layers
    with pytest.raises(UnsupportedError, match="subnetworks has no known meaning; known are analyses"):
        read([LINEAR], SHAPE, subnetworks=[])


def test_constant_of_five_axes() -> None:
    """Without a rank of its own it is [channel, height, width]."""
    values = np.arange(6, dtype=np.float32)
    (constant,) = read([layer("load_constant", "", k=2, h=3, w=1, n=1, constant_blob=1)], {"out": (2, 3, 1)}, [values]).layers
    assert list(constant.loadConstant.shape) == [2, 3, 1]
    np.testing.assert_array_equal(constant.loadConstant.data.floatValue, values)


def test_layers_may_write_a_blob_again() -> None:
    """In place, from the input on: minus twice the input, below zero at zero."""
    scaled = {**layer("activation", "x", "x", mode=6, alpha=-2, beta=0), "name": "a"}
    in_place = [scaled, {**layer("activation", "x", "x", mode=0), "name": "b"}]
    out = {**layer("copy", "x", "out"), "name": "c"}
    x = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
    found = run([*in_place, out], {"x": x}, {"out": (2, 3, 4)})
    np.testing.assert_allclose(found["out"].reshape(x.shape), np.maximum(-2 * x, 0))


def test_a_network_without_weights_needs_no_weight_file(tmp_path: Path) -> None:
    write(tmp_path, [LINEAR], SHAPE)
    (tmp_path / "model.espresso.weights").unlink()
    assert [item.name for item in read_network(tmp_path).layers] == ["layer"]


def compiled(folder: Path, color: str) -> tuple[Path, Path]:
    """A network over an image of the colors given, as source and compiled by Moka."""
    features = [("image", datatypes.Array(1 if color == "GRAYSCALE" else 3, 8, 6))]
    builder = NeuralNetworkBuilder(features, [("out", None)])
    builder.add_activation("half", "LINEAR", "image", "out", [0.5, 1.0])
    bias = {"red_bias": -1.0, "green_bias": -1.0, "blue_bias": -1.0, "gray_bias": 0.0, "image_scale": 1 / 128}
    if color == "GRAYSCALE":
        bias = {"image_scale": 1 / 255}
    builder.set_pre_processing_parameters(["image"], is_bgr=color == "BGR", **bias)
    save_spec(builder.spec, str(folder / "network.mlmodel"))
    return folder / "network.mlmodel", moka.compile(folder / "network.mlmodel", folder, unverified=True)


@pytest.mark.parametrize("color", ["RGB", "BGR", "GRAYSCALE"])
def test_images_enter_as_in_the_source(tmp_path: Path, color: str) -> None:
    paths = compiled(tmp_path, color)
    pixels = np.random.default_rng(3).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert("L" if color == "GRAYSCALE" else "RGB")
    source, other = (np.asarray(moka.load(path).predict({"image": image})["out"]) for path in paths)
    np.testing.assert_array_equal(source, other)
    assert np.ptp(source) > 0
    assert (paths[1] / NET_FILE).exists()
