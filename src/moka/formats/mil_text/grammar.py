"""What printer and parser share: names of opsets and versions, the message field of each element type, escapes in strings."""

from __future__ import annotations

import re
from collections.abc import Iterable

from moka.formats import dtypes
from moka.formats.dtypes import DType

__all__ = [
    "MAX_DEPTH",
    "NAME",
    "OPSET_NAMES",
    "OPSET_TEXTS",
    "VERSIONS",
    "name_text",
    "quoted",
    "specification_version",
    "text_version",
    "unquoted",
    "value_field",
]

OPSET_TEXTS = {
    "CoreML3": "ios13",
    "CoreML4": "ios14",
    "CoreML5": "ios15",
    "CoreML6": "ios16",
    "CoreML7": "ios17",
    "CoreML8": "ios18",
    "CoreML9": "ios19",
}
"""An opset's name in the message, and in the text. The last is read off programs written by hand that run; no compiled one is known."""

OPSET_NAMES = {text: name for name, text in OPSET_TEXTS.items()} | {"ios26": "CoreML9"}

VERSIONS = {"1.0": False, "1.1": False, "1.2": False, "1.3": True}
"""Versions of the text, and whether a scalar is ``int32`` there, not ``tensor<int32, []>``. Real files show the first and the last."""

MAX_DEPTH = 32
"""Bound on the nesting of blocks and of types, and on ranks; real programs stay below ten."""

_SCALARS_SINCE = 9
_SPECIFICATION_VERSIONS = {"CoreML8": 9, "CoreML9": 10}


def text_version(specification_version: int) -> str:
    """The version of the text, which follows the model's specification version and neither the opset nor the compiler."""
    return "1.3" if specification_version >= _SCALARS_SINCE else "1.0"


def specification_version(opsets: Iterable[str]) -> int:
    """The specification version that functions of these opsets need at least; 8 stands for all below the first that has another text."""
    return max((_SPECIFICATION_VERSIONS.get(opset, 8) for opset in opsets), default=8)


_FIELDS = {
    dtypes.BOOL: "bools",
    dtypes.STRING: "strings",
    dtypes.FP32: "floats",
    dtypes.FP64: "doubles",
    dtypes.INT16: "ints",
    dtypes.UINT16: "ints",
    dtypes.INT32: "ints",
    dtypes.INT64: "longInts",
    dtypes.UINT64: "longInts",
}


def value_field(dtype: DType) -> str:
    """The field of ``TensorValue`` that coremltools puts elements of this type in; all others are bytes."""
    return _FIELDS.get(dtype, "bytes")


NAME = r"[A-Za-z_][A-Za-z0-9_]*+"
"""A name that stands in the text as it is, and the only kind that Apple's parser takes; any other is written as a string."""

_NAME = re.compile(NAME)
_ESCAPES = {chr(code): f"\\x{code:02x}" for code in (*range(32), 127)} | {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_TO_ESCAPE = re.compile(r'[\\"\x00-\x1f\x7f]')
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)


def quoted(text: str) -> str:
    """A string as a literal: control characters, quotes and backslashes escaped as in C."""
    return '"' + _TO_ESCAPE.sub(lambda match: _ESCAPES[match[0]], text) + '"'


def unquoted(literal: str) -> str:
    """The string of a literal; a backslash before any other character stands for that character."""
    inner = literal[1:-1]
    if "\\" not in inner:
        return inner
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)) if match[1] else _UNESCAPES.get(match[2], match[2]), inner)


def name_text(name: str) -> str:
    """A name as it stands in the text."""
    return name if _NAME.fullmatch(name) else quoted(name)
