"""Apple's own Core ML as an engine, through coremltools, on macOS. It takes files and runs whole functions, not segments of a program.

What is said here of coremltools' binding to Core ML (its ``libcoremlpython``) is from its published source, ``coremlpython``; nothing in
this module has run on a Mac yet.
"""

from __future__ import annotations

import importlib.machinery
import sys
import threading
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moka.engines.onnx.states import states_of
from moka.errors import ExecutionError, UnsupportedError
from moka.formats.mlmodelc.folder import is_compiled
from moka.formats.schema import coremltools_folder

__all__ = ["NAME", "CoreMlExecutable", "CoreMlState", "absence"]

NAME = "coreml"
"""What plans and messages call the engine."""

_LIBRARY = "libcoremlpython"
"""coremltools' binding, which only its wheels for macOS have."""


def absence() -> str:
    """Why Core ML can't be used here, and what to do about it; empty where it can."""
    if sys.platform != "darwin":
        return f"Apple's Core ML is part of macOS, and this is {sys.platform}: use engine='auto'"
    loaded = sys.modules.get(f"coremltools.{_LIBRARY}")
    if loaded is not None and getattr(loaded.__spec__, "origin", None) == "moka.bridge":
        return "Moka's bridge stands in the place of Apple's Core ML: call moka.bridge.uninstall()"
    if importlib.machinery.PathFinder.find_spec(f"coremltools.{_LIBRARY}", [str(coremltools_folder())]) is None:
        install = "pip install --force-reinstall --only-binary coremltools coremltools"
        return f"the installed coremltools has no {_LIBRARY} for this Python: {install}"
    return ""


class CoreMlState:
    """One of the states that Core ML keeps together for a model."""

    __slots__ = ("held", "name")

    def __init__(self, held: Any, name: str) -> None:
        self.held = held
        self.name = name

    @property
    def tensor(self) -> torch.Tensor:
        return torch.from_numpy(np.array(self.held.read_state(self.name)))

    @tensor.setter
    def tensor(self, value: torch.Tensor) -> None:
        self.held.write_state(self.name, _fed(value.detach().cpu().numpy()))


class CoreMlExecutable:
    """A function of a model that Core ML runs as a whole. Threads take turns: Apple asks that a model be used on one at a time.

    Args:
        path: the model: a ``.mlmodel`` file, an ``.mlpackage`` or a ``.mlmodelc`` folder.
        compute_units: by Core ML's names, which are also Moka's.
        function: which of several functions; None for the default one.
        states: the function's states by name.

    Raises:
        UnsupportedError: Core ML is not here, or can't load the model.
    """

    def __init__(self, path: Path, compute_units: str, function: str | None = None, states: Iterable[str] = ()) -> None:
        if missing := absence():
            raise UnsupportedError(f"engine {NAME!r} is not installed: {missing}")
        self.path = path
        self._states = tuple(states)
        self._model = _load(path.absolute(), compute_units, function)
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Any], state: Mapping[str, CoreMlState] | None = None) -> dict[str, Any]:
        """Runs once; values are as coremltools takes and gives them: images are PIL images, of those in colour it gives RGBA."""
        kept = states_of(self._states, state)
        results: dict[str, Any] = self._predict({name: _fed(value) for name, value in inputs.items()}, *(item.held for item in kept[:1]))
        return results

    def run_batch(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Runs once for each of several sets of inputs, which Core ML gets as one batch."""
        results: list[dict[str, Any]] = self._predict([{name: _fed(value) for name, value in row.items()} for row in rows])
        return results

    def _predict(self, data: Any, *state: Any) -> Any:
        try:
            with self._lock:
                return self._model.predict(data, *state)
        except Exception as error:  # coremltools raises several kinds, plain exceptions among them
            raise ExecutionError(f"{self.path.name}: Core ML failed: {error}") from error

    def new_state(self) -> dict[str, CoreMlState]:
        """Fresh buffers for every state of the function, filled with zeros.

        Raises:
            UnsupportedError: this macOS is older than 15, the first whose Core ML has states.
        """
        if not self._states:
            return {}
        try:
            held = self._model.make_state()
        except Exception as error:
            raise UnsupportedError(f"{self.path.name}: Core ML makes no states: {error}") from error
        return {name: CoreMlState(held, name) for name in self._states}

    def compute_plan(self, compute_units: str) -> Any:
        """coremltools' ``MLComputePlan``: what Core ML says of where it will run the model's operations or layers.

        Raises:
            UnsupportedError: Core ML makes none; it does from macOS 14.4 on.
        """
        import coremltools
        from coremltools.models.compute_plan import MLComputePlan

        try:
            compiled = str(self.path.absolute()) if is_compiled(self.path) else self._model.get_compiled_model_path()
            return MLComputePlan.load_from_path(compiled, coremltools.ComputeUnit[compute_units])
        except Exception as error:
            raise UnsupportedError(f"{self.path.name}: Core ML makes no plan: {error}") from error


def _load(path: Path, compute_units: str, function: str | None) -> Any:
    """coremltools' object of a model that Core ML has loaded."""
    import coremltools

    units = coremltools.ComputeUnit[compute_units]
    try:
        if is_compiled(path):
            return coremltools.models.CompiledMLModel(str(path), units, function)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # what it warns of, and then goes on, is the error below
            model = coremltools.models.MLModel(str(path), compute_units=units, function_name=function)
    except Exception as error:
        raise UnsupportedError(f"{path}: Core ML can't load it: {error}") from error
    if model.__proxy__ is None:
        problem = model._framework_error or "its version of the format is newer than this macOS knows"
        raise UnsupportedError(f"{path}: Core ML can't load it: {problem}")
    return model


def _fed(value: Any) -> Any:
    """A value as the binding takes it: of arrays it takes the memory, in C order and writable, and knows no float16."""
    if not isinstance(value, np.ndarray):
        return value
    return np.require(value, np.float32 if value.dtype == np.float16 else None, ["C", "W"])
