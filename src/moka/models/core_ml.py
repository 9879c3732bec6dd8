"""Models of any kind that Apple's own Core ML runs as a whole, on macOS: what ``engine="coreml"`` loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from moka.engines.core_ml import CoreMlExecutable
from moka.errors import ExecutionError, InputError, UnsupportedError
from moka.formats.source import ModelSource
from moka.models.configuration import Configuration
from moka.models.features import Feature, SequenceFeature, presented
from moka.models.images import ImageFeature
from moka.models.machine import machine_name
from moka.models.model import Model, ModelState, load
from moka.models.network_model import with_batches
from moka.planning.core_ml import core_ml_plan
from moka.planning.plan import Plan

if TYPE_CHECKING:
    from moka.models.update import EpochMetrics, UpdateResult

__all__ = ["CoreMlModel"]


class CoreMlModel(Model):
    """A model that Core ML runs. Inputs are checked, and results come as declared, as with any other engine.

    Raises:
        UnsupportedError: Core ML is not here or can't load the model, or coremltools can't give it one of the inputs.
        InputError: the configuration asks for what Core ML leaves nobody to decide.
    """

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        super().__init__(source, configuration)
        if configuration.numerics != "fast":
            raise InputError(f"numerics is {configuration.numerics!r}; with engine 'coreml' Core ML rounds as it does: take another engine")
        if configuration.plan is not None:
            raise InputError("plan is given; with engine 'coreml' Core ML places operations itself: take another engine")
        for name, feature in self.function.inputs.items():
            if isinstance(feature, SequenceFeature):
                raise UnsupportedError(f"{self.path}: input {name!r} is a sequence, which coremltools can't give to Core ML")
        if self.kind.startswith("neuralNetwork"):
            self.function = with_batches(self.function, getattr(source.specification, self.kind))
        several = bool(source.specification.description.functions)
        function, states = self.function.name if several else None, self.function.states
        self.executable = CoreMlExecutable(self.path, configuration.compute_units, function, states)

    def make_state(self) -> ModelState:
        if not self.function.states:
            return super().make_state()
        return ModelState(self.function.states, self.executable.new_state())

    def opened(self) -> Model:
        return load(self.path, compute_units=self.compute_units, function=self.configuration.function)

    def placed(self, compute_units: str) -> Plan:
        """Where Core ML itself says that it runs the model's operations or layers, on this machine.

        Raises:
            UnsupportedError: Core ML makes no plan.
        """
        whole = Plan(self.path.name, self.function.name, machine_name(self.configuration), False, compute_units)
        return core_ml_plan(self.executable.compute_plan(compute_units), whole)

    def update(
        self, batches: Iterable[Any], progress: Callable[[EpochMetrics], object] | None = None, **parameters: int | float | bool
    ) -> UpdateResult:
        raise UnsupportedError(f"{self.path}: engine 'coreml' only predicts; load the model with another engine to update it")

    def _absent(self, feature: Feature) -> Any:
        """Core ML knows what stands for an optional input; images are never left out, for coremltools asks for each."""
        return feature.absent() if isinstance(feature, ImageFeature) else None

    def _predict(self, inputs: dict[str, Any], state: ModelState | None) -> dict[str, Any]:
        if state is not None and not self.function.states:
            raise InputError(f"{self.path.name} has no states; predict takes none")
        return self._results(self.executable.run(self._fed(inputs), None if state is None else state.buffers))

    def _predict_batch(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.function.states:
            return super()._predict_batch(rows)
        return [self._results(found) for found in self.executable.run_batch([self._fed(row) for row in rows])]

    def _fed(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Checked inputs as Core ML gets them: images as PIL images."""
        features = self.function.inputs
        return {
            name: feature.present(inputs[name]) if isinstance(feature, ImageFeature) else inputs[name]
            for name, feature in features.items()
            if inputs[name] is not None
        }

    def _results(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """What Core ML gave, as declared: coremltools makes float32 of float16, and gives images in colour a channel of opacity."""
        if missing := [name for name in self.function.outputs if name not in found]:
            raise ExecutionError(f"{self.path.name}: output {missing[0]!r}: Core ML gave none of that name, but {', '.join(found)}")
        return {
            name: found[name].convert(feature.mode) if isinstance(feature, ImageFeature) else presented(feature, found[name])
            for name, feature in self.function.outputs.items()
        }
