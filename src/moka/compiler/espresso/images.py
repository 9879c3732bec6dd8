"""What happens to images before the first layer: in the net, and in ``model/coremldata.bin``.

The file has eight maps, each u64 entries and then a str (u64 length, bytes) and an f32 for each image that the model takes:
that it is one, whether its colours are in the order BGR, whether it is gray, the biases of red, green, blue and gray, and the scale.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moka.compiler.compilation import Compilation
from moka.compiler.espresso.numbers import number
from moka.compiler.espresso.shapes import COLORS
from moka.errors import ProgramError
from moka.formats.espresso.own_form import PREPROCESSING_KEY, message_content

__all__ = ["Image", "images", "maps", "own_preprocessing", "transform_params"]


@dataclass(frozen=True)
class Image:
    """An image that the network takes, and what is done to it.

    Attributes:
        colors: ``RGB``, ``BGR`` or ``GRAYSCALE``.
        biases: of red, green, blue and gray.
    """

    colors: str
    scale: float = 1.0
    biases: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)


def images(description: Any, preprocessing: Sequence[Any], compilation: Compilation) -> dict[str, Image]:
    """The images among a model's inputs, by name.

    Raises:
        ProgramError: preprocessing of what is no image.
        UnsupportedError: what no real compiled model shows: biases of several values, blue before red.
    """
    kinds = {feature.name: feature.type for feature in description.input}
    found = {name: Image(COLORS.get(kind.imageType.colorSpace, "RGB")) for name, kind in kinds.items() if kind.HasField("imageType")}
    for message in preprocessing:
        name = message.featureName or (next(iter(found)) if len(found) == 1 else "")
        if name not in found:
            raise ProgramError(f"preprocessing: featureName is {message.featureName!r}; expected one of the inputs that are images")
        found[name] = _preprocessed(found[name], message, name, compilation)
    for name, image in found.items():
        _check(name, image, compilation)
    if len(found) > 1:
        compilation.guess("several images")
    return found


def _preprocessed(image: Image, message: Any, name: str, compilation: Compilation) -> Image:
    if message.WhichOneof("preprocessor") != "scaler":
        return image
    scaler = message.scaler
    biases = (scaler.redBias, scaler.greenBias, scaler.blueBias, scaler.grayBias)
    return Image(image.colors, scaler.channelScale, biases)


def _check(name: str, image: Image, compilation: Compilation) -> None:
    red, green, blue, gray = image.biases
    if image.colors == "BGR":
        compilation.guess(f"input {name!r}: an image in the order BGR")
    if not red == green == blue or gray:
        compilation.guess(f"preprocessing of {name!r}: biases that differ between colours, or one of gray")


def own_preprocessing(preprocessing: Sequence[Any], compilation: Compilation) -> dict[str, Any]:
    """In Moka's own form what no other is known of: a mean image, and more than one step for an image."""
    names = [message.featureName for message in preprocessing]
    if len(set(names)) == len(names) and all(message.WhichOneof("preprocessor") == "scaler" for message in preprocessing):
        return {}
    compilation.guess("preprocessing: a mean image or several steps for one image, in a form of Moka's own")
    return {PREPROCESSING_KEY: [message_content(message, _no_weights) for message in preprocessing]}


def _no_weights(message: Any, field: str) -> int:
    raise AssertionError(f"{message.DESCRIPTOR.name}.{field}: preprocessing has no weights")


def transform_params(found: Mapping[str, Image]) -> dict[str, Any]:
    """What a net says of its images."""
    return {name: _transform(image) for name, image in found.items()}


def _transform(image: Image) -> dict[str, Any]:
    red, green, blue, gray = map(number, image.biases)
    biases = {"bias_r": red, "bias_g": green, "bias_b": blue, "bias_a": gray}
    return {**biases, "scale": number(image.scale), "center_mean": 0, "is_network_bgr": int(image.colors == "BGR"), "is_image_bgr": 0}


def maps(found: Mapping[str, Image]) -> bytes:
    """The content of ``model/coremldata.bin``."""
    rows = {name: _values(image) for name, image in found.items()}
    columns = range(8)
    return b"".join(_map({name: values[column] for name, values in rows.items()}) for column in columns)


def _values(image: Image) -> tuple[float, ...]:
    return (1.0, float(image.colors == "BGR"), float(image.colors == "GRAYSCALE"), *image.biases, image.scale)


def _map(values: Mapping[str, float]) -> bytes:
    entries = [(name.encode(), value) for name, value in values.items()]
    return struct.pack("<Q", len(entries)) + b"".join(
        struct.pack("<Q", len(name)) + name + struct.pack("<f", value) for name, value in entries
    )
