"""Types of the text as messages."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from moka.formats import dtypes, schema
from moka.formats.dtypes import DType
from moka.formats.mil_text.grammar import MAX_DEPTH
from moka.formats.mil_text.lexer import Lexer

__all__ = ["TypeParser"]

_TENSOR = re.compile(r"tensor<\w+, \[[\d, ?]*\]>")
_MAX_SIZE = 2**63 - 1


class TypeParser:
    """Parses types.

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
