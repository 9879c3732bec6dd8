"""The imputer: puts a value in the place of a missing one."""

from __future__ import annotations

from typing import Any

import numpy as np

from moka.errors import FormatError, InputError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.encoders import Transformer
from moka.models.features import Feature

__all__ = ["Imputer"]


class Imputer(Transformer):
    """Replaces what is missing: an optional input that was left out, and every value equal to the one that stands for missing.

    That value is NaN where the model names none. Arrays and dictionaries are imputed element by element, from an array or dictionary of
    values, or from a single one.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        field = self._message.WhichOneof("ImputedValue")
        if field is None:
            raise FormatError(self.path, "has no imputed value")
        self.imputed = _plain(getattr(self._message, field))
        replaced = self._message.WhichOneof("ReplaceValue")
        self.replaced = getattr(self._message, replaced) if replaced else float("nan")

    def _absent(self, feature: Feature) -> Any:
        return None

    def _transform(self, value: Any) -> Any:
        if value is None:
            return self.imputed
        if isinstance(value, np.ndarray):
            return self._impute_array(value)
        if isinstance(value, dict):
            return {key: self._for_key(key) if self._is_missing(number) else number for key, number in value.items()}
        return self.imputed if self._is_missing(value) else value

    def _is_missing(self, value: Any) -> bool:
        return bool(value == self.replaced or (value != value and self.replaced != self.replaced))

    def _impute_array(self, array: Any) -> Any:
        flat = array.reshape(-1)
        values = np.broadcast_to(self.imputed, flat.shape) if np.ndim(self.imputed) == 0 else self.imputed
        if len(values) != len(flat):
            raise InputError(f"input {self._input.name!r} has {len(flat)} numbers; the imputer has values for {len(values)}")
        missing = np.isnan(flat) if self.replaced != self.replaced else flat == self.replaced
        return np.where(missing, values, flat).reshape(array.shape)

    def _for_key(self, key: Any) -> Any:
        if not isinstance(self.imputed, dict):
            return self.imputed
        if key not in self.imputed:
            raise InputError(f"input {self._input.name!r}: the value of {key!r} is missing, and the imputer has none for that key")
        return self.imputed[key]


def _plain(value: Any) -> Any:
    """A message's value as a number, string, array or dictionary."""
    if hasattr(value, "map"):
        return dict(value.map)
    return np.array(value.vector) if hasattr(value, "vector") else value
