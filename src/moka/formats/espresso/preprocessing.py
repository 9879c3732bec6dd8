"""What a compiled network does to images first: scale and bias, from ``transform_params`` and ``model/coremldata.bin``.

The net states ``scale`` and a bias for each color of each image; nets of 2017 state nothing, and only the binary file does. It has
eight maps from image to number, each a u64 count, then for each image a text and a f32: the third is 1 for an image of one channel, the
fourth to sixth are biases of colors, the seventh one of images of one channel, the last one is the scale.
"""

from __future__ import annotations

import math
import struct
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

_MAPS = ("map 1", "map 2", "one channel", "bias 1", "bias 2", "bias 3", "bias of one channel", "scale")
_KNOWN = {"bias_a", "bias_b", "bias_g", "bias_r", "center_mean", "is_image_bgr", "is_network_bgr", "scale"}
_LIMIT = 2**24
_LIMIT_REASON = "it holds eight numbers for each image"


@dataclass(frozen=True, slots=True)
class _Transform:
    """Scale and biases of one image."""

    scale: float
    red: float
    green: float
    blue: float
    gray: float = 0.0

    def fill(self, scaler: Any, *, one_channel: bool, where: str) -> None:
        """Fills a ``NeuralNetworkImageScaler`` message; an image of one channel has the one bias that there is."""
        scaler.channelScale = self.scale
        if not one_channel:
            scaler.redBias, scaler.greenBias, scaler.blueBias = self.red, self.green, self.blue
            return
        biases = {self.red, self.green, self.blue, self.gray} - {0.0}
        if len(biases) > 1:
            raise UnsupportedError(f"{where}: an image of one channel has the biases {sorted(biases)}; known is one")
        scaler.grayBias = biases.pop() if biases else 0.0

    @property
    def trivial(self) -> bool:
        """Whether it changes nothing."""
        return self.scale == 1 and not any((self.red, self.green, self.blue, self.gray))


def read_preprocessing(folder: Path, net: Net, shapes: Mapping[str, BlobShape], message: Any) -> None:
    """Adds to a ``NeuralNetwork`` message what happens to each image.

    Raises:
        FormatError: numbers that are none, or a file that is not what it should be.
        UnsupportedError: a subtracted mean image, or biases whose colors nothing tells.
    """
    stated = net.get("transform_params", {})
    where = f"{folder / NET_FILE}: transform_params"
    if not isinstance(stated, dict):
        raise FormatError(where, "expected an object with an entry for each image")
    transforms = {name: _stated(entry, f"{where}: {name!r:.80}") for name, entry in stated.items()} or _binary(folder)
    for name, transform in transforms.items():
        if not transform.trivial:
            added = message.preprocessing.add(featureName=name)
            transform.fill(added.scaler, one_channel=shapes.get(name, {}).get("k") == 1, where=f"{where}: {name!r:.80}")


def _stated(entry: object, where: str) -> _Transform:
    if not isinstance(entry, dict):
        raise FormatError(where, "expected an object")
    for key, value in entry.items():
        if type(value) not in (int, float, bool) or not math.isfinite(value):
            raise FormatError(f"{where}: {key}", f"found {value!r:.80}, expected a finite number")
    unknown = sorted(entry.keys() - _KNOWN) or (["center_mean"] if entry.get("center_mean") else [])
    if unknown:
        raise UnsupportedError(f"{where}: {unknown[0]} is {entry[unknown[0]]!r:.80}, which has no known meaning")
    red, green, blue, gray = (float(entry.get(f"bias_{color}", 0)) for color in "rgba")
    return _Transform(float(entry.get("scale", 1)), red, green, blue, gray)


def _binary(folder: Path) -> dict[str, _Transform]:
    path = folder / TRANSFORM_FILE
    if not path.exists():
        return {}
    reader = Reader(read_bytes(path, _LIMIT, _LIMIT_REASON), path)
    maps = [_map(reader, field, path) for field in _MAPS]
    transforms = {}
    for name, scale in maps[-1].items():
        first, second, third, gray = (part.get(name, 0.0) for part in maps[3:7])
        if not first == second == third:
            raise UnsupportedError(f"{path}: {name!r:.80} has the biases {first}, {second}, {third}; which color has which is not known")
        transforms[name] = _Transform(scale, first, first, first, gray)
    return transforms


def _map(reader: Reader, field: str, path: Path) -> dict[str, float]:
    numbers = {}
    for _ in range(reader.count(field, 12)):
        name = reader.text(f"{field}: name")
        (number,) = struct.unpack("<f", reader.take(4, f"{field}: {name!r:.80}"))
        if not math.isfinite(number):
            raise FormatError(f"{path}: {field}: {name!r:.80}", f"is {number}, expected a finite number")
        numbers[name] = number
    return numbers
