"""The Core ML backend of TorchScript, by the names of ``torch.backends._coreml.preprocess``.

    from moka.pytorch.legacy import CompileSpec, CoreMLComputeUnit, TensorSpec, to_backend
    spec = {"forward": CompileSpec([TensorSpec([1, 3, 224, 224])], [TensorSpec([1, 1000])], backend=CoreMLComputeUnit.ALL)}
    module = to_backend(torch.jit.trace(model, example), spec)

Old code runs as it is after ``moka.pytorch.legacy.install()``: its ``torch._C._jit_to_backend("coreml", traced, spec)`` comes here.
For new code there is `moka.pytorch.delegate`.
"""

from __future__ import annotations

from moka.pytorch.legacy.conversion import (
    CT_METADATA_SOURCE,
    CT_METADATA_VERSION,
    CompileSpec,
    CoreMLComputeUnit,
    CoreMLQuantizationMode,
    ScalarType,
    TensorSpec,
    preprocess,
)
from moka.pytorch.legacy.runtime import CoreMLBackend, Executor
from moka.pytorch.legacy.scripting import install, is_installed, to_backend, uninstall

__all__ = [
    "CT_METADATA_SOURCE",
    "CT_METADATA_VERSION",
    "CompileSpec",
    "CoreMLBackend",
    "CoreMLComputeUnit",
    "CoreMLQuantizationMode",
    "Executor",
    "ScalarType",
    "TensorSpec",
    "install",
    "is_installed",
    "preprocess",
    "to_backend",
    "uninstall",
]
