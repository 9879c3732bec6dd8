"""On-device updates: what updatable models have in common, and what an update gives."""

from __future__ import annotations

import copy
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from moka.errors import InputError, UnsupportedError
from moka.formats.mlmodel import write_specification
from moka.formats.mlpackage import write_package
from moka.formats.source import ModelSource
from moka.formats.updates import UpdateParameter
from moka.models.features import Feature, parse_features
from moka.models.kinds import model_class
from moka.models.model import Model

__all__ = ["EpochMetrics", "Learned", "Progress", "Sample", "UpdatableModel", "UpdateResult", "chosen_values"]

Sample: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class EpochMetrics:
    """What one pass over the training data showed.

    Attributes:
        epoch: its number, from 1 on.
        loss: the mean over the samples of the loss that each had when its mini-batch came, before the step that it caused.
    """

    epoch: int
    loss: float


Progress: TypeAlias = Callable[[EpochMetrics], object]
Learned: TypeAlias = tuple[Any, list[EpochMetrics]]
"""A model's specification after learning, and metrics."""


@dataclass(frozen=True)
class UpdateResult:
    """What an update gives: a new model, and the metrics of each epoch (none for models that learn in one go)."""

    model: Model
    epochs: tuple[EpochMetrics, ...]


def chosen_values(parameters: Iterable[UpdateParameter], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The value of each parameter: what the user chose, else what the model has.

    Raises:
        InputError: a name that the model does not have, or a value that it does not allow.
    """
    known = {parameter.name: parameter for parameter in parameters}
    if unknown := [name for name in chosen if name not in known]:
        raise InputError(f"parameter {unknown[0]!r}: the model has none of that name; it has {', '.join(known) or 'none'}")
    return {
        name: parameter.checked(chosen[name]) if name in chosen else parameter.sensible(parameter.default)
        for name, parameter in known.items()
    }


class UpdatableModel(Model):
    """A model of a kind that can be updated, if its file says that it may be."""

    _source: ModelSource

    def update(
        self, batches: Iterable[Sample | Sequence[Sample]], progress: Progress | None = None, **parameters: int | float | bool
    ) -> UpdateResult:
        specification, epochs = self.learn(_samples(batches), progress, parameters)
        return UpdateResult(self._remade(specification), tuple(epochs))

    def learn(self, samples: list[Sample], progress: Progress | None, parameters: Mapping[str, Any]) -> Learned:
        """What `update` makes a model of, for a pipeline whose last stage this is."""
        if not self._source.specification.isUpdatable:
            raise UnsupportedError(f"{self.path}: the model is not updatable (isUpdatable is not set)")
        self._check_names(samples)
        return self._learned(samples, progress, parameters)

    def save(self, path: str | os.PathLike[str]) -> None:
        if Path(path).suffix == ".mlpackage":
            write_package(path, self._source.specification)
        else:
            write_specification(self._source.specification, path)

    @property
    def training_inputs(self) -> dict[str, Feature]:
        """What each sample of an update has: inputs of the model, and targets."""
        return parse_features(self._source.specification.description.trainingInput)

    @abstractmethod
    def _learned(self, samples: list[Sample], progress: Progress | None, parameters: Mapping[str, Any]) -> Learned:
        """A copy of the specification after learning, and metrics."""

    def _remade(self, specification: Any) -> Model:
        source = copy.copy(self._source)
        source.specification = specification
        made: Model = model_class(source)(source, self.configuration)
        return made

    def _check_names(self, samples: list[Sample]) -> None:
        names = self.training_inputs
        for index, sample in enumerate(samples):
            if unknown := [name for name in sample if name not in names]:
                raise InputError(f"sample {index} has {unknown[0]!r}; training inputs are {', '.join(names) or 'none'}")
            if missing := [name for name, feature in names.items() if name not in sample and not feature.optional]:
                raise InputError(f"sample {index} lacks {missing[0]!r} ({names[missing[0]].summary()})")


def _samples(batches: Iterable[Sample | Sequence[Sample]]) -> list[Sample]:
    """Samples one after the other, of batches or not.

    Raises:
        InputError: there are none, or something else than dicts.
    """
    if isinstance(batches, Mapping) or not isinstance(batches, Iterable):
        raise InputError(
            f"batches is a {type(batches).__name__}; expected dicts of training inputs, one a sample, in a list (or lists of them)"
        )
    samples: list[Any] = []
    for item in batches:
        samples += item if isinstance(item, Sequence) and not isinstance(item, str) else [item]
    if wrong := [item for item in samples if not isinstance(item, Mapping)]:
        raise InputError(f"batches hold a {type(wrong[0]).__name__}; expected dicts of training inputs by name")
    if not samples:
        raise InputError("batches hold no samples; expected one or more")
    return samples
