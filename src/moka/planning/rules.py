"""The rules that say where an operation can't run on Apple's chips, kept as data; here is what looks for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeAlias

import numpy as np

from moka.ir.program import Argument, Constant, Operation, Value
from moka.ir.types import ListType, StateType, TensorType
from moka.planning.arithmetic import is_constant
from moka.planning.devices import Chip
from moka.planning.sizes import Sizes, stated
from moka.planning.tables import Confidence, table

__all__ = ["Reason", "Rule", "Situation", "model_size_rule", "rules"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something can't run somewhere, or what is to be said against it.

    Attributes:
        text: for people: what was found.
        rule: the rule's name; empty where an engine gave the reason.
        source: where the rule comes from.
        confidence: how sure it is; empty where an engine gave the reason.
        change: what would make the operation eligible.
    """

    text: str
    rule: str = ""
    source: str = ""
    confidence: Literal["high", "medium", "low", ""] = ""
    change: str = ""

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Situation:
    """What a rule needs to know beside the operation.

    Attributes:
        sizes: of the program's values.
        half: whether floats declared fp32 are computed in fp16: so are those of a network.
        shapes: how many shapes the inputs may have: 1, a number of enumerated ones, or None for an open range.
    """

    chip: Chip
    sizes: Sizes
    half: bool = False
    shapes: int | None = 1


Check: TypeAlias = Callable[[Operation, Situation, Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Rule:
    """A rule of the table; ``readings`` has what sources say that disagree, and ``follows`` the one that plans follow."""

    name: str
    unit: str
    effect: Literal["refuses", "warns"]
    check: Check
    text: str
    change: str
    source: str
    confidence: Confidence
    parameters: Mapping[str, Any]
    readings: Mapping[str, str] = field(default_factory=dict)
    follows: str = ""

    def find(self, operation: Operation, situation: Situation) -> Reason | None:
        """What the rule has against an operation, if anything."""
        found = self.check(operation, situation, self.parameters)
        if found is None:
            return None
        source = "; ".join(f"{name}: {text}" for name, text in self.readings.items()) or self.source
        return Reason(f"{found}: {self.text}" if found else self.text, self.name, source, self.confidence, self.change)


@cache
def rules(unit: str) -> tuple[Rule, ...]:
    """The rules about one of a chip's units, in the order of the table."""
    return tuple(_rule(dict(entry)) for entry in table("rules")["rules"] if entry["unit"] == unit)


def model_size_rule() -> tuple[int, Reason]:
    """The bytes that a model's weights may have, and what there is to say above that."""
    entry = table("rules")["model-size"]
    return entry["most"], Reason(entry["text"], entry["name"], entry["source"], entry["confidence"], entry["change"])


def _rule(entry: dict[str, Any]) -> Rule:
    own = {name: entry.pop(name) for name in ("name", "unit", "effect", "text", "change", "source", "confidence")}
    readings, follows, check = entry.pop("readings", {}), entry.pop("follows", ""), _CHECKS[entry.pop("check")]
    return Rule(**own, check=check, parameters=entry, readings=readings, follows=follows)


def _computed(operation: Operation) -> Iterator[Value]:
    """Values that an operation takes and gives, without constants and what its nested blocks do."""
    yield from (argument for argument in operation.arguments() if isinstance(argument, Value) and not is_constant(argument))
    yield from operation.outputs


def _data_type(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for value in _computed(operation):
        dtype = situation.sizes.dtype(value)
        if dtype is None or dtype.name in parameters["allowed"] or (situation.half and dtype.is_float) or dtype.name == "string":
            continue
        return f"{value.name} is {dtype}"
    return None


def _rank(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for value in _computed(operation):
        shape = situation.sizes.shape(value)
        if shape is not None and len(shape) > parameters["most"]:
            return f"{value.name} has {len(shape)} axes"
    return None


def _static_shape(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    """By the declared type: sizes known for the inputs at hand do not make a shape a fixed one."""
    if situation.shapes is not None and situation.shapes <= parameters["most"]:
        return None
    for value in _computed(operation):
        held = value.type.wrapped if isinstance(value.type, StateType) else value.type
        if isinstance(held, TensorType) and not held.is_static:
            return f"{value.name} has the shape {_shape_text(held)}"
    return None


def _shape_text(held: TensorType) -> str:
    return str(held).partition(", ")[2].removesuffix(">")


def _size_of_axes(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    """The last two axes (three of five) are depth, height and width, those before them batch and channels."""
    newer, most = parameters["others_from"], parameters["others"]
    if situation.chip.number >= newer[situation.chip.family]:
        most = newer["size"]
    for value in _computed(operation):
        sizes = situation.sizes.sizes(value)
        inner = 3 if len(sizes) == 5 else 2
        for axis, size in enumerate(sizes):
            limit = most if axis >= len(sizes) - inner else parameters["batch_and_channels"]
            if size > limit:
                return f"axis {axis} of {value.name} has {size} elements"
    return None


def _kernel_width(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    if operation.type not in ("conv", "conv_quantized", "conv_transpose"):
        return None
    most = parameters["on_m1"] if situation.chip.name.startswith("M1") else parameters["most"]
    weight = next(iter(operation.inputs.get("weight", ())), None)
    width = situation.sizes.sizes(weight)[-1:] if weight is not None else ()
    return f"its kernel is {width[0]} wide" if width and width[0] > most else None


def _operations(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    if operation.type not in parameters["operations"] or situation.chip.generation >= parameters.get("before", 1000):
        return None
    return operation.type


def _state_size(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for value in _computed(operation):
        if isinstance(value.type, StateType):
            sizes = situation.sizes.sizes(value)
            if sizes and sizes[-1] % parameters["multiple"]:
                return f"the last axis of state {value.name} has {sizes[-1]} elements"
    return None


def _small_attention(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    if operation.type != "scaled_dot_product_attention":
        return None
    query, key = (situation.sizes.sizes(operation.inputs[name][0]) for name in ("query", "key"))
    elements = int(np.prod(query[:-1], dtype=object)) * (key[-2] if len(key) > 1 else 1)
    return f"{elements:,} elements" if elements < parameters["least"] else None


def _last_axis_of_one(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for value in operation.outputs:
        sizes = situation.sizes.sizes(value)
        if len(sizes) > 1 and sizes[-1] == 1 and situation.sizes.count(value) > 1:
            return f"{value.name} has the shape {list(sizes)}"
    return None


def _large_numbers(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    """Looks at constants that stand in the program itself; those in a weight file are not read for it."""
    for name in operation.inputs:
        constant = stated(operation, name)
        if constant is None or not _is_immediate_float(constant):
            continue
        largest = float(np.max(np.abs(np.asarray(constant.value, np.float64)), initial=0.0))
        if largest > parameters["most"] and name not in ("alpha", "beta", "epsilon"):
            return f"{name} holds {largest:.4g}"
    return None


def _is_immediate_float(constant: Constant) -> bool:
    return constant.file is None and isinstance(constant.type, TensorType) and constant.type.dtype.is_float


def _compressed_weights(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for argument in operation.arguments():
        producer = argument.producer if isinstance(argument, Value) else None
        if producer is not None and producer.type.startswith("constexpr_"):
            parts = (*producer.arguments(), *producer.attributes.values())
            bits = {part.type.dtype.bits for part in parts if isinstance(part.type, TensorType) and part.type.dtype.is_int}
            if bits & set(parameters["bits"]):
                return f"{_name_of(argument)} has {min(bits & set(parameters['bits']))} bits an element"
    return None


def _name_of(argument: Argument) -> str:
    """The name of a value; a constant has none."""
    return argument.name if isinstance(argument, Value) else "a constant"


def _on_chip_memory(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for value in operation.outputs:
        count = situation.sizes.bytes(value)
        if count > parameters["most"]:
            return f"{value.name} has {count / 1e6:.0f} MB"
    return None


def _host_values(operation: Operation, situation: Situation, parameters: Mapping[str, Any]) -> str | None:
    for value in _computed(operation):
        held = value.type.wrapped if isinstance(value.type, StateType) else value.type
        if not isinstance(held, TensorType | ListType) or (isinstance(held, TensorType) and held.dtype.name == "string"):
            return f"{value.name} is {held}"
    return None


_CHECKS: dict[str, Check] = {
    "data_type": _data_type,
    "rank": _rank,
    "static_shape": _static_shape,
    "size_of_axes": _size_of_axes,
    "kernel_width": _kernel_width,
    "operations": _operations,
    "state_size": _state_size,
    "small_attention": _small_attention,
    "last_axis_of_one": _last_axis_of_one,
    "large_numbers": _large_numbers,
    "compressed_weights": _compressed_weights,
    "on_chip_memory": _on_chip_memory,
    "host_values": _host_values,
}
