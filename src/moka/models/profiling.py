"""Makes profiles of models: runs them on this machine and asks the engines what their parts took."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from moka.engines.base import Executable
from moka.engines.hybrid import constant_operations, used_values
from moka.engines.times import SegmentTimes, durations
from moka.errors import InputError, MokaError
from moka.ir.program import Function, Operation
from moka.models.features import MultiArrayFeature
from moka.models.linked import LinkedModel
from moka.models.machine import machine_name
from moka.models.memory import peak_memory, resident_memory
from moka.models.model import Model, load, load_configured
from moka.models.network_model import NetworkModel
from moka.models.pipeline import PipelineModel
from moka.models.planned import planned
from moka.models.plans import plan
from moka.models.profile import Memory, OperationProfile, Profile, SegmentProfile, Timing
from moka.models.program_model import ProgramModel
from moka.models.shapes import Shape, declared_shape
from moka.models.values import random_inputs
from moka.planning.plan import Plan

__all__ = ["profile"]


def profile(
    model: Model | str | os.PathLike[str],
    data: Mapping[str, Any] | Callable[[Model], Mapping[str, Any]] | None = None,
    *,
    runs: int = 50,
    warmup: int = 5,
    **options: Any,
) -> Profile:
    """Runs a model and says how long its predictions, segments and operations take, and how much memory it needs.

        print(moka.profile("MobileNetV2.mlpackage"))
        model.profile(runs=200).save("profile.html")

    The times of predictions and segments are those of normal runs; those of operations come from further runs in which the engine times
    its parts.

    Args:
        model: a loaded model, or the path of one.
        data: inputs as `Model.predict` takes them, or a function that gives those for the loaded model; what is left out is made up.
        runs: how many predictions count.
        warmup: how many are made before, the first one among them.
        options: as `load` takes them, for a path.

    Raises:
        InputError: an input, option or number that is not allowed.
    """
    if runs < 1 or warmup < 1:
        raise InputError(f"runs is {runs} and warmup {warmup}; expected at least 1 of each")
    if isinstance(model, Model) and options:
        raise InputError(f"{', '.join(options)}: options are for paths; this model is loaded already")
    before = None if isinstance(model, Model) else resident_memory()
    loaded = model if isinstance(model, Model) else load(model, **options)
    after = resident_memory()
    given = data(loaded) if callable(data) else data or {}
    made = _profile(loaded, _data(loaded, given), runs, warmup)
    memory = Memory(before, after, made.memory.predicted, peak_memory())
    return dataclasses.replace(made, memory=memory, load=loaded.load_seconds, reload=_reload(loaded))


def _data(model: Model, data: Mapping[str, Any]) -> dict[str, Any]:
    missing = {name: feature for name, feature in model.function.inputs.items() if name not in data}
    return random_inputs(missing) | dict(data)


def _reload(model: Model) -> float | None:
    """Seconds of loading the model's file once more; None if it is not there any more."""
    with suppress(MokaError, OSError):
        return load_configured(model.path, model.configuration, model.sections).load_seconds
    return None


def _profile(model: Model, data: Mapping[str, Any], runs: int, warmup: int) -> Profile:
    """The profile of a model, or of a stage, without what only the outermost one has."""
    state = model.make_state() if model.function.states else None

    def predict() -> None:
        model.predict(data, state)

    first = durations(predict, 1)[0]
    predicted = resident_memory()
    durations(predict, warmup - 1)
    whole = Timing.of(durations(predict, runs))
    segments, followed, stages = _inside(model, data, runs, warmup)
    configuration = model.configuration
    return Profile(
        model.path.name,
        model.function.name,
        model.kind,
        machine_name(configuration),
        configuration.compute_units,
        warmup,
        None,
        None,
        first,
        whole,
        Memory(predicted=predicted),
        segments,
        followed,
        stages,
    )


def _inside(
    model: Model, data: Mapping[str, Any], runs: int, warmup: int
) -> tuple[tuple[SegmentProfile, ...], Plan | None, dict[str, Profile]]:
    """Segments and plan of a model that is a program or network; stages of a pipeline."""
    if isinstance(model, PipelineModel):
        return (), None, _stages(model, data, runs, warmup)
    if isinstance(model, LinkedModel):
        return _inside(model.model, data, runs, warmup)
    if not isinstance(model, ProgramModel | NetworkModel):
        return (), None, {}
    inputs = model._inputs(data)
    run = _running(model, inputs)
    return (*_segments(model, run, run.executable.times(inputs, runs)), {})


def _stages(model: PipelineModel, data: Mapping[str, Any], runs: int, warmup: int) -> dict[str, Profile]:
    """Profiles of a pipeline's models, each with what the ones before it give."""
    flow = {name: value for name, value in data.items() if value is not None}
    made = {}
    for name, stage in model.stages.items():
        taken = {key: flow[key] for key in stage.function.inputs if key in flow}
        made[name] = _profile(stage, taken, runs, warmup)
        flow.update(stage.predict(taken))
    return made


@dataclass(frozen=True)
class _Running:
    """A function with what runs it; ``shapes`` are those of the inputs that have others than they declare."""

    function: Function
    executable: Executable
    shapes: dict[str, Shape]


def _running(model: ProgramModel | NetworkModel, inputs: Mapping[str, Any]) -> _Running:
    features = {name: feature for name, feature in model.function.inputs.items() if isinstance(feature, MultiArrayFeature)}
    found = {name: tuple(inputs[name].shape) for name in features}
    shapes = {name: shape for name, shape in found.items() if shape != declared_shape(features[name])}
    if isinstance(model, ProgramModel):
        return _Running(model.program.functions[model.function.name], model.executable, shapes)
    executable = model._executable(tuple(inputs[name].shape for name in model.function.inputs))
    return _Running(planned(model, shapes).function, executable, shapes)


def _segments(model: Model, run: _Running, times: Sequence[SegmentTimes]) -> tuple[tuple[SegmentProfile, ...], Plan | None]:
    followed = _followed(model, run.shapes, {name: (item.engine, item.device) for item in reversed(times) for name in item.names})
    describe = _Description(run.function, followed)
    return tuple(describe.segment(item, index) for index, item in enumerate(times)), followed


def _followed(model: Model, shapes: Mapping[str, Shape], places: Mapping[str, tuple[str, str]]) -> Plan | None:
    """The plan of what ran where: the one that is made anyway if it says the same, else one with that pinned."""
    try:
        made = plan(model, shapes=shapes)
    except MokaError:
        return None
    pins = {name: places[name] for name in made.pins() if name in places}
    if made.pins() != {**made.pins(), **pins}:
        with suppress(MokaError):
            return plan(model, shapes=shapes, pins=pins)
    return made


class _Description:
    """Turns what engines measured into profiles, with what the program and the plan say of the operations."""

    def __init__(self, function: Function, followed: Plan | None) -> None:
        self.operations = {operation.name: operation for operation in function.body.operations}
        self.constant = {operation.name for operation in constant_operations(function)}
        self.plan = followed
        places = followed.placements if followed is not None else ()
        self.estimates = {place.operation: place.seconds for place in places}
        self.arithmetic = {place.operation: place.work.flops for place in places}
        self.layers = {place.operation: place.layer for place in places}
        self._described: set[str] = set()

    def segment(self, times: SegmentTimes, index: int) -> SegmentProfile:
        timing = Timing.of(times.runs)
        parts = sum(times.operations.values()) + sum(times.other.values())
        scale = min(1.0, timing.p50 / parts) if parts else 1.0
        seconds, within = self._named_after_the_most_arithmetic(times)
        names = [name for name in times.names if name not in self._described]
        self._described.update(names)
        return SegmentProfile(
            times.engine,
            times.device,
            tuple(self._operation(name, seconds, within, scale) for name in names),
            timing,
            self._estimate(times, index),
            times.profiled,
            scale,
            {kind: scale * value for kind, value in times.other.items()},
        )

    def _estimate(self, times: SegmentTimes, index: int) -> float | None:
        segments = self.plan.segments if self.plan is not None else ()
        fits = index < len(segments) and (segments[index].engine, segments[index].device) == (times.engine, times.device)
        return segments[index].seconds if fits else None

    def _named_after_the_most_arithmetic(self, times: SegmentTimes) -> tuple[dict[str, float], dict[str, str]]:
        """Times, and operations without one with those that have theirs.

        Engines name what they fuse after any part of it. The time goes to the operation with the most arithmetic: to the convolution,
        not to the activation after it.
        """
        groups = {owner: [owner] for owner in times.operations}
        for name, owner in times.fused.items():
            if name not in self.constant:
                groups[owner].append(name)
        seconds: dict[str, float] = {}
        within: dict[str, str] = {}
        for owner, group in groups.items():
            chosen = max(group, key=lambda name: self.arithmetic.get(name, 0))
            seconds[chosen] = times.operations[owner]
            within |= {name: chosen for name in group if name != chosen}
        return seconds, within

    def _operation(self, name: str, seconds: Mapping[str, float], within: Mapping[str, str], scale: float) -> OperationProfile:
        operation = self.operations[name]
        about = (name, operation.type, self.layers.get(name, ""), self._takes(operation))
        estimate = self.estimates.get(name)
        if name in seconds:
            return OperationProfile(*about, "timed", scale * seconds[name], estimate)
        if name in self.constant:
            return OperationProfile(*about, "folded", None, estimate)
        return OperationProfile(*about, "fused" if name in within else "removed", None, estimate, within.get(name, ""))

    def _takes(self, operation: Operation) -> tuple[str, ...]:
        makers = [value.producer for value in used_values(operation) if value.producer is not None]
        return tuple(dict.fromkeys(maker.name for maker in makers if maker.type != "const"))
