"""What executes a model's function: the engine that was asked for, PyTorch for what it can't do, and nothing else."""

from __future__ import annotations

import importlib.util

from moka.engines.base import Engine, Executable, Segment
from moka.engines.hybrid import HybridExecutable, split
from moka.engines.onnx.graph import Unlowerable
from moka.engines.torch_engine import TorchEngine
from moka.errors import UnsupportedError
from moka.ir.program import Function
from moka.models.configuration import Configuration
from moka.models.devices import torch_device

__all__ = ["executable"]


def executable(function: Function, configuration: Configuration) -> Executable:
    """Makes a function ready to run; ``numerics="device"`` and GPUs are PyTorch's.

    Raises:
        UnsupportedError: the engine is not installed.
    """
    device = torch_device(configuration.compute_units)
    torch = TorchEngine(device, configuration.numerics)
    fast = None if configuration.numerics == "device" or device != "cpu" else _fast(configuration)
    if fast is None:
        return torch.compile(Segment.of(function))
    try:
        return fast.compile(Segment.of(function))
    except Unlowerable:
        return _hybrid(function, fast, torch)


def _hybrid(function: Function, fast: Engine, torch: Engine) -> Executable:
    engines = {engine.name: engine for engine in (fast, torch)}
    segments = split(function, lambda operation: torch.name if fast.reasons(operation, function.opset) else fast.name)
    if {name for name, _ in segments} == {torch.name}:
        return torch.compile(Segment.of(function))
    return HybridExecutable([(engines[name], segment) for name, segment in segments], function.outputs)


def _fast(configuration: Configuration) -> Engine | None:
    engine = configuration.engine
    if engine in ("auto", "torch"):
        return None
    if importlib.util.find_spec(engine) is None:
        raise UnsupportedError(f"engine {engine!r} is not installed: pip install {engine}")
    if engine == "onnxruntime":
        from moka.engines.onnx.ort import OnnxRuntimeEngine

        return OnnxRuntimeEngine(threads=configuration.threads)
    from moka.engines.onnx.openvino import OpenVinoEngine

    return OpenVinoEngine(threads=configuration.threads, low_precision=configuration.allow_low_precision)
