"""Flexible shapes of a function's inputs, which the compiler copies from the model's description into the text.

The function gets an attribute ``FlexibleShapeInformation``: the default shape of each flexible input, and beside it either the range of
each dimension or the shapes that go together, by a key of eight hexadecimal digits. How Apple's compiler makes these keys is not known;
here they are the first digits of the SHA-256 of the shapes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moka.errors import FormatError
from moka.formats import schema
from moka.formats.mil_text.grammar import quoted
from moka.formats.mil_text.lexer import Lexer
from moka.formats.mil_text.literals import ValueParser

__all__ = ["ATTRIBUTE", "flexible_shapes"]

ATTRIBUTE = "FlexibleShapeInformation"

_SHAPES = "dict<string, tensor<int32, [?]>>"
_RANGES = "dict<string, list<tensor<int32, [2]>, ?>>"
_Shape = Sequence[int]


def flexible_shapes(description: Any, functions: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The attributes, each a ``Value`` message, of those functions that have flexible inputs.

    Args:
        description: the ``ModelDescription`` message.
        functions: names of the program's functions; where the description lists no functions, its inputs are those of all.

    Raises:
        FormatError: one input has ranges and another has enumerated shapes, or the inputs have different numbers of these.
    """
    described = {item.name: item.input for item in description.functions}
    found = {name: _information(described.get(name, description.input)) for name in functions}
    return {name: {ATTRIBUTE: value} for name, value in found.items() if value is not None}


def _information(inputs: Iterable[Any]) -> Any:
    features = {feature.name: feature for feature in inputs}
    ranges = {name: found for name, feature in features.items() if (found := _ranges(feature))}
    shapes = {name: found for name, feature in features.items() if (found := _enumerated(feature))}
    if ranges and shapes:
        raise FormatError(f"input {min(shapes)!r}", f"has enumerated shapes and {min(ranges)!r} has ranges; Core ML allows one of the two")
    if not ranges and not shapes:
        return None
    defaults = _dictionary({name: _shape(_default(features[name])) for name in ranges or shapes})
    kind, value_type, value = ("RangeDims", _RANGES, _range_text(ranges)) if ranges else _enumeration_text(shapes)
    text = f'tuple<tuple<string, {_SHAPES}>, tuple<string, {value_type}>>((("DefaultShapes", {defaults}), ("{kind}", {value})))'
    message = schema.mil().Value()
    ValueParser(Lexer(text, Path(ATTRIBUTE))).value(message)
    return message


def _range_text(ranges: Mapping[str, Sequence[_Shape]]) -> str:
    return _dictionary({name: f"[{', '.join(map(_shape, pairs))}]" for name, pairs in ranges.items()})


def _enumeration_text(shapes: Mapping[str, Sequence[_Shape]]) -> tuple[str, str, str]:
    """The shapes of all inputs that go together: the first of each, the second of each, and so on."""
    if len(set(map(len, shapes.values()))) > 1:
        counts = ", ".join(f"{name!r} has {len(items)}" for name, items in shapes.items())
        raise FormatError("enumerated shapes of the inputs", f"{counts}; expected as many for each, as they go together")
    sets = [
        _dictionary({name: _shape(items[index]) for name, items in shapes.items()}) for index in range(len(next(iter(shapes.values()))))
    ]
    keys = {hashlib.sha256(text.encode()).hexdigest()[:8]: text for text in sets}
    return "EnumeratedShapes", f"dict<string, {_SHAPES}>", _dictionary(keys)


def _dictionary(entries: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{{{quoted(key)}, {value}}}' for key, value in entries.items())}}}"


def _shape(sizes: _Shape) -> str:
    return f"[{', '.join(map(str, sizes))}]"


def _ranges(feature: Any) -> list[_Shape]:
    """The smallest and largest size of each dimension; -1 is no bound."""
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        return [_bounds(item) for item in feature.type.multiArrayType.shapeRange.sizeRanges]
    image = feature.type.imageType
    if kind != "imageType" or image.WhichOneof("SizeFlexibility") != "imageSizeRange":
        return []
    fixed = [[size, size] for size in _image(image, 0, 0)[:2]]
    return [*fixed, _bounds(image.imageSizeRange.heightRange), _bounds(image.imageSizeRange.widthRange)]


def _bounds(size_range: Any) -> _Shape:
    return [size_range.lowerBound, size_range.upperBound]


def _enumerated(feature: Any) -> list[_Shape]:
    kind = feature.type.WhichOneof("Type")
    if kind == "multiArrayType":
        return [list(item.shape) for item in feature.type.multiArrayType.enumeratedShapes.shapes]
    image = feature.type.imageType
    return [_image(image, item.height, item.width) for item in image.enumeratedSizes.sizes] if kind == "imageType" else []


def _default(feature: Any) -> _Shape:
    if feature.type.WhichOneof("Type") == "multiArrayType":
        return list(feature.type.multiArrayType.shape)
    return _image(feature.type.imageType, feature.type.imageType.height, feature.type.imageType.width)


def _image(image: Any, height: int, width: int) -> _Shape:
    """The shape of the tensor that an image becomes: one batch, channels first."""
    grayscale = image.colorSpace in (image.GRAYSCALE, image.GRAYSCALE_FLOAT16)
    return [1, 1 if grayscale else 3, height, width]
