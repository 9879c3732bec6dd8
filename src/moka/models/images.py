"""Image features: PIL images and arrays to the tensor that a network takes, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats import schema
from moka.models.sizes import Range, range_text, size_range, within

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["ImageFeature", "image_feature"]

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _ColorSpace:
    """How an image of one colour space looks to PIL and in memory; ``order`` takes the file's channels to red, green, blue."""

    mode: str
    channels: int
    dtype: str
    order: int = 1


_COLOR_SPACES = {
    "GRAYSCALE": _ColorSpace("L", 1, "uint8"),
    "RGB": _ColorSpace("RGB", 3, "uint8"),
    "BGR": _ColorSpace("RGB", 3, "uint8", -1),
    "GRAYSCALE_FLOAT16": _ColorSpace("F", 1, "float32"),
}


@dataclass(frozen=True)
class ImageFeature:
    """An image.

    Attributes:
        color_space: ``GRAYSCALE``, ``GRAYSCALE_FLOAT16``, ``RGB`` or ``BGR``; users see red, green, blue, the network sees the order named.
        width, height: the declared (default) size in pixels.
        sizes: (width, height) pairs allowed, where they are enumerated.
        width_range, height_range: (smallest, largest or None for no limit), where a range is declared.
    """

    name: str
    color_space: str
    width: int
    height: int
    sizes: tuple[tuple[int, int], ...] = ()
    width_range: Range | None = None
    height_range: Range | None = None
    optional: bool = False
    description: str = ""

    @property
    def _space(self) -> _ColorSpace:
        return _COLOR_SPACES[self.color_space]

    @property
    def mode(self) -> str:
        """The mode of the PIL images that the feature takes and gives: ``RGB``, ``L`` or ``F``."""
        return self._space.mode

    def allowed(self) -> str:
        """The sizes that the feature takes, in words."""
        if self.sizes:
            return "one of " + ", ".join(f"{width} x {height}" for width, height in self.sizes)
        if self.width_range and self.height_range:
            return f"{range_text(self.width_range)} x {range_text(self.height_range)}"
        return f"{self.width} x {self.height}"

    def accepts(self, width: int, height: int) -> bool:
        if self.sizes:
            return (width, height) in self.sizes
        if self.width_range and self.height_range:
            return within(width, self.width_range) and within(height, self.height_range)
        return (width, height) == (self.width, self.height)

    def coerce(self, value: Any) -> Array:
        """The image as a float32 array [1, channels, height, width] of pixel values, in the network's order of channels.

        Takes a PIL image of the mode that fits the colour space, or an array [height, width] or [height, width, channels].
        """
        pixels = self._pixels(value)
        height, width = pixels.shape[:2]
        if not self.accepts(width, height):
            raise InputError(
                f"image {self.name!r} is {width} x {height} pixels (width x height); expected {self.allowed()}: "
                f"resize it, for example image.resize(({self.width}, {self.height}))"
            )
        planes = pixels.reshape(height, width, self._space.channels).transpose(2, 0, 1)[:: self._space.order]
        return np.ascontiguousarray(planes[None], dtype=np.float32)

    def _pixels(self, value: Any) -> Array:
        space = self._space
        if hasattr(value, "getbands"):
            if value.mode != space.mode:
                raise InputError(
                    f"image {self.name!r} has mode {value.mode!r}; {self.color_space} takes {space.mode!r}: "
                    f"convert it, for example image.convert({space.mode!r})"
                )
            return np.asarray(value)
        array = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
        shape = array.shape[:2] if array.ndim == 3 and array.shape[2] == space.channels else array.shape
        if len(shape) != 2 or (array.ndim == 2 and space.channels != 1):
            channels = "" if space.channels == 1 else f", {space.channels}"
            raise InputError(
                f"image {self.name!r} has shape {list(array.shape)}; expected a PIL image or an array [height, width{channels}]"
            )
        if array.dtype != space.dtype and not (space.mode == "F" and array.dtype.kind == "f"):
            raise InputError(f"image {self.name!r} has dtype {array.dtype}; expected {space.dtype}")
        return array

    def absent(self) -> Array:
        """What an optional input that was left out stands for: a black image of the declared size."""
        return np.zeros((1, self._space.channels, self.height, self.width), np.float32)

    def summary(self) -> str:
        return f"{self.color_space} image {self.allowed()}"

    def present(self, value: Any) -> Image:
        """A tensor [..., channels, height, width] of pixel values as a PIL image; bytes are rounded and clamped to 0..255."""
        from PIL import Image

        space = self._space
        array = value.detach().cpu().float().numpy() if hasattr(value, "detach") else np.asarray(value, np.float32)
        if array.ndim < 2 or (space.channels != 1 and (array.ndim < 3 or array.shape[-3] != space.channels)):
            raise InputError(f"output {self.name!r} has shape {list(array.shape)}, which is no {self.color_space} image")
        planes = array.reshape(-1, *array.shape[-2:])[: space.channels][:: space.order]
        if space.mode == "F":
            return Image.fromarray(np.ascontiguousarray(planes[0], np.float32))
        pixels = np.clip(np.rint(np.nan_to_num(planes)), 0, 255).astype(np.uint8)
        return Image.fromarray(pixels[0] if space.channels == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def image_feature(name: str, message: Any, common: dict[str, Any]) -> ImageFeature:
    """An ``ImageFeatureType`` message as a feature."""
    spaces = schema.message_module("FeatureTypes_pb2").ImageFeatureType.ColorSpace
    space = spaces.Name(message.colorSpace) if message.colorSpace in spaces.values() else str(message.colorSpace)
    if space not in _COLOR_SPACES:
        raise FormatError(f"feature {name!r}", f"image of colour space {space}; expected one of {', '.join(_COLOR_SPACES)}")
    flexible = message.WhichOneof("SizeFlexibility")
    ranges: dict[str, Any] = {}
    if flexible == "enumeratedSizes":
        ranges["sizes"] = tuple((int(item.width), int(item.height)) for item in message.enumeratedSizes.sizes)
    elif flexible == "imageSizeRange":
        ranges["width_range"] = size_range(message.imageSizeRange.widthRange)
        ranges["height_range"] = size_range(message.imageSizeRange.heightRange)
    return ImageFeature(name, space, int(message.width), int(message.height), **ranges, **common)
