"""What executes a model's function: what its plan says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from moka.engines.base import Engine, Executable, Segment
from moka.engines.hybrid import HybridExecutable
from moka.engines.onnx.graph import Unlowerable
from moka.errors import UnsupportedError
from moka.ir.program import Function
from moka.models.configuration import Configuration
from moka.models.machine import Backend, backends, candidates, machine_name, missing_engines
from moka.planning.plan import Plan
from moka.planning.planner import Candidate, Request, make_plan, most_used, segments_of

__all__ = ["executable"]

_log = logging.getLogger("moka")

Key = tuple[str, str]


def executable(function: Function, configuration: Configuration) -> Executable:
    """Makes a function ready to run as its plan says: the one that the configuration pins, else one made for this machine.

    Raises:
        UnsupportedError: the engine that was asked for is not installed.
        InputError: the pinned plan is one of another program, or names an engine that this machine has not.
    """
    found = backends(configuration)
    _check_installed(configuration, found)
    if configuration.plan is not None:
        return _planned(function, configuration.plan, found)
    if len(found) == 1:
        return found[0].make().compile(Segment.of(function))
    whole = _fastest(function, found, configuration)
    try:
        return whole.make().compile(Segment.of(function))
    except Unlowerable:
        return _planned(function, make_plan(function, candidates(function, found, configuration), _request(configuration)), found)
    except Exception as error:  # whatever a runtime has against the graph
        _log.warning("%s can't take function %r, which PyTorch runs instead: %s", whole.engine, function.name, error)
        return found[-1].make().compile(Segment.of(function))


def _check_installed(configuration: Configuration, found: list[Backend]) -> None:
    if configuration.numerics == "fast" and configuration.engine not in {"auto", *(backend.engine for backend in found)}:
        install = "; ".join(f"{item.engine}: {item.install}" for item in missing_engines(configuration))
        raise UnsupportedError(f"engine {configuration.engine!r} is not installed: {install}")


def _request(configuration: Configuration) -> Request:
    return Request("", machine_name(configuration))


def _fastest(function: Function, found: list[Backend], configuration: Configuration) -> Backend:
    """The engine that the plan would take if each could run everything: whether it can is found out by trying."""
    if configuration.engine != "auto":
        return found[0]
    options = [Candidate(item.engine, item.device, item.speed) for item in found]
    key = most_used(function, options, _request(configuration))
    return next(item for item in found if key in (None, item.key))


def _planned(function: Function, plan: Plan, found: list[Backend]) -> Executable:
    engines = {item.key: item.make() for item in found}
    segments = [(_engine(engines, key), segment) for key, segment in segments_of(function, plan)]
    if len(segments) <= 1:
        engine = segments[0][0] if segments else engines["torch", "cpu"]
        return engine.compile(Segment.of(function))
    return HybridExecutable(segments, function.outputs)


def _engine(engines: Mapping[Key, Engine], key: Key) -> Any:
    if key not in engines:
        known = ", ".join(" on ".join(item) for item in engines)
        raise UnsupportedError(f"the plan runs operations with {' on '.join(key)}, which this machine has not; it has {known}")
    return engines[key]
