"""Values of the text as messages, read as their types demand."""

from __future__ import annotations

import re
from typing import Any

from moka.formats import dtypes
from moka.formats.dtypes import DType
from moka.formats.mil_text.elements import ElementError, convert, has_shape, store
from moka.formats.mil_text.type_parser import TypeParser

__all__ = ["ValueParser"]

_ROW = re.compile(r'\[([^\[\]"(){}]*+)\]')


class ValueParser(TypeParser):
    """Parses values, each with its type."""

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
        elements = self._elements(shape, dtype) if shape else [self._element(dtype)]
        for item, size in zip(tensor_type.dimensions, shape, strict=True):
            item.constant.size = size or 0
        store(message.immediateValue.tensor, elements, dtype)

    def _elements(self, shape: list[int | None], dtype: DType) -> list[Any]:
        """The elements in brackets; sizes that the type leaves open are put into the shape."""
        whole = self._array(shape, dtype) if len(shape) > 1 and all(shape) and dtype != dtypes.STRING else None
        if whole is not None:
            return whole
        elements: list[Any] = []
        self._rows(shape, 0, dtype, elements)
        return elements

    def _array(self, shape: list[int | None], dtype: DType) -> list[Any] | None:
        """The numbers of an array at once; None where its brackets are not those of this shape, and each must be looked at."""
        lexer = self._lexer
        position = lexer.start
        closing = re.compile(rf"(?:\]\s*+){{{len(shape)}}}").search(lexer.text, position)  # as many as open an array close only that one
        text = lexer.text[position : closing.end()] if closing else ""
        if not has_shape(text, shape):
            return None
        lexer.jump(position + len(text))
        return self._converted(text.replace("[", " ").replace("]", " "), position, dtype)

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
        keys: set[bytes] = set()
        lexer.expect("{")
        while not lexer.take("}"):
            if message.values:
                lexer.expect(",")
            pair = message.values.add()
            lexer.expect("{")
            position = lexer.start
            self._literal(pair.key, dictionary_type.keyType)
            key = pair.key.SerializeToString(deterministic=True)
            if key in keys:
                lexer.fail_at(position, "found a key that is there already, expected another")
            keys.add(key)
            lexer.expect(",")
            self._literal(pair.value, dictionary_type.valueType)
            lexer.expect("}")
