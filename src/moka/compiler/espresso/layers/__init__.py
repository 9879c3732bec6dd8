"""Translations of layers, one file a family; importing this enters them all into the table."""

from moka.compiler.espresso.layers import (
    activation,
    convolution,
    elementwise,
    inner_product,
    joining,
    normalization,
    pooling,
    shape,
    slicing,
)

__all__ = ["activation", "convolution", "elementwise", "inner_product", "joining", "normalization", "pooling", "shape", "slicing"]
