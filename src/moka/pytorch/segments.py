"""Core ML models that stand in a PyTorch program for a part of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moka.errors import FormatError, InputError
from moka.formats.files import read_bytes
from moka.formats.source import Sections
from moka.pytorch.calling import Argument
from moka.pytorch.config import DelegateConfig

__all__ = ["COMPILED", "PACKAGE", "PORTS", "Port", "Ports", "Segment", "load_segment"]

PACKAGE = "model.mlpackage"
COMPILED = "model.mlmodelc"
PORTS = "ports.json"
_LARGEST = 2**24


@dataclass(frozen=True)
class Port:
    """An input or output.

    Attributes:
        feature: its name in Core ML.
        dtype: PyTorch's name of its type.
        scalar: whether it has no dimensions; Core ML has one of size 1 instead.
        number: whether PyTorch passes a number, not a tensor.
    """

    feature: str
    dtype: str
    scalar: bool
    number: bool = False

    @property
    def torch_dtype(self) -> torch.dtype:
        dtype = getattr(torch, self.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise FormatError(PORTS, f"dtype {self.dtype!r} is none of PyTorch's")
        return dtype


@dataclass(frozen=True)
class Ports:
    """What a segment takes and gives, in the order of its arguments and results.

    Attributes:
        states: its states' names in Core ML.
        buffers: the names that the same states have in the PyTorch module.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[str, ...] = ()
    buffers: tuple[str, ...] = ()

    def write(self, folder: Path) -> None:
        (folder / PORTS).write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Ports:
        """The ports beside a package; FormatError if the file is damaged."""
        path = folder / PORTS
        try:
            found = json.loads(read_bytes(path, _LARGEST, "it names inputs and outputs only"))
            ports = [
                [Port(str(item["feature"]), str(item["dtype"]), bool(item["scalar"]), bool(item["number"])) for item in found[kind]]
                for kind in ("inputs", "outputs")
            ]
            return cls(tuple(ports[0]), tuple(ports[1]), tuple(map(str, found["states"])), tuple(map(str, found["buffers"])))
        except (ValueError, KeyError, TypeError) as error:
            raise FormatError(path, f"is damaged: {type(error).__name__}: {error}") from error


class Segment(torch.nn.Module):
    """Runs a Core ML model on tensors, and gives tensors of the types that the program had.

    Args:
        model: what predicts: a `moka.Model`, or Core ML itself on macOS.
        ports: the order and the types of inputs and outputs.
        device: where results go.
        original: the same computation in PyTorch, for integers that Core ML's int32 can't hold; None where it is not known.
        package: gives the model's folder, which may have to be made again; by default the model's own path.
    """

    def __init__(
        self,
        model: Any,
        ports: Ports,
        device: torch.device,
        original: Callable[..., Sequence[torch.Tensor]] | None = None,
        package: Callable[[], Path] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.ports = ports
        self.package: Callable[[], Path] = package or (lambda: Path(model.path))
        self.device = device
        self._on_cpu = device.type == "cpu"
        self.original = original
        self.state: Any = model.make_state() if ports.states else None
        self._inputs = [(port.feature, port.scalar) for port in ports.inputs]
        self._outputs = [(port.feature, port.torch_dtype, port.scalar) for port in ports.outputs]
        self._arrays = _arrays(model, ports)

    def forward(self, *values: Any) -> tuple[torch.Tensor, ...]:
        try:
            found = self._predicted(values)
        except InputError:
            if self.original is None or not _too_wide(values):
                raise
            return tuple(self.original(*values))
        return tuple([self._tensor(found[name], dtype, scalar) for name, dtype, scalar in self._outputs])

    __call__ = forward  # nobody hooks into a segment, and hooks cost more than all else here

    def _predicted(self, values: Sequence[Any]) -> dict[str, Any]:
        if self._arrays is not None and all(map(Argument.fits, self._arrays, values)):
            arrays = {array.name: value.numpy() for array, value in zip(self._arrays, values, strict=True)}
            return self.model.predict_unchecked(arrays, self.state)  # type: ignore[no-any-return]
        feed = {
            name: np.reshape(np.asarray(value), (1,)) if scalar else value.numpy(force=True)
            for (name, scalar), value in zip(self._inputs, values, strict=True)
        }
        return self.model.predict(feed, self.state)  # type: ignore[no-any-return]

    def write_states(self, values: Sequence[torch.Tensor]) -> None:
        """Replaces the states' content, in the order of the ports."""
        for name, value in zip(self.ports.states, values, strict=True) if self.ports.buffers else ():
            self.state.write_state(name, value)

    def read_states(self) -> list[torch.Tensor]:
        """Copies of the states' content, in the order of the ports."""
        return [
            torch.from_numpy(np.array(self.state.read_state(name))) for name, _ in zip(self.ports.states, self.ports.buffers, strict=False)
        ]

    def _tensor(self, array: Any, dtype: torch.dtype, scalar: bool) -> torch.Tensor:
        tensor = torch.from_numpy(array)
        if scalar:
            tensor = tensor.reshape(())
        return tensor if self._on_cpu and tensor.dtype is dtype else tensor.to(self.device, dtype)

    def copy_to(self, folder: Path, *, compiled: bool = False) -> None:
        """Writes the model and its ports into a new folder."""
        folder.mkdir(parents=True)
        self.ports.write(folder)
        package = self.package()
        if package.suffix == ".mlmodelc" or not compiled:
            shutil.copytree(package, folder / package.name)
            return
        from moka.compiler.compile import compile

        compile(package, folder, unverified=True)  # for Moka to run; metadata.json says what it is

    def extra_repr(self) -> str:
        return f"{', '.join(port.feature for port in self.ports.inputs)} -> {', '.join(port.feature for port in self.ports.outputs)}"


def load_segment(path: Path, config: DelegateConfig, device: torch.device, sections: Sections | None = None, **options: Any) -> Segment:
    """Loads a model, with its ports beside it, as a segment: with Moka, on macOS with Core ML itself.

    Weight files may be ``sections`` of another file; Core ML takes files only, so that ``package`` has to give them to it.
    """
    if sections and (config.engine == "coreml" or _is_core_ml(config)):
        path, sections = options["package"](), None
    return Segment(_model(path, config, sections), Ports.read(path.parent), device, **options)


def _is_core_ml(config: DelegateConfig) -> bool:
    return sys.platform == "darwin" and config.engine == "auto"


def _model(package: Path, config: DelegateConfig, sections: Sections | None) -> Any:
    if _is_core_ml(config):
        import coremltools

        return coremltools.models.MLModel(str(package), compute_units=coremltools.ComputeUnit[config.compute_units])
    from moka.models.configuration import Configuration
    from moka.models.model import load_configured

    return load_configured(package, Configuration(config.compute_units, engine=config.engine, threads=config.threads), sections)


def _arrays(model: Any, ports: Ports) -> list[Argument] | None:
    """A model's inputs, where all are arrays of one shape that it takes as the program has them; else None."""
    from moka.models.features import MultiArrayFeature
    from moka.models.program_model import ProgramModel

    if not isinstance(model, ProgramModel):
        return None
    features = [model.function.inputs[port.feature] for port in ports.inputs]
    found = [
        Argument(port.feature, port.torch_dtype, torch.device("cpu"), feature.shape)
        for port, feature in zip(ports.inputs, features, strict=True)
        if isinstance(feature, MultiArrayFeature) and feature.is_fixed and feature.dtype == port.dtype and not (port.scalar or port.number)
    ]
    return found if len(found) == len(features) else None


def _too_wide(values: Sequence[Any]) -> bool:
    """Whether an integer is beyond int32."""
    limits = torch.iinfo(torch.int32)
    for value in values:
        tensor = torch.as_tensor(value)
        if tensor.dtype == torch.int64 and tensor.numel() and (tensor.min() < limits.min or tensor.max() > limits.max):
            return True
    return False
