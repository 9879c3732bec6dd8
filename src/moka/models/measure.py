"""Plans by measurement: the alternatives are timed on this machine, and the times are kept in the cache."""

from __future__ import annotations

import dataclasses
import gc
import importlib.metadata
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import moka
from moka.cache import Cache, Key
from moka.engines.base import Engine
from moka.engines.hybrid import HybridExecutable
from moka.errors import MokaError
from moka.ir.program import Function
from moka.models.configuration import Configuration
from moka.models.execution import stages
from moka.models.machine import backends, engines_of
from moka.models.model import Model
from moka.models.shapes import Shape
from moka.models.values import random_inputs
from moka.planning.plan import Alternative, Estimate, Plan
from moka.planning.planner import Candidate, Request, make_plan, program_digest
from moka.planning.records import decode, encode

__all__ = ["Timing", "measured_plan"]

_ROUNDS = 30
_SECONDS = 1.0
"""Each alternative is run so many times, or so long, whichever is over first, but three times at least."""


@dataclasses.dataclass(frozen=True)
class Timing:
    """What running a plan took: seconds of the whole (median, fastest, slowest of most runs), and medians of its segments."""

    median: float
    low: float
    high: float
    segments: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class _Trial:
    """An alternative: every operation that a candidate can run on it, the rest on the last candidate."""

    engine: str
    device: str
    timing: Timing | None
    failure: str = ""


@dataclasses.dataclass(frozen=True)
class _Trials:
    trials: tuple[_Trial, ...]


def measured_plan(
    model: Model,
    function: Function,
    options: Sequence[Candidate],
    request: Request,
    configuration: Configuration,
    shapes: Mapping[str, Shape],
) -> Plan:
    """The plan that was the fastest, of each engine alone and of what the measured speeds make the best mixture."""
    tester = _Tester(model, function, configuration, shapes)
    plans = {option.key: make_plan(function, [option, *_rest(option, options)], _without_pins(request)) for option in options}
    trials = tester.kept(plans, "alone")
    ratios = {key: _ratio(plan, trial.timing) for (key, plan), trial in zip(plans.items(), trials, strict=True) if trial.timing}
    usable = [_refused(option, trial) for option, trial in zip(options, trials, strict=True)]
    scaled = dataclasses.replace(request, measured=ratios, margin=0.05)
    mixed = make_plan(function, usable, scaled)
    (trial,) = tester.kept({("mixed", ""): mixed}, json.dumps(sorted(map(list, mixed.pins().items()))))
    timed = [(mixed, trial.timing), *((plans[trial.engine, trial.device], trial.timing) for trial in trials if not request.pins)]
    best, timing = min(((plan, timing) for plan, timing in timed if timing is not None), key=lambda item: item[1].median)
    chosen = make_plan(function, usable, dataclasses.replace(scaled, pins=best.pins()))
    alternatives = [
        Alternative(trial.engine, trial.device, plan.estimate.seconds, trial.timing.median if trial.timing else None, trial.failure)
        for trial, plan in zip(trials, plans.values(), strict=True)
    ]
    return dataclasses.replace(_with_times(chosen, timing, tuple(alternatives)), pinned=bool(request.pins))


def _rest(option: Candidate, options: Sequence[Candidate]) -> list[Candidate]:
    """PyTorch on the CPU, for what a candidate can't run, and for nothing else."""
    last = options[-1]
    return (
        []
        if option is last
        else [dataclasses.replace(last, reasons=lambda item: ("it runs there",) if not option.reasons(item) else last.reasons(item))]
    )


def _refused(option: Candidate, trial: _Trial) -> Candidate:
    """A candidate that failed when it was tried can run nothing."""
    return option if trial.timing else dataclasses.replace(option, reasons=lambda item: (f"failed when it was tried: {trial.failure}",))


def _without_pins(request: Request) -> Request:
    return dataclasses.replace(request, pins={})


def _ratio(plan: Plan, timing: Timing) -> float:
    return timing.median / plan.estimate.seconds if plan.estimate.seconds else 1.0


def _with_times(plan: Plan, timing: Timing, alternatives: tuple[Alternative, ...]) -> Plan:
    segments = tuple(dataclasses.replace(item, measured=seconds) for item, seconds in zip(plan.segments, timing.segments, strict=True))
    how = f"measured on this machine: the median of up to {_ROUNDS} runs, and the range of nine in ten"
    estimate = Estimate(timing.median, timing.low, timing.high, how)
    return dataclasses.replace(plan, segments=segments, estimate=estimate, measured=True, alternatives=alternatives)


class _Tester:
    """Times plans of one function on one model's made-up inputs."""

    def __init__(self, model: Model, function: Function, configuration: Configuration, shapes: Mapping[str, Shape]) -> None:
        self.model, self.function, self.configuration, self.shapes = model, function, configuration, shapes
        self.engines: dict[tuple[str, str], Engine] = {}

    def kept(self, plans: Mapping[tuple[str, str], Plan], what: str) -> tuple[_Trial, ...]:
        """The times of plans, from the cache or measured now."""

        def make(folder: Path) -> None:
            made = _Trials(tuple(self._trial(key, plan) for key, plan in plans.items()))
            (folder / "times.json").write_text(json.dumps(encode(made)), encoding="utf-8")

        key = Key("times", self.model.path.name, {"what": what, "plans": list(map(list, plans)), **self._circumstances()})
        text = (Cache().get(key, make) / "times.json").read_text(encoding="utf-8")
        return decode(_Trials, json.loads(text), "times.json").trials

    def _circumstances(self) -> dict[str, Any]:
        """All that the times depend on."""
        versions = {"moka": moka.__version__}
        for name in ("torch", "onnxruntime", "openvino"):
            with suppress(importlib.metadata.PackageNotFoundError):
                versions[name] = importlib.metadata.version(name)
        options = {item.name: getattr(self.configuration, item.name) for item in dataclasses.fields(self.configuration)}
        options["plan"] = None
        return {
            "program": program_digest(self.function),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "machine": [(item.engine, item.device, dict(item.speed.peak)) for item in backends(self.configuration)],
            "versions": versions,
            "options": options,
        }

    def _trial(self, key: tuple[str, str], plan: Plan) -> _Trial:
        self.engines = self.engines or engines_of(backends(self.configuration))
        try:
            return _Trial(*key, self._time(plan))
        except MokaError as error:
            return _Trial(*key, None, str(error).splitlines()[0][:200])
        finally:
            gc.collect()

    def _time(self, plan: Plan) -> Timing:
        runner = HybridExecutable(stages(self.function, plan, self.engines), self.function.outputs)
        inputs = self._inputs()
        state = runner.new_state() if self.function.states else None
        _run(runner, inputs, state)
        rounds: list[list[float]] = []
        end = time.perf_counter() + _SECONDS
        while len(rounds) < 3 or (len(rounds) < _ROUNDS and time.perf_counter() < end):
            rounds.append(_run(runner, inputs, state))
        totals = sorted(map(sum, rounds))
        medians = tuple(statistics.median(stage) for stage in zip(*rounds, strict=True))
        return Timing(statistics.median(totals), totals[0], totals[min(len(totals) - 1, round(0.9 * len(totals)))], medians)

    def _inputs(self) -> dict[str, Any]:
        """Made-up inputs, of the shapes that the plan is for."""
        import numpy as np

        data = random_inputs(self.model.function.inputs)
        for name, shape in self.shapes.items():
            data[name] = np.resize(np.asarray(data[name]), shape)
        return self.model._inputs(data)


def _run(runner: HybridExecutable, inputs: Mapping[str, Any], state: Any) -> list[float]:
    """Runs once, stage by stage; the seconds of each."""
    values, seconds = dict(inputs), []
    for stage in runner.stages:
        start = time.perf_counter()
        values.update(stage.executable.run(values, state))
        seconds.append(time.perf_counter() - start)
    return seconds
