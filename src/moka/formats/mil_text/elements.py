"""Elements of tensors: texts to numbers, and numbers into the message."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.formats.mil_text.grammar import value_field
from moka.formats.packing import pack

__all__ = ["ElementError", "convert", "has_shape", "store"]

_NO_STRUCTURE = re.compile(r"[^\[\],]+")
_BOOLEANS = {"true": True, "false": False}
_INTEGERS = re.compile(r"[-+\d,\s]*", re.ASCII)
_FLOATS = re.compile(r"[-+0-9a-fA-FxXpPint.,\s]*", re.ASCII)


class ElementError(Exception):
    """A text that is no element of its type.

    Args:
        offset: where it stands in the text that was to be converted.
        problem: what was found and expected.
    """

    def __init__(self, offset: int, problem: str) -> None:
        super().__init__(offset, problem)
        self.offset, self.problem = offset, problem


def convert(text: str, dtype: DType) -> list[Any]:
    """The elements of a text with commas between them: booleans, or decimal integers, or decimal or hexadecimal floats.

    Raises:
        ElementError: one of them has another form, or ``dtype`` can't hold it.
    """
    items = text.split(",")
    try:
        return _values(items, dtype)
    except (KeyError, ValueError, OverflowError):
        raise _first_problem(items, dtype) from None


def _values(items: list[str], dtype: DType) -> list[Any]:
    if dtype == dtypes.BOOL:
        return [_BOOLEANS[item.strip()] for item in items]
    if dtype.is_int:
        return _integers(items, dtype)
    return _floats(items, dtype)


def _integers(items: list[str], dtype: DType) -> list[int]:
    values = list(map(int, items))
    low, high = _range(dtype)
    if min(values) < low or max(values) > high or not all(map(_INTEGERS.fullmatch, items)):
        raise ValueError
    return values


def _range(dtype: DType) -> tuple[int, int]:
    """The smallest and the largest integer; those of 64 bits share a signed field of the message."""
    if dtype.name.startswith("int"):
        return -(1 << dtype.bits - 1), (1 << dtype.bits - 1) - 1
    return 0, (1 << min(dtype.bits, 63)) - 1


def _floats(items: list[str], dtype: DType) -> list[float]:
    values = list(map(_float, items))
    array = np.array(values)
    with np.errstate(over="ignore"):
        held = array.astype(dtype.numpy)
    if (np.isfinite(array) & ~np.isfinite(held)).any() or not all(map(_FLOATS.fullmatch, items)):
        raise ValueError
    return values


def _float(item: str) -> float:
    if "x" in item or "X" in item:
        return float.fromhex(item)
    value = float(item)
    if math.isinf(value) and "inf" not in item:
        raise OverflowError
    return value


def _first_problem(items: list[str], dtype: DType) -> ElementError:
    offset = 0
    for item in items:
        try:
            _values([item], dtype)
        except (KeyError, ValueError, OverflowError):
            break
        offset += len(item) + 1
    found = item.strip()
    shown = repr(found if len(found) <= 40 else f"{found[:40]}...") if found else "nothing"
    return ElementError(offset + len(item) - len(item.lstrip()), f"found {shown}, expected {_expected(dtype)}")


def _expected(dtype: DType) -> str:
    if dtype == dtypes.BOOL:
        return "true or false"
    if dtype.is_int:
        low, high = _range(dtype)
        return f"an integer of type {dtype}, from {low} to {high}"
    return f"a number of type {dtype}"


def has_shape(text: str, shape: Sequence[int | None]) -> bool:
    """Whether the brackets and commas of a text are those of an array of this shape, which has two axes at least."""
    sizes = [size or 0 for size in shape]
    if text.count(",") + 1 != math.prod(sizes) or text.count("[") < math.prod(sizes[:-1]):  # before anything as large as the shape is made
        return False
    expected = ""
    for size in reversed(sizes):
        expected = f"[{','.join([expected] * size)}]"
    return _NO_STRUCTURE.sub("", text) == expected


def store(message: Any, elements: list[Any], dtype: DType) -> None:
    """Puts elements into a ``TensorValue`` message, in the field that coremltools uses for their type."""
    field = value_field(dtype)
    values = getattr(message, field)
    values.SetInParent()
    if field == "bytes":
        values.values = pack(np.array(elements, np.float64 if dtype.is_float else dtype.numpy).astype(dtype.numpy), dtype)
    else:
        values.values.extend(elements)
