"""Neural networks as models: classifiers, regressors and plain ones."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeAlias

from moka.engines.base import Executable
from moka.errors import MokaError, ProgramError
from moka.formats.source import ModelSource
from moka.importers.neural_network import Network, import_network
from moka.importers.neural_network.builder import ShapeError
from moka.models.configuration import Configuration
from moka.models.description import FunctionDescription
from moka.models.devices import torch_device
from moka.models.execution import Decision, Execution, prepare
from moka.models.features import Feature, MultiArrayFeature, ScalarFeature, presented
from moka.models.images import ImageFeature
from moka.models.model import ModelState
from moka.models.shapes import declared_shape
from moka.models.update import Learned, Progress, Sample, UpdatableModel

__all__ = ["NetworkModel", "with_batches"]

Shapes: TypeAlias = tuple[tuple[int, ...], ...]

_KEPT_SHAPES = 16


@dataclasses.dataclass(frozen=True)
class _BatchedArrayFeature(MultiArrayFeature):
    """An input of a network whose blobs have five axes: declared [C] or [C, H, W], it may come with sequence and batch before that."""

    def accepts(self, shape: tuple[int, ...]) -> bool:
        if super().accepts(shape):
            return True
        own = max(map(len, (self.shape, *self.shapes, self.ranges)))
        if len(shape) == 5:
            return super().accepts(shape[2:]) if own == 3 else shape[3:] == (1, 1) and super().accepts(shape[2:3])
        return own == 1 and len(shape) == 3 and super().accepts(shape[2:])

    def coerce(self, value: Any) -> Any:
        """As a multi-array does; [S, B, C] becomes [S, B, C, 1, 1]."""
        array = super().coerce(value)
        declared_image = len(self.shape) == 3
        return array.reshape(*array.shape, 1, 1) if array.ndim == 3 and not declared_image else array


class NetworkModel(UpdatableModel):
    """A model whose body is a neural network. A program is made for each set of input shapes that comes along; the last ones are kept.

    Attributes:
        network: the network, which programs are made of.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        self._source = source
        message = getattr(source.specification, self.kind)
        self.function = with_batches(self.function, message)
        self.network = self._describe(message)
        self._executables: OrderedDict[Shapes, Execution] = OrderedDict()
        self._lock = threading.Lock()
        self._prepare()

    def _describe(self, message: Any) -> Network:
        features, outputs = self.function.inputs, self.function.outputs
        for name, feature in features.items():
            if not isinstance(feature, MultiArrayFeature | ImageFeature):
                raise ProgramError(f"{self.path}: input {name!r} is a {feature.summary()}; a network takes multi-arrays and images")
        return Network(
            message,
            tuple(features),
            {name: feature.color_space for name, feature in features.items() if isinstance(feature, ImageFeature)},
            {name: feature.shape or None if isinstance(feature, MultiArrayFeature) else None for name, feature in outputs.items()},
            self.function.predicted,
            self.function.probabilities,
        )

    def _prepare(self) -> None:
        """Makes the network ready for its inputs as declared, so that a broken one is refused when it is loaded.

        Older networks don't say how long a sequence is, and one may not run with a sequence of one step. Nor does every network with
        flexible shapes run with the shape that stands for all of them.
        """
        shapes = [shape for feature in self.function.inputs.values() if (shape := declared_shape(feature)) is not None]
        if len(shapes) < len(self.function.inputs):
            return
        try:
            self._executable(tuple(shapes))
        except MokaError as error:
            if not (isinstance(error, ShapeError) and any(map(_takes_several_shapes, self.function.inputs.values()))):
                raise type(error)(f"{self.path}: {error}") from error

    def _executable(self, shapes: Shapes) -> Executable:
        with self._lock:
            if shapes not in self._executables:
                program = import_network(self.network, dict(zip(self.function.inputs, shapes, strict=True)))
                self._executables[shapes] = prepare(program.functions["main"], self.configuration)
                if len(self._executables) > _KEPT_SHAPES:
                    self._executables.popitem(last=False)
            self._executables.move_to_end(shapes)
            return self._executables[shapes].executable

    def decision(self, shapes: Shapes) -> Decision | None:
        """What was decided for inputs of these shapes; None if they have not come along."""
        with self._lock:
            made = self._executables.get(shapes)
            return None if made is None else made.decision

    def _predict(self, inputs: dict[str, Any], state: ModelState | None) -> dict[str, Any]:
        executable = self._executable(tuple(inputs[name].shape for name in self.function.inputs))
        results = executable.run(inputs)
        by_name = dict(zip(self.network.outputs, results.values(), strict=True))
        return {name: _present(feature, by_name[name]) for name, feature in self.function.outputs.items()}

    def _learned(self, samples: list[Sample], progress: Progress | None, parameters: Mapping[str, Any]) -> Learned:
        from moka.models.network_update import train_network  # only models that are updated pay for it

        specification = copy.deepcopy(self._source.specification)
        learned, device = getattr(specification, self.kind), torch_device(self.configuration.compute_units)
        inputs, targets = self.function.inputs, self.training_inputs
        return specification, train_network(self.network, learned, inputs, targets, samples, progress, parameters, device)


def with_batches(function: FunctionDescription, network: Any) -> FunctionDescription:
    """The description of a network's function with inputs that may come with sequence and batch, if its blobs have five axes."""
    if network.arrayInputShapeMapping != 0:
        return function
    return dataclasses.replace(function, inputs={name: _batched(feature) for name, feature in function.inputs.items()})


def _batched(feature: Feature) -> Feature:
    if not isinstance(feature, MultiArrayFeature):
        return feature
    return _BatchedArrayFeature(**{item.name: getattr(feature, item.name) for item in dataclasses.fields(feature)})


def _takes_several_shapes(feature: Feature) -> bool:
    if isinstance(feature, _BatchedArrayFeature):
        return True
    return isinstance(feature, MultiArrayFeature) and bool(feature.shapes or feature.ranges)


def _present(feature: Feature, value: Any) -> Any:
    """A result as users see it; a number that a regressor predicts comes in an array of one element."""
    if isinstance(feature, ScalarFeature) and hasattr(value, "reshape"):
        value = value.reshape(-1)[0]
    return presented(feature, value)
