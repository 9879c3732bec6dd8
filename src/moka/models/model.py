"""Loading a model, and what every loaded model offers."""

from __future__ import annotations

import asyncio
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from moka.errors import InputError, UnsupportedError
from moka.formats.source import ModelSource, Sections, open_source
from moka.models.configuration import ComputeUnits, Configuration, EngineName, Numerics
from moka.models.description import FunctionDescription, ModelDescription
from moka.models.features import Array, Feature, MultiArrayFeature, StateFeature
from moka.models.kinds import model_class

if TYPE_CHECKING:
    from moka.models.profile import Profile
    from moka.models.update import EpochMetrics, UpdateResult
    from moka.planning.plan import Plan

__all__ = ["ComputeUnits", "Model", "ModelState", "load", "load_configured"]

Data: TypeAlias = Mapping[str, Any]


def load(
    path: str | os.PathLike[str],
    *,
    compute_units: ComputeUnits | Any = "ALL",
    function: str | None = None,
    numerics: Numerics = "fast",
    engine: EngineName = "auto",
    threads: int = 0,
    allow_low_precision: bool = False,
    plan: Any = None,
) -> Model:
    """Loads a Core ML model: a ``.mlmodel`` file, an ``.mlpackage`` folder or a compiled ``.mlmodelc`` folder.

    Args:
        path: the model.
        compute_units: what the model may run on, as in Core ML: ``ALL``, ``CPU_ONLY``, ``CPU_AND_GPU`` or ``CPU_AND_NE`` (or coremltools'
            ``ComputeUnit``). A GPU is used only if it is allowed and present.
        function: which of a multifunction model's functions; None for the default one.
        numerics: ``fast`` computes values declared fp16 in what is fastest and at least as wide; ``device`` rounds every result to its
            declared type, as Apple's fp16 units do.
        engine: what runs the operations that it can run: ``torch``, ``onnxruntime`` or ``openvino``; ``auto`` leaves it to the plan.
            PyTorch runs the rest. ``coreml`` hands the whole model to Apple's own Core ML, on macOS, never by itself.
        threads: how many threads one prediction may use; 0 for as many as there are cores.
        allow_low_precision: whether what the model declares fp16 may be computed in bf16 where the processor is fast at it.
        plan: a plan, or the file of one, that is to be followed in place of one made for this machine.

    Raises:
        FormatError: the file is not what its format demands.
        ProgramError: the program in it breaks a rule, or uses an operation that Moka does not know.
        UnsupportedError: a kind of model that Moka does not run.
        InputError: an argument has a value that is none of those allowed.
    """
    units = getattr(compute_units, "name", compute_units)
    if isinstance(plan, str | os.PathLike):
        from moka.models.plans import load_plan

        plan = load_plan(plan)
    return load_configured(path, Configuration(units, function, numerics, engine, threads, allow_low_precision, plan))


def load_configured(path: str | os.PathLike[str], configuration: Configuration, sections: Sections | None = None) -> Model:
    """Loads a model, some of whose weight files may be parts of another file; errors are those of `load`."""
    start = time.perf_counter()
    source = open_source(path, sections)
    model: Model = model_class(source, configuration.engine)(source, configuration)
    model.load_seconds = time.perf_counter() - start
    return model


class ModelState:
    """The buffers that a stateful model keeps between predictions; made by `Model.make_state`."""

    def __init__(self, features: Mapping[str, StateFeature], buffers: Mapping[str, Any]) -> None:
        self._features = features
        self.buffers = buffers
        """What the engine keeps, by name."""

    @property
    def names(self) -> tuple[str, ...]:
        """The states' names."""
        return tuple(self._features)

    def read_state(self, name: str) -> Array:
        """A copy of the state, as an array of its declared type and shape."""
        return self._feature(name).array.present(self.buffers[name].tensor)

    def write_state(self, name: str, value: Any) -> None:
        """Replaces the state's content by ``value``, an array of the declared shape."""
        feature, buffer = self._feature(name), self.buffers[name]
        array = np.array(feature.array.coerce(value))
        buffer.tensor = buffer.tensor.new_tensor(array)

    def _feature(self, name: str) -> StateFeature:
        if name not in self._features:
            raise InputError(f"state {name!r}: the model has none of that name; it has {', '.join(self._features) or 'none'}")
        return self._features[name]


class Model(ABC):
    """A loaded model. Predictions may be made on several threads at once, each with its own state.

    Attributes:
        path: what it was loaded from.
        kind: the model's kind as the format names it: ``mlProgram``, ``neuralNetworkClassifier``.
        specification_version: the version of the format that the file states.
        description: metadata, and the features of every function.
        function: the function that `predict` runs.
        configuration: how it is to run.
        load_seconds: how long `load` took to load it; None for models within others.
        sections: its weight files that are not at ``path`` but parts of another file.
    """

    load_seconds: float | None = None

    def __init__(self, source: ModelSource, configuration: Configuration) -> None:
        self.path: Path = source.path
        self.sections = source.sections
        self.kind: str = source.specification.WhichOneof("Type")
        self.specification_version: int = source.specification.specificationVersion
        self.description = ModelDescription.parse(source.specification.description)
        self.function: FunctionDescription = self.description.function(configuration.function)
        self.configuration = configuration

    @property
    def compute_units(self) -> ComputeUnits:
        """What the model may run on."""
        return self.configuration.compute_units

    @overload
    def predict(self, data: Data, state: ModelState | None = None) -> dict[str, Any]: ...
    @overload
    def predict(self, data: Sequence[Data], state: None = None) -> list[dict[str, Any]]: ...
    def predict(self, data: Data | Sequence[Data], state: ModelState | None = None) -> dict[str, Any] | list[dict[str, Any]]:
        """Predicts for one set of inputs, or for each of a list of them.

        Args:
            data: inputs by name. Multi-arrays are NumPy arrays, torch tensors or nested lists; images are PIL images or arrays
                [height, width(, channels)]; optional inputs may be left out.
            state: what `make_state` gave; needed by a stateful model, and changed by the prediction.

        Returns:
            Outputs by name: NumPy arrays of the declared type, PIL images, numbers, strings, dictionaries.

        Raises:
            InputError: a wrong name, type, shape or size; the message says what was expected.
            ExecutionError: an operation failed.
        """
        if isinstance(data, Mapping):
            return self._predict(self._inputs(data), state)
        if not isinstance(data, Sequence) or isinstance(data, str):
            raise InputError(f"data is a {type(data).__name__}; expected a dict of inputs by name, or a list of such dicts")
        if state is not None:
            raise InputError("a state goes with one prediction, not with a list of them: call predict once for each")
        return self._predict_batch([self._inputs(item) for item in data]) if data else []

    def predict_unchecked(self, inputs: dict[str, Any], state: ModelState | None = None) -> dict[str, Any]:
        """`predict` for callers that know their inputs to be all there, as arrays of the declared types and of allowed shapes."""
        return self._predict(inputs, state)

    async def predict_async(self, data: Data | Sequence[Data], state: ModelState | None = None) -> dict[str, Any] | list[dict[str, Any]]:
        """`predict` in a thread of its own, so that an event loop goes on meanwhile; several may run at once, each with its own state."""
        return await asyncio.to_thread(self.predict, data, state)

    def make_state(self) -> ModelState:
        """Fresh states, filled with zeros, for `predict`.

        Raises:
            InputError: the model has no states.
        """
        raise InputError(f"{self.path}: function {self.function.name!r} has no states")

    def update(
        self, batches: Iterable[Any], progress: Callable[[EpochMetrics], object] | None = None, **parameters: int | float | bool
    ) -> UpdateResult:
        """Learns from samples, as apps do on devices with updatable models, and gives a new model; this one stays as it is.

            result = model.update([{"image": image, "digit": 7}, ...], epochs=5, learning_rate=0.01)
            result.model.save("Digits.mlmodel")

        Args:
            batches: dicts of the model's training inputs by name, one a sample, in a list; or several such lists.
            progress: called with the metrics of each epoch when it is over.
            parameters: other values than the model's own for its update parameters, if it allows them. Networks have ``epochs``,
                ``mini_batch_size``, ``learning_rate``, ``shuffle``, ``seed`` and, by optimizer, ``momentum`` or ``beta1``, ``beta2`` and
                ``eps``; nearest neighbors have ``number_of_neighbors``.

        Raises:
            UnsupportedError: the model is not updatable.
            InputError: a sample lacks an input, or has a value that it can't have; a parameter's value is not allowed.
            ProgramError: the model's update parameters break a rule.
        """
        raise UnsupportedError(f"{self.path}: models of kind {self.kind} are not updatable")

    def plan(
        self,
        device: str | None = None,
        *,
        compute_units: ComputeUnits | Any = None,
        measure: bool = False,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        pins: Plan | Mapping[str, tuple[str, str]] | None = None,
    ) -> Plan:
        """Which operation runs where, why, and at what cost: on this machine, or modelled for another device; see `moka.plan`."""
        from moka.models.plans import plan

        return plan(self, device, compute_units=compute_units, measure=measure, shapes=shapes, pins=pins)

    def profile(self, data: Data | None = None, *, runs: int = 50, warmup: int = 5) -> Profile:
        """How long predictions, segments and operations take on this machine, and how much memory; see `moka.profile`."""
        from moka.models.profiling import profile

        return profile(self, data, runs=runs, warmup=warmup)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model as it is, with what it learned: a ``.mlmodel`` file, or an ``.mlpackage`` by that suffix.

        Raises:
            UnsupportedError: a model that never changes; its file is at ``path``.
        """
        raise UnsupportedError(f"{self.path}: models of kind {self.kind} do not change; copy the file")

    def opened(self) -> Model:
        """The model as one that Moka knows the inside of: itself, unless Core ML runs it as a whole; then its file, loaded again."""
        return self

    def widen_outputs(self) -> None:
        """From now on gives outputs declared FLOAT16 as float32 arrays, with the precision that they were computed in.

        That is what coremltools' users see: its arrays have no float16.
        """
        outputs = {
            name: replace(feature, dtype="float32") if isinstance(feature, MultiArrayFeature) and feature.dtype == "float16" else feature
            for name, feature in self.function.outputs.items()
        }
        self.function = replace(self.function, outputs=outputs)

    @abstractmethod
    def _predict(self, inputs: dict[str, Any], state: ModelState | None) -> dict[str, Any]:
        """Predicts from checked and converted inputs."""

    def _predict_batch(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predicts for each of several sets of checked inputs; kinds of model that gain from it do all of them at once."""
        return [self._predict(row, None) for row in rows]

    def _absent(self, feature: Feature) -> Any:
        """What stands for an optional input that was left out."""
        return feature.absent()

    def _inputs(self, data: Data) -> dict[str, Any]:
        features = self.function.inputs
        if unknown := [name for name in data if name not in features]:
            raise InputError(f"input {unknown[0]!r}: the model has none of that name; it takes {', '.join(features) or 'none'}")
        inputs = {}
        for name, feature in features.items():
            value = data.get(name)
            if value is not None:
                inputs[name] = feature.coerce(value)
            elif feature.optional:
                inputs[name] = self._absent(feature)
            else:
                raise InputError(f"input {name!r} ({feature.summary()}) is missing; given are {', '.join(data) or 'none'}")
        return inputs

    def __repr__(self) -> str:
        takes, gives = ", ".join(self.function.inputs), ", ".join(self.function.outputs)
        return f"<{type(self).__name__} {self.path.name!r}: ({takes}) -> ({gives})>"
