"""Neural networks as text for people: one layer a line, nested networks indented, weights in short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from moka.models.precision import stored_numbers

__all__ = ["network_text"]

_ITEMS = 8
_CHARACTERS = 60


def network_text(network: Any, description: Any) -> str:
    """A ``NeuralNetwork`` message or its kin, for reading: ``%y = innerProduct(%x, inputChannels=3, weights=fp32[6])  # dense``.

    Fields have the format's names; those that have their default are left out, as in the file. ``description`` is the model's.
    """
    lines = [f"network({_named(feature.name for feature in description.input)}) {{"]
    lines += [f"  preprocessing({_fields(message)})" for message in network.preprocessing]
    lines += _layers(network.layers, "  ")
    lines += [f"  return {_named(feature.name for feature in description.output)}", "}"]
    return "\n".join(lines) + "\n"


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"%{name}" for name in names)


def _layers(layers: Sequence[Any], indent: str) -> Iterator[str]:
    for layer in layers:
        kind = layer.WhichOneof("layer")
        message = getattr(layer, kind) if kind else None
        fields = list(message.ListFields()) if message is not None else []
        nested = [(field.name, value) for field, value in fields if _is_network(field) and value.layers]
        stated = [_stated(field, value) for field, value in fields if not _is_network(field)]
        results = f"{_named(layer.output)} = " if layer.output else ""
        taken = [f"%{name}" for name in layer.input]
        call = f"{kind or 'unknown'}({', '.join([*taken, *stated])})"
        yield f"{indent}{results}{call}{' {' if nested else ''}{'  # ' + layer.name if layer.name else ''}"
        for name, network in nested:
            yield f"{indent}  {name}:"
            yield from _layers(network.layers, indent + "    ")
        if nested:
            yield f"{indent}}}"


def _is_network(field: Any) -> bool:
    return field.message_type is not None and field.message_type.name == "NeuralNetwork"


def _fields(message: Any) -> str:
    return ", ".join(_stated(field, value) for field, value in message.ListFields())


def _stated(field: Any, value: Any) -> str:
    """A field and its value; the name alone where a message without fields says it all: ``ReLU``."""
    empty = hasattr(value, "ListFields") and value.DESCRIPTOR.name != "WeightParams" and not value.ListFields()
    return str(field.name) if empty else f"{field.name}={_value(field, value)}"


def _value(field: Any, value: Any) -> str:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return _listed([f"{key}: {_message(item) if hasattr(item, 'ListFields') else item}" for key, item in sorted(value.items())], "{}")
    if hasattr(value, "ListFields") or isinstance(value, (str, bytes, int, float)):
        return _single(field, value)
    return _listed([_single(field, item) for item in value[:_ITEMS]], "[]", len(value))


def _single(field: Any, value: Any) -> str:
    if hasattr(value, "ListFields"):
        return _message(value)
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str):
        return repr(value if len(value) <= _CHARACTERS else value[: _CHARACTERS - 3] + "...")
    if field.enum_type is not None and value in field.enum_type.values_by_number:
        return str(field.enum_type.values_by_number[value].name)
    return str(value).lower() if isinstance(value, bool) else f"{value:.7g}" if isinstance(value, float) else str(value)


def _message(message: Any) -> str:
    """Weights by type and number, other messages by their fields."""
    if message.DESCRIPTOR.name == "WeightParams":
        return " and ".join(f"{dtype}[{count}]" for dtype, _, count in stored_numbers(message)) or "none"
    return f"{{{_fields(message)}}}"


def _listed(items: Sequence[str], brackets: str, count: int = 0) -> str:
    """Items in brackets; ``count`` is how many there are in all, where not all are given."""
    rest = f", ... {count} in all" if count > len(items) else ""
    return f"{brackets[0]}{', '.join(items)}{rest}{brackets[1]}"
