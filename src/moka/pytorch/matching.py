"""Which value of a model is which of its reference's, and how far apart the two are."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from moka.ir.program import Function, Value
from moka.pytorch.recording import Kept, plain_name

__all__ = ["Layer", "Status", "judge", "judge_output", "match", "with_sources", "without_coincidences"]

Status: TypeAlias = Literal["agrees", "differs", "overflow", "nan", "unmatched"]

FP16_MAX = 65504.0


@dataclasses.dataclass(frozen=True)
class Layer:
    """A value of the model beside what it is compared with.

    Attributes:
        operation, type: the operation that made it, and its kind; of an output, its name and ``output``.
        reference: the node or value that it is compared with; empty where none was found.
        source: the line of the user's code, or the layer; where only a later operation's is known, ``before`` that.
        error: the largest difference as a share of the reference's largest value; None where it was not compared.
        peak: the largest finite value of the reference.
        status: ``overflow`` for infinities and ``nan`` for NaN where the reference has none; ``unmatched`` where there is no reference.
    """

    operation: str
    type: str
    reference: str
    source: str
    error: float | None
    peak: float
    status: Status

    @property
    def agrees(self) -> bool:
        return self.status in ("agrees", "unmatched")

    def sentence(self) -> str:
        """What happened at this operation, in one sentence."""
        where = f"{self.type} {self.operation!r}" + (f" ({self.source})" if self.source else "")
        if self.status == "overflow":
            why = f"the value is {self.peak:.6g}" if self.peak > FP16_MAX else f"inside the operation; the value is {self.peak:.6g}"
            return f"{where} overflows: {why}, and fp16 ends at {FP16_MAX:.0f}"
        if self.status == "nan":
            return f"{where} gives NaN where the reference has numbers"
        return f"{where} {'differs' if self.status == 'differs' else 'agrees'}: error {self.error:.1e}, compared with {self.reference!r}"


def match(kept: Sequence[Kept], candidates: Sequence[Kept], allowed: float) -> dict[Kept, Kept]:
    """For each value the one of the reference that it is: the one of its name, or its operation's, or else the nearest.

    Args:
        kept, candidates: the values of both sides, computed in float32.
        allowed: the error that the nearest may have.
    """
    if kept is candidates:
        return {item: item for item in kept}
    named = {plain_name(item.name): item for item in candidates}
    by_shape: dict[tuple[int, ...], list[Kept]] = {}
    for item in candidates:
        by_shape.setdefault(tuple(item.tensor.shape), []).append(item)
    found = {}
    for item in kept:
        other = named.get(plain_name(item.name)) or named.get(plain_name(item.operation))
        if other is None or other.tensor.shape != item.tensor.shape:
            other = None
        if other is None or _error(item.tensor, other.tensor) > allowed:
            other = _nearest(item.tensor, by_shape.get(tuple(item.tensor.shape), []), allowed) or other
        if other is not None:
            found[item] = other
    return found


def without_coincidences(matches: dict[Kept, Kept], function: Function, allowed: float) -> dict[Kept, Kept]:
    """The matches without those of values that differ although all that is computed from them agrees: the names are alike by chance."""
    by_name = {item.name: item for item in matches}
    good = {item.name for item, other in matches.items() if _error(item.tensor, other.tensor) <= allowed}
    results: dict[str, set[str]] = {}
    chance = set()
    for operation in reversed(function.body.operations):
        made = {value.name for value in operation.outputs}
        for name in made - good:
            if results.get(name) and results[name] <= good:
                good.add(name)
                chance.add(by_name.get(name))
        for argument in operation.arguments():
            if isinstance(argument, Value):
                results.setdefault(argument.name, set()).update(made)
    return {item: other for item, other in matches.items() if item not in chance}


def _nearest(tensor: Tensor, candidates: Sequence[Kept], allowed: float) -> Kept | None:
    """The candidate whose values are the nearest, if they are near enough; those of other types are not looked at."""
    same = [item for item in candidates if item.tensor.is_floating_point() == tensor.is_floating_point() and tensor.numel()]
    errors = [(_error(tensor, item.tensor), index) for index, item in enumerate(same)]
    error, index = min(errors, default=(float("inf"), 0))
    return same[index] if error <= (allowed if tensor.is_floating_point() else 0) else None


def _error(found: Tensor, expected: Tensor) -> float:
    """max |found - expected| / max |expected|, over the elements where both are finite; infinite where only one is."""
    found, expected = found.double(), expected.double()
    finite = expected.isfinite()
    if not torch.equal(finite, found.isfinite()):
        return float("inf")
    if not finite.any():
        return 0.0
    scale = float(expected[finite].abs().max())
    return float((found[finite] - expected[finite]).abs().max()) / (scale or 1.0)


def judge(item: Kept, plain: Kept, reference: Kept | None, tolerance: float) -> Layer:
    """A value beside its reference, or beside the model's own in float32 where it has none."""
    expected = plain if reference is None else reference
    status, error = _status(item.tensor, expected.tensor, tolerance)
    if reference is None and status == "agrees":
        status = "unmatched"
    name = reference.name if reference is not None else "" if status == "unmatched" else "its own float32"
    source = item.source or (reference.source if reference is not None else "")
    return Layer(item.operation, item.kind, name, source, error, _peak(expected.tensor), status)


def judge_output(name: str, found: Any, expected: Any, tolerance: float) -> Layer:
    """An output beside the reference's; labels and dictionaries by equality."""
    if not isinstance(expected, Tensor):
        return Layer(name, "output", name, "", None, 0.0, "agrees" if _text(found) == _text(expected) else "differs")
    tensor = torch.as_tensor(found)
    if tensor.numel() != expected.numel():
        return Layer(name, "output", name, "", float("inf"), _peak(expected), "differs")
    status, error = _status(tensor.reshape(expected.shape), expected, tolerance)
    return Layer(name, "output", name, "", error, _peak(expected), status)


def _text(value: Any) -> str:
    """A label, or the label of the largest probability."""
    return str(max(value, key=lambda key: float(value[key])) if isinstance(value, dict) and value else value)


def _status(found: Tensor, expected: Tensor, tolerance: float) -> tuple[Status, float | None]:
    error = _error(found, expected)
    lost = ~found.isfinite() & expected.isfinite()
    if lost.any():
        return ("overflow" if found[lost].isinf().any() else "nan"), None
    return ("agrees" if error <= tolerance else "differs"), error


def _peak(tensor: Tensor) -> float:
    finite = tensor.double()[tensor.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def with_sources(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, with ``before`` and the next known line where their own is not known."""
    made, later = [], ""
    for layer in reversed(layers):
        later = layer.source or later
        made.append(layer if layer.source or not later else dataclasses.replace(layer, source=f"before {later}"))
    return made[::-1]
