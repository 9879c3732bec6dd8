"""What this machine offers for Core ML's compute units."""

from __future__ import annotations

import torch

__all__ = ["torch_device"]


def torch_device(compute_units: str) -> str:
    """The PyTorch device for the units allowed: a GPU if it is allowed and present, else the CPU."""
    if compute_units in ("ALL", "CPU_AND_GPU"):
        if torch.cuda.is_available():
            return "cuda"
        if torch.backends.mps.is_available():
            return "mps"
    return "cpu"
