"""An engine that runs nothing: for tests of planning, and to load a model without the means to run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from moka.engines.base import Segment
from moka.engines.times import SegmentTimes, own_operations
from moka.ir.program import Operation

__all__ = ["NullEngine"]


@dataclass(frozen=True, slots=True)
class NullExecutable:
    """Takes anything, gives nothing."""

    segment: Segment

    def run(self, inputs: Mapping[str, Any], state: Any = None) -> dict[str, Any]:
        return {}

    def new_state(self) -> dict[str, Any]:
        return {}

    def times(self, inputs: Mapping[str, Any], runs: int) -> tuple[SegmentTimes, ...]:
        names = tuple(operation.name for operation in own_operations(self.segment))
        return (SegmentTimes("null", "", names, (0.0,) * runs, 0.0, {}),)


@dataclass(frozen=True, slots=True)
class NullEngine:
    """Accepts every operation but those in ``refused`` (operation name to the reason given)."""

    name: str = "null"
    refused: Mapping[str, str] = field(default_factory=dict)

    def reasons(self, operation: Operation, opset: str) -> tuple[str, ...]:
        reason = self.refused.get(operation.type)
        return () if reason is None else (reason,)

    def compile(self, segment: Segment) -> NullExecutable:
        return NullExecutable(segment)
