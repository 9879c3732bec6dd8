"""Outputs in short: as data for JSON, and as text for a table."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["summary", "summary_text"]

_FIRST = 6
"""How many elements of an array are shown."""

_SCALARS = {str: "string", int: "int64", float: "double"}
"""Core ML's names of types."""


def summary(value: Any, top: int) -> dict[str, Any]:
    """What there is to say about an output: its type, and its value, its largest entries or its statistics."""
    if hasattr(value, "getbands"):
        return {"type": "image", "mode": value.mode, "width": value.width, "height": value.height}
    if isinstance(value, dict):
        largest = sorted(value.items(), key=lambda item: (not math.isnan(item[1]), item[1]), reverse=True)[:top]
        return {"type": "dictionary", "entries": len(value), "top": [{"key": key, "value": number(item)} for key, item in largest]}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return _array(value)
    if isinstance(value, (list, tuple)):
        return {"type": "sequence", "entries": len(value), "first": list(value[:_FIRST])}
    return {"type": _SCALARS.get(type(value), type(value).__name__), "value": number(value)}


def _array(array: Any) -> dict[str, Any]:
    about = {"type": "array", "dtype": str(array.dtype), "shape": list(array.shape)}
    if array.size == 0:
        return about
    values = array.astype("float64")
    finite = values[abs(values) < math.inf]
    statistics = {"min": finite.min(), "max": finite.max(), "mean": finite.mean()} if finite.size else {}
    first = [number(item) for item in array.reshape(-1)[:_FIRST].tolist()]
    about |= {key: number(float(item)) for key, item in statistics.items()} | {"first": first}
    return about | ({"not_finite": int(array.size - finite.size)} if finite.size < array.size else {})


def number(value: Any) -> Any:
    """A number as JSON takes it: infinities and NaN are text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def summary_text(about: dict[str, Any]) -> tuple[str, str]:
    """Type and value of a summary, for people."""
    if about["type"] == "image":
        return "image", f"{about['mode']}, {about['width']} x {about['height']} pixels"
    if about["type"] == "dictionary":
        entries = "\n".join(f"{_digits(item['value']):>10}  {item['key']}" for item in about["top"])
        return f"{about['entries']} entries", entries
    if about["type"] == "sequence":
        return f"{about['entries']} items", _listed(about["first"], about["entries"])
    if about["type"] == "array":
        return f"{about['dtype']} {about['shape']}", _array_text(about)
    return about["type"], str(about["value"])


def _array_text(about: dict[str, Any]) -> str:
    if math.prod(about["shape"]) <= 1:
        return ", ".join(map(_digits, about.get("first", ["empty"])))
    lines = []
    if "mean" in about:
        lines.append(", ".join(f"{key} {_digits(about[key])}" for key in ("min", "max", "mean")))
    if "not_finite" in about:
        lines.append(f"{about['not_finite']:,} not finite")
    lines.append(_listed(about["first"], math.prod(about["shape"])) if "first" in about else "empty")
    return "\n".join(lines)


def _listed(first: list[Any], count: int) -> str:
    return ", ".join(map(_digits, first)) + (", ..." if count > len(first) else "")


def _digits(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
