"""Candidates for a plan of an Apple device: Core ML on its Neural Engine, its GPU and its CPU, as far as their rules are known."""

from __future__ import annotations

from collections.abc import Sequence

from moka.ir.program import Operation
from moka.planning.devices import Chip, coreml_speed
from moka.planning.planner import Candidate
from moka.planning.rules import Reason, Rule, Situation, model_size_rule, rules
from moka.planning.sizes import Sizes

__all__ = ["UNITS", "apple_candidates", "model_notes"]

ENGINE = "Core ML"

UNITS = {
    "ALL": ("neural_engine", "gpu", "cpu"),
    "CPU_AND_NE": ("neural_engine", "cpu"),
    "CPU_AND_GPU": ("gpu", "cpu"),
    "CPU_ONLY": ("cpu",),
}
"""What each choice of compute units allows of an Apple chip."""


def apple_candidates(chip: Chip, compute_units: str, sizes: Sizes, *, network: bool = False, shapes: int | None = 1) -> list[Candidate]:
    """The units of a chip that the compute units allow.

    Args:
        network: whether the model is a neural network, whose floats are fp16 on the Neural Engine and the GPU.
        shapes: how many shapes the inputs may have; None for an open range.
    """
    situation = Situation(chip, sizes, network, shapes)
    return [_candidate(unit, situation) for unit in UNITS[compute_units]]


def _candidate(unit: str, situation: Situation) -> Candidate:
    half = {"fp32": "fp16"} if situation.half and unit != "cpu" else {}

    def found(effect: str, operation: Operation) -> tuple[Reason, ...]:
        chosen: Sequence[Rule] = [rule for rule in rules(unit) if rule.effect == effect]
        return tuple(reason for rule in chosen if (reason := rule.find(operation, situation)) is not None)

    speed = coreml_speed(situation.chip, unit, half)
    return Candidate(ENGINE, unit, speed, lambda item: found("refuses", item), lambda item: found("warns", item))


def model_notes(device: str, weights: int) -> tuple[Reason, ...]:
    """What there is to say of a model as a whole; ``weights`` is their size in bytes as stored."""
    most, reason = model_size_rule()
    return (reason,) if weights > most and device.startswith("iPhone") else ()
