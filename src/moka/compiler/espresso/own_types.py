"""What layers without a known form are called, and which layers are understood without the shapes of their blobs."""

from __future__ import annotations

import re

__all__ = ["SHAPELESS", "type_of"]

_TYPES = {
    "argSort": "argsort",
    "cumSum": "cumsum",
    "fillStatic": "fill",
    "l2normalize": "l2_normalize",
    "rangeStatic": "range",
    "recurrent": "rnn_arch",
    "whereNonZero": "nonzero",
}
"""Types that public accounts of compiled networks name, where they are not the kind of the layer in other letters."""

SHAPELESS = frozenset(
    {
        "add", "addBroadcastable", "convolution", "crop", "divideBroadcastable", "embedding", "embeddingND", "gelu", "innerProduct", "lrn",
        "multiply", "multiplyBroadcastable", "padding", "softmax", "softmaxND", "subtractBroadcastable", "unary", "upsample",
    }
)  # fmt: skip
"""Kinds of layer that are compiled, and read back, without a look at the shapes of their blobs."""


def type_of(kind: str) -> str:
    """The type under which a kind of layer is written: ``onesLike`` is ``ones_like``."""
    return _TYPES.get(kind) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind).lower()
