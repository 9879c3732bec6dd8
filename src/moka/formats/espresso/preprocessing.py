"""What a compiled network does to images first: scale and bias, from ``transform_params`` and ``model/coremldata.bin``.

The net states ``scale`` and a bias for each color of each image; nets of 2017 state nothing, and only the binary file does. It has
eight maps from image to number, each a u64 count, then for each image a text and a f32: see ``_MAPS``. In real files the biases of all
colors are the same, so that their order is an inference.
"""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moka.errors import FormatError, UnsupportedError
from moka.formats.espresso.files import NET_FILE, BlobShape, Net
from moka.formats.files import read_bytes
from moka.formats.mlmodelc.binary import Reader

__all__ = ["TRANSFORM_FILE", "read_preprocessing"]

TRANSFORM_FILE = "model/coremldata.bin"

_MAPS = ("is an image", "is BGR", "has one channel", "red bias", "green bias", "blue bias", "bias of one channel", "scale")
_KNOWN = {"bias_a", "bias_b", "bias_g", "bias_r", "center_mean", "is_image_bgr", "is_network_bgr", "scale"}
_FLOAT = struct.Struct("<f")
_SMALLEST_ENTRY = 12
"""Bytes: the length of a name, and the number."""
_LIMIT = 2**24
_LIMIT_REASON = "it holds eight numbers for each image"


@dataclass(frozen=True, slots=True)
class _Transform:
    """Scale and biases of one image, and whether the network takes its colors as blue, green, red."""

    scale: float
    red: float
    green: float
    blue: float
    gray: float
    bgr: bool

    @property
    def trivial(self) -> bool:
        """Whether it changes nothing."""
        return self.scale == 1 and not any((self.red, self.green, self.blue, self.gray))

    def fill(self, scaler: Any, *, one_channel: bool, where: str) -> None:
        """Fills a ``NeuralNetworkImageScaler`` message."""
        scaler.channelScale = self.scale
        if not one_channel:
            scaler.redBias, scaler.greenBias, scaler.blueBias = self.red, self.green, self.blue
        elif self.gray or not self.red == self.green == self.blue != 0:
            scaler.grayBias = self.gray
        else:
            raise UnsupportedError(f"{where}: an image of one channel has a bias of {self.red} for each color; known is one for gray")


def read_preprocessing(folder: Path, net: Net, shapes: Mapping[str, BlobShape], images: Mapping[str, str], message: Any) -> None:
    """Adds to a ``NeuralNetwork`` message what happens to each image.

    Args:
        images: the order of colors of each image, by name, as the description has it: ``RGB``, ``BGR`` or ``GRAYSCALE``.

    Raises:
        FormatError: numbers that are none, or a file that is not what it should be.
        UnsupportedError: a subtracted mean image, or an order of colors that is not the description's.
    """
    stated = net.get("transform_params", {})
    where = f"{folder / NET_FILE}: transform_params"
    if not isinstance(stated, dict):
        raise FormatError(where, "expected an object with an entry for each image")
    transforms = {name: _stated(entry, f"{where}: {name!r:.80}") for name, entry in stated.items()} or _binary(folder)
    for name, transform in transforms.items():
        place = f"{where}: {name!r:.80}"
        if name in images and transform.bgr and images[name] != "BGR":
            raise UnsupportedError(f"{place}: is_network_bgr is 1, but the model's description says {images[name]}")
        if not transform.trivial:
            gray = images[name].startswith("GRAYSCALE") if name in images else shapes.get(name, {}).get("k") == 1
            transform.fill(message.preprocessing.add(featureName=name).scaler, one_channel=gray, where=place)


def _stated(entry: object, where: str) -> _Transform:
    if not isinstance(entry, dict):
        raise FormatError(where, "expected an object")
    for key, value in entry.items():
        if type(value) not in (int, float, bool) or not math.isfinite(value):
            raise FormatError(f"{where}: {key:.80}", f"found {value!r:.80}, expected a finite number")
    unknown = sorted(entry.keys() - _KNOWN) or [key for key in ("center_mean", "is_image_bgr") if entry.get(key)]
    if unknown:
        raise UnsupportedError(f"{where}: {unknown[0]:.80} is {entry[unknown[0]]!r:.80}, which has no known meaning")
    red, green, blue, gray = (float(entry.get(f"bias_{color}", 0)) for color in "rgba")
    return _Transform(float(entry.get("scale", 1)), red, green, blue, gray, bool(entry.get("is_network_bgr", 0)))


def _binary(folder: Path) -> dict[str, _Transform]:
    path = folder / TRANSFORM_FILE
    if not path.exists():
        return {}
    reader = Reader(read_bytes(path, _LIMIT, _LIMIT_REASON), path)
    maps = [_map(reader, field, path) for field in _MAPS]
    transforms = {}
    for name, scale in maps[-1].items():
        bgr, red, green, blue, gray = (part.get(name, 0.0) for part in (maps[1], *maps[3:7]))
        if not red == green == blue:
            order = f"{red}, {green} and {blue} are taken as the biases of red, green and blue, in an order that no real file shows"
            warnings.warn(f"{path}: {name!r:.80}: {order}", RuntimeWarning, stacklevel=2)
        transforms[name] = _Transform(scale, red, green, blue, gray, bool(bgr))
    return transforms


def _map(reader: Reader, field: str, path: Path) -> dict[str, float]:
    numbers = {}
    for _ in range(reader.count(field, _SMALLEST_ENTRY)):
        name = reader.text(f"{field}: name")
        (number,) = _FLOAT.unpack(reader.take(_FLOAT.size, f"{field}: {name!r:.80}"))
        if not math.isfinite(number):
            raise FormatError(f"{path}: {field}: {name!r:.80}", f"is {number}, expected a finite number")
        numbers[name] = number
    return numbers
