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


def counter(path: Path, size: int = 2, *, step: str = "step", total: str = "sum") -> Path:
    """A package that adds its input to an fp16 state ``total`` of ``size`` elements and gives the sum; names of input and output."""
    import coremltools as ct
    import numpy as np
    import torch

    class Counter(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(size, dtype=torch.float16))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.total.add_(x)
            return self.total * 1

    return convert(
        torch.jit.trace(Counter().eval(), torch.zeros(size)),
        path,
        inputs=[ct.TensorType(step, (size,), dtype=np.float16)],
        outputs=[ct.TensorType(total, dtype=np.float16)],
        states=[ct.StateType(ct.TensorType(shape=(size,), dtype=np.float16), name="total")],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16,
    )


def traced(function: Callable[..., Any], *examples: Any) -> Any:
    """A Python function of tensors as a traced module, ready for `convert`."""
    import torch

    class Module(torch.nn.Module):
        def forward(self, *inputs: Any) -> Any:
            return function(*inputs)

    return torch.jit.trace(Module().eval(), examples)
