"""Checks of a layer's message that hold for every kind of layer."""

from __future__ import annotations

from typing import Any

from moka.errors import ProgramError

__all__ = ["check_enumerations"]

_APART = ("WeightParams", "NeuralNetwork", "CustomLayerParams")
"""Messages that are looked into elsewhere."""


def check_enumerations(message: Any, where: str) -> None:
    """Refuses a number that its enumeration does not have, which a file may hold all the same; ``where`` names the layer.

    Raises:
        ProgramError: names the field, the number and those allowed.
    """
    for field, value in message.ListFields():
        if field.enum_type is not None and isinstance(value, int) and value not in field.enum_type.values_by_number:
            names = ", ".join(item.name for item in field.enum_type.values)
            raise ProgramError(f"{where}: {field.name} is {value}; expected one of {names}")
        if hasattr(value, "ListFields") and value.DESCRIPTOR.name not in _APART:
            check_enumerations(value, where)
