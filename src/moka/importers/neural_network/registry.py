"""The table of layers: what turns each kind of layer into operations.

    @layer("softmax")
    def softmax(net: NetworkBuilder, params: Any, x: Value) -> Value:
        return net.emit("softmax", x=x, axis=-3)

A translation gets the builder, the layer's own message and the blobs that the layer reads; it returns the blobs that it writes, one
bare or several as a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from moka.ir.program import Value

if TYPE_CHECKING:
    pass

__all__ = ["LAYERS", "Translation", "layer"]

Translation: TypeAlias = "Callable[..., Value | Sequence[Value]]"
K = TypeVar("K", bound=Callable[..., Any])

LAYERS: dict[str, Translation] = {}


def layer(*kinds: str) -> Callable[[K], K]:
    """Enters a translation for the kinds of layer named, as the fields of ``NeuralNetworkLayer`` are."""

    def enter(translation: K) -> K:
        for kind in kinds:
            if kind in LAYERS:
                raise ValueError(f"layer {kind!r} has two translations")
            LAYERS[kind] = translation
        return translation

    return enter
