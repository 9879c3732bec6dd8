"""Frozen dataclasses as what JSON can hold, and back, with every type checked on the way."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

from moka.errors import FormatError

__all__ = ["decode", "encode"]

R = TypeVar("R")


def encode(value: Any) -> Any:
    """A dataclass as a dict, tuples as lists."""
    if is_dataclass(value):
        return {item.name: encode(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    return [encode(item) for item in value] if isinstance(value, tuple) else value


def decode(kind: type[R], data: Any, where: str) -> R:
    """What `encode` gave, as the dataclass ``kind``.

    Raises:
        FormatError: a field is missing, unknown, or of another type.
    """
    return typing.cast(R, _decode(kind, data, f"{where}:"))


def _decode(kind: Any, data: Any, where: str) -> Any:
    origin = typing.get_origin(kind)
    if is_dataclass(kind):
        return _record(kind, data, where)
    if origin is tuple:
        (item, _) = typing.get_args(kind)  # all tuples here are of one type and any length
        return tuple(_decode(item, part, f"{where}[{index}]") for index, part in enumerate(_expect(data, list, where)))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = typing.get_args(kind)[1]
        return {key: _decode(item, part, f"{where}[{key!r}]") for key, part in _expect(data, dict, where).items()}
    if origin is Literal:
        return _one_of(typing.get_args(kind), data, where)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind), data, where)
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    return _expect(data, kind, where)


def _record(kind: Any, data: Any, where: str) -> Any:
    given = _expect(data, dict, where)
    hints = typing.get_type_hints(kind)
    known = {item.name: item for item in fields(kind)}
    if unknown := given.keys() - known.keys():
        raise FormatError(where.removesuffix(":"), f"has the field {min(unknown)!r}, which is none of {', '.join(known)}")
    needed = [name for name, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    if missing := [name for name in needed if name not in given]:
        raise FormatError(where.removesuffix(":"), f"lacks the field {missing[0]!r}")
    return kind(
        **{
            name: _decode(hints[name], value, f"{where} {name}" if where.endswith(":") else f"{where}.{name}")
            for name, value in given.items()
        }
    )


def _union(kinds: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in kinds:
        return None
    (*others, last) = [kind for kind in kinds if kind is not type(None)]
    for kind in others:
        try:
            return _decode(kind, data, where)
        except FormatError:
            continue
    return _decode(last, data, where)


def _one_of(allowed: tuple[Any, ...], data: Any, where: str) -> Any:
    if data not in allowed:
        raise FormatError(where.removesuffix(":"), f"is {data!r:.60}; expected one of {', '.join(map(repr, allowed))}")
    return data


def _expect(data: Any, kind: type, where: str) -> Any:
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        raise FormatError(where.removesuffix(":"), f"is {data!r:.60}; expected {kind.__name__}")
    return data
