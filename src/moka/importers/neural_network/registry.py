"""The table of layers: what turns each kind of layer into operations.

    @layer("softmax")
    def softmax(net: NetworkBuilder, params: Any, x: Value) -> Value:
        return net.emit("softmax", x=x, axis=-3)

A translation gets the builder, the layer's own message and the blobs that the layer reads; it returns the blobs that it writes, one
bare or several as a sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from inspect import Parameter, signature
from typing import Any, TypeAlias, TypeVar

from moka.errors import ProgramError
from moka.ir.program import Value

__all__ = ["LAYERS", "Translation", "check_inputs", "layer"]

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


def check_inputs(translation: Translation, count: int, where: str) -> None:
    """Refuses a layer with another number of inputs than its translation takes; ``where`` names the layer.

    Raises:
        ProgramError: it has too few or too many.
    """
    low, high = _inputs(translation)
    if count < low or (high is not None and count > high):
        wanted = f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
        raise ProgramError(f"{where} has {count} inputs; expected {wanted}")


@cache
def _inputs(translation: Translation) -> tuple[int, int | None]:
    """How many blobs a translation takes at least and at most; None for any number."""
    parameters = list(signature(translation).parameters.values())[2:]
    single = [parameter for parameter in parameters if parameter.kind is not Parameter.VAR_POSITIONAL]
    least = sum(parameter.default is Parameter.empty for parameter in single)
    return least, len(single) if len(single) == len(parameters) else None
