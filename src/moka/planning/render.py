"""Plans as tables for people: as text, and for rich terminals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from moka.planning.plan import Option, Placement, Plan, Transfer
from moka.planning.rules import Reason

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = [
    "Section",
    "bytes_text",
    "device_name",
    "headlines",
    "layer_section",
    "operation_section",
    "place_text",
    "plan_table",
    "plan_text",
    "rich_table",
    "section_lines",
    "sections",
    "share_text",
    "time_text",
]

_DEVICES = {"cpu": "CPU", "gpu": "GPU", "npu": "NPU", "neural_engine": "Neural Engine", "unknown": "unknown"}
_NAMED = 4
"""How many names a list shows."""


@dataclass(frozen=True)
class Section:
    """A table with a title; ``right`` names the columns of numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[str, ...] = ()


def plan_text(plan: Plan) -> str:
    """The plan as plain text."""
    parts = ["\n".join(headlines(plan))]
    parts += ["\n".join([section.title, *section_lines(section)]) for section in sections(plan)]
    parts += [f"Stage {name}\n{plan_text(stage)}" for name, stage in plan.stages.items()]
    return "\n\n".join(parts)


def plan_table(plan: Plan, *, operations: bool = False, layers: bool = False) -> RenderableType:
    """The plan for a rich console; with every operation, or every layer of a network, if asked for."""
    from rich.console import Group
    from rich.text import Text

    title, *rest = headlines(plan)
    parts: list[RenderableType] = [Text(title, "bold"), *map(Text, rest)]
    more = [operation_section(plan)] if operations and plan.placements else []
    more += [layer_section(plan)] if layers and plan.layers() else []
    for section in (*sections(plan), *more):
        parts += [Text(), Text(section.title, "bold"), rich_table(section)]
    for name, stage in plan.stages.items():
        parts += [Text(), Text(f"Stage {name}", "bold"), plan_table(stage, operations=operations, layers=layers)]
    return Group(*parts)


def rich_table(section: Section) -> RenderableType:
    """A section for a rich console."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_edge=False)
    for name in section.columns:
        made.add_column(name, justify="right" if name in section.right else "left", overflow="fold")
    for row in section.rows:
        made.add_row(*(Text(cell) for cell in row))
    return made


def headlines(plan: Plan) -> list[str]:
    """What the plan is of and for, and what it comes to."""
    kind = "modelled plan" if plan.modelled else "pinned plan" if plan.pinned else "plan"
    lines = [f"{plan.model}, function {plan.function}: {kind} for {plan.device}, compute units {plan.compute_units}"]
    if not plan.placements:
        times = [f"{time_text(plan.estimate.seconds)} expected in all stages that are estimated"] if plan.estimate.seconds else []
        return [*lines, *times, *map(str, plan.notes)]
    totals, count = plan.totals(), len(plan.own_placements)
    parts = [f"{_flops(totals['flops'])} of arithmetic", f"{bytes_text(totals['weights'])} of weights", f"{count:,} operations"]
    if plan.segments:
        estimate = plan.estimate
        verb = "measured" if plan.measured else "expected"
        parts.insert(0, f"{time_text(estimate.seconds)} {verb} ({time_text(estimate.low)} to {time_text(estimate.high)})")
    lines.append(" · ".join(parts) + ("" if plan.exact else " (lower bounds: not all sizes are known)"))
    return lines + [f"Note: {_with_change(note)}" for note in plan.notes]


def sections(plan: Plan) -> Iterator[Section]:
    """The tables of a plan: segments, kinds of operations, what can't run where, what to watch, engines that could be installed."""
    if plan.segments:
        yield _segment_section(plan)
    if plan.placements:
        yield _kind_section(plan)
    for title, rows in (("Can't run there", _refusals(plan)), ("To be watched", _warnings(plan))):
        if rows:
            yield Section(title, ("where", "operations", "why", "source", "what would change it"), tuple(rows))
    if plan.alternatives:
        yield _alternative_section(plan)
    if plan.missing:
        rows = [(item.engine, ", ".join(map(device_name, item.devices)), item.install) for item in plan.missing]
        yield Section("Engines that are not installed", ("engine", "for", "to install it"), tuple(rows))


def operation_section(plan: Plan) -> Section:
    """Every operation, in the program's order."""
    columns = ("operation", "type", "runs on", "time", "share", "arithmetic", "bytes", "could run on")
    rows = tuple(
        (
            ("  " if item.within else "") + item.operation,
            item.type,
            place_text(item.engine, item.device),
            time_text(item.seconds),
            share_text(item.share),
            _flops(item.work.flops),
            bytes_text(item.work.bytes),
            ", ".join(place_text(option.engine, option.device) for option in item.supported if option != item.preferred),
        )
        for item in plan.placements
    )
    return Section("Operations", columns, rows, ("time", "share", "arithmetic", "bytes"))


def layer_section(plan: Plan) -> Section:
    """Every layer of a network."""
    rows = tuple(
        (
            item.layer,
            ", ".join(map(device_name, item.devices)),
            time_text(item.seconds),
            share_text(item.share),
            ", ".join(map(device_name, item.supported)),
        )
        for item in plan.layers().values()
    )
    return Section("Layers", ("layer", "runs on", "time", "share", "could run on"), rows, ("time", "share"))


def _segment_section(plan: Plan) -> Section:
    measured = any(segment.measured is not None for segment in plan.segments)
    columns = ("", "runs on", "operations", "time", *(["measured"] if measured else []), "moving", "takes", "gives")
    rows = []
    for index, segment in enumerate(plan.segments, 1):
        timed = [time_text(segment.measured) if segment.measured is not None else ""] if measured else []
        moving = time_text(segment.transfer_seconds) if segment.transfer_seconds else ""
        crossing = [_transfers(segment.takes), _transfers(segment.gives)]
        place = place_text(segment.engine, segment.device)
        rows.append((str(index), place, f"{len(segment.operations):,}", time_text(segment.seconds), *timed, moving, *crossing))
    return Section("Segments", columns, tuple(rows), ("", "operations", "time", "measured", "moving"))


def _kind_section(plan: Plan) -> Section:
    groups: dict[tuple[str, str], list[Placement]] = {}
    for item in plan.own_placements:
        groups.setdefault((item.type, place_text(item.engine, item.device)), []).append(item)
    ordered = sorted(groups.items(), key=lambda entry: -sum(item.seconds for item in entry[1]))
    rows = tuple(
        (
            kind,
            f"{len(items):,}",
            place,
            time_text(sum(item.seconds for item in items)),
            share_text(sum(item.share for item in items)),
            _flops(sum(item.work.flops for item in items)),
            bytes_text(sum(item.work.weights for item in items)),
        )
        for (kind, place), items in ordered
    )
    columns = ("type", "count", "runs on", "time", "share", "arithmetic", "weights")
    return Section("Operations by type", columns, rows, ("count", "time", "share", "arithmetic", "weights"))


def _alternative_section(plan: Plan) -> Section:
    columns = ("runs what it can", "measured", "estimated", "estimate / measured")
    rows = []
    for item in plan.alternatives:
        measured = item.failure if item.measured is None else time_text(item.measured)
        ratio = f"{item.estimated / item.measured:.2f}" if item.measured else ""
        rows.append((place_text(item.engine, item.device), measured, time_text(item.estimated), ratio))
    return Section("Measured alternatives", columns, tuple(rows), columns[1:])


def _refusals(plan: Plan) -> list[tuple[str, ...]]:
    found = [(option, reason, item) for item in plan.placements for option in item.options for reason in option.reasons]
    return _grouped(found)


def _warnings(plan: Plan) -> list[tuple[str, ...]]:
    taken = [(item.preferred, item) for item in plan.placements if item.preferred is not None]
    return _grouped((option, note, item) for option, item in taken for note in option.notes)


def _grouped(found: Iterable[tuple[Option, Reason, Placement]]) -> list[tuple[str, ...]]:
    """One row for each place and rule: the operations that it is about, and what it found at the first of them."""
    groups: dict[tuple[str, str], list[tuple[Reason, Placement]]] = {}
    for option, reason, item in found:
        groups.setdefault((place_text(option.engine, option.device), reason.rule or reason.text), []).append((reason, item))
    return [
        (place, _some([item.operation for _, item in group]), reason.text, _source(reason), reason.change)
        for (place, _), group in groups.items()
        for reason in [group[0][0]]
    ]


def _source(reason: Reason) -> str:
    return f"{reason.source} ({reason.confidence} confidence)" if reason.confidence else reason.source


def _with_change(reason: Reason) -> str:
    source = f" [{_source(reason)}]" if reason.source else ""
    return f"{reason.text}{source}" + (f"; {reason.change}" if reason.change else "")


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED:,} more" if len(names) > _NAMED else shown


def _transfers(transfers: Sequence[Transfer]) -> str:
    return _some([f"{item.value} ({bytes_text(item.bytes)})" for item in transfers])


def place_text(engine: str, device: str) -> str:
    """A device and engine for people: ``CPU · torch``."""
    return f"{device_name(device)} · {engine}" if device else "nowhere"


def device_name(device: str) -> str:
    """A device's name for people: ``Neural Engine``, ``CUDA:0``."""
    return _DEVICES.get(device, device.upper())


def section_lines(section: Section) -> Iterator[str]:
    """A section as plain text, its title left out."""
    rows = [section.columns, *section.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(section.columns))]
    for row in rows:
        cells = zip(row, widths, section.columns, strict=True)
        yield "  ".join(cell.rjust(width) if name in section.right else cell.ljust(width) for cell, width, name in cells).rstrip()


def _scaled(value: float, units: Sequence[tuple[str, float]]) -> str:
    unit, factor = next(((unit, factor) for unit, factor in units if value >= factor), units[-1])
    return f"{value / factor:.3g} {unit}"


def time_text(seconds: float) -> str:
    """Seconds for people: 12.3 µs, 4.56 ms."""
    return "0" if seconds <= 0 else _scaled(seconds, (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)))


def _flops(count: float) -> str:
    return "0" if not count else _scaled(count, (("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3), ("FLOP", 1.0)))


def bytes_text(count: float) -> str:
    """Bytes for people."""
    return "0" if not count else _scaled(count, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)))


def share_text(share: float) -> str:
    """A share as percent."""
    return f"{100 * share:.1f} %"
