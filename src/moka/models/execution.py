"""What executes a model's function: what its plan says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from moka.engines.base import Engine, Executable, Segment
from moka.engines.hybrid import HybridExecutable, constant_operations
from moka.engines.onnx.graph import Unlowerable
from moka.engines.torch_engine import TorchEngine
from moka.errors import UnsupportedError
from moka.ir.program import Function, Operation
from moka.models.configuration import Configuration
from moka.models.machine import Backend, backends, candidates, engines_of, fitted, machine_name, missing_engines
from moka.planning.plan import Plan
from moka.planning.planner import Candidate, Request, make_plan, most_used, segments_of
from moka.planning.rules import Reason
from moka.planning.sizes import Sizes

__all__ = ["Decision", "Execution", "decided_plan", "prepare", "stages"]

_log = logging.getLogger("moka")

Key: TypeAlias = tuple[str, str]

_LONGEST = 300
"""Characters of an error that a plan repeats."""

_SHORT = 5e-3
"""Seconds of a segment on all threads, as the plan estimates them, up to which PyTorch runs it on one."""


@dataclass(frozen=True)
class Decision:
    """Where a function that was made ready runs: what its plan then says.

    Attributes:
        whole: (engine, device) that runs all of it; None where there are several.
        places: (engine, device) of operations by name, then.
        refusals: (engine, device) that were to run it and did not take it, with what they had against it.
        pinned: whether a plan was given.
    """

    whole: Key | None = None
    places: Mapping[str, Key] = field(default_factory=dict)
    refusals: Mapping[Key, str] = field(default_factory=dict)
    pinned: bool = False


@dataclass(frozen=True)
class Execution:
    """A function made ready to run, with what was decided on the way."""

    executable: Executable
    decision: Decision


def prepare(function: Function, configuration: Configuration, sizes: Sizes | None = None) -> Execution:
    """Makes a function ready to run as its plan says: the one that the configuration pins, else one made for this machine.

    Reasons and costs of the alternatives, which take longer to find than all the rest, wait until somebody asks: see `decided_plan`.

    Args:
        sizes: of the function's values, as far as its types leave them open.

    Raises:
        UnsupportedError: the engine that was asked for is not installed.
        InputError: the pinned plan is one of another program, or names an engine that this machine has not.
    """
    configuration = fitted(configuration, function)
    found = backends(configuration)
    _check_installed(configuration, found)
    if configuration.plan is not None:
        return _planned(function, configuration.plan, found, pinned=True)
    request = Request("", machine_name(configuration), sizes=sizes or Sizes())
    chosen = _fastest(function, found, configuration, request)
    try:
        return _or_pytorch(lambda: _whole(function, chosen), [chosen.key], function, found, passed=Unlowerable)
    except Unlowerable:
        made = make_plan(function, candidates(function, found, configuration), request)
        return _or_pytorch(lambda: _planned(function, made, found), set(made.pins().values()), function, found)


def decided_plan(function: Function, decision: Decision, options: Sequence[Candidate], request: Request) -> Plan:
    """The plan of a function that was made ready: where it runs, with the reasons and costs of the alternatives."""
    ahead = constant_operations(function)
    own = [operation for operation in function.body.operations if operation not in ahead]
    places = {operation: decision.whole or decision.places[operation.name] for operation in own}
    places |= {inner: place for operation, place in places.items() for block in operation.blocks for inner in block.walk()}
    found = [_as_decided(option, places, decision.refusals.get(option.key)) for option in options]
    pins = {operation.name: places[operation] for operation in own}
    made = make_plan(function, found, replace(request, pins=pins, notes=(*request.notes, *_notes(decision))))
    return replace(made, pinned=decision.pinned)


def _as_decided(option: Candidate, places: Mapping[Operation, Key], refusal: str | None) -> Candidate:
    """A candidate that can run what it does run, whatever it says of it, and nothing where it refused the whole."""

    def reasons(operation: Operation) -> Sequence[Reason | str]:
        if places.get(operation) == option.key:
            return ()
        return option.reasons(operation) if refusal is None else (f"did not take the function that it was to run: {refusal}",)

    return replace(option, reasons=reasons)


def _notes(decision: Decision) -> tuple[Reason, ...]:
    return tuple(
        Reason(f"{' on '.join(key)} did not take the function, which PyTorch runs instead: {refusal}")
        for key, refusal in decision.refusals.items()
    )


def _check_installed(configuration: Configuration, found: list[Backend]) -> None:
    if configuration.numerics == "fast" and configuration.engine not in {"auto", *(backend.engine for backend in found)}:
        install = "; ".join(f"{item.engine}: {item.install}" for item in missing_engines(configuration))
        raise UnsupportedError(f"engine {configuration.engine!r} is not installed: {install}")


def _fastest(function: Function, found: list[Backend], configuration: Configuration, request: Request) -> Backend:
    """The engine that the plan would take if each could run everything: whether it can is found out by trying."""
    if configuration.engine != "auto" or len(found) == 1:
        return found[0]
    options = [Candidate(item.engine, item.device, item.speed) for item in found]
    key = most_used(function, options, request)
    return next(item for item in found if key in (None, item.key))


def _or_pytorch(
    make: Callable[[], Execution], tried: Iterable[Key], function: Function, found: list[Backend], passed: type[Exception] | tuple[()] = ()
) -> Execution:
    """What is made; where a runtime has something against the graph, PyTorch runs the whole. Errors to be ``passed`` go to the caller."""
    last = found[-1]
    others = [key for key in tried if key != last.key]
    try:
        return make()
    except passed:
        raise
    except Exception as error:
        if not others:
            raise
        names = " and ".join(sorted(engine for engine, _ in others))
        text = " ".join(str(error).split()) or type(error).__name__
        _log.warning("%s can't take function %r, which PyTorch runs instead: %s", names, function.name, text)
        return _whole(function, last, dict.fromkeys(others, text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."))


def _whole(function: Function, backend: Backend, refusals: Mapping[Key, str] | None = None) -> Execution:
    return Execution(backend.make().compile(Segment.of(function)), Decision(backend.key, refusals=refusals or {}))


def _planned(function: Function, plan: Plan, found: list[Backend], pinned: bool = False) -> Execution:
    engines = engines_of(found)
    segments = stages(function, plan, engines)
    if len(segments) <= 1:
        key = next(iter(plan.pins().values()), ("torch", "cpu"))
        return Execution(_engine(engines, key).compile(Segment.of(function)), Decision(key, pinned=pinned))
    return Execution(HybridExecutable(segments, function.outputs), Decision(places=plan.pins(), pinned=pinned))


def stages(function: Function, plan: Plan, engines: Mapping[Key, Engine]) -> list[tuple[Engine, Segment]]:
    """The segments that a plan cuts a function into, each with its engine, in order of execution.

    Raises:
        InputError: the plan is one of another program.
        UnsupportedError: it names an engine that is not among ``engines``.
    """
    seconds = {placement.operation: placement.seconds for placement in plan.own_placements}
    found = [(_engine(engines, key), segment) for key, segment in segments_of(function, plan)]
    if len(found) == 1:
        return found
    return [(_between(engine, sum(seconds.get(item.name, 0.0) for item in segment.operations)), segment) for engine, segment in found]


def _between(engine: Engine, seconds: float) -> Engine:
    """The engine for one segment of several, of so many seconds on all threads: PyTorch runs a short one on one thread.

    Its other threads go on spinning when they are done, on cores that the next engine's threads need: on two cores every change of
    engines took 2.4 ms for that, and nothing with one thread.
    """
    if isinstance(engine, TorchEngine) and engine.device == "cpu" and seconds < _SHORT:
        return replace(engine, threads=1)
    return engine


def _engine(engines: Mapping[Key, Engine], key: Key) -> Any:
    if key not in engines:
        known = ", ".join(" on ".join(item) for item in engines)
        raise UnsupportedError(f"the plan runs operations with {' on '.join(key)}, which this machine has not; it has {known}")
    return engines[key]
