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
    from moka.pytorch.config import DelegateConfig
    from moka.pytorch.delegate import DelegatedModule, delegate
    from moka.pytorch.lowering import lowers
    from moka.pytorch.module import CoreMLModule, to_module

__all__ = ["CoreMLModule", "DelegateConfig", "DelegatedModule", "delegate", "lowers", "to_module"]

_HOMES = {
    "CoreMLModule": "module",
    "DelegateConfig": "config",
    "DelegatedModule": "delegate",
    "delegate": "delegate",
    "lowers": "lowering",
    "to_module": "module",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'moka.pytorch' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"moka.pytorch.{_HOMES[name]}"), name)
    globals()[name] = value  # a submodule of the same name is set here by its import
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
