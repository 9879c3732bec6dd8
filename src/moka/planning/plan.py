"""Plans: which operation runs where, why, and at what cost; what they say, and how they are kept in files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from moka.errors import FormatError, InputError
from moka.planning.cost import Work
from moka.planning.records import decode, encode
from moka.planning.rules import Reason
from moka.planning.tables import Figure

__all__ = ["Alternative", "Estimate", "LayerPlacement", "Missing", "Option", "Placement", "Plan", "SegmentPlan", "Transfer"]

FORMAT = "moka plan"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Option:
    """One engine on one device, for one operation.

    Attributes:
        seconds: what the operation is estimated to take there; None where it can't run.
        reasons: why it can't run there; empty if it can.
        notes: what is to be said against it although it can.
    """

    engine: str
    device: str
    seconds: float | None
    reasons: tuple[Reason, ...] = ()
    notes: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one operation runs.

    Attributes:
        operation, type: its name and kind.
        outputs: names of what it gives.
        layer: the layer of a network that it came from; else empty.
        within: the operation whose nested blocks it is in, with which it goes; else empty.
        engine, device: where it runs; empty if it can run nowhere.
        seconds: what it is estimated to take there.
        share: of all operations' time; those within others have a part of theirs.
        options: every candidate, the preferred one among them.
    """

    operation: str
    type: str
    outputs: tuple[str, ...]
    layer: str
    within: str
    engine: str
    device: str
    seconds: float
    share: float
    work: Work
    options: tuple[Option, ...] = ()

    @property
    def supported(self) -> tuple[Option, ...]:
        """Where it could run."""
        return tuple(option for option in self.options if not option.reasons)

    @property
    def preferred(self) -> Option | None:
        """The option that was taken."""
        return next((option for option in self.options if (option.engine, option.device) == (self.engine, self.device)), None)


@dataclass(frozen=True, slots=True)
class LayerPlacement:
    """Where one layer of a network runs: the devices of its operations, the one that most of its time goes to first."""

    layer: str
    devices: tuple[str, ...]
    supported: tuple[str, ...]
    seconds: float
    share: float


@dataclass(frozen=True, slots=True)
class Transfer:
    """A value that crosses the border of a segment."""

    value: str
    bytes: int


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """Operations that run together.

    Attributes:
        seconds: of its operations and its launch.
        transfer_seconds: that what it takes costs to get there.
        measured: seconds that it took on this machine, where it was tried.
    """

    engine: str
    device: str
    operations: tuple[str, ...]
    takes: tuple[Transfer, ...]
    gives: tuple[Transfer, ...]
    seconds: float
    transfer_seconds: float
    measured: float | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """An engine that could run on this machine but is not installed."""

    engine: str
    devices: tuple[str, ...]
    install: str


@dataclass(frozen=True, slots=True)
class Estimate:
    """A time with the range that it is expected in, and how it was found."""

    seconds: float
    low: float
    high: float
    how: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """A way to run the whole function that was timed on this machine.

    Attributes:
        engine, device: what ran all that it can run; PyTorch on the CPU ran the rest.
        estimated: what it was estimated to take, in seconds.
        measured: what it took; None where it failed.
        failure: why, then.
    """

    engine: str
    device: str
    estimated: float
    measured: float | None
    failure: str = ""


@dataclass(frozen=True)
class Plan:
    """Where every operation of a function runs; printing it shows a table.

    Attributes:
        model, function: what it is a plan of.
        device: what it is a plan for: this machine, or a device by its name.
        modelled: whether it is what a device is expected to do, by rules and figures, not what this machine will do.
        compute_units: what the model was allowed to run on.
        program: a digest of the function's operations; a plan fits no other.
        placements: every operation but constants, in the program's order, nested ones before the one that they are in.
        segments: in order of execution.
        estimate: of one prediction.
        exact: whether every size is known; else arithmetic, bytes and times are lower bounds.
        measured: whether the times were measured on this machine.
        pinned: whether placements were given and not chosen.
        alternatives: what was timed, for a measured plan.
        missing: engines that could be used if they were installed.
        notes: on the model as a whole.
        figures: the numbers that the estimate stands on.
        stages: plans of a pipeline's models by name; then all else is empty.
    """

    model: str
    function: str
    device: str
    modelled: bool
    compute_units: str
    program: str = ""
    placements: tuple[Placement, ...] = ()
    segments: tuple[SegmentPlan, ...] = ()
    estimate: Estimate = field(default=Estimate(0.0, 0.0, 0.0, ""))
    exact: bool = True
    measured: bool = False
    pinned: bool = False
    alternatives: tuple[Alternative, ...] = ()
    missing: tuple[Missing, ...] = ()
    notes: tuple[Reason, ...] = ()
    figures: tuple[Figure, ...] = field(default=(), repr=False)
    stages: Mapping[str, Plan] = field(default_factory=dict)

    @property
    def own_placements(self) -> tuple[Placement, ...]:
        """Those of operations that are not nested in others."""
        return tuple(placement for placement in self.placements if not placement.within)

    def totals(self) -> dict[str, int]:
        """Arithmetic, bytes moved, and bytes of weights read, of one prediction."""
        works = [placement.work for placement in self.own_placements]
        return {name: sum(getattr(work, name) for work in works) for name in ("flops", "bytes", "weights", "stored")}

    def shares(self) -> dict[tuple[str, str], float]:
        """How much of the operations' time each (engine, device) has, the largest first."""
        found: dict[tuple[str, str], float] = {}
        for placement in self.own_placements:
            found[placement.engine, placement.device] = found.get((placement.engine, placement.device), 0.0) + placement.share
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __getitem__(self, operation: str) -> Placement:
        """The placement of an operation by its name."""
        for placement in self.placements:
            if placement.operation == operation:
                return placement
        raise KeyError(operation)

    def layers(self) -> dict[str, LayerPlacement]:
        """Where each layer of a network runs; empty for a model that is none."""
        groups: dict[str, list[Placement]] = {}
        for placement in self.placements:
            if placement.layer:
                groups.setdefault(placement.layer, []).append(placement)
        return {layer: _layer(layer, group) for layer, group in groups.items()}

    def pins(self) -> dict[str, tuple[str, str]]:
        """(engine, device) of every operation, to make another plan with."""
        return {placement.operation: (placement.engine, placement.device) for placement in self.own_placements}

    def to_json(self) -> str:
        """The plan as text that `from_json` reads."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The plan as what JSON can hold."""
        stages = {name: stage.to_dict() for name, stage in self.stages.items()}
        return {"format": FORMAT, "version": VERSION, **encode(replace(self, stages={})), "stages": stages}

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "plan") -> Plan:
        """Reads a plan. What it says is what it said when it was saved: nothing is planned again.

        Raises:
            FormatError: it is no plan, or one of a version that is not known.
        """
        try:
            return cls.from_dict(json.loads(text), where)
        except RecursionError as error:
            raise FormatError(where, "is nested too deeply") from error
        except ValueError as error:
            raise FormatError(where, f"is not JSON: {error}") from error

    @classmethod
    def from_dict(cls, data: Any, where: str = "plan") -> Plan:
        """The plan that `to_dict` gave; errors as `from_json`."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise FormatError(where, f"is no plan: expected an object whose format is {FORMAT!r}")
        if data.get("version") != VERSION:
            raise FormatError(where, f"has version {data.get('version')!r}; this version of Moka reads {VERSION}")
        inner = data.get("stages")
        if not isinstance(inner, dict):
            raise FormatError(where, f"stages is {inner!r:.60}; expected an object of plans")
        stages = {name: cls.from_dict(stage, f"{where}: stage {name!r}") for name, stage in inner.items()}
        own = {name: value for name, value in data.items() if name not in ("format", "version", "stages")}
        return replace(decode(cls, own, where), stages=stages)

    def check_fits(self, program: str) -> None:
        """Raises InputError unless the plan is one of the program with this digest."""
        if self.program != program:
            raise InputError(
                f"the plan is one of {self.model} (function {self.function!r}) as it was then: the program has other operations now"
            )

    def __str__(self) -> str:
        from moka.planning.render import plan_text

        return plan_text(self)

    def view(self, *, operations: bool = False, layers: bool = False) -> Any:
        """The plan for a rich console, with a row for every operation, or for every layer of a network, if asked for."""
        from moka.planning.render import plan_table

        return plan_table(self, operations=operations, layers=layers)

    def __rich__(self) -> Any:
        return self.view()


def _layer(layer: str, group: Iterable[Placement]) -> LayerPlacement:
    """The layer that operations came from; it can run where all of them can."""
    placements = [placement for placement in group if not placement.within] or list(group)
    seconds: dict[str, float] = {}
    for placement in placements:
        seconds[placement.device] = seconds.get(placement.device, 0.0) + placement.seconds
    devices = sorted(seconds, key=lambda device: -seconds[device])
    sets = [{option.device for option in placement.supported} for placement in placements]
    order = dict.fromkeys(option.device for placement in placements for option in placement.options)
    supported = tuple(device for device in order if all(device in devices for devices in sets))
    return LayerPlacement(layer, tuple(devices), supported, sum(seconds.values()), sum(placement.share for placement in placements))
