"""What tells programs apart in the cache: their graphs in words, their tensors' hashes, and the versions of what converts them."""

from __future__ import annotations

import hashlib
from functools import cache as once
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.fx import GraphModule

from moka.pytorch.lowering import composition_digest

__all__ = ["digest", "graph_text", "versions"]


def graph_text(module: GraphModule) -> list[str]:
    """A graph in words: all that a conversion depends on."""
    return [f"{node.op} {node.name} {node.target} {node.args} {node.kwargs} {_type(node.meta.get('val'))}" for node in module.graph.nodes]


def digest(tensor: torch.Tensor) -> str:
    """The SHA-256 of a tensor's elements."""
    flat = tensor.detach().cpu().contiguous().as_strided((tensor.numel(),), (1,))  # one element may have any stride
    return hashlib.sha256(flat.view(torch.uint8).numpy().data if flat.numel() else b"").hexdigest()


def versions() -> dict[str, str]:
    """What else decides how a piece converts: the packages that do it, the code of this room, and the compositions that were added."""
    return {"coremltools": version("coremltools"), "torch": torch.__version__, "moka": _code(), "compositions": composition_digest()}


@once
def _code() -> str:
    """A hash of this room's code, so that changed code is another version, released or not."""
    code = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        code.update(file.read_bytes())
    return code.hexdigest()[:16]


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return f"[{', '.join(map(_type, value))}]" if isinstance(value, (list, tuple)) else f"{type(value).__name__} {value}"
