"""What Core ML itself says of where it runs a model, coremltools' ``MLComputePlan``, as a plan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from moka.planning.apple import UNITS
from moka.planning.cost import NOTHING
from moka.planning.plan import Option, Placement, Plan
from moka.planning.rules import Reason

__all__ = ["core_ml_plan"]

_ENGINE = "coreml"

_DEVICES = {"MLNeuralEngineComputeDevice": "neural_engine", "MLGPUComputeDevice": "gpu", "MLCPUComputeDevice": "cpu"}
"""Devices by the names of coremltools' classes."""

_UNKNOWN = "unknown"
"""The device of what Core ML says nothing of."""

_REFUSED = (Reason("Core ML does not name it among the devices that support it"),)


def core_ml_plan(found: Any, whole: Plan) -> Plan:
    """Placements as Core ML makes them, in a plan that says what it is of.

    Args:
        found: an ``MLComputePlan``.
        whole: the plan without placements. What Core ML says nothing of (seconds, arithmetic and bytes) stays 0; shares are Core ML's.
    """
    return _filled(found, found.model_structure, whole)


def _filled(found: Any, structure: Any, whole: Plan) -> Plan:
    if structure.pipeline is not None:
        parts = dict(structure.pipeline.sub_models)
        stages = {name: _filled(found, part, replace(whole, model=name, function="main")) for name, part in parts.items()}
        return replace(whole, stages=stages)
    if structure.program is not None:
        functions = structure.program.functions
        function = functions.get(whole.function) or next(iter(functions.values()))  # the only one, under a name that is not described
        placements = list(_operations(found, function.block, "", whole.compute_units))
    elif structure.neuralnetwork is not None:
        placements = [_layer(found, layer, whole.compute_units) for layer in structure.neuralnetwork.layers]
    else:
        return replace(whole, notes=(Reason("Core ML says nothing of where models of this kind run"),))
    notes = [Reason("what Core ML itself says, in shares of its work: it gives no times, no arithmetic and no bytes, which are 0 here")]
    if silent := [item.operation for item in placements if item.device == _UNKNOWN]:
        notes.append(Reason(f"of {len(silent)} operations Core ML does not say where they run: {', '.join(silent[:3])}"))
    return replace(whole, placements=tuple(placements), exact=False, notes=tuple(notes))


def _operations(found: Any, block: Any, within: str, units: str) -> Iterator[Placement]:
    """Those of a block but constants, nested ones before the one that they are in."""
    for operation in block.operations:
        if operation.operator_name == "const":
            continue
        outputs = tuple(value.name for value in operation.outputs)
        name = outputs[0] if outputs else operation.operator_name
        for inner in operation.blocks:
            yield from _operations(found, inner, name, units)
        cost = found.get_estimated_cost_for_mlprogram_operation(operation)
        usage = found.get_compute_device_usage_for_mlprogram_operation(operation)
        device, options = _places(usage, units)
        share = 0.0 if cost is None else cost.weight
        yield Placement(name, operation.operator_name, outputs, "", within, _ENGINE, device, 0.0, share, NOTHING, options)


def _layer(found: Any, layer: Any, units: str) -> Placement:
    device, options = _places(found.get_compute_device_usage_for_neuralnetwork_layer(layer), units)
    origin = f"layer {layer.name!r} ({layer.type})"
    return Placement(layer.name, layer.type, tuple(layer.output_names), origin, "", _ENGINE, device, 0.0, 0.0, NOTHING, options)


def _places(usage: Any, units: str) -> tuple[str, tuple[Option, ...]]:
    """The device that Core ML prefers, and each that the compute units allow."""
    if usage is None:
        return _UNKNOWN, ()
    supported = {_DEVICES[type(device).__name__] for device in usage.supported_compute_devices}
    options = (Option(_ENGINE, unit, 0.0 if unit in supported else None, () if unit in supported else _REFUSED) for unit in UNITS[units])
    return _DEVICES[type(usage.preferred_compute_device).__name__], tuple(options)
