"""The tables of devices and rules: TOML files of this package, every figure in them with its source and how sure it is."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

__all__ = ["Confidence", "Figure", "figure", "table"]

Confidence: TypeAlias = Literal["high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with where it comes from.

    Attributes:
        name: what it says of what: ``A16 bandwidth``.
        source: in words.
        confidence: ``high`` for the maker's own figure, ``medium`` for one that was measured, ``low`` for one that was derived or assumed.
    """

    name: str
    value: float
    source: str
    confidence: Confidence


@cache
def table(name: str) -> dict[str, Any]:
    """A table of the package by its file's name."""
    return tomllib.loads((files("moka.planning") / "data" / f"{name}.toml").read_text(encoding="utf-8"))


def figure(name: str, entry: dict[str, Any], sources: dict[str, str]) -> Figure:
    """A figure of a table, its source spelled out."""
    return Figure(name, float(entry["value"]), sources[entry["source"]], entry["confidence"])
