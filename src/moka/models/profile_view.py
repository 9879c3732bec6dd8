"""Profiles as tables for people: as text, and for rich terminals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from moka.models.profile import OperationProfile, Profile, SegmentProfile, Timing
from moka.planning.render import Section, bytes_text, place_text, rich_table, section_lines, share_text, time_text

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["headlines", "operation_section", "profile_table", "profile_text", "sections"]

_SHOWN = 12
"""How many of the operations are shown where not all are asked for."""

_NAMED = 3


def profile_text(profile: Profile) -> str:
    """The profile as plain text."""
    parts = ["\n".join(headlines(profile))]
    parts += ["\n".join([section.title, *section_lines(section)]) for section in sections(profile)]
    parts += [f"Stage {name}\n{profile_text(stage)}" for name, stage in profile.stages.items()]
    return "\n\n".join(parts)


def profile_table(profile: Profile, *, operations: bool = False) -> RenderableType:
    """The profile for a rich console; with every operation if asked for."""
    from rich.console import Group
    from rich.text import Text

    title, *rest = headlines(profile)
    parts: list[RenderableType] = [Text(title, "bold"), *map(Text, rest)]
    for section in sections(profile, operations=operations):
        parts += [Text(), Text(section.title, "bold"), rich_table(section)]
    for name, stage in profile.stages.items():
        parts += [Text(), Text(f"Stage {name}", "bold"), profile_table(stage, operations=operations)]
    return Group(*parts)


def headlines(profile: Profile) -> list[str]:
    """What was profiled, and what it comes to."""
    lines = [f"{profile.model}, function {profile.function}: profile on {profile.machine}, compute units {profile.compute_units}"]
    timing = profile.predict
    lines.append(
        f"{time_text(timing.p50)} a prediction · p90 {time_text(timing.p90)}, p99 {time_text(timing.p99)}, "
        f"min {time_text(timing.min)}, mean {time_text(timing.mean)} · {timing.runs:,} runs after {profile.warmup:,}"
    )
    loads = (("first load", profile.load), ("load again", profile.reload), ("first prediction", profile.first))
    lines.append(" · ".join(f"{name} {time_text(value)}" for name, value in loads if value is not None))
    memory = profile.memory
    points = (("before", memory.before), ("loaded", memory.loaded), ("predicted", memory.predicted), ("peak", memory.peak))
    stated = ", ".join(f"{name} {bytes_text(value)}" for name, value in points if value is not None)
    lines += [f"Memory: {stated}"] if stated else []
    if profile.error is not None:
        lines.append(f"The plan expects {profile.error:.2f} times what the segments took")
    return lines


def sections(profile: Profile, *, operations: bool = False) -> Iterator[Section]:
    """The tables of a profile: segments, kinds of operations, operations."""
    if profile.segments:
        yield _segment_section(profile)
        yield _kind_section(profile)
        yield operation_section(profile, None if operations else _SHOWN)


def operation_section(profile: Profile, count: int | None = None) -> Section:
    """Operations in the program's order, or, where ``count`` says how many, those that take the most time."""
    parts = _parts(profile)
    pairs = [(segment, item) for segment in profile.segments for item in segment.operations]
    if count is not None:
        timed = [pair for pair in pairs if pair[1].seconds is not None]
        pairs = sorted(timed, key=lambda pair: -(pair[1].seconds or 0.0))[:count]
    title = "Operations" if count is None else "Operations that take most"
    columns = ("operation", "type", "runs on", "time", "share", "planned", "planned / time", "note")
    fused: dict[str, list[OperationProfile]] = {}
    for item in profile.operations:
        fused.setdefault(item.within, []).append(item)
    rows = tuple(_row(segment, item, fused.get(item.operation, []), parts) for segment, item in pairs)
    return _placed(profile, Section(title, columns, rows, ("time", "share", "planned", "planned / time")))


def _row(segment: SegmentProfile, item: OperationProfile, fused: list[OperationProfile], parts: float) -> tuple[str, ...]:
    place = place_text(segment.engine, segment.device)
    if item.seconds is None:
        planned = time_text(item.estimate) if item.estimate else ""
        return item.operation, item.type, place, "", "", planned, "", f"in {item.within}" if item.within else item.how
    planned_seconds = sum(part.estimate or 0.0 for part in (item, *fused))
    ratio = f"{planned_seconds / item.seconds:.2f}" if item.seconds and planned_seconds else ""
    note = f"with {_some(Counter(part.type for part in fused))}" if fused else ""
    share = share_text(item.seconds / parts) if parts else ""
    return item.operation, item.type, place, time_text(item.seconds), share, time_text(planned_seconds), ratio, note


def _segment_section(profile: Profile) -> Section:
    columns = ("", "runs on", "operations", "time", "p90", "p99", "planned", "planned / time", "timed in it", "with counters")
    rows = [_segment_row(str(index), segment) for index, segment in enumerate(profile.segments, 1)]
    if profile.outside is not None:
        rows.append(("", "outside of segments", "", time_text(profile.outside), *[""] * 6))
    return Section("Segments", columns, tuple(rows), ("", *columns[2:]))


def _segment_row(index: str, segment: SegmentProfile) -> tuple[str, ...]:
    timing: Timing = segment.timing
    planned = time_text(segment.estimate) if segment.estimate is not None else ""
    ratio = f"{segment.estimate / timing.p50:.2f}" if segment.estimate and timing.p50 else ""
    timed = share_text(segment.parts / timing.p50) if timing.p50 else ""
    return (
        index,
        place_text(segment.engine, segment.device),
        f"{len(segment.operations):,}",
        *map(time_text, (timing.p50, timing.p90, timing.p99)),
        planned,
        ratio,
        timed,
        time_text(segment.profiled),
    )


def _kind_section(profile: Profile) -> Section:
    groups: dict[tuple[str, str], list[OperationProfile]] = {}
    for segment in profile.segments:
        for item in segment.operations:
            groups.setdefault((item.type, place_text(segment.engine, segment.device)), []).append(item)
    rows = [(sum(item.seconds or 0.0 for item in items), kind, place, items) for (kind, place), items in groups.items()]
    others: list[tuple[float, str, str, list[OperationProfile]]] = [
        (value, kind, place_text(segment.engine, segment.device), [])
        for segment in profile.segments
        for kind, value in segment.other.items()
    ]
    parts = _parts(profile)
    table = tuple(
        (kind, *_counts(items), place, time_text(seconds), share_text(seconds / parts) if parts else "")
        for seconds, kind, place, items in sorted([*rows, *others], key=lambda row: -row[0])
    )
    columns = ("type", "timed", "fused", "folded", "removed", "runs on", "time", "share")
    return _placed(profile, Section("Operations by type", columns, table, ("timed", "fused", "folded", "removed", "time", "share")))


def _placed(profile: Profile, section: Section) -> Section:
    """The section, without the column of places where all is in one."""
    if len({(segment.engine, segment.device) for segment in profile.segments}) > 1:
        return section
    kept = [index for index, name in enumerate(section.columns) if name != "runs on"]
    rows = tuple(tuple(row[index] for index in kept) for row in section.rows)
    return Section(section.title, tuple(section.columns[index] for index in kept), rows, section.right)


def _counts(items: list[OperationProfile]) -> tuple[str, ...]:
    if not items:
        return "engine's own", "", "", ""
    counts = [sum(item.how == how for item in items) for how in ("timed", "fused", "folded", "removed")]
    return tuple(f"{count:,}" if count else "" for count in counts)


def _parts(profile: Profile) -> float:
    return sum(segment.parts for segment in profile.segments)


def _some(kinds: Mapping[str, int]) -> str:
    """Kinds of operations with how many there are: ``relu, 3 transpose``."""
    shown = ", ".join(kind if count == 1 else f"{count} {kind}" for kind, count in list(kinds.items())[:_NAMED])
    return f"{shown} and {len(kinds) - _NAMED:,} more" if len(kinds) > _NAMED else shown
