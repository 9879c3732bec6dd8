"""Small models made with coremltools, for tests of loading and predicting."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def convert(program: Any, path: Path, **options: Any) -> Path:
    """Converts a coremltools program (or torch module) to an ML Program in fp32 (unless told otherwise) and saves it."""
    import coremltools as ct

    options.setdefault("compute_precision", ct.precision.FLOAT32)
    options.setdefault("minimum_deployment_target", ct.target.iOS16)
    model = ct.convert(program, convert_to="mlprogram", skip_model_load=True, **options)
    model.save(str(path))
    return path


def traced(function: Callable[..., Any], *examples: Any) -> Any:
    """A Python function of tensors as a traced module, ready for `convert`."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, *inputs: Any) -> Any:
            return function(*inputs)

    return torch.jit.trace(Module().eval(), examples)
