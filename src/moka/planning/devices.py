"""Devices: how fast an engine is on each, Apple's chips, and the products that they are in."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from moka.errors import InputError
from moka.planning.cost import Work
from moka.planning.tables import Figure, figure, table

__all__ = [
    "Chip", "Speed", "accelerators", "apple_chip", "apple_names", "coreml_speed", "device_names", "engine_speed", "handover_seconds",
    "processor_speed",
]  # fmt: skip

_FAMILIES = ("convolution", "depthwise", "product", "recurrent", "elementwise")
_WIDE = {"fp16": "fp32", "bf16": "fp32"}
"""What CPUs compute narrow floats in, unless low precision was asked for."""

_BITS = {"fp16": 16, "bf16": 16, "fp32": 32, "fp64": 64}


@dataclass(frozen=True)
class Speed:
    """How fast one engine is on one device.

    Attributes:
        profile: its name in the table of devices.
        peak: arithmetic operations a second, by element type; ``fp32`` stands for those not named.
        share: of the peak, by family of arithmetic (see `Work`).
        weights: bytes a second at which constants are read.
        passing: bytes a second at which values pass between operations.
        unfused: the share of that traffic which operations by element still cause, where they are fused into others.
        copying, cache: bytes a second at which an update copies what it leaves as it was, and those that it copies while values pass;
            None where values are updated in place.
        step, launch: seconds for an operation, and for a segment.
        dynamic: seconds more for an operation that moves data whose sizes are known only when it runs.
        transfer, latency: bytes a second, and seconds a value, between the device and the host's memory; None where they share it.
        widened: element types that are computed in wider ones.
        compressed: whether compressed weights are read as they are stored.
        figures: the numbers that all this was made of.
    """

    profile: str
    peak: Mapping[str, float]
    share: Mapping[str, float]
    weights: float
    passing: float
    unfused: float = 1.0
    copying: float | None = None
    cache: float = 0.0
    step: float = 0.0
    dynamic: float = 0.0
    launch: float = 0.0
    transfer: float | None = None
    latency: float = 0.0
    widened: Mapping[str, str] = field(default_factory=dict)
    compressed: bool = False
    figures: tuple[Figure, ...] = field(default=(), repr=False)

    def seconds(self, work: Work) -> float:
        """How long an operation takes: max(flops / peak, bytes / bandwidth), and what each operation costs whatever it does."""
        if work.family in ("none", "view"):
            return 0.0
        dtype = self.widened.get(work.dtype, work.dtype)
        width = _BITS.get(dtype, 8) / _BITS.get(work.dtype, 8)
        arithmetic = work.flops / (self.peak.get(dtype, self.peak["fp32"]) * self.share.get(work.family, self.share["elementwise"]))
        reading = (work.stored if self.compressed else work.weights * width) / self.weights
        passing = (work.read + work.written) * width / self.passing
        scale = self.unfused if work.family == "elementwise" else 1.0
        step = self.step * scale + (self.dynamic if work.dynamic and work.family == "move" else 0.0)
        return max(arithmetic * scale, reading, passing * scale) + step + self._copy_seconds(work.kept * width)

    def _copy_seconds(self, count: float) -> float:
        """How long an update takes to copy what it leaves as it was: large values come from memory, and go there."""
        return 0.0 if self.copying is None else count / (self.passing if count <= self.cache else self.copying)

    def transfer_seconds(self, count: int, values: int = 1) -> float:
        """How long values of ``count`` bytes in all take between the device and the host; nothing where they share memory."""
        return 0.0 if self.transfer is None else count / self.transfer + values * self.latency


@dataclass(frozen=True)
class Chip:
    """One of Apple's chips.

    Attributes:
        family: ``A`` for those of iPhones, ``M`` for those of Macs.
        generation: of the Neural Engine, by the chip of the A family that has it: 14 for A14 and M1.
        cores: of the Neural Engine.
        figures: what is known of its speed, by name: ``neural_engine``, ``gpu``, ``cpu``, ``bandwidth``, ``launch``, ``int8``.
    """

    name: str
    generation: int
    cores: int
    figures: Mapping[str, Figure]

    @property
    def family(self) -> str:
        return self.name[0]

    @property
    def number(self) -> int:
        """The number in its name: 14 of A14, 1 of M1 Pro."""
        return int(self.name.split()[0][1:])


def coreml_speed(chip: Chip, unit: str, widened: Mapping[str, str]) -> Speed:
    """How fast Core ML is taken to be on a chip's ``cpu``, ``gpu`` or ``neural_engine``.

    Args:
        widened: types that are computed in others: a network's fp32 in fp16.
    """
    profile = f"coreml-{unit}"
    known = chip.figures
    peak = {"fp32": known[unit].value, "fp16": known[unit].value}
    if unit == "neural_engine" and "int8" in known:
        peak["int8"] = known["int8"].value
    rate = known[unit].value if unit == "neural_engine" else known["bandwidth"].value
    made = _speed(profile, peak, known["bandwidth"].value, rate, widened, tuple(known.values()))
    launch = known["launch"].value if unit == "neural_engine" else made.launch
    return replace(made, launch=launch, compressed=unit == "neural_engine")


def processor_speed(engine: str, instructions: str, threads: int, low_precision: bool = False) -> Speed:
    """How fast an engine is on this machine's CPU.

    Args:
        instructions: PyTorch's name of the instruction set: ``AVX512``, ``AVX2``, ``DEFAULT``.
        low_precision: whether fp16 is computed in bf16, at twice the rate.
    """
    cores = table("devices")["processors"]
    core = _figure("devices", instructions, cores.get(instructions, cores["DEFAULT"]))
    bandwidth, cache = (_figure("devices", name, cores[name]) for name in ("bandwidth", "cache"))
    peak = {"fp32": core.value * threads, **({"fp16": 2 * core.value * threads} if low_precision else {})}
    widened = {} if low_precision else _WIDE
    return replace(_speed(f"{engine}-cpu", peak, bandwidth.value, threads, widened, (core, bandwidth, cache)), cache=cache.value)


def engine_speed(engine: str, name: str, kind: str) -> Speed:
    """How fast an engine is on a GPU or NPU, by the device's name; one that has no row stands for all of its kind."""
    rows = table("devices")["accelerators"]
    row = next((rows[known] for known in _by_length(rows) if known.casefold() in name.casefold()), rows[kind])
    found = {key: _figure("devices", f"{name} {key}", value) for key, value in row.items() if isinstance(value, dict)}
    bandwidth = found.pop("bandwidth")
    peak = {key: item.value for key, item in found.items()}
    peak.setdefault("fp32", peak["fp16"])
    return _speed(f"{engine}-{kind}", peak, bandwidth.value, bandwidth.value, {}, (*found.values(), bandwidth))


def handover_seconds(count: int, values: int) -> float:
    """How long values of ``count`` bytes in all take from one engine to another on the same device."""
    entry = table("devices")["handover"]
    return float(count / entry["rate"]["value"] + values * entry["latency"]["value"])


def _by_length(rows: Mapping[str, Any]) -> list[str]:
    """Names of devices, longer ones first: what fits most says most."""
    return sorted((name for name, row in rows.items() if name != row["kind"]), key=len, reverse=True)


def _speed(profile: str, peak: dict[str, float], weights: float, rate: float, widened: Mapping[str, str], own: tuple[Figure, ...]) -> Speed:
    """A profile of the table on a device; ``rate`` is what its ``passing`` is a multiple of."""
    entries = table("devices")["profiles"][profile]
    known = {name: _figure("devices", f"{profile} {name}", entry) for name, entry in entries.items()}
    value = {name: item.value for name, item in known.items()}
    return Speed(
        profile=profile,
        peak=peak,
        share={name: value[name] for name in _FAMILIES},
        weights=weights,
        passing=value["passing"] * rate,
        unfused=value["unfused"],
        copying=value["copying"] * weights if "copying" in value else None,
        step=value["step"],
        dynamic=value.get("dynamic", 0.0),
        launch=value.get("launch", 0.0),
        transfer=value.get("transfer"),
        latency=value.get("latency", 0.0),
        widened=widened,
        figures=(*own, *known.values()),
    )


def _figure(file: str, name: str, entry: dict[str, Any]) -> Figure:
    return figure(name, entry, table(file)["sources"])


@cache
def _chips() -> dict[str, Chip]:
    made = {}
    for name, row in table("apple")["chips"].items():
        figures = {key: _figure("apple", f"{name} {key}", entry) for key, entry in row.items() if isinstance(entry, dict)}
        made[name] = Chip(name, row["generation"], row.get("cores", 16), figures)
    return made


@cache
def _names() -> dict[str, tuple[str, str]]:
    """Names as they are compared, to (name as it is shown, chip)."""
    products = {product: chip for chip, names in table("apple")["products"].items() for product in names}
    return {_plain(name): (name, chip) for name, chip in ({name: name for name in _chips()} | products).items()}


def _plain(name: str) -> str:
    """A name without what people write in several ways: ``Apple iPhone 15 Pro (2023)`` stays, spaces, brackets and capitals go."""
    plain = "".join(character for character in name.casefold() if character.isalnum())
    return plain.removeprefix("apple") if plain.removeprefix("apple") and not plain.startswith(("appletv", "applevision")) else plain


def apple_names() -> tuple[str, ...]:
    """Chips and products that a plan can be made for."""
    return tuple(name for name, _ in _names().values())


def accelerators() -> tuple[str, ...]:
    """GPUs that have a row of their own."""
    return tuple(name for name, row in table("devices")["accelerators"].items() if name != row["kind"])


def device_names() -> tuple[str, ...]:
    """All names that a plan takes for a device."""
    return (*apple_names(), *accelerators())


def apple_chip(name: str) -> tuple[str, Chip]:
    """The chip in a product (or the chip itself), with the name as it is written properly.

    Raises:
        InputError: the name is none that is known; the message lists those that are.
    """
    found = _names().get(_plain(name))
    if found is None:
        raise InputError(f"device {name!r} is not known{_suggestion(name)}; known are {', '.join(device_names())}")
    return found[0], _chips()[found[1]]


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(_plain(name), _names(), n=1)
    return f" (did you mean {_names()[close[0]][0]!r}?)" if close else ""
