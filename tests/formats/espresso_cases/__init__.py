"""Cases of compiled layers by family: each a layer as it stands in a file, and what PyTorch makes of the same blobs."""

from __future__ import annotations

from collections.abc import Callable

from tests.formats.espresso_cases import arithmetic, shapes, windows
from tests.formats.espresso_cases.case import Case

__all__ = ["FAMILIES"]

FAMILIES: dict[str, Callable[[], list[Case]]] = {
    "convolution": windows.convolutions,
    "product": windows.products,
    "pool": windows.pools,
    "activation": arithmetic.activations,
    "elementwise": arithmetic.elementwise,
    "normalization": arithmetic.normalizations,
    "reduction": arithmetic.reductions,
    "joined": shapes.joined,
    "shape": shapes.reshaped,
    "picked": shapes.picked,
    "padded": windows.padded,
    "resampled": windows.resampled,
}
