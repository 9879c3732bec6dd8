"""Features as the input, output and state schemas of ``metadata.json`` describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moka.models.features import DictionaryFeature, Feature, MultiArrayFeature, SequenceFeature, StateFeature
from moka.models.images import ImageFeature
from moka.models.sizes import Range

__all__ = ["feature_entry", "state_entry"]

_ARRAY_TYPES = {"float64": "Double", "float32": "Float32", "float16": "Float16", "int32": "Int32", "int8": "Int8"}
_COLOR_SPACES = {"RGB": "RGB", "BGR": "BGR", "GRAYSCALE": "Grayscale", "GRAYSCALE_FLOAT16": "Grayscale16Half"}
_SCALARS = {"int64": "Int64", "double": "Double", "string": "String"}


def feature_entry(feature: Feature) -> dict[str, str]:
    """One input or output. Sequences and images of flexible size were seen in no real file; they follow multi-arrays."""
    common = {"name": feature.name, "shortDescription": feature.description, "isOptional": "1" if feature.optional else "0"}
    if isinstance(feature, MultiArrayFeature):
        return common | _multi_array(feature)
    if isinstance(feature, ImageFeature):
        return common | _image(feature)
    if isinstance(feature, DictionaryFeature):
        key = _SCALARS[feature.key]
        return common | {"type": "Dictionary", "keyType": key, "formattedType": f"Dictionary ({key} → Double)"}
    if isinstance(feature, SequenceFeature):
        return common | {"type": "Sequence", "formattedType": f"Sequence ({_SCALARS[feature.kind]})"}
    return common | {"type": _SCALARS[feature.kind], "formattedType": _SCALARS[feature.kind]}


def state_entry(state: StateFeature) -> dict[str, str]:
    """One state: what a multi-array is, without a choice of shapes. Seen in no file that is at hand with its source."""
    entry = feature_entry(state.array)
    kept = {key: entry[key] for key in ("name", "shortDescription", "isOptional", "dataType", "shape")}
    return kept | {"type": "State", "formattedType": entry["formattedType"].replace("MultiArray", "State", 1)}


def _multi_array(feature: MultiArrayFeature) -> dict[str, str]:
    dtype = _ARRAY_TYPES[feature.dtype]
    shape = f" {_times(feature.shape)}" if feature.shape else ""
    entry = {
        "type": "MultiArray",
        "dataType": dtype,
        "shape": str(list(feature.shape)),
        "formattedType": f"MultiArray ({dtype}{shape})",
        "hasShapeFlexibility": "1" if feature.shapes or feature.ranges else "0",
    }
    if feature.shapes:
        entry["enumeratedShapes"] = str([list(shape) for shape in feature.shapes])
        entry["shapeFlexibility"] = " | ".join(map(_times, feature.shapes))
    elif feature.ranges:
        entry["shapeRange"] = _bounds(feature.ranges)
        entry["shapeFlexibility"] = _ranges(feature.ranges)
    return entry


def _image(feature: ImageFeature) -> dict[str, str]:
    gray = feature.color_space.startswith("GRAYSCALE")
    space = _COLOR_SPACES[feature.color_space]
    entry = {
        "type": "Image",
        "width": str(feature.width),
        "height": str(feature.height),
        "colorspace": space,
        "isColor": "0" if gray else "1",
        "formattedType": f"Image ({space if gray else 'Color'} {feature.width} × {feature.height})",
        "hasSizeFlexibility": "1" if feature.sizes or feature.width_range else "0",
    }
    if feature.sizes:
        entry["enumeratedSizes"] = str([list(size) for size in feature.sizes])
        entry["sizeFlexibility"] = " | ".join(map(_times, feature.sizes))
    elif feature.width_range and feature.height_range:
        entry["sizeRange"] = _bounds((feature.width_range, feature.height_range))
        entry["sizeFlexibility"] = _ranges((feature.width_range, feature.height_range))
    return entry


def _times(sizes: Sequence[Any]) -> str:
    return " × ".join(map(str, sizes))


def _bounds(ranges: Sequence[Range]) -> str:
    """``[[1, -1], [120, 120]]``: no upper bound is -1."""
    return str([[low, -1 if high is None else high] for low, high in ranges])


def _ranges(ranges: Sequence[Range]) -> str:
    """``1... × 120 × 2...4000``."""
    return _times([low if low == high else f"{low}..." if high is None else f"{low}...{high}" for low, high in ranges])
