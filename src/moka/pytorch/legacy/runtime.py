"""What PyTorch's Core ML backend does where a program runs: compiles the model once, loads it, and executes it on tensors.

A model is loaded for the CPU first, which is quick, and replaced when it is ready by one loaded for the units that its program was made
for. Compiled models are in Moka's cache, found by the model's hash.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moka.cache import Cache, Key
from moka.compiler.cache import compile_model
from moka.errors import FormatError, InputError, UnsupportedError
from moka.models.configuration import ComputeUnits
from moka.models.model import Model, load
from moka.pytorch.legacy.conversion import METHOD, CoreMLComputeUnit, ScalarType

__all__ = ["CoreMLBackend", "Executor"]

PRODUCT = "torchscript"
"""What the models of TorchScript programs are called in the cache."""

_UNITS: dict[str, ComputeUnits] = {
    CoreMLComputeUnit.CPU: "CPU_ONLY",
    CoreMLComputeUnit.CPUAndGPU: "CPU_AND_GPU",
    CoreMLComputeUnit.ALL: "ALL",
}

_DTYPES = {
    str(ScalarType.Float): torch.float32,
    str(ScalarType.Double): torch.float64,
    str(ScalarType.Int): torch.int32,
    str(ScalarType.Long): torch.int64,
}

_log = logging.getLogger("moka.pytorch.legacy")


@dataclass(frozen=True)
class Extra:
    """What ``extra`` says: names and types of inputs and outputs, and how the model is to run."""

    inputs: tuple[tuple[str, torch.dtype], ...]
    outputs: tuple[tuple[str, torch.dtype], ...]
    compute_units: ComputeUnits
    allow_low_precision: bool

    @classmethod
    def parse(cls, text: str) -> Extra:
        """Raises FormatError for what `preprocess` does not write."""
        try:
            found = json.loads(text)
            ports = [tuple((str(name), _DTYPES[dtype]) for name, dtype, _ in found[kind]) for kind in ("inputs", "outputs")]
            config = found["config"]
            units = _UNITS.get(config["backend"], "CPU_ONLY")  # as PyTorch takes names that it does not know
            return cls(ports[0], ports[1], units, config["allow_low_precision"] == "True")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise FormatError("extra", f"is damaged: {type(error).__name__}: {error}") from error


class Executor:
    """A loaded model: for the CPU at first, for the configured units from when that is ready.

    Attributes:
        compute_units: what the model that runs now may run on.
    """

    def __init__(self, path: Path, extra: Extra) -> None:
        self.extra = extra
        self._path = path
        self._model: Model = load(path, compute_units="CPU_ONLY")
        self._thread: threading.Thread | None = None
        if (extra.compute_units, extra.allow_low_precision) != ("CPU_ONLY", False):
            self._thread = threading.Thread(target=self._swap, name="moka-legacy-load")
            self._thread.start()

    @property
    def compute_units(self) -> ComputeUnits:
        return self._model.compute_units

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the model for the configured units runs, or has failed to load; whether that is so."""
        if self._thread is not None:
            self._thread.join(timeout)
        return self._thread is None or not self._thread.is_alive()

    def run(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The outputs for a list of inputs, both in the specification's order."""
        if len(inputs) != len(self.extra.inputs):
            raise InputError(f"{len(inputs)} inputs are given; the model takes {len(self.extra.inputs)}")
        for number, value in enumerate(inputs):
            if not isinstance(value, torch.Tensor):
                raise InputError(f"input {number} is a {type(value).__name__}; expected a tensor")
        feed = {name: value.detach().cpu().numpy() for (name, _), value in zip(self.extra.inputs, inputs, strict=True)}
        found = self._model.predict(feed)
        return [torch.from_numpy(np.asarray(found[name])).to(dtype) for name, dtype in self.extra.outputs]

    def _swap(self) -> None:
        units, low = self.extra.compute_units, self.extra.allow_low_precision
        try:
            self._model = load(self._path, compute_units=units, allow_low_precision=low)
        except Exception as error:  # the program goes on with what it has, as PyTorch's does
            _log.warning("the model for %s could not be loaded and stays on the CPU: %s", units, error)


class CoreMLBackend:
    """The backend ``coreml`` of TorchScript, by the names that PyTorch's backends have."""

    @staticmethod
    def is_available() -> bool:
        """Whether models run here: Moka runs them everywhere."""
        return True

    @staticmethod
    def compile(processed: Mapping[str, Any], method_compile_spec: Mapping[str, Any] | None = None) -> dict[str, Executor]:
        """What `preprocess` gave as something that runs, by the method's name.

        Raises:
            FormatError: the model, its hash or ``extra`` is damaged.
        """
        extra = Extra.parse(str(processed["extra"]))
        return {METHOD: Executor(_compiled(bytes(processed["model"]), str(processed["hash"])), extra)}

    @staticmethod
    def execute(handle: Executor, inputs: Sequence[torch.Tensor]) -> list[Any]:
        """The outputs as TorchScript's backends give them: a list of one tensor, or of one list where there are several.

        Raises:
            InputError: another number of inputs than the model takes, or one of a wrong shape.
            ExecutionError: an operation failed.
        """
        outputs = handle.run(inputs)
        return outputs if len(outputs) == 1 else [outputs]


def _compiled(model: bytes, stated: str) -> Path:
    """The compiled model from the cache; the model itself where its compiled form is not known."""
    if (found := hashlib.sha256(model).hexdigest()) != stated:
        raise FormatError("model", f"its hash is {found}, stated is {stated}: it was changed or damaged")
    name = f"{stated[:16]}.mlmodel"
    source = Cache().get(Key(PRODUCT, name, {"hash": stated}), lambda folder: (folder / name).write_bytes(model)) / name
    try:
        return compile_model(source)
    except UnsupportedError:
        return source
