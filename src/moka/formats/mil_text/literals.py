"""Types and values of the text as messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from moka.formats import dtypes, schema
from moka.formats.dtypes import DType
from moka.formats.mil_text.elements import ElementError, convert, store
from moka.formats.mil_text.grammar import MAX_DEPTH
from moka.formats.mil_text.lexer import Lexer

__all__ = ["ValueParser"]

_TENSOR = re.compile(r"tensor<\w+, \[[\d, ?]*\]>")
_ROW = re.compile(r'\[([^\[\]"(){}]*+)\]')
_MAX_SIZE = 2**63 - 1


class ValueParser:
    """Parses types, and values as their types demand.

    Args:
        lexer: the text; its current token is where parsing goes on.
    """

    def __init__(self, lexer: Lexer) -> None:
        self._lexer = lexer
        self._mil = schema.mil()
        self._types: dict[str, Any] = {}

    def type(self, depth: int = 0) -> Any:
        """A type as a ``ValueType`` message, which other values may share."""
        lexer = self._lexer
        match = _TENSOR.match(lexer.text, lexer.start)
        if match is None:
            return self._type(depth)
        known = self._types.get(match[0])
        if known is None:
            self._types[match[0]] = known = self._type(depth)
        else:
            lexer.jump(match.end())
        return known

    def _type(self, depth: int) -> Any:
        lexer = self._lexer
        if depth > MAX_DEPTH:
            lexer.fail_at(lexer.start, f"found a type that nests more than {MAX_DEPTH} deep")
        parse = self._COMPOUND.get(lexer.token)
        message = self._mil.ValueType()
        if parse is None:
            message.tensorType.dataType = self._dtype("a type").mil
            return message
        lexer.advance()
        lexer.expect("<")
        parse(self, message, depth + 1)
        lexer.expect(">")
        return message

    def _dtype(self, what: str) -> DType:
        dtype = dtypes.BY_NAME.get(self._lexer.token)
        if dtype is None or self._lexer.kind != "name":
            self._lexer.fail(f"{what}; element types are {', '.join(dtypes.BY_NAME)}")
        self._lexer.advance()
        return dtype

    def _tensor_type(self, message: Any, depth: int) -> None:
        lexer = self._lexer
        tensor = message.tensorType
        tensor.dataType = self._dtype("an element type").mil
        lexer.expect(",")
        lexer.expect("[")
        while not lexer.take("]"):
            if tensor.dimensions:
                lexer.expect(",")
            if len(tensor.dimensions) == MAX_DEPTH:
                lexer.fail(f"a tensor of rank {MAX_DEPTH} at most")
            self._dimension(tensor.dimensions.add())
        tensor.rank = -1 if any(item.unknown.variadic for item in tensor.dimensions) else len(tensor.dimensions)

    def _dimension(self, message: Any) -> None:
        lexer = self._lexer
        if lexer.take("?"):
            message.unknown.variadic = False
        elif lexer.take("..."):
            message.unknown.variadic = True
        elif lexer.token.isdecimal() and len(lexer.token) < 20 and int(lexer.token) <= _MAX_SIZE:
            message.constant.size = int(lexer.token)
            lexer.advance()
        else:
            lexer.fail(f"a dimension: '?', '...' or a number up to {_MAX_SIZE}")

    def _list_type(self, message: Any, depth: int) -> None:
        message.listType.type.CopyFrom(self.type(depth))
        self._lexer.expect(",")
        self._dimension(message.listType.length)

    def _tuple_type(self, message: Any, depth: int) -> None:
        message.tupleType.SetInParent()
        while self._lexer.token != ">":
            if message.tupleType.types:
                self._lexer.expect(",")
            message.tupleType.types.add().CopyFrom(self.type(depth))

    def _dictionary_type(self, message: Any, depth: int) -> None:
        message.dictionaryType.keyType.CopyFrom(self.type(depth))
        self._lexer.expect(",")
        message.dictionaryType.valueType.CopyFrom(self.type(depth))

    def _state_type(self, message: Any, depth: int) -> None:
        message.stateType.wrappedType.CopyFrom(self.type(depth))

    _COMPOUND: ClassVar[dict[str, Callable[..., None]]] = {
        "tensor": _tensor_type,
        "list": _list_type,
        "tuple": _tuple_type,
        "dict": _dictionary_type,
        "state": _state_type,
    }

    def value(self, message: Any) -> None:
        """A type and a value in parentheses, into a ``Value`` message."""
        value_type = self.type()
        self._lexer.expect("(")
        self._literal(message, value_type)
        self._lexer.expect(")")

    def _literal(self, message: Any, value_type: Any) -> None:
        message.type.CopyFrom(value_type)
        kind = value_type.WhichOneof("type")
        if self._lexer.token == "BLOBFILE" and self._lexer.kind == "name":
            self._blob(message.blobFileValue)
        elif kind == "tensorType":
            self._tensor(message)
        elif kind == "listType":
            self._list(message, value_type.listType)
        elif kind == "tupleType":
            self._tuple(message.immediateValue.tuple, value_type.tupleType)
        elif kind == "dictionaryType":
            self._dictionary(message.immediateValue.dictionary, value_type.dictionaryType)
        else:
            self._lexer.fail("no value: a state has none")

    def _blob(self, message: Any) -> None:
        lexer = self._lexer
        lexer.expect("BLOBFILE")
        for token in ("(", "path", "="):
            lexer.expect(token)
        message.fileName = self._scalar(dtypes.STRING)
        for token in (",", "offset", "="):
            lexer.expect(token)
        message.offset = self._scalar(dtypes.UINT64)
        lexer.expect(")")

    def _scalar(self, dtype: DType) -> Any:
        """The value of a typed scalar, which must be of this type."""
        position = self._lexer.start
        value_type = self.type().tensorType
        if value_type.dataType != dtype.mil or value_type.rank:
            self._lexer.fail_at(position, f"expected a scalar of type {dtype}")
        self._lexer.expect("(")
        value = self._element(dtype)
        self._lexer.expect(")")
        return value

    def _element(self, dtype: DType) -> Any:
        """One element without a type."""
        lexer = self._lexer
        if dtype == dtypes.STRING:
            return lexer.string("a string in quotes")
        if lexer.kind not in ("number", "name"):
            lexer.fail(f"a value of type {dtype}")
        token, position = lexer.token, lexer.start
        lexer.advance()
        return self._converted(token, position, dtype)[0]

    def _converted(self, text: str, position: int, dtype: DType) -> list[Any]:
        try:
            return convert(text, dtype)
        except ElementError as error:
            self._lexer.fail_at(position + error.offset, error.problem)

    def _tensor(self, message: Any) -> None:
        tensor_type = message.type.tensorType
        dtype = dtypes.BY_MIL[tensor_type.dataType]
        sizes = (item.constant.size if item.WhichOneof("dimension") == "constant" else None for item in tensor_type.dimensions)
        shape: list[int | None] = list(sizes)
        if tensor_type.rank < 0:
            self._lexer.fail("a type whose rank is known")
        elements: list[Any] = []
        if shape:
            self._rows(shape, 0, dtype, elements)
            for item, size in zip(tensor_type.dimensions, shape, strict=True):
                item.constant.size = size or 0
        else:
            elements.append(self._element(dtype))
        store(message.immediateValue.tensor, elements, dtype)

    def _rows(self, shape: list[int | None], axis: int, dtype: DType, elements: list[Any]) -> None:
        """The rows of an axis, in brackets; a size that the type leaves open is that of the first of its rows."""
        position = self._lexer.start
        if axis + 1 < len(shape):
            count = self._nested_rows(shape, axis, dtype, elements)
        else:
            row = self._row(dtype)
            count = len(row)
            elements += row
        expected = shape[axis]
        if expected is None:
            shape[axis] = count
        elif count != expected and (count or 0 not in shape):
            self._lexer.fail_at(position, f"found {count} elements, expected {expected} on axis {axis} of a tensor of type {dtype}")

    def _nested_rows(self, shape: list[int | None], axis: int, dtype: DType, elements: list[Any]) -> int:
        lexer = self._lexer
        count = 0
        lexer.expect("[")
        while not lexer.take("]"):
            if count:
                lexer.expect(",")
            self._rows(shape, axis + 1, dtype, elements)
            count += 1
        return count

    def _row(self, dtype: DType) -> list[Any]:
        """The elements between two brackets; numbers are found at once and not one token after the other."""
        lexer = self._lexer
        match = _ROW.match(lexer.text, lexer.start) if dtype != dtypes.STRING else None
        if match is not None:
            lexer.jump(match.end())
            return self._converted(match[1], match.start(1), dtype) if match[1].strip() else []
        row: list[Any] = []
        lexer.expect("[")
        while not lexer.take("]"):
            if row:
                lexer.expect(",")
            row.append(self._element(dtype))
        return row

    def _list(self, message: Any, list_type: Any) -> None:
        lexer = self._lexer
        position = lexer.start
        values = message.immediateValue.list
        values.SetInParent()
        lexer.expect("[")
        while not lexer.take("]"):
            if values.values:
                lexer.expect(",")
            self._literal(values.values.add(), list_type.type)
        length = list_type.length
        if length.WhichOneof("dimension") == "constant" and length.constant.size != len(values.values):
            lexer.fail_at(position, f"found {len(values.values)} values, expected a list of {length.constant.size}")

    def _tuple(self, message: Any, tuple_type: Any) -> None:
        message.SetInParent()
        self._lexer.expect("(")
        for index, item in enumerate(tuple_type.types):
            if index:
                self._lexer.expect(",")
            self._literal(message.values.add(), item)
        self._lexer.expect(")")

    def _dictionary(self, message: Any, dictionary_type: Any) -> None:
        lexer = self._lexer
        message.SetInParent()
        keys = set()
        lexer.expect("{")
        while not lexer.take("}"):
            if message.values:
                lexer.expect(",")
            pair = message.values.add()
            lexer.expect("{")
            key = lexer.token
            if key in keys:
                lexer.fail("a key that is not there yet")
            keys.add(key)
            self._literal(pair.key, dictionary_type.keyType)
            lexer.expect(",")
            self._literal(pair.value, dictionary_type.valueType)
            lexer.expect("}")
