"""Models that change how features are written: encoders, vectorizers, scaling, extraction, mapping."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Array, DictionaryFeature, Feature, MultiArrayFeature, ScalarFeature
from moka.models.model import Model, ModelState
from moka.models.rows import Row

__all__ = [
    "ArrayFeatureExtractor",
    "CategoricalMapping",
    "DictVectorizer",
    "FeatureVectorizer",
    "Identity",
    "Normalizer",
    "OneHotEncoder",
    "Scaler",
    "Transformer",
    "only",
]

_LARGEST_DIMENSION = 2**26


class Transformer(Model):
    """A model that makes one output of one input: it defines `_transform`."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._message: Any = getattr(source.specification, self.kind)
        self._input = only(self.function.inputs.values(), "input", self.path)
        self._output = only(self.function.outputs.values(), "output", self.path)

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        return {self._output.name: self._output.present(self._transform(inputs[self._input.name]))}

    @abstractmethod
    def _transform(self, value: Any) -> Any:
        """The output for a checked value of the input."""


def only(features: Iterable[Feature], what: str, where: object) -> Any:
    """The only one of a model's inputs or outputs; FormatError where there are more or none."""
    found = list(features)
    if len(found) != 1:
        raise FormatError(where, f"has {len(found)} {what}s ({', '.join(item.name for item in found)}); expected one")
    return found[0]


class OneHotEncoder(Transformer):
    """A category as an array with a single 1, or, sparse, as a dictionary {index: 1.0}.

    A category that the model does not know is an error, or gives all zeros, as the model says.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        field = self._message.WhichOneof("CategoryType")
        if field is None:
            raise FormatError(self.path, "has no categories; expected stringCategories or int64Categories")
        self.categories = {category: index for index, category in enumerate(getattr(self._message, field).vector)}
        self._strict = self._message.handleUnknown == 0

    def _transform(self, value: Any) -> Any:
        category = value.reshape(-1)[0].item() if isinstance(value, np.ndarray) else value
        index = self.categories.get(category)
        if index is None and self._strict:
            raise InputError(f"input {self._input.name!r}: unknown category {category!r}; the model has {len(self.categories)} others")
        if isinstance(self._output, DictionaryFeature):
            return {} if index is None else {index: 1.0}
        encoded = np.zeros(len(self.categories))
        encoded[[] if index is None else [index]] = 1
        return encoded


class DictVectorizer(Transformer):
    """A dictionary by names as a dictionary by index, or an array. Keys that the model does not know are left out, as scikit-learn does."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        field = self._message.WhichOneof("Map")
        if field is None:
            raise FormatError(self.path, "has no keys; expected stringToIndex or int64ToIndex")
        self.indices = {key: index for index, key in enumerate(getattr(self._message, field).vector)}
        self._follow_keys("int64" if field == "int64ToIndex" else "string")

    def _follow_keys(self, key: str) -> None:
        """Makes the input's keys those of the model: coremltools' converter describes integers as strings."""
        if isinstance(self._input, DictionaryFeature) and self._input.key != key:
            inputs = {self._input.name: replace(self._input, key=key)}
            self.function = replace(self.function, inputs=inputs)

    def _transform(self, value: dict[Any, float]) -> Any:
        known = {self.indices[key]: number for key, number in value.items() if key in self.indices}
        if isinstance(self._output, DictionaryFeature):
            return known
        encoded = np.zeros(len(self.indices))
        encoded[list(known)] = list(known.values())
        return encoded


class FeatureVectorizer(Model):
    """Numbers, arrays and dictionaries by index side by side in one array, in the order of the model's list."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._output = only(self.function.outputs.values(), "output", self.path)
        self._columns = [(item.inputColumn, item.inputDimensions) for item in source.specification.featureVectorizer.inputList]
        if missing := [name for name, _ in self._columns if name not in self.function.inputs]:
            raise FormatError(self.path, f"inputList: {missing[0]!r} is no input; there are {', '.join(self.function.inputs) or 'none'}")
        self._size = sum(size for _, size in self._columns)
        if self._size > _LARGEST_DIMENSION:
            raise FormatError(self.path, f"inputList: inputDimensions sum up to {self._size}; expected at most {_LARGEST_DIMENSION}")
        self._numbers = all(size == 1 and isinstance(self.function.inputs[name], ScalarFeature) for name, size in self._columns)

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        if self._numbers:
            return {self._output.name: self._output.present(np.array([inputs[name] for name, _ in self._columns], np.float64))}
        vector = np.zeros(self._size)
        start = 0
        for name, size in self._columns:
            _fill(vector[start : start + size], name, inputs[name])
            start += size
        return {self._output.name: self._output.present(vector)}


def _fill(part: Any, name: str, value: Any) -> None:
    if isinstance(value, dict):
        outside = [key for key in value if not (isinstance(key, int) and 0 <= key < len(part))]
        if outside:
            raise InputError(f"input {name!r} has the key {outside[0]!r}; expected indices 0 to {len(part) - 1}")
        part[list(value)] = list(value.values())
        return
    numbers = np.reshape(value, -1) if isinstance(value, np.ndarray) else (value,)
    if len(numbers) != len(part):
        raise InputError(f"input {name!r} has {len(numbers)} numbers; expected {len(part)}")
    part[:] = numbers


class Scaler(Transformer):
    """scale * (x + shift), with one value for all elements or one for each. A result that does not fit an integer output is an error."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._shift = np.array(self._message.shiftValue or [0.0], np.float64)
        self._scale = np.array(self._message.scaleValue or [1.0], np.float64)

    def _transform(self, value: Any) -> Any:
        array = np.asarray(value, np.float64)
        flat = array.reshape(-1)
        for name, numbers in (("shiftValue", self._shift), ("scaleValue", self._scale)):
            if len(numbers) not in (1, len(flat)):
                raise InputError(f"input {self._input.name!r} has {len(flat)} numbers; the scaler's {name} has {len(numbers)}")
        scaled = (self._scale * (flat + self._shift)).reshape(array.shape)
        whole = "int" in (self._output.dtype if isinstance(self._output, MultiArrayFeature) else self._output.kind)
        if whole and not np.array_equal(scaled, np.trunc(scaled)):
            raise InputError(f"input {self._input.name!r}: scaled it is no integer, which output {self._output.name!r} needs")
        return scaled


_NORMS: tuple[Callable[[Array], Any], ...] = (
    lambda array: array.max(initial=-np.inf),
    lambda array: np.abs(array).sum(),
    lambda array: np.sqrt((array**2).sum()),
)
"""LMax, L1, L2."""


class Normalizer(Transformer):
    """x divided by its largest value, its sum of absolute values, or its Euclidean length. An array with norm 0 stays as it is."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        if not 0 <= self._message.normType < len(_NORMS):
            raise FormatError(self.path, f"normType is {self._message.normType}; expected 0 (LMax), 1 (L1) or 2 (L2)")
        self._norm = _NORMS[self._message.normType]

    def _transform(self, value: Any) -> Any:
        array = np.asarray(value, np.float64)
        return array / (self._norm(array) or 1)


class ArrayFeatureExtractor(Transformer):
    """The elements at some indices of an array, counted through all its axes; a number where the output is one."""

    def _transform(self, value: Any) -> Any:
        indices = np.array(self._message.extractIndex, np.uint64)
        flat = np.reshape(value, -1)
        if not len(indices) or indices.max() >= len(flat):
            raise InputError(f"input {self._input.name!r} has {len(flat)} numbers; the model takes those at {indices.tolist()}")
        chosen = flat[indices.astype(np.int64)]
        return chosen if isinstance(self._output, MultiArrayFeature) else chosen[0]


class CategoricalMapping(Transformer):
    """A string as an integer or an integer as a string. A category that the model does not know gives its default, else an error."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        field = self._message.WhichOneof("MappingType")
        if field is None:
            raise FormatError(self.path, "has no mapping; expected stringToInt64Map or int64ToStringMap")
        self.mapping = dict(getattr(self._message, field).map)
        default = self._message.WhichOneof("ValueOnUnknown")
        self._default = getattr(self._message, default) if default else None

    def _transform(self, value: Any) -> Any:
        found = self.mapping.get(value, self._default)
        if found is None:
            raise InputError(f"input {self._input.name!r}: unknown category {value!r}; the model has {len(self.mapping)} others")
        return found


class Identity(Model):
    """Outputs are the inputs of the same names; one input and one output may have different names."""

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        inputs, outputs = list(self.function.inputs), list(self.function.outputs)
        single = len(inputs) == len(outputs) == 1
        self._source = {name: inputs[0] if single else name for name in outputs}
        if missing := [name for name in self._source.values() if name not in inputs]:
            raise FormatError(self.path, f"output {missing[0]!r}: no input has that name; there are {', '.join(inputs) or 'none'}")

    def _predict(self, inputs: Row, state: ModelState | None) -> Row:
        return {name: feature.present(inputs[self._source[name]]) for name, feature in self.function.outputs.items()}
