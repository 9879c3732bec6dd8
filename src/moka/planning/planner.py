"""Makes a plan: a function of a program and the candidates that may run its operations."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from moka.errors import InputError
from moka.ir.program import Function, Operation, Value
from moka.ir.text import operation_text
from moka.ir.types import StateType, TensorType
from moka.planning.arithmetic import is_constant
from moka.planning.assign import Chain, assign
from moka.planning.cost import Work, work
from moka.planning.crossing import Crossing, move_seconds
from moka.planning.devices import Speed
from moka.planning.plan import Estimate, Missing, Option, Placement, Plan, SegmentPlan, Transfer
from moka.planning.rules import Reason
from moka.planning.sizes import Sizes
from moka.planning.tables import Figure, table

if TYPE_CHECKING:
    from moka.engines.base import Segment

__all__ = ["Candidate", "Request", "is_tied", "make_plan", "most_used", "program_digest", "segments_of", "with_nested"]

Pins = Mapping[str, tuple[str, str]]


def _nothing(operation: Operation) -> tuple[Reason, ...]:
    return ()


@dataclass(frozen=True)
class Candidate:
    """An engine on a device, as something that operations may run on.

    Attributes:
        reasons: why it can't run an operation; empty if it can.
        notes: what is to be said against it although it can.
    """

    engine: str
    device: str
    speed: Speed
    reasons: Callable[[Operation], Sequence[Reason | str]] = _nothing
    notes: Callable[[Operation], Sequence[Reason]] = _nothing

    @property
    def key(self) -> tuple[str, str]:
        return self.engine, self.device


@dataclass(frozen=True)
class Request:
    """What a plan is to be of, beside the function and the candidates.

    Attributes:
        device: what it is for, by name; ``modelled`` says that it is not this machine.
        sizes: of the function's values.
        pins: (engine, device) of operations by name, which then is not chosen.
        missing, notes: see `Plan`.
        margin: the share of the time by which a mixture of engines must beat one of them that runs all it can.
        measured: for each candidate, what an operation's estimated time is multiplied with, by measurement.
    """

    model: str
    device: str
    modelled: bool = False
    compute_units: str = "ALL"
    sizes: Sizes = field(default_factory=Sizes)
    pins: Pins = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    notes: tuple[Reason, ...] = ()
    margin: float = 0.15
    measured: Mapping[tuple[str, str], float] = field(default_factory=dict)


def make_plan(function: Function, candidates: Sequence[Candidate], request: Request) -> Plan:
    """Assigns every operation to a candidate; the same input gives the same plan.

    Raises:
        InputError: a pin names an operation, engine or device that there is not, or one that can't run the operation.
    """
    planner = _Planner(function, candidates, request)
    places = planner.places()
    placements = tuple(planner.placements(places))
    segments = tuple(planner.segments(places))
    used = {candidates[index].key: candidates[index].speed for index in places.values() if index is not None}
    return Plan(
        model=request.model,
        function=function.name,
        device=request.device,
        modelled=request.modelled,
        compute_units=request.compute_units,
        program=program_digest(function),
        placements=placements,
        segments=segments,
        estimate=_estimate(segments, used),
        exact=all(placement.work.exact for placement in placements),
        measured=bool(request.measured),
        pinned=bool(request.pins),
        missing=request.missing,
        notes=(*request.notes, *planner.notes()),
        figures=_figures(used.values()),
    )


def most_used(function: Function, candidates: Sequence[Candidate], request: Request) -> tuple[str, str] | None:
    """(engine, device) that `make_plan` would have most operations run on; None where nothing is to be run."""
    places = Counter(index for index in _Planner(function, candidates, request).places().values() if index is not None)
    return candidates[places.most_common(1)[0][0]].key if places else None


def program_digest(function: Function) -> str:
    """A digest of a function's operations and types, without its weights."""
    digest = hashlib.sha256(f"{function.name} {function.opset} {[str(value) + str(value.type) for value in function.inputs]}".encode())
    for operation in function.body.walk():
        if operation.type != "const":
            digest.update(operation_text(operation, constants=True).encode())
    return digest.hexdigest()[:32]


def segments_of(function: Function, plan: Plan) -> list[tuple[tuple[str, str], Segment]]:
    """The segments that a plan cuts a function into, each with its (engine, device), in order of execution.

    Raises:
        InputError: the plan is one of another program.
    """
    from moka.engines.hybrid import constant_operations, split

    plan.check_fits(program_digest(function))
    ahead = constant_operations(function)
    operations = [operation for operation in function.body.operations if operation not in ahead]
    keys = [(placement.engine, placement.device) for placement in plan.own_placements]
    places = dict(zip(operations, keys, strict=True))
    return split(function, places.__getitem__)


class _Planner:
    def __init__(self, function: Function, candidates: Sequence[Candidate], request: Request) -> None:
        from moka.engines.hybrid import constant_operations

        self.function = function
        self.candidates = candidates
        self.request = request
        self.sizes = request.sizes
        self.devices = [(candidate.device, candidate.speed) for candidate in candidates]
        ahead = constant_operations(function)
        self.operations = [operation for operation in function.body.operations if operation not in ahead]
        self.works = {operation: work(operation, self.sizes) for operation in self.operations}
        self.options = {operation: self._options(operation, self.works[operation]) for operation in self.operations}

    def places(self) -> dict[Operation, int | None]:
        """The candidate of each operation, by its place among the candidates; None for one that nothing can run."""
        self._check_pins()
        possible = [operation for operation in self.operations if any(cost < math.inf for cost in self._costs(operation))]
        ties = frozenset(index for index, operation in enumerate(possible) if is_tied(operation))
        launches = [candidate.speed.launch for candidate in self.candidates]
        crossing = Crossing(self.function, possible, self.devices, self.sizes)
        chain = Chain([self._costs(operation) for operation in possible], launches, crossing.seconds, ties)
        path = assign(chain, self.request.margin)
        if path is None:  # no candidate has all that share a state: each goes where it is fastest
            path = [min(range(len(self.candidates)), key=self._costs(operation).__getitem__) for operation in possible]
        return dict.fromkeys(self.operations, None) | dict(zip(possible, path, strict=True))

    def _costs(self, operation: Operation) -> list[float]:
        pin = self.request.pins.get(operation.name)
        costs = []
        for candidate, option in zip(self.candidates, self.options[operation], strict=True):
            allowed = option.seconds is not None and pin in (None, candidate.key)
            costs.append(option.seconds if allowed and option.seconds is not None else math.inf)
        return costs

    def _check_pins(self) -> None:
        names = {operation.name: operation for operation in self.operations}
        keys = [candidate.key for candidate in self.candidates]
        for name, key in self.request.pins.items():
            if name not in names:
                raise InputError(f"pin of {name!r}: the function has no such operation")
            if key not in keys:
                raise InputError(f"pin of {name!r}: {_text(key)} is none of {', '.join(map(_text, keys))}")
            option = self.options[names[name]][keys.index(key)]
            if option.seconds is None:
                raise InputError(f"pin of {name!r}: {_text(key)} can't run it: {'; '.join(map(str, option.reasons))}")

    def _options(self, operation: Operation, own: Work) -> tuple[Option, ...]:
        return tuple(self._option(candidate, operation, own) for candidate in self.candidates)

    def _option(self, candidate: Candidate, operation: Operation, own: Work) -> Option:
        reasons = dict.fromkeys(reason for item in with_nested(operation) for reason in candidate.reasons(item))
        if reasons:
            return Option(*candidate.key, None, tuple(Reason(item) if isinstance(item, str) else item for item in reasons))
        scale = self.request.measured.get(candidate.key, 1.0)
        return Option(*candidate.key, candidate.speed.seconds(own) * scale, (), tuple(candidate.notes(operation)))

    def placements(self, places: Mapping[Operation, int | None]) -> Iterator[Placement]:
        """Placements in the order of the program, those of nested operations before the one that they are in."""
        total = sum(self._seconds(operation, place) for operation, place in places.items()) or 1.0
        for operation, place in places.items():
            for inner in with_nested(operation)[1:]:
                yield self._placement(inner, place, total, operation.name)
            yield self._placement(operation, place, total)

    def _seconds(self, operation: Operation, place: int | None) -> float:
        return 0.0 if place is None else self.options[operation][place].seconds or 0.0

    def _placement(self, operation: Operation, place: int | None, total: float, within: str = "") -> Placement:
        own = self.works.get(operation) or work(operation, self.sizes)
        options = self.options.get(operation) or self._options(operation, own)
        engine, device = self.candidates[place].key if place is not None else ("", "")
        seconds = 0.0 if place is None else options[place].seconds or 0.0
        names, origin = tuple(value.name for value in operation.outputs), operation.origin
        return Placement(operation.name, operation.type, names, origin, within, engine, device, seconds, seconds / total, own, options)

    def segments(self, places: Mapping[Operation, int | None]) -> Iterator[SegmentPlan]:
        """What runs together, in order; nothing where an operation can run nowhere."""
        from moka.engines.hybrid import split

        if None in places.values() or not places:
            return
        home: dict[Value, int | None] = dict.fromkeys(self.function.inputs, None)
        for place, segment in split(self.function, lambda operation: places[operation]):
            assert place is not None
            yield self._segment(place, segment, home)
            home.update(dict.fromkeys(segment.outputs, place))

    def _segment(self, place: int, segment: Segment, home: Mapping[Value, int | None]) -> SegmentPlan:
        speed = self.candidates[place].speed
        own = [operation for operation in segment.operations if operation in self.works]
        seconds = sum(self._seconds(operation, place) for operation in own)
        takes, gives = self._transfers(segment.inputs), self._transfers(segment.outputs)
        moved = [value for value in segment.inputs if not isinstance(value.type, StateType) and home.get(value) != place]
        outputs = [value for value in segment.outputs if value in set(self.function.outputs)]
        crossing = sum(move_seconds(self.devices, home.get(value), place, self.sizes.bytes(value)) for value in moved)
        crossing += sum(move_seconds(self.devices, place, None, self.sizes.bytes(value)) for value in outputs)
        names = tuple(operation.name for operation in own)
        return SegmentPlan(*self.candidates[place].key, names, takes, gives, seconds + speed.launch, crossing)

    def _transfers(self, values: Iterable[Value]) -> tuple[Transfer, ...]:
        return tuple(Transfer(value.name, self.sizes.bytes(value)) for value in values)

    def notes(self) -> Iterator[Reason]:
        """What is to be said of the plan as a whole."""
        nowhere = [operation for operation in self.operations if all(option.seconds is None for option in self.options[operation])]
        if nowhere:
            some = ", ".join(map(repr, [operation.name for operation in nowhere[:3]])) + (", ..." if len(nowhere) > 3 else "")
            yield Reason(f"nothing that was asked can run {len(nowhere)} of the operations: {some}", change="allow other compute units")
        tied = [operation for operation in self.operations if is_tied(operation)]
        if tied and not any(all(self.options[item][index].seconds is not None for item in tied) for index in range(len(self.candidates))):
            yield Reason("no engine can run all operations that share a state or a list, which have to stay together")


def is_tied(operation: Operation) -> bool:
    """Whether an operation has to stay with others: it uses a state, or what only engines of one kind hold, such as a list."""
    taken = [argument for item in with_nested(operation) for argument in item.arguments() if not is_constant(argument)]
    return any(not isinstance(value.type, TensorType) for value in taken)


def with_nested(operation: Operation) -> list[Operation]:
    """An operation and all that is in its blocks, but for constants."""
    inner = [item for block in operation.blocks for item in block.walk() if item.type != "const"]
    return [operation, *inner]


def _estimate(segments: Sequence[SegmentPlan], used: Mapping[tuple[str, str], Speed]) -> Estimate:
    """The segments' time; the range is that of the profile that has most of it."""
    if not segments:
        return Estimate(0.0, 0.0, 0.0, "")
    total = sum(segment.seconds + segment.transfer_seconds for segment in segments)
    main = max(segments, key=lambda segment: segment.seconds)
    errors = table("devices")["errors"]
    profile = used[main.engine, main.device].profile
    entry = errors.get(profile, errors["default"])
    factor, source = float(entry["value"]), table("devices")["sources"][entry["source"]]
    return Estimate(total, total / factor, total * factor, source)


def _figures(speeds: Iterable[Speed]) -> tuple[Figure, ...]:
    return tuple(dict.fromkeys(figure for speed in speeds for figure in speed.figures))


def _text(key: tuple[str, str]) -> str:
    return f"{key[0]} on {key[1]}"
