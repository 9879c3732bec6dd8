"""Zeros put around an image before a convolution, which can do that itself."""

from __future__ import annotations

from typing import Any

from moka.ir.program import Operation
from moka.ir.rewrite import Replacements, Uses
from moka.passes.matching import Rules, integers, made_by, new, number, tensor_type, text

__all__ = ["RULES"]


def into_convolution(operation: Operation, uses: Uses) -> Replacements:
    padding, type = made_by(operation.inputs["x"][0], "pad"), tensor_type(operation.outputs[0])
    if padding is None or type is None or type.shape is None or text(padding, "mode") not in (None, "constant"):
        return None
    if "constant_val" in padding.inputs and number(padding, "constant_val") != 0:
        return None
    around = _spatial(integers(padding, "pad"), len(type.shape) - 2)
    own = _own(operation, len(type.shape) - 2)
    if around is None or own is None:
        return None
    pads = [a + b for a, b in zip(around, own, strict=True)]
    inputs: dict[str, Any] = {**operation.inputs, "x": padding.inputs["x"], "pad_type": "custom", "pad": pads}
    return [new("conv", operation, type, **inputs)]


def _spatial(amounts: list[int] | None, rank: int) -> list[int] | None:
    """Padding of the spatial axes, if there is no other; it is stated for the last axes."""
    if amounts is None or min(amounts, default=0) < 0 or any(amounts[: max(0, len(amounts) - 2 * rank)]):
        return None
    return [0] * (2 * rank - len(amounts)) + amounts[-2 * rank :]


def _own(operation: Operation, rank: int) -> list[int] | None:
    """The padding of a convolution, where it does not depend on sizes."""
    kind = text(operation, "pad_type") if "pad_type" in operation.inputs else "valid"
    if kind == "custom" and "pad" in operation.inputs:
        return integers(operation, "pad")
    return [0] * (2 * rank) if kind in ("valid", "custom") else None


RULES: Rules = {"conv": [into_convolution]}
