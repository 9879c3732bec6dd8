"""What each type of layer in a compiled network is in a specification, one file a family."""

from moka.formats.espresso.layers import (
    activation,
    combining,
    convolution,
    elementwise,
    indexing,
    normalization,
    padding,
    pooling,
    reduction,
    resize,
    shape,
)

__all__ = [
    "activation",
    "combining",
    "convolution",
    "elementwise",
    "indexing",
    "normalization",
    "padding",
    "pooling",
    "reduction",
    "resize",
    "shape",
]
