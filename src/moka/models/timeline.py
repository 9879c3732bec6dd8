"""A profile as bars on a line of time, as measured and as planned."""

from __future__ import annotations

from dataclasses import dataclass

from moka.models.profile import Profile

__all__ = ["Bar", "measured", "planned"]


@dataclass(frozen=True)
class Bar:
    """A stretch of time. ``index`` is the operation's among all of the profile; None for time that is no operation's."""

    name: str
    type: str
    engine: str
    device: str
    start: float
    seconds: float
    index: int | None = None

    @property
    def end(self) -> float:
        return self.start + self.seconds


class _Line:
    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self.now = 0.0

    def add(self, name: str, kind: str, engine: str, device: str, seconds: float | None, index: int | None = None) -> None:
        if seconds:
            self.bars.append(Bar(name, kind, engine, device, self.now, seconds, index))
            self.now += seconds


def measured(profile: Profile) -> list[Bar]:
    """What one prediction takes: each segment's operations, the rest of the segment, and in the end what is outside of segments."""
    line, index = _Line(), 0
    for segment in profile.segments:
        place = segment.engine, segment.device
        for item in segment.operations:
            line.add(item.operation, item.type, *place, item.seconds, index)
            index += 1
        for kind, seconds in segment.other.items():
            line.add(f"{kind} of the engine", "", *place, seconds)
        rest = segment.timing.p50 - segment.parts
        line.add("rest of the segment", "", *place, rest if rest > 0 else None)
    line.add("outside of segments", "", "", "", profile.outside)
    return line.bars


def planned(profile: Profile) -> list[Bar]:
    """What the plan expects of the same operations, and of starting each segment."""
    line, index = _Line(), 0
    for segment in profile.segments:
        place, start = (segment.engine, segment.device), line.now
        for item in segment.operations:
            line.add(item.operation, item.type, *place, item.estimate if item.how != "folded" else None, index)
            index += 1
        rest = (segment.estimate or 0.0) - (line.now - start)
        line.add("launch of the segment", "", *place, rest if rest > 0 else None)
    return line.bars
