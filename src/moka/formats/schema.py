"""The Core ML protobuf schema, from the installed coremltools, without importing coremltools.

``import coremltools`` takes seconds; its ``proto`` folder alone a few hundredths of a second. A bare package with a private
name is put over that folder, and the generated modules are imported from there. They register in protobuf's default pool, so the
message classes are the very ones that coremltools itself uses when it is imported as well.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from moka.errors import UnsupportedError

__all__ = ["message_module", "mil", "model"]

_PACKAGE = "moka._coreml_proto"


def coremltools_folder() -> Path:
    """The folder of the installed coremltools, found without importing it."""
    spec = importlib.machinery.PathFinder.find_spec("coremltools")
    if spec is None or spec.origin is None:
        raise UnsupportedError("coremltools is not installed: Moka takes the Core ML schema from it; pip install coremltools")
    return Path(spec.origin).parent


@cache
def message_module(name: str) -> Any:
    """The generated protobuf module ``name``, such as ``Model_pb2``."""
    if _PACKAGE not in sys.modules:
        package = ModuleType(_PACKAGE)
        package.__path__ = [str(coremltools_folder() / "proto")]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


def model() -> Any:
    """``Model_pb2``: the module of the ``Model`` message."""
    return message_module("Model_pb2")


def mil() -> Any:
    """``MIL_pb2``: the module of the ``Program`` message and its parts."""
    return message_module("MIL_pb2")
