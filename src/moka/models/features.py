"""Features: what a model takes and gives, as its description states it, with the checks and conversions that Core ML makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats import schema
from moka.models.images import ImageFeature, image_feature
from moka.models.sizes import Range, range_text, size_range, within

__all__ = [
    "DictionaryFeature",
    "Feature",
    "ImageFeature",
    "MultiArrayFeature",
    "ScalarFeature",
    "SequenceFeature",
    "StateFeature",
    "parse_feature",
    "parse_features",
    "parse_states",
    "presented",
]

Array: TypeAlias = np.ndarray[Any, Any]

_ARRAY_DTYPES = {"FLOAT32": "float32", "DOUBLE": "float64", "INT32": "int32", "INT8": "int8", "FLOAT16": "float16"}
_MANY = 1 << 14
"""Elements from which on PyTorch narrows floats."""

_UNSTATED_DTYPE = "float64"
"""Of arrays between the models of Apple's own pipelines of 2017, which state none."""


@dataclass(frozen=True)
class MultiArrayFeature:
    """A multi-array.

    Attributes:
        dtype: NumPy's name of the declared element type.
        shape: the declared (default) shape; empty where the model declares none.
        shapes: the shapes allowed, where they are enumerated.
        ranges: for each axis (smallest, largest or None for no limit), where a range is declared.
        default: what fills the array where the input is optional and left out.
    """

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    ranges: tuple[Range, ...] = ()
    optional: bool = False
    default: float = 0.0
    description: str = ""

    def allowed(self) -> str:
        """The shapes that the feature takes, in words."""
        if self.shapes:
            return "one of " + ", ".join(map(_shape_text, self.shapes))
        if self.ranges:
            return "[" + ", ".join(range_text(bounds) for bounds in self.ranges) + "]"
        return _shape_text(self.shape) if self.shape else "any shape"

    @property
    def is_fixed(self) -> bool:
        """Whether one shape alone is allowed."""
        return bool(self.shape) and not self.shapes and not self.ranges

    def accepts(self, shape: tuple[int, ...]) -> bool:
        if self.shapes:
            return shape in self.shapes
        if self.ranges:
            return len(shape) == len(self.ranges) and all(map(within, shape, self.ranges))
        return not self.shape or shape == self.shape

    def _outside(self, shape: tuple[int, ...]) -> str:
        """What is not allowed about a shape, in Core ML's own words: it is in no enumeration, or an axis is out of its range."""
        if self.shapes:
            return f": MultiArray Shape ({' x '.join(map(str, shape))}) was not in enumerated set of allowed shapes"
        if len(shape) == len(self.ranges):
            for axis, (size, bounds) in enumerate(zip(shape, self.ranges, strict=True)):
                if not within(size, bounds):
                    low, high = bounds
                    return f": Size ({size}) of dimension ({axis}) is not in allowed range ({low}..{-1 if high is None else high})"
        return ""

    def coerce(self, value: Any) -> Array:
        """The value as an array of the declared type and an allowed shape.

        Takes NumPy arrays, torch tensors, numbers and nested lists. Numbers convert as long as nothing is lost but precision.
        """
        array = as_array(self.name, value)
        if not self.accepts(array.shape):
            raise InputError(
                f"input {self.name!r} has shape {_shape_text(array.shape)}; expected {self.allowed()}{self._outside(array.shape)}"
            )
        return _converted(self.name, array, np.dtype(self.dtype))

    def absent(self) -> Array:
        """What an optional input that was left out stands for."""
        return np.full(self.shape, self.default, self.dtype)

    def summary(self) -> str:
        return f"multi-array {self.dtype} {self.allowed()}"

    def present(self, value: Any) -> Array:
        """A result as the declared array type; a copy, which no later prediction changes. Core ML gives a scalar as a vector of one."""
        return np.atleast_1d(np.array(_numpy(value), dtype=self.dtype))


@dataclass(frozen=True)
class StateFeature:
    """A buffer that the model keeps between predictions, described by the array it holds."""

    name: str
    array: MultiArrayFeature

    @property
    def description(self) -> str:
        return self.array.description


@dataclass(frozen=True)
class ScalarFeature:
    """An ``int64``, ``double`` or ``string``."""

    name: str
    kind: str
    optional: bool = False
    description: str = ""

    def coerce(self, value: Any) -> Any:
        if self.kind == "double" and isinstance(value, float):
            return float(value)
        item = value.item() if hasattr(value, "item") and np.size(value) == 1 else value
        if self.kind == "string" and isinstance(item, str):
            return item
        if self.kind == "double" and isinstance(item, (int, float)):
            return float(item)
        if self.kind == "int64" and isinstance(item, (int, float)) and int(item) == item:
            return int(item)
        raise InputError(f"input {self.name!r} is {_brief(value)}; expected a {self.kind}")

    def absent(self) -> Any:
        """What an optional input that was left out stands for."""
        return {"int64": 0, "double": 0.0, "string": ""}[self.kind]

    def summary(self) -> str:
        return self.kind

    def present(self, value: Any) -> Any:
        item = value.item() if hasattr(value, "item") else value
        return {"int64": int, "double": float, "string": str}[self.kind](item)


@dataclass(frozen=True)
class DictionaryFeature:
    """A dictionary from strings or integers to numbers."""

    name: str
    key: str
    optional: bool = False
    description: str = ""

    def coerce(self, value: Any) -> dict[Any, float]:
        if not isinstance(value, Mapping):
            raise InputError(f"input {self.name!r} is {_brief(value)}; expected a dict with {self.key} keys")
        make = str if self.key == "string" else int
        wrong = [key for key in value if not isinstance(key, str if self.key == "string" else (int, np.integer))]
        if wrong:
            raise InputError(f"input {self.name!r} has the key {wrong[0]!r}; expected {self.key} keys")
        return {make(key): float(number) for key, number in value.items()}

    def absent(self) -> dict[Any, float]:
        """What an optional input that was left out stands for."""
        return {}

    def summary(self) -> str:
        return f"dictionary from {self.key} to double"

    def present(self, value: Any) -> dict[Any, float]:
        return {(key.item() if hasattr(key, "item") else key): float(number) for key, number in value.items()}


@dataclass(frozen=True)
class SequenceFeature:
    """A list of strings or integers."""

    name: str
    kind: str
    sizes: Range = (0, None)
    optional: bool = False
    description: str = ""

    def coerce(self, value: Any) -> list[Any]:
        items = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(items, (list, tuple)):
            raise InputError(f"input {self.name!r} is {_brief(value)}; expected a list of {self.kind}")
        if not within(len(items), self.sizes):
            raise InputError(f"input {self.name!r} has {len(items)} items; expected {range_text(self.sizes)}")
        wanted = str if self.kind == "string" else int
        wrong = [item for item in items if not isinstance(item, wanted)]
        if wrong:
            raise InputError(f"input {self.name!r} holds {_brief(wrong[0])}; expected {self.kind} items")
        return list(items)

    def absent(self) -> list[Any]:
        """What an optional input that was left out stands for."""
        return []

    def summary(self) -> str:
        return f"sequence of {self.kind}"

    def present(self, value: Any) -> list[Any]:
        return list(value)


Feature: TypeAlias = MultiArrayFeature | ImageFeature | ScalarFeature | DictionaryFeature | SequenceFeature


def presented(feature: Feature, value: Any) -> Any:
    """A result of an engine as the feature presents it. Arrays of NumPy's are the caller's own: no copy if they are as declared."""
    if isinstance(value, np.ndarray) and isinstance(feature, MultiArrayFeature) and value.ndim:
        if value.dtype == feature.dtype:
            return value
        if feature.dtype == "float16" and value.dtype == np.float32 and value.size >= _MANY and value.flags.carray:
            from moka.engines.conversion import convert

            result = np.empty(value.shape, np.float16)
            convert(value, result)
            return result
    return feature.present(value)


def parse_features(messages: Sequence[Any]) -> dict[str, Feature]:
    """Features by name, in the order of the file."""
    return {message.name: parse_feature(message) for message in messages}


def parse_states(messages: Sequence[Any]) -> dict[str, StateFeature]:
    """States by name, in the order of the file."""
    return {message.name: _state(message) for message in messages}


def _state(message: Any) -> StateFeature:
    if message.type.WhichOneof("Type") != "stateType":
        raise FormatError(f"state {message.name!r}", "is not of the state type")
    common: dict[str, Any] = {"optional": False, "description": message.shortDescription}
    return StateFeature(message.name, _multi_array(message.name, message.type.stateType.arrayType, common))


def parse_feature(message: Any) -> Feature:
    """A ``FeatureDescription`` message as a feature."""
    kind = message.type.WhichOneof("Type")
    common: dict[str, Any] = {"optional": message.type.isOptional, "description": message.shortDescription}
    name = message.name
    if kind == "multiArrayType":
        return _multi_array(name, message.type.multiArrayType, common)
    if kind == "imageType":
        return image_feature(name, message.type.imageType, common)
    if kind == "dictionaryType":
        key = message.type.dictionaryType.WhichOneof("KeyType")
        return DictionaryFeature(name, "int64" if key == "int64KeyType" else "string", **common)
    if kind == "sequenceType":
        sequence = message.type.sequenceType
        bounds = size_range(sequence.sizeRange) if sequence.HasField("sizeRange") else (0, None)
        return SequenceFeature(name, "int64" if sequence.WhichOneof("Type") == "int64Type" else "string", bounds, **common)
    if kind in ("int64Type", "doubleType", "stringType"):
        return ScalarFeature(name, kind.removesuffix("Type"), **common)
    raise FormatError(f"feature {name!r}", "has no type; expected a number, string, image, multi-array, dictionary or sequence")


def _multi_array(name: str, message: Any, common: dict[str, Any]) -> MultiArrayFeature:
    types = schema.message_module("FeatureTypes_pb2").ArrayFeatureType.ArrayDataType
    dtype = _ARRAY_DTYPES.get(types.Name(message.dataType) if message.dataType in types.values() else "")
    if message.dataType == types.Value("INVALID_ARRAY_DATA_TYPE"):
        dtype = _UNSTATED_DTYPE
    if dtype is None:
        allowed = ", ".join(_ARRAY_DTYPES)
        raise FormatError(f"feature {name!r}", f"multi-array of data type {message.dataType}; expected one of {allowed}")
    default = message.WhichOneof("defaultOptionalValue")
    return MultiArrayFeature(
        name,
        dtype,
        tuple(message.shape),
        tuple(tuple(item.shape) for item in message.enumeratedShapes.shapes),
        tuple(size_range(item) for item in message.shapeRange.sizeRanges),
        default=getattr(message, default) if default else 0.0,
        **common,
    )


def as_array(name: str, value: Any) -> Array:
    """Any array-like value as a NumPy array of numbers.

    Raises:
        InputError: it is not numeric, or ragged.
    """
    try:
        array = _numpy(value)
    except ValueError as error:
        raise InputError(f"input {name!r} is not a rectangular array: {error}") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"input {name!r} is {_brief(value)} of dtype {array.dtype}; expected numbers")
    return array


def _numpy(value: Any) -> Array:
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
        return np.asarray(value.resolve_conj().resolve_neg().numpy())
    return np.asarray(value)


def _converted(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype == dtype:
        return array
    if dtype.kind == "i" and array.size:
        limits = np.iinfo(dtype)
        if array.dtype.kind == "f" and not np.array_equal(array, np.trunc(array)):
            raise InputError(f"input {name!r} holds fractions (dtype {array.dtype}); expected {dtype}: round it first")
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(f"input {name!r} holds {array.min()} to {array.max()}; {dtype} holds {limits.min} to {limits.max}")
    with np.errstate(over="ignore"):
        return array.astype(dtype)


def _shape_text(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _brief(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"[:80]
