"""Plans of models: for this machine, and, modelled, for others."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moka.errors import UnsupportedError
from moka.formats.files import read_bytes
from moka.ir.program import Function
from moka.models.configuration import Configuration
from moka.models.core_ml import CoreMlModel
from moka.models.execution import Decision, decided_plan
from moka.models.linked import LinkedModel
from moka.models.machine import backends, candidates, fitted, machine_name, missing_engines, precision_notes
from moka.models.model import Model, load
from moka.models.network_model import NetworkModel
from moka.models.pipeline import PipelineModel
from moka.models.planned import Planned, input_shapes, planned
from moka.models.program_model import ProgramModel
from moka.models.shapes import Shape
from moka.planning.apple import apple_candidates, model_notes
from moka.planning.arithmetic import is_stated
from moka.planning.devices import accelerators, apple_chip, device_names, engine_speed, processor_speed
from moka.planning.plan import Estimate, Plan
from moka.planning.planner import Candidate, Request, make_plan
from moka.planning.rules import Reason
from moka.planning.sizes import Sizes

__all__ = ["device_names", "load_plan", "plan"]

_LARGEST = 2**28
"""Bytes that the file of a plan may have."""


def plan(
    model: Model | str | os.PathLike[str],
    device: str | None = None,
    *,
    compute_units: Any = None,
    measure: bool = False,
    shapes: Mapping[str, Shape] | None = None,
    pins: Plan | Mapping[str, tuple[str, str]] | None = None,
) -> Plan:
    """Which operation of a model runs where, why, and at what cost.

        print(moka.plan("MobileNetV2.mlpackage"))
        moka.plan("MobileNetV2.mlpackage", device="iPhone 15 Pro")

    Args:
        model: a loaded model, or the path of one.
        device: None for this machine. For a product or chip of Apple's, or a GPU by name, the plan is a modelled one: what is publicly
            known of the device says where operations can run, and figures say how long that takes.
        compute_units: what the model may run on; by default what it was loaded with, or ``ALL``.
        measure: whether the alternatives are timed on this machine; the times are kept in the cache.
        shapes: shapes of inputs by name, where they are flexible; else those that the model declares as default.
        pins: a plan to follow, or (engine, device) of some operations by name; the rest is planned around them.

    Raises:
        InputError: the device is none that is known, a shape is not allowed, or a pin does not fit.
        UnsupportedError: the model's inputs have no declared shape, and none was given; or ``measure`` for another machine.
    """
    if not isinstance(model, Model):
        model = load(model, compute_units=compute_units or "ALL")
    units = getattr(compute_units, "name", compute_units) or model.configuration.compute_units
    configuration = dataclasses.replace(model.configuration, compute_units=units)
    if measure and device is not None:
        raise UnsupportedError(f"device {device!r} is not this machine: only what runs here can be measured")
    if isinstance(model, CoreMlModel):
        if device is None:
            return _core_ml_plan(model, units, measure or bool(shapes or pins))
        model = model.opened()
    if isinstance(model, LinkedModel):
        inner = plan(model.model, device, compute_units=units, measure=measure, shapes=shapes, pins=pins)
        return dataclasses.replace(inner, model=model.path.name)
    if isinstance(model, PipelineModel):
        return _pipeline_plan(model, device, configuration, measure)
    if not isinstance(model, ProgramModel | NetworkModel):
        return _whole(model, device, configuration)
    found = planned(model, shapes or {})
    chosen = pins.pins() if isinstance(pins, Plan) else dict(pins or {})
    options, request = _options(model, found, device, configuration)
    changed = measure or pins is not None or device is not None or units != model.configuration.compute_units
    decision = None if changed else _decision(model, shapes or {})
    if decision is not None:
        return decided_plan(found.function, decision, options, request)
    request = dataclasses.replace(request, pins=chosen)
    if measure:
        from moka.models.measure import measured_plan

        return measured_plan(model, found.function, options, request, fitted(configuration, found.function), shapes or {})
    return make_plan(found.function, options, request)


def _decision(model: ProgramModel | NetworkModel, shapes: Mapping[str, Shape]) -> Decision | None:
    """Which engines run the model, if that was decided: a program runs on the same ones whatever the shapes are."""
    if isinstance(model, ProgramModel):
        return model.decision
    known = input_shapes(model, shapes)
    return model.decision(tuple(known.values())) if len(known) == len(model.function.inputs) else None


def _core_ml_plan(model: CoreMlModel, units: Any, asked: bool) -> Plan:
    """What Core ML itself says of a model that it runs; ``asked`` whether more was asked for than it answers."""
    if asked:
        raise UnsupportedError(f"{model.path}: engine 'coreml' makes its own plan: measure, shapes and pins are for the other engines")
    return model.placed(units)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Reads a plan that was saved.

    Raises:
        FormatError: the file is no plan.
    """
    return Plan.from_json(read_bytes(Path(path), _LARGEST, "plans are text"), str(path))


def _options(
    model: Model, found: Planned, device: str | None, configuration: Configuration
) -> tuple[list[Candidate], Request]:  # fmt: skip
    name, units = model.path.name, configuration.compute_units
    if device is None:
        missing, notes = missing_engines(configuration), precision_notes(configuration, found.function)
        request = Request(name, machine_name(configuration), False, units, found.sizes, missing=missing, notes=notes)
        configuration = fitted(configuration, found.function)
        return candidates(found.function, backends(configuration), configuration), request
    if device in accelerators():
        return _accelerator(device, units), Request(name, device, True, units, found.sizes)
    known, chip = apple_chip(device)
    shown = known if known == chip.name else f"{known} ({chip.name})"
    options = apple_candidates(chip, units, found.sizes, network=found.network, shapes=found.shapes)
    stored = _stored_bytes(found.function)
    return options, Request(name, shown, True, units, found.sizes, notes=(_modelled(), *model_notes(known, stored)))


def _accelerator(device: str, units: str) -> list[Candidate]:
    """PyTorch on a GPU of the table, and on the CPU of a server beside it."""
    host = Candidate("torch", "cpu", processor_speed("torch", "AVX512", 8))
    return [host] if units == "CPU_ONLY" else [Candidate("torch", "cuda", engine_speed("torch", device, "cuda")), host]


def _modelled() -> Reason:
    return Reason("a modelled plan: rules and figures that are publicly known, not what Core ML was seen to do")


def _stored_bytes(function: Function) -> int:
    """Bytes of the weights, each counted once."""
    sizes = Sizes()
    return sum(
        sizes.bytes(constant) for operation in function.body.walk() if is_stated(operation) for constant in operation.attributes.values()
    )


def _pipeline_plan(model: PipelineModel, device: str | None, configuration: Configuration, measure: bool) -> Plan:
    """The plans of a pipeline's models; what passes between them has the shapes that they declare."""
    stages = {name: plan(stage, device, compute_units=configuration.compute_units, measure=measure) for name, stage in model.stages.items()}
    whole = _whole(model, device, configuration)
    times = [stage.estimate for stage in stages.values()]
    sums = {name: sum(getattr(item, name) for item in times) for name in ("seconds", "low", "high")}
    return dataclasses.replace(whole, notes=(), estimate=Estimate(**sums, how="the sum of the stages"), stages=stages)


def _whole(model: Model, device: str | None, configuration: Configuration) -> Plan:
    """The plan of a model that is no program: it runs as a whole, on the CPU."""
    shown = machine_name(configuration) if device is None else _device_name(device)
    note = Reason(f"models of kind {model.kind} run as a whole, on the CPU")
    return Plan(model.path.name, model.function.name, shown, device is not None, configuration.compute_units, notes=(note,))


def _device_name(device: str) -> str:
    return device if device in accelerators() else apple_chip(device)[0]
