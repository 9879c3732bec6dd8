"""PyTorch on both ends: programs that delegate to Core ML, and Core ML models as modules.

    exported = torch.export.export(model.eval(), (image,))
    fast = moka.pytorch.delegate(exported)       # Core ML for what it can do, PyTorch for the rest
    torch.compile(model, backend="moka")         # the same, without an export

Each name is loaded when it is first used; torch comes with the first of them, coremltools with the first conversion.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moka.pytorch import executorch, legacy
    from moka.pytorch.archive import load, save
    from moka.pytorch.comparison import Comparison, compare
    from moka.pytorch.config import DelegateConfig
    from moka.pytorch.delegated import DelegatedModule, delegate
    from moka.pytorch.lowering import lowers
    from moka.pytorch.module import CoreMLModule, to_module
    from moka.pytorch.report import DelegationReport

__all__ = [
    "Comparison",
    "CoreMLModule",
    "DelegateConfig",
    "DelegatedModule",
    "DelegationReport",
    "compare",
    "delegate",
    "executorch",
    "legacy",
    "load",
    "lowers",
    "save",
    "to_module",
]

_HOMES = {
    "Comparison": "comparison",
    "CoreMLModule": "module",
    "DelegateConfig": "config",
    "DelegatedModule": "delegated",
    "DelegationReport": "report",
    "compare": "comparison",
    "delegate": "delegated",
    "load": "archive",
    "lowers": "lowering",
    "save": "archive",
    "to_module": "module",
}

_MODULES = ("executorch", "legacy")
"""Modules whose names are used through them."""


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"moka.pytorch.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'moka.pytorch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"moka.pytorch.{_HOMES[name]}"), name)
    globals()[name] = value  # a submodule of the same name is set here by its import
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
