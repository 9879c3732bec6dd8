"""Neural networks as models: classifiers, regressors and plain ones."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, TypeAlias

import numpy as np

from moka.engines.base import Executable, Segment
from moka.engines.torch_engine import TorchEngine
from moka.formats.source import ModelSource
from moka.importers.neural_network import Network, import_network
from moka.models.devices import torch_device
from moka.models.features import MultiArrayFeature
from moka.models.images import ImageFeature
from moka.models.model import ComputeUnits, Model, ModelState, Numerics

__all__ = ["NetworkModel"]

Shapes: TypeAlias = tuple[tuple[int, ...], ...]

_KEPT_SHAPES = 16


class NetworkModel(Model):
    """A model whose body is a neural network. A program is made for each set of input shapes that comes along; the last ones are kept."""

    def __init__(self, source: ModelSource, compute_units: ComputeUnits, function: str | None, numerics: Numerics) -> None:
        super().__init__(source, compute_units, function)
        self._engine = TorchEngine(torch_device(compute_units), numerics)
        self._network = self._describe(getattr(source.specification, self.kind))
        self._executables: OrderedDict[Shapes, Executable] = OrderedDict()
        self._lock = threading.Lock()
        self._executable(self._default_shapes())

    def _describe(self, message: Any) -> Network:
        features = self.function.inputs
        images = frozenset(name for name, feature in features.items() if isinstance(feature, ImageFeature))
        outputs = {
            name: len(feature.shape) or None if isinstance(feature, MultiArrayFeature) else None
            for name, feature in self.function.outputs.items()
        }
        return Network(message, tuple(features), images, outputs)

    def _default_shapes(self) -> Shapes:
        """Shapes of the inputs as declared: a network is made ready for them at once, so that a broken one is refused when it is loaded."""
        return tuple(np.shape(feature.absent()) for feature in self.function.inputs.values())

    def _executable(self, shapes: Shapes) -> Executable:
        with self._lock:
            if shapes not in self._executables:
                program = import_network(self._network, dict(zip(self.function.inputs, shapes, strict=True)))
                self._executables[shapes] = self._engine.compile(Segment.of(program.functions["main"]))
                if len(self._executables) > _KEPT_SHAPES:
                    self._executables.popitem(last=False)
            self._executables.move_to_end(shapes)
            return self._executables[shapes]

    def _predict(self, inputs: dict[str, Any], state: ModelState | None) -> dict[str, Any]:
        executable = self._executable(tuple(inputs[name].shape for name in self.function.inputs))
        results = executable.run(inputs)
        by_name = dict(zip(self._network.outputs, results.values(), strict=True))
        return {name: feature.present(by_name[name]) for name, feature in self.function.outputs.items()}
