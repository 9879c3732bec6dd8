"""Profiles: how long a model's predictions, segments and operations took on this machine; what they say, and how they are kept in files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from moka.errors import FormatError, InputError
from moka.planning.plan import Plan
from moka.planning.records import decode, encode

__all__ = ["Memory", "OperationProfile", "Profile", "SegmentProfile", "Timing"]

FORMAT = "moka profile"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of some runs; percentiles are interpolated between runs."""

    runs: int
    mean: float
    min: float
    p50: float
    p90: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Timing:
        """The statistics of at least one run."""
        p50, p90, p99 = map(float, np.percentile(seconds, [50, 90, 99]))
        return cls(len(seconds), float(np.mean(seconds)), min(seconds), p50, p90, p99, max(seconds))


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that the process had in memory at some points; None where the system, or the way it was called, does not tell."""

    before: int | None = None
    loaded: int | None = None
    predicted: int | None = None
    peak: int | None = None


@dataclass(frozen=True, slots=True)
class OperationProfile:
    """What one operation took.

    Attributes:
        operation, type: its name and kind.
        layer: the layer of a network that it came from; else empty.
        takes: operations whose results it takes.
        how: ``timed``; ``fused`` if the engine computes it together with the operation ``within``; ``folded`` if it is computed ahead of
            predictions; ``removed`` if the engine has nothing to do for it.
        seconds: of a run, where it has a time of its own.
        estimate: seconds that the plan gives it.
        within: the operation whose time its own is part of.
    """

    operation: str
    type: str
    layer: str
    takes: tuple[str, ...]
    how: Literal["timed", "fused", "folded", "removed"]
    seconds: float | None = None
    estimate: float | None = None
    within: str = ""


@dataclass(frozen=True, slots=True)
class SegmentProfile:
    """What operations that run together took.

    Attributes:
        timing: of the segment as predictions run it.
        estimate: seconds that the plan gives it.
        profiled: seconds of a run while the engine timed its parts.
        scale: what the engine's times of parts were multiplied by, since timing takes time itself and they summed up to more than the
            segment takes; else 1.
        other: seconds of what the engine does besides operations, by kind.
    """

    engine: str
    device: str
    operations: tuple[OperationProfile, ...]
    timing: Timing
    estimate: float | None
    profiled: float
    scale: float
    other: Mapping[str, float] = field(default_factory=dict)

    @property
    def parts(self) -> float:
        """Seconds of all that the engine timed in the segment."""
        return sum(item.seconds or 0.0 for item in self.operations) + sum(self.other.values())


@dataclass(frozen=True)
class Profile:
    """How long a model takes on this machine; printing it shows a table.

    Attributes:
        model, function, kind: what was profiled.
        machine: this machine in a few words.
        compute_units: what the model was allowed to run on.
        warmup: how many predictions were made before those that count.
        load: seconds of loading, the first time in the process; None if that was not seen.
        reload: seconds of loading once more.
        first: seconds of the first prediction.
        predict: of whole predictions, conversion of inputs and outputs included.
        memory: of the process.
        segments: in order of execution; empty for a model that runs as a whole.
        plan: the plan that was followed, whose estimates stand beside the times.
        stages: profiles of a pipeline's models by name.
    """

    model: str
    function: str
    kind: str
    machine: str
    compute_units: str
    warmup: int
    load: float | None
    reload: float | None
    first: float
    predict: Timing
    memory: Memory
    segments: tuple[SegmentProfile, ...] = ()
    plan: Plan | None = None
    stages: Mapping[str, Profile] = field(default_factory=dict)

    @property
    def operations(self) -> tuple[OperationProfile, ...]:
        """Every operation but constants, by segment."""
        return tuple(item for segment in self.segments for item in segment.operations)

    @property
    def outside(self) -> float | None:
        """Seconds of a prediction outside of its segments: inputs, outputs, handing over; None for a model that runs as a whole."""
        return max(0.0, self.predict.p50 - sum(item.timing.p50 for item in self.segments)) if self.segments else None

    @property
    def error(self) -> float | None:
        """The plan's estimate of all segments over what they took; None where there is none."""
        estimates = [item.estimate for item in self.segments if item.estimate is not None]
        taken = sum(item.timing.p50 for item in self.segments)
        return sum(estimates) / taken if taken and len(estimates) == len(self.segments) else None

    def __getitem__(self, operation: str) -> OperationProfile:
        """What an operation took, by its name."""
        for item in self.operations:
            if item.operation == operation:
                return item
        raise KeyError(operation)

    def walk(self) -> Iterator[tuple[str, Profile]]:
        """The profile, and those of its stages at any depth, with their names (this one's is empty)."""
        yield "", self
        for name, stage in self.stages.items():
            yield from ((f"{name} / {inner}" if inner else name, item) for inner, item in stage.walk())

    def to_json(self) -> str:
        """The profile as text that `from_json` reads."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """The profile as what JSON can hold."""
        return {"format": FORMAT, "version": VERSION, **encode(self)}

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "profile") -> Profile:
        """Reads a profile that was saved.

        Raises:
            FormatError: it is no profile, or one of a version that is not known.
        """
        try:
            return cls.from_dict(json.loads(text), where)
        except RecursionError as error:
            raise FormatError(where, "is nested too deeply") from error
        except ValueError as error:
            raise FormatError(where, f"is not JSON: {error}") from error

    @classmethod
    def from_dict(cls, data: Any, where: str = "profile") -> Profile:
        """The profile that `to_dict` gave; errors as `from_json`."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise FormatError(where, f"is no profile: expected an object whose format is {FORMAT!r}")
        if data.get("version") != VERSION:
            raise FormatError(where, f"has version {data.get('version')!r}; this version of Moka reads {VERSION}")
        return decode(cls, {name: value for name, value in data.items() if name not in ("format", "version")}, where)

    def to_html(self) -> str:
        """The profile and its plan as one page that needs nothing else: a timeline, a graph coloured by device, tables."""
        from moka.models.report import page

        return page(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the profile to a file: JSON, or a page by the suffix ``.html``.

        Raises:
            InputError: the file can't be written.
        """
        path = Path(path)
        text = self.to_html() if path.suffix.lower() in (".html", ".htm") else self.to_json() + "\n"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: can't be written: {error.strerror}") from error

    def __str__(self) -> str:
        from moka.models.profile_view import profile_text

        return profile_text(self)

    def view(self, *, operations: bool = False) -> Any:
        """The profile for a rich console, with a row for every operation if asked for."""
        from moka.models.profile_view import profile_table

        return profile_table(self, operations=operations)

    def __rich__(self) -> Any:
        return self.view()
