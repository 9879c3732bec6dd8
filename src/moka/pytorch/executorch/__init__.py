"""ExecuTorch programs with Core ML in them: written on machines without Core ML, looked at, and run.

    from moka.pytorch.executorch import CoreMLBackend, CoreMLPartitioner      # ExecuTorch's own; needs executorch
    specs = CoreMLBackend.generate_compile_specs(model_type=CoreMLBackend.MODEL_TYPE.COMPILED_MODEL)
    to_edge_transform_and_lower(exported, partitioner=[CoreMLPartitioner(compile_specs=specs)]).to_executorch()

    program = moka.pytorch.executorch.load("model.pte")                       # needs no executorch
    outputs = program.load_method("forward").execute([x, y])

ExecuTorch's Core ML backend asks Apple's Core ML to compile models, and so makes programs with ``COMPILED_MODEL`` on Macs only. `install`,
which the first use of a name of ExecuTorch's calls, makes it ask Moka's compiler.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moka.formats.pte import is_program
    from moka.pytorch.executorch.payload import extract
    from moka.pytorch.executorch.pipeline import install, is_installed, uninstall
    from moka.pytorch.executorch.program import Method, Program, load
    from moka.pytorch.executorch.summary import ProgramSummary, inspect

__all__ = [
    "COMPILE_SPEC_KEYS",
    "MULTIMETHOD_WEIGHT_SHARING_STRATEGY",
    "CompileSpec",
    "CoreMLBackend",
    "CoreMLPartitioner",
    "Method",
    "Program",
    "ProgramSummary",
    "extract",
    "inspect",
    "install",
    "is_installed",
    "is_program",
    "load",
    "uninstall",
]

_HOMES = {
    "Method": "moka.pytorch.executorch.program",
    "Program": "moka.pytorch.executorch.program",
    "ProgramSummary": "moka.pytorch.executorch.summary",
    "extract": "moka.pytorch.executorch.payload",
    "inspect": "moka.pytorch.executorch.summary",
    "install": "moka.pytorch.executorch.pipeline",
    "is_installed": "moka.pytorch.executorch.pipeline",
    "is_program": "moka.formats.pte",
    "load": "moka.pytorch.executorch.program",
    "uninstall": "moka.pytorch.executorch.pipeline",
}

_THEIRS = {
    "COMPILE_SPEC_KEYS": "backends.apple.coreml.compiler.coreml_preprocess",
    "CompileSpec": "exir.backend.compile_spec_schema",
    "CoreMLBackend": "backends.apple.coreml.compiler.coreml_preprocess",
    "CoreMLPartitioner": "backends.apple.coreml.partition.coreml_partitioner",
    "MULTIMETHOD_WEIGHT_SHARING_STRATEGY": "backends.apple.coreml.compiler.coreml_preprocess",
}
"""Names of ExecuTorch's, and the modules of it that have them."""


def __getattr__(name: str) -> Any:
    if name in _THEIRS:
        from moka.pytorch.executorch.pipeline import install, require

        install()
        return getattr(require(_THEIRS[name], name), name)
    if name not in _HOMES:
        raise AttributeError(f"module 'moka.pytorch.executorch' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
