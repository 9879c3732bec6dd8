"""Types and values of a message as text."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from moka.errors import FormatError
from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.formats.mil_text.grammar import quoted
from moka.formats.packing import packed_size, unpack

__all__ = ["ValuePrinter"]

_NUMBERS, _FLOATS, _STRINGS = (False, False), (False, True), (True, False)
_FIELDS = {"bools": _NUMBERS, "ints": _NUMBERS, "longInts": _NUMBERS, "floats": _FLOATS, "doubles": _FLOATS, "strings": _STRINGS}
"""Of each field of ``TensorValue`` but bytes: whether its elements are strings, and whether they are floats."""

_TRAILING_ZEROS = re.compile(r"\.?0+p")


class ValuePrinter:
    """Prints types and values.

    Args:
        scalars: whether a tensor of rank 0 has the type ``int32``, and not ``tensor<int32, []>``.
    """

    def __init__(self, scalars: bool) -> None:
        self._scalars = scalars

    def type(self, message: Any) -> str:
        """A ``ValueType`` message."""
        kind = message.WhichOneof("type")
        if kind == "tensorType":
            return self._tensor_type(message.tensorType)
        if kind == "listType":
            return f"list<{self.type(message.listType.type)}, {_dimension(message.listType.length)}>"
        if kind == "tupleType":
            return f"tuple<{', '.join(map(self.type, message.tupleType.types))}>"
        if kind == "dictionaryType":
            return f"dict<{self.type(message.dictionaryType.keyType)}, {self.type(message.dictionaryType.valueType)}>"
        if kind == "stateType":
            return f"state<{self.type(message.stateType.wrappedType)}>"
        raise FormatError("a value", "has no type; expected tensorType, listType, tupleType, dictionaryType or stateType")

    def _tensor_type(self, message: Any) -> str:
        dtype = _dtype(message)
        if self._scalars and not message.dimensions and message.rank == 0:
            return dtype.name
        dimensions = map(_dimension, message.dimensions) if message.dimensions or message.rank >= 0 else ["..."]
        return f"tensor<{dtype.name}, [{', '.join(dimensions)}]>"

    def value(self, message: Any) -> str:
        """A ``Value`` message: its type, and in parentheses its literal or where it lies in a weight file."""
        return f"{self.type(message.type)}({self._literal(message)})"

    def _blob(self, message: Any) -> str:
        path, offset = self._scalar(dtypes.STRING, quoted(message.fileName)), self._scalar(dtypes.UINT64, str(message.offset))
        return f"BLOBFILE(path = {path}, offset = {offset})"

    def _scalar(self, dtype: DType, literal: str) -> str:
        return f"{dtype.name}({literal})" if self._scalars else f"tensor<{dtype.name}, []>({literal})"

    def _literal(self, message: Any) -> str:
        if message.WhichOneof("value") == "blobFileValue":
            return self._blob(message.blobFileValue)
        value = message.immediateValue
        kind = value.WhichOneof("value")
        if kind == "tensor":
            return _tensor_literal(message.type.tensorType, value.tensor)
        if kind == "list":
            return f"[{', '.join(map(self._literal, value.list.values))}]"
        if kind == "tuple":
            return f"({', '.join(map(self._literal, value.tuple.values))})"
        if kind == "dictionary":
            pairs = sorted((self._literal(pair.key), self._literal(pair.value)) for pair in value.dictionary.values)
            return f"{{{', '.join(f'{{{key}, {item}}}' for key, item in pairs)}}}"
        raise FormatError(f"a value of type {self.type(message.type)}", "holds nothing")


def _dtype(message: Any) -> DType:
    dtype = dtypes.BY_MIL.get(message.dataType)
    if dtype is None:
        raise FormatError(f"data type {message.dataType}", "is none that the Core ML schema defines")
    return dtype


def _dimension(message: Any) -> str:
    if message.WhichOneof("dimension") == "constant":
        return str(message.constant.size)
    return "..." if message.unknown.variadic else "?"


def _tensor_literal(tensor_type: Any, message: Any) -> str:
    dtype = _dtype(tensor_type)
    shape = [item.constant.size if item.WhichOneof("dimension") == "constant" else -1 for item in tensor_type.dimensions]
    where = f"an immediate value of type {dtype} and shape {shape}"
    if min(shape, default=0) < 0 or tensor_type.rank < 0:
        raise FormatError(where, "expected a constant shape")
    count = math.prod(shape)
    elements = _elements(dtype, count, message, where)
    if len(elements) != count:
        raise FormatError(where, f"holds {len(elements)} elements, expected {count}")
    return _nested(_texts(dtype, elements), shape) if count else "[]"


def _elements(dtype: DType, count: int, message: Any, where: str) -> Sequence[Any]:
    field = message.WhichOneof("value")
    if field is None:
        return ()
    values: Sequence[Any] = getattr(message, field).values
    if field != "bytes":
        if _FIELDS[field] != (dtype == dtypes.STRING, dtype.is_float):
            raise FormatError(where, f"holds {field}")
        return values
    if dtype.bits == 0 or len(values) != packed_size(count, dtype):
        raise FormatError(where, f"holds {len(values)} bytes, expected {packed_size(count, dtype)}")
    array = unpack(bytes(values), dtype, count)
    numbers: list[Any] = (array.astype(np.float64) if dtype.is_float else array).tolist()
    return numbers


def _texts(dtype: DType, elements: Sequence[Any]) -> list[str]:
    if dtype == dtypes.STRING:
        return [quoted(element) for element in elements]
    if dtype == dtypes.BOOL:
        return ["true" if element else "false" for element in elements]
    return _hex_floats(elements) if dtype.is_float else [str(element) for element in elements]


def _hex_floats(values: Sequence[float]) -> list[str]:
    """Numbers as C's ``%a`` prints them: with the shortest hexadecimal mantissa that is exact."""
    return _TRAILING_ZEROS.sub("p", "\n".join(map(float.hex, values))).split("\n") if values else []


def _nested(texts: list[str], shape: Sequence[int]) -> str:
    """Elements in row-major order in nested brackets: ``[[1, 2], [3, 4]]``; a scalar has none."""
    for size in reversed(shape):
        texts = [f"[{', '.join(texts[start : start + size])}]" for start in range(0, len(texts), size)]
    return texts[0]
