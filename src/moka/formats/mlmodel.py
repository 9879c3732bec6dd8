"""Reads and writes a model's specification: the protobuf message ``Model`` that a ``.mlmodel`` file holds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError, Message

from moka.errors import FormatError
from moka.formats import schema
from moka.formats.files import read_bytes, replacing_file

__all__ = ["LARGEST_MESSAGE", "parse_specification", "read_specification", "serialize", "write_specification"]

LARGEST_MESSAGE = 2**31 - 1
"""Bytes in the longest message that protobuf reads or writes."""

_LIMIT_REASON = "protobuf reads no message above 2 GiB; keep large weights in the weight file of an .mlpackage"


def read_specification(path: str | os.PathLike[str]) -> Any:
    """The ``Model`` message in a file.

    Raises:
        FormatError: missing, a folder, empty, above 2 GiB, truncated, not protobuf, nested deeper than protobuf
            accepts, or without a model type.
    """
    path = Path(path)
    return parse_specification(read_bytes(path, LARGEST_MESSAGE, _LIMIT_REASON), path)


def parse_specification(data: bytes, where: object) -> Any:
    """The ``Model`` message in ``data``, with the errors of ``read_specification``; ``where`` names the file in them."""
    if data.startswith(b"version https://git-lfs"):
        raise FormatError(where, "is a Git LFS pointer, not the file itself: fetch it with 'git lfs pull'")
    specification = schema.model().Model()
    try:
        specification.ParseFromString(data)
    except (DecodeError, RecursionError) as error:
        raise FormatError(where, _parse_problem(error)) from error
    if specification.WhichOneof("Type") is None:
        raise FormatError(where, "message Model: field Type: no model type is set, so this is not a Core ML model")
    return specification


def _parse_problem(error: Exception) -> str:
    text = str(error)
    if isinstance(error, RecursionError) or any(word in text.lower() for word in ("depth", "recursion")):
        return f"message Model: messages are nested deeper than protobuf accepts (about 100 levels): {text}"
    return f"message Model: truncated, or not a Core ML model: {text}"


def serialize(message: Message, where: object) -> bytes:
    """The bytes of a message, the same in every run: entries of maps are written in the order of their keys.

    Raises:
        FormatError: longer than protobuf allows.
    """
    size = message.ByteSize()
    if size > LARGEST_MESSAGE:
        raise FormatError(where, f"message {message.DESCRIPTOR.name} needs {size} bytes: {_LIMIT_REASON}")
    return message.SerializeToString(deterministic=True)


def write_specification(model: Message, path: str | os.PathLike[str]) -> None:
    """Writes a ``Model`` message to a file, which either holds all of it afterwards or is what it was before."""
    path = Path(path)
    data = serialize(model, path)
    with replacing_file(path) as temporary:
        temporary.write_bytes(data)
