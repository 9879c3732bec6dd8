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
    from moka import bridge, cache, pytorch
    from moka.compiler.cache import compile_model
    from moka.compiler.compile import compile
    from moka.compiler.decompile import decompile
    from moka.errors import (
        CacheError,
        ExecutionError,
        FormatError,
        InputError,
        MokaError,
        ProgramError,
        UnknownOperationError,
        UnsupportedError,
    )
    from moka.models.export import Export, export
    from moka.models.extractors import register_feature_extractor
    from moka.models.metadata import metadata
    from moka.models.model import Model, ModelState, load
    from moka.models.plans import device_names, load_plan, plan
    from moka.models.profile import Profile
    from moka.models.profiling import profile
    from moka.models.summary import ModelSummary, inspect
    from moka.models.update import EpochMetrics, UpdateResult
    from moka.models.validate import Problem, validate
    from moka.models.values import random_inputs, read_inputs, read_value, write_value
    from moka.ops.custom import custom_layer
    from moka.planning.plan import Plan
    from moka.pytorch.convert import ImageInput, convert

__version__ = "0.1.0"

__all__ = [
    "CacheError",
    "EpochMetrics",
    "ExecutionError",
    "Export",
    "FormatError",
    "ImageInput",
    "InputError",
    "Model",
    "ModelState",
    "ModelSummary",
    "MokaError",
    "Plan",
    "Problem",
    "Profile",
    "ProgramError",
    "UnknownOperationError",
    "UnsupportedError",
    "UpdateResult",
    "__version__",
    "bridge",
    "cache",
    "compile",
    "compile_model",
    "convert",
    "custom_layer",
    "decompile",
    "device_names",
    "export",
    "inspect",
    "load",
    "load_plan",
    "metadata",
    "plan",
    "profile",
    "pytorch",
    "random_inputs",
    "read_inputs",
    "read_value",
    "register_feature_extractor",
    "validate",
    "write_value",
]

_HOMES = {
    "EpochMetrics": "moka.models.update",
    "Export": "moka.models.export",
    "ImageInput": "moka.pytorch.convert",
    "Model": "moka.models.model",
    "ModelState": "moka.models.model",
    "ModelSummary": "moka.models.summary",
    "Plan": "moka.planning.plan",
    "Problem": "moka.models.validate",
    "Profile": "moka.models.profile",
    "UpdateResult": "moka.models.update",
    "compile": "moka.compiler.compile",
    "compile_model": "moka.compiler.cache",
    "convert": "moka.pytorch.convert",
    "custom_layer": "moka.ops.custom",
    "decompile": "moka.compiler.decompile",
    "device_names": "moka.models.plans",
    "export": "moka.models.export",
    "inspect": "moka.models.summary",
    "load": "moka.models.model",
    "load_plan": "moka.models.plans",
    "metadata": "moka.models.metadata",
    "plan": "moka.models.plans",
    "profile": "moka.models.profiling",
    "random_inputs": "moka.models.values",
    "read_inputs": "moka.models.values",
    "read_value": "moka.models.values",
    "register_feature_extractor": "moka.models.extractors",
    "validate": "moka.models.validate",
    "write_value": "moka.models.values",
}


def __getattr__(name: str) -> Any:
    if name in ("bridge", "cache", "pytorch"):
        return importlib.import_module(f"moka.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'moka' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "moka.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)


if os.environ.get("MOKA_BRIDGE") == "1":
    importlib.import_module("moka.bridge").install()
