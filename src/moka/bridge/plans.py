"""Plans as coremltools' ``MLComputePlan``, and the devices that they speak of.

A plan is one for this machine. With the environment variable ``MOKA_PLAN_DEVICE`` set to a device's name (``iPhone 15 Pro``), it is the
modelled plan of that device, which has a Neural Engine, too.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from moka.bridge import coreml
from moka.bridge.failures import runtime_errors
from moka.bridge.structure import model_structure
from moka.models.model import Model, load
from moka.models.pipeline import PipelineModel
from moka.planning.devices import accelerators, apple_chip
from moka.planning.plan import LayerPlacement, Placement, Plan

__all__ = ["compute_devices", "compute_plan"]

_VARIABLE = "MOKA_PLAN_DEVICE"

_ON_CPU = ("cpu", ("cpu",), 0.0)
"""Device, possible devices and share of what costs nothing at run time: operations on constants, layers that only rename."""

Use: TypeAlias = tuple[str, tuple[str, ...], float]

PlanName: TypeAlias = tuple[tuple[str, ...], str]
"""The stages of a pipeline that lead to a model, and the function of it."""

Place: TypeAlias = tuple[PlanName, Any]
"""A plan, and the key of an operation or layer in it."""


def compute_plan(path: Path, compute_units: str) -> Any:
    """The ``MLComputePlan`` of the model at a path."""
    from coremltools.models.compute_plan import MLComputePlan

    return MLComputePlan(_ComputePlanProxy(path, compute_units))


def compute_devices() -> list[Any]:
    """coremltools' objects for the devices that plans speak of: the CPU, a GPU where there is one, and what a modelled device has."""
    return [_compute_device(name) for name in _device_names()]


def _device_names() -> tuple[str, ...]:
    from moka.models.devices import torch_device

    modelled = os.environ.get(_VARIABLE)
    if modelled:
        return ("cpu", "gpu") if modelled in accelerators() else ("cpu", "gpu", "neural_engine")
    return ("cpu",) if torch_device("ALL") == "cpu" else ("cpu", "gpu")


def _compute_device(name: str) -> Any:
    """The object for a device by its name in plans."""
    from coremltools.models.compute_device import MLCPUComputeDevice, MLGPUComputeDevice, MLNeuralEngineComputeDevice

    if name == "cpu":
        return MLCPUComputeDevice(coreml._MLCPUComputeDeviceProxy())
    if name in ("neural_engine", "npu"):
        return MLNeuralEngineComputeDevice(_NeuralEngineProxy())
    return MLGPUComputeDevice(coreml._MLGPUComputeDeviceProxy())


class _NeuralEngineProxy(coreml._MLNeuralEngineComputeDeviceProxy):
    """The Neural Engine of the modelled device, or an NPU of this machine, whose cores nobody states."""

    def get_total_core_count(self) -> int:
        modelled = os.environ.get(_VARIABLE)
        return apple_chip(modelled)[1].cores if modelled else 1


class _ComputePlanProxy(coreml._MLComputePlanProxy):
    """What answers for an ``MLComputePlan``. Plans of a program's functions are made when they are first asked for."""

    def __init__(self, path: Path, compute_units: str) -> None:
        with runtime_errors():
            self._path, self._units = path, compute_units
            self._model = load(path, compute_units=compute_units)
            self._structure = model_structure(path)
            self._places = {id(item): place for item, place in _placed(self._structure, self._model, ())}

    @property
    def model_structure(self) -> Any:
        return self._structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        """Where an operation runs and could run; None for constants."""
        return None if operation.operator_name == "const" else self._usage(operation)

    def get_compute_device_usage_for_neuralnetwork_layer(self, layer: Any) -> Any:
        """Where a layer runs and could run."""
        return self._usage(layer)

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        """The share of the function's time that an operation is estimated to take; None for constants."""
        from coremltools.models.compute_plan import MLComputePlanCost

        use = None if operation.operator_name == "const" else self._use(operation)
        return None if use is None else MLComputePlanCost(use[2])

    def _usage(self, item: Any) -> Any:
        from coremltools.models.compute_plan import MLComputePlanDeviceUsage

        use = self._use(item)
        if use is None:
            return None
        preferred, supported, _ = use
        devices = {name: _compute_device(name) for name in (preferred, *supported)}
        return MLComputePlanDeviceUsage(devices[preferred], [devices[name] for name in supported])

    def _use(self, item: Any) -> Use | None:
        place = self._places.get(id(item))
        if place is None:
            return None
        with runtime_errors():
            plan, key = place
            return self._uses[plan].get(key, _ON_CPU)

    @cached_property
    def _uses(self) -> Mapping[PlanName, Mapping[Any, Use]]:
        return _Uses(self._path, self._units)


def _placed(structure: Any, model: Model, stages: tuple[str, ...]) -> Iterator[tuple[Any, Place]]:
    """The operations and layers of a structure, each with its place."""
    if structure.program is not None:
        for name, function in structure.program.functions.items():
            counts: dict[Any, int] = defaultdict(int)
            for operation in _operations(function.block):
                key = _counted((operation.operator_name, tuple(output.name for output in operation.outputs)), counts)
                yield operation, ((stages, name), key)
    if structure.neuralnetwork is not None:
        for layer in structure.neuralnetwork.layers:
            yield layer, ((stages, model.function.name), f"layer {layer.name!r}")
    if structure.pipeline is not None and isinstance(model, PipelineModel):
        for (name, inner), part in zip(structure.pipeline.sub_models, model.stages.values(), strict=True):
            yield from _placed(inner, part, (*stages, name))


def _operations(block: Any) -> Iterator[Any]:
    """Every operation of a structure's block, nested ones before the one that they are in, as in plans."""
    for operation in block.operations:
        for inner in operation.blocks:
            yield from _operations(inner)
        yield operation


def _counted(key: Any, counts: dict[Any, int]) -> Any:
    """The key with how often it came before: operations without outputs have no names of their own."""
    counts[key] += 1
    return (*key, counts[key])


class _Uses(dict[PlanName, Mapping[Any, Use]]):
    """By plan and key, where something runs; plans are made as they are asked for."""

    def __init__(self, path: Path, compute_units: str) -> None:
        self._path, self._units = path, compute_units
        self._pipeline: Plan | None = None

    def __missing__(self, name: PlanName) -> Mapping[Any, Use]:
        stages, function = name
        self[name] = _uses(self._stage(stages) if stages else self._plan(function))
        return self[name]

    def _plan(self, function: str | None) -> Plan:
        model = load(self._path, compute_units=self._units, function=function)
        return model.plan(os.environ.get(_VARIABLE) or None)

    def _stage(self, stages: Iterable[str]) -> Plan:
        found = self._pipeline = self._pipeline or self._plan(None)
        for stage in stages:
            found = found.stages[stage]
        return found


def _uses(plan: Plan) -> dict[Any, Use]:
    counts: dict[Any, int] = defaultdict(int)
    uses: dict[Any, Use] = {_counted((item.type, item.outputs), counts): _operation_use(item) for item in plan.placements}
    return uses | {layer.rpartition(" (")[0]: _layer_use(item) for layer, item in plan.layers().items()}  # without its kind


def _operation_use(item: Placement) -> Use:
    supported = tuple(dict.fromkeys(option.device for option in item.supported))
    return (item.device, supported, item.share) if item.device else _ON_CPU


def _layer_use(item: LayerPlacement) -> Use:
    return item.devices[0], tuple(dict.fromkeys((item.devices[0], *item.supported))), item.share
