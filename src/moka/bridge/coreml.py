"""The stand-in for ``coremltools.libcoremlpython``: Core ML as coremltools calls it, answered by Moka.

Names, signatures and results are those that coremltools 9.0 uses and its tests check; classes carry its names. Values
go to the model as coremltools sends them (it widens float16 arrays to float32, and passes Python numbers, arrays of other types and PIL
images through): converting them to what the model declares is the work of ``moka.models``.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moka.bridge import compiled
from moka.bridge.failures import runtime_errors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from moka.models.model import ModelState

__all__ = [
    "_MLCPUComputeDeviceProxy",
    "_MLComputePlanProxy",
    "_MLGPUComputeDeviceProxy",
    "_MLModelAssetProxy",
    "_MLModelProxy",
    "_MLModelStructureNeuralNetworkLayerProxy",
    "_MLModelStructureProgramOperationProxy",
    "_MLNeuralEngineComputeDeviceProxy",
    "_State",
]

ENGINE_VARIABLE = "MOKA_ENGINE"
"""The environment variable that says what the bridge's models run on where `moka.bridge.install` does not."""

engine: str | None = None
"""What `moka.bridge.install` was asked to run models on."""

NEWEST_SPECIFICATION = 10
"""The newest version of the format, that of iOS 26 and macOS 26; a model that needs more of it than Moka has says so when loaded."""


def _engine() -> Any:
    return engine or os.environ.get(ENGINE_VARIABLE) or "auto"


class _State:
    """The states of one conversation with a stateful model: what ``MLState`` holds."""

    def __init__(self, state: ModelState) -> None:
        self.state = state

    def read_state(self, name: str) -> npt.NDArray[np.generic]:
        with runtime_errors():
            return self.state.read_state(name)

    def write_state(self, name: str, value: npt.NDArray[np.generic]) -> None:
        with runtime_errors():
            self.state.write_state(name, value)


class _MLModelAssetProxy:
    """A compiled model on disk, or one given in memory and kept in a temporary folder as long as this object lives."""

    def __init__(self, path: Path, *, temporary: bool = False) -> None:
        self.path = path
        if temporary:
            weakref.finalize(self, compiled.delete, path.parent)


class _MLModelProxy:
    """A loaded model.

    Args:
        path: a ``.mlmodel`` file, an ``.mlpackage`` or a ``.mlmodelc`` folder.
        compute_units: the name of a ``coremltools.ComputeUnit``.
        function_name: a multifunction model's function; empty for the default one.
        optimization_hints: hints for Core ML's compiler; they change no result, and Moka makes no use of them.
        asset: the model, where it is not given by its path.

    Raises:
        RuntimeError: the model can't be read or run; the message says why.
    """

    def __init__(
        self,
        path: str,
        compute_units: str,
        function_name: str = "",
        optimization_hints: Mapping[str, str] | None = None,
        asset: _MLModelAssetProxy | None = None,
    ) -> None:
        from moka.models.model import load

        with runtime_errors():
            started = time.perf_counter_ns()
            self._asset = asset  # alive as long as the model, for its folder may be temporary
            self._source = Path(path).expanduser() if asset is None else asset.path
            function = function_name or None
            self._model = load(compiled.model_in(self._source), compute_units=compute_units, function=function, engine=_engine())
            self._model.widen_outputs()
            self._load_duration = time.perf_counter_ns() - started
            self._predict_duration: int | None = None
            self._compiled: Path | None = self._source if self._source.suffix == compiled.SUFFIX else None
            if asset is None and self._source.is_file():
                self._source = compiled.keep_file(self._source)
                weakref.finalize(self, compiled.delete, self._source.parent)

    def predict(self, data: dict[str, Any], state: _State | None = None) -> dict[str, Any]:
        """One prediction: outputs by name."""
        with runtime_errors():
            started = time.perf_counter_ns()
            outputs: dict[str, Any] = self._model.predict(self._truncated(data), None if state is None else state.state)
            self._predict_duration = time.perf_counter_ns() - started
            return _with_alpha(outputs)

    def batchPredict(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: N802 (Core ML's name)
        """Predictions for a list of inputs, in its order."""
        with runtime_errors():
            started = time.perf_counter_ns()
            outputs: list[dict[str, Any]] = self._model.predict([self._truncated(item) for item in data])
            self._predict_duration = time.perf_counter_ns() - started
            return [_with_alpha(item) for item in outputs]

    def newState(self) -> _State:  # noqa: N802 (Core ML's name)
        """Fresh states, for a stateful model."""
        with runtime_errors():
            return _State(self._model.make_state())

    def get_compiled_model_path(self) -> str:
        """The compiled model's folder: the one that was loaded, else one that lives as long as this object."""
        with runtime_errors():
            return str(self._compiled or self._compile())

    def get_load_duration_in_nano_seconds(self) -> int:
        return self._load_duration

    def get_last_predict_duration_in_nano_seconds(self) -> int | None:
        """How long the last prediction, or list of them, took; None before the first."""
        return self._predict_duration

    def _truncated(self, data: dict[str, Any]) -> dict[str, Any]:
        """The inputs, with fractions cut off where the model takes integers: Core ML does so without a word, Moka's own API refuses."""
        import numpy as np

        inputs = self._model.function.inputs
        return {
            name: np.trunc(value)
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and getattr(inputs.get(name), "dtype", "").startswith("int")
            else value
            for name, value in data.items()
        }

    def _compile(self) -> Path:
        self._compiled = compiled.compile_source(self._source)
        weakref.finalize(self, compiled.delete, self._compiled)
        return self._compiled

    @staticmethod
    def compileModel(path: str) -> str:  # noqa: N802 (Core ML's name)
        """Makes a ``.mlmodelc`` folder in the system's folder for temporary files, for the caller to move or delete."""
        with runtime_errors():
            return str(compiled.compile_source(Path(path).expanduser()))

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return NEWEST_SPECIFICATION

    @staticmethod
    def auto_set_specification_version(spec: Any) -> Any:
        """The specification as it is: its version already is one that supports all that the model uses."""
        return spec

    @staticmethod
    def get_compute_plan(path: str, compute_units: str) -> Any:
        """The ``MLComputePlan`` of a compiled model: a plan for this machine, or for the device that ``MOKA_PLAN_DEVICE`` names."""
        from moka.bridge.plans import compute_plan

        with runtime_errors():
            return compute_plan(compiled.model_in(Path(path).expanduser()), compute_units)

    @staticmethod
    def get_model_structure(path: str) -> Any:
        """The ``MLModelStructure`` of a compiled model."""
        from moka.bridge.structure import model_structure

        with runtime_errors():
            return model_structure(compiled.model_in(Path(path).expanduser()))

    @staticmethod
    def get_available_compute_devices() -> list[Any]:
        """coremltools' objects for the devices that models may run on: the CPU, and a GPU where PyTorch has one."""
        from moka.bridge.plans import compute_devices

        return compute_devices()

    @staticmethod
    def get_all_compute_devices() -> list[Any]:
        return _MLModelProxy.get_available_compute_devices()

    @staticmethod
    def create_model_asset_from_path(path: str) -> Any:
        """The ``MLModelAsset`` of a compiled model's folder."""
        from coremltools.models.model import MLModelAsset

        with runtime_errors():
            return MLModelAsset(_MLModelAssetProxy(compiled.existing(Path(path).expanduser())))

    @staticmethod
    def create_model_asset_from_memory(spec_data: bytes, blob_mapping: Mapping[str, bytes]) -> Any:
        """The ``MLModelAsset`` of a serialized specification and its weight files, by their paths relative to the model."""
        from coremltools.models.model import MLModelAsset

        with runtime_errors():
            return MLModelAsset(_MLModelAssetProxy(compiled.write_model(spec_data, blob_mapping), temporary=True))


def _with_alpha(outputs: dict[str, Any]) -> dict[str, Any]:
    """Outputs as coremltools' users get them: images in color have an alpha channel."""
    return {name: value.convert("RGBA") if getattr(value, "mode", None) == "RGB" else value for name, value in outputs.items()}


class _MLCPUComputeDeviceProxy:
    """The CPU; coremltools derives the CPU of a connected device from it, as from the next two."""


class _MLGPUComputeDeviceProxy:
    """The GPU."""


class _MLNeuralEngineComputeDeviceProxy:
    """The Neural Engine, which only a connected device has."""

    def get_total_core_count(self) -> int:
        raise RuntimeError("Neural Engine: this machine has none")


class _MLModelStructureProgramOperationProxy:
    """Stands for one operation of a model's structure."""


class _MLModelStructureNeuralNetworkLayerProxy:
    """Stands for one layer of a model's structure."""


class _MLComputePlanProxy:
    """What answers for a compute plan: one of Moka's (`moka.bridge.plans`), or coremltools' own for a connected device."""
