"""What printer and parser share: names of opsets and versions, the message field of each element type, escapes in strings."""

from __future__ import annotations

import re

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
    "scalar_types",
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
    "CoreML9": "ios26",
}
"""An opset's name in the message, and in the text."""

OPSET_NAMES = {text: name for name, text in OPSET_TEXTS.items()}

VERSIONS = ("1.0", "1.1", "1.2", "1.3")
"""Versions of the text; real files show the first and the last."""

MAX_DEPTH = 64
"""Bound on the nesting of blocks and of types; real programs stay below ten."""

_TENSORS_ONLY = {"CoreML3", "CoreML4", "CoreML5", "CoreML6", "CoreML7"}
"""Opsets whose programs have version 1.0, where a scalar is ``tensor<int32, []>``."""


def text_version(opsets: list[str]) -> str:
    """The version of the text of a program with functions of these opsets."""
    return "1.0" if _TENSORS_ONLY.issuperset(opsets) else "1.3"


def scalar_types(version: str) -> bool:
    """Whether a scalar is ``int32`` in a text of this version, and not ``tensor<int32, []>``."""
    return version == "1.3"


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


NAME = r"[^\W\d][\w.@/:$]*+"
"""A name that stands in the text as it is; any other is written as a string."""

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
