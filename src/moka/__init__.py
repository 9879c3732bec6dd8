"""Moka: Core ML for every machine that is not Apple's.

    import moka
    model = moka.load("MobileNetV2.mlpackage")
    model.predict({"image": image})

Importing this module loads nothing heavy: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moka import bridge
    from moka.errors import (
        ExecutionError,
        FormatError,
        InputError,
        MokaError,
        ProgramError,
        UnknownOperationError,
        UnsupportedError,
    )
    from moka.models.model import Model, ModelState, load

__version__ = "0.1.0"

__all__ = [
    "ExecutionError",
    "FormatError",
    "InputError",
    "Model",
    "ModelState",
    "MokaError",
    "ProgramError",
    "UnknownOperationError",
    "UnsupportedError",
    "__version__",
    "bridge",
    "load",
]

_HOMES = {
    "Model": "moka.models.model",
    "ModelState": "moka.models.model",
    "load": "moka.models.model",
}


def __getattr__(name: str) -> Any:
    if name == "bridge":
        return importlib.import_module("moka.bridge")
    if name not in __all__:
        raise AttributeError(f"module 'moka' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "moka.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if os.environ.get("MOKA_BRIDGE") == "1":
    importlib.import_module("moka.bridge").install()
