"""A model's description: metadata, and the inputs, outputs and states of each of its functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moka.errors import InputError
from moka.models.features import Feature, StateFeature, parse_features, parse_states

__all__ = ["FunctionDescription", "Metadata", "ModelDescription"]

_MAIN = "main"


@dataclass(frozen=True)
class Metadata:
    """What a model's author wrote about it."""

    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    user_defined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FunctionDescription:
    """What one function of a model takes, gives and keeps.

    ``predicted`` and ``probabilities`` name the label and the dictionary of probabilities of a classifier; empty otherwise.
    """

    name: str
    inputs: Mapping[str, Feature]
    outputs: Mapping[str, Feature]
    states: Mapping[str, StateFeature]
    predicted: str = ""
    probabilities: str = ""


@dataclass(frozen=True)
class ModelDescription:
    """A model as it describes itself; ``functions`` has at least one entry, ``main`` where the file names none."""

    metadata: Metadata
    functions: Mapping[str, FunctionDescription]
    default_function: str

    @classmethod
    def parse(cls, message: Any) -> ModelDescription:
        """From a ``ModelDescription`` message.

        Raises:
            FormatError: a feature has no type, or one that the format does not define.
        """
        if message.functions:
            functions = {item.name: _function(item, item.name) for item in message.functions}
            return cls(_metadata(message.metadata), functions, message.defaultFunctionName or next(iter(functions)))
        return cls(_metadata(message.metadata), {_MAIN: _function(message, _MAIN)}, _MAIN)

    def function(self, name: str | None) -> FunctionDescription:
        """The function of that name, or the default one."""
        chosen = name or self.default_function
        if chosen not in self.functions:
            raise InputError(f"function {chosen!r}: the model has none of that name; it has {', '.join(self.functions)}")
        return self.functions[chosen]


def _function(message: Any, name: str) -> FunctionDescription:
    return FunctionDescription(
        name,
        parse_features(message.input),
        parse_features(message.output),
        parse_states(message.state),
        message.predictedFeatureName,
        message.predictedProbabilitiesName,
    )


def _metadata(message: Any) -> Metadata:
    return Metadata(
        message.shortDescription, message.versionString, message.author, message.license, dict(sorted(message.userDefined.items()))
    )
