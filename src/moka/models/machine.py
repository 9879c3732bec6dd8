"""What this machine can run programs on: engines on devices, with how fast each is, and engines that could be installed."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from moka.engines.base import Engine
from moka.engines.torch_engine import TorchEngine
from moka.formats.dtypes import FP16
from moka.ir.program import Function, Operation
from moka.ir.types import TensorType
from moka.models.configuration import Configuration
from moka.models.devices import torch_device
from moka.models.threads import worker_count
from moka.planning.devices import Speed, engine_speed, processor_speed
from moka.planning.plan import Missing
from moka.planning.planner import Candidate, is_tied, with_nested
from moka.planning.rules import Reason

__all__ = ["Backend", "backends", "candidates", "engines_of", "fitted", "machine_name", "missing_engines", "precision_notes"]

Why: TypeAlias = Callable[[Operation], tuple[str, ...]]

_PACKAGES = {"openvino": ("cpu", "gpu", "npu"), "onnxruntime": ("cpu",)}
"""Engines that are packages of their own, the preferred one first, with the devices that they are for."""


@dataclass(frozen=True)
class Backend:
    """An engine on a device of this machine; ``make`` makes the engine."""

    engine: str
    device: str
    speed: Speed
    make: Callable[[], Engine]

    @property
    def key(self) -> tuple[str, str]:
        return self.engine, self.device


def backends(configuration: Configuration) -> list[Backend]:
    """What a configuration allows and this machine has; PyTorch, which runs every operation, is always the last."""
    threads = configuration.threads or worker_count()
    found = [] if configuration.numerics == "device" else _fast_backends(configuration, threads)
    device = torch_device(configuration.compute_units)
    if device != "cpu":
        speed = engine_speed("torch", _gpu_name(device), device)
        found.insert(0, Backend("torch", device, speed, lambda: TorchEngine(device, configuration.numerics)))
    host = processor_speed("torch", _instructions(), threads)
    found.append(Backend("torch", "cpu", host, lambda: TorchEngine("cpu", configuration.numerics, configuration.threads)))
    return [item for item in found if configuration.engine in ("auto", item.engine) or item.key == ("torch", "cpu")]


def fitted(configuration: Configuration, function: Function) -> Configuration:
    """A configuration as it holds for a function: with low precision only where all that it computes is declared fp16.

    Engines compute a whole segment in one precision.
    """
    return replace(configuration, allow_low_precision=configuration.allow_low_precision and not _wide_operations(function))


def precision_notes(configuration: Configuration, function: Function) -> tuple[Reason, ...]:
    """What comes of the permission to compute in low precision, where it was given."""
    if not configuration.allow_low_precision:
        return ()
    if wide := _wide_operations(function):
        names = ", ".join(repr(operation.name) for operation in wide[:3]) + (f" and {len(wide) - 3} more" if len(wide) > 3 else "")
        return (Reason(f"low precision is allowed, but the model declares {names} wider than fp16: nothing is computed in bf16"),)
    if not _has_bfloat16():
        return (Reason("low precision is allowed, but this processor is not fast at bf16: what is declared fp16 is computed in float32"),)
    return (Reason("low precision is allowed: what OpenVINO runs is computed in bf16"),)


def _wide_operations(function: Function) -> list[Operation]:
    """Operations that compute floating-point values declared wider than fp16; conversions and constants compute none."""
    types = ((operation, output.type) for operation in function.body.walk() for output in operation.outputs)
    wide = [item for item, kind in types if isinstance(kind, TensorType) and kind.dtype.is_float and kind.dtype.bits > FP16.bits]
    return [operation for operation in dict.fromkeys(wide) if operation.type not in ("const", "cast")]


def candidates(function: Function, found: Sequence[Backend], configuration: Configuration) -> list[Candidate]:
    """Backends as candidates for a plan. Where an engine was asked for, others run only what it can't."""
    engines = [item.make() for item in found]
    reasons = [functools.cache(functools.partial(_reasons, engine, function.opset)) for engine in engines]
    asked = [why for item, why in zip(found, reasons, strict=True) if item.engine == configuration.engine]
    taken = set().union(*(_can_run(function, why) for why in asked))
    text = f"engine {configuration.engine!r} was asked for, and can run it"

    def left(why: Why) -> Why:
        return lambda operation: (text,) if operation in taken else why(operation)

    chosen = [why if why in asked or not asked else left(why) for why in reasons]
    return [Candidate(item.engine, item.device, item.speed, why) for item, why in zip(found, chosen, strict=True)]


def _can_run(function: Function, why: Why) -> set[Operation]:
    """What an engine can run: operations with all that is nested in them, and of those that have to stay together all or none."""
    own = [operation for operation in function.body.operations if operation.type != "const"]
    can = {operation for operation in own if not any(map(why, with_nested(operation)))}
    tied = {operation for operation in own if is_tied(operation)}
    return {item for operation in (can if tied <= can else can - tied) for item in with_nested(operation)}


def _reasons(engine: Engine, opset: str, operation: Operation) -> tuple[str, ...]:
    return engine.reasons(operation, opset)


def engines_of(found: Sequence[Backend]) -> dict[tuple[str, str], Engine]:
    """Engines by (name, device)."""
    return {item.key: item.make() for item in found}


def missing_engines(configuration: Configuration) -> tuple[Missing, ...]:
    """Engines that would be candidates if they were installed."""
    absent = [name for name in _PACKAGES if not _is_installed(name)]
    return tuple(Missing(name, _PACKAGES[name], f"pip install {name}") for name in absent if configuration.engine in ("auto", name))


def machine_name(configuration: Configuration) -> str:
    """This machine in a few words: ``this machine (2 threads, AVX512)``."""
    device = torch_device(configuration.compute_units)
    gpu = [] if device == "cpu" else [_gpu_name(device)]
    threads = configuration.threads or worker_count()
    return f"this machine ({', '.join([f'{threads} threads' if threads > 1 else '1 thread', _instructions(), *gpu])})"


def _fast_backends(configuration: Configuration, threads: int) -> list[Backend]:
    made = []
    if _is_installed("openvino"):
        made += [_openvino(device, configuration, threads) for device in _openvino_devices(configuration.compute_units)]
    if _is_installed("onnxruntime"):
        speed = processor_speed("onnxruntime", _instructions(), threads)
        made.append(Backend("onnxruntime", "cpu", speed, lambda: _onnxruntime_engine(configuration)))
    return made


def _openvino(device: str, configuration: Configuration, threads: int) -> Backend:
    low = configuration.allow_low_precision and _has_bfloat16()
    speed = processor_speed("openvino", _instructions(), threads, low) if device == "cpu" else engine_speed("openvino", device, device)
    return Backend("openvino", device, speed, lambda: _openvino_engine(device, configuration))


def _openvino_engine(device: str, configuration: Configuration) -> Engine:
    from moka.engines.onnx.openvino import OpenVinoEngine

    return OpenVinoEngine(device.upper(), configuration.threads, configuration.allow_low_precision)


def _onnxruntime_engine(configuration: Configuration) -> Engine:
    from moka.engines.onnx.ort import OnnxRuntimeEngine

    return OnnxRuntimeEngine(threads=configuration.threads)


@functools.cache
def _openvino_devices(compute_units: str) -> tuple[str, ...]:
    """OpenVINO's devices that compute units allow: GPUs and NPUs first, which are there to be used, then the CPU."""
    if compute_units == "CPU_ONLY":
        return ("cpu",)
    from moka.engines.onnx.openvino import device_kinds

    allowed = {"ALL": ("GPU", "NPU"), "CPU_AND_GPU": ("GPU",), "CPU_AND_NE": ("NPU",)}[compute_units]
    return (*(name.lower() for name in allowed if name in device_kinds()), "cpu")


@functools.cache
def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None and importlib.util.find_spec("onnx") is not None


def _instructions() -> str:
    return str(torch.backends.cpu.get_cpu_capability())


def _has_bfloat16() -> bool:
    """Whether the CPU multiplies matrices of bf16 faster than those of fp32."""
    return any(bool(getattr(torch.cpu, name, bool)()) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))


def _gpu_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device
